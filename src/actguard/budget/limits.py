"""How much the known model families can take in and give out: what bounds a call that states no cap of its own.

Source: litellm 1.109.1 (MIT), max_input_tokens and max_output_tokens, read 2026-11-22; where a family has several
values, the largest. A family covers its dated and `-latest` names, never a sibling (`gpt-4` says nothing of `gpt-4.1`).
"""

import re
from functools import lru_cache
from typing import NamedTuple

from actguard.budget.names import bare


class Limits(NamedTuple):
    context: int | None
    """Most input tokens of one call."""
    output: int | None
    """Most output tokens of one choice, reasoning included."""


_UNKNOWN = Limits(None, None)

_BY_LIMITS = (
    # OpenAI. The context counts input and output together, so it bounds the input a little generously.
    (Limits(16_385, 4_096), "gpt-3.5-turbo gpt-3.5-turbo-16k"),
    (Limits(8_192, 8_192), "gpt-4"),
    (Limits(128_000, 4_096), "gpt-4-turbo gpt-4-1106-preview gpt-4-0125-preview"),
    (Limits(1_047_576, 32_768), "gpt-4.1 gpt-4.1-mini gpt-4.1-nano"),
    (Limits(128_000, 16_384), "gpt-4o gpt-4o-mini chatgpt-4o gpt-4o-search gpt-4o-mini-search"),
    (Limits(128_000, 16_384), "gpt-4o-audio gpt-4o-mini-audio gpt-audio gpt-audio-mini gpt-audio-1.5"),
    (Limits(16_000, 2_000), "gpt-4o-transcribe gpt-4o-mini-transcribe"),
    (Limits(128_000, 16_384), "gpt-5-chat gpt-5.1-chat gpt-5.2-chat gpt-5.3-chat"),
    (Limits(400_000, 128_000), "gpt-5 gpt-5-mini gpt-5-nano gpt-5-codex gpt-5-search-api gpt-5.1 gpt-5.2 gpt-5.2-pro"),
    (Limits(400_000, 128_000), "gpt-5.1-codex gpt-5.1-codex-max gpt-5.1-codex-mini gpt-5.2-codex gpt-5.3-codex"),
    (Limits(400_000, 272_000), "gpt-5-pro"),
    (Limits(400_000, 128_000), "gpt-5.4-mini gpt-5.4-nano"),
    (
        Limits(1_050_000, 128_000),
        "gpt-5.4 gpt-5.4-pro gpt-5.5 gpt-5.5-pro gpt-5.6 gpt-5.6-luna gpt-5.6-sol gpt-5.6-terra",
    ),
    (Limits(1_050_000, 128_000), "gpt-6-astra gpt-6-luna gpt-6-sol gpt-6-rosalind gpt-6-astra-law"),
    (Limits(1_050_000, 131_072), "gpt-6.1-sol gpt-6.1-terra"),
    (Limits(200_000, 100_000), "o1 o1-pro o3 o3-mini o3-pro o4-mini o3-deep-research o4-mini-deep-research"),
    (Limits(8_191, 0), "text-embedding-3-small text-embedding-3-large text-embedding-ada-002"),
    # Anthropic. Sonnet 4.5 has a million tokens of context behind a beta header.
    (Limits(200_000, 64_000), "claude-haiku-4-5 claude-opus-4-5"),
    (Limits(1_000_000, 64_000), "claude-sonnet-4-5"),
    (Limits(1_000_000, 128_000), "claude-opus-4-6 claude-opus-4-7 claude-opus-4-8 claude-opus-5 claude-opus-5-5"),
    (Limits(1_000_000, 128_000), "claude-sonnet-4-6 claude-sonnet-5 claude-sonnet-5-5 claude-haiku-5-5"),
    (Limits(1_000_000, 128_000), "claude-fable-5 claude-fable-5-1 claude-mythos-5 claude-mythos-5-1"),
    # Google
    (Limits(1_048_576, 8_192), "gemini-2.0-flash gemini-2.0-flash-lite"),
    (Limits(1_048_576, 65_536), "gemini-2.5-pro gemini-2.5-flash gemini-2.5-flash-lite gemini-3-pro gemini-3-flash"),
    (Limits(1_048_576, 65_536), "gemini-3.1-pro gemini-3.1-flash-lite gemini-3.5-flash gemini-3.5-flash-lite"),
    (Limits(1_048_576, 65_536), "gemini-3.6-flash gemini-3.7-flash gemini-3.8-flash"),
    (Limits(1_048_576, 65_536), "gemini-flash gemini-flash-lite gemini-pro"),
    (Limits(1_048_576, 1_048_576), "gemini-4-argon"),
    (Limits(131_072, 32_768), "gemini-2.5-flash-image gemini-3-pro-image"),
    (Limits(131_072, 65_536), "gemini-3.1-flash-image"),
    (Limits(1_048_576, 65_536), "gemini-2.5-flash-preview-tts gemini-2.5-pro-preview-tts"),
    (Limits(8_192, 16_384), "gemini-3.8-flash-tts gemini-3.8-flash-lite-tts"),
    (Limits(2_048, 0), "gemini-embedding-001"),
    (Limits(8_192, 0), "gemini-embedding-2"),
)
_FAMILIES = {family: limits for limits, families in _BY_LIMITS for family in families.split()}

# What may follow a family name and still mean the family: a date, a serial number, "latest", "preview".
_SAME = re.compile(r"(?:[-@:.](?:\d{8}|\d{4}(?:-\d{2}){0,2}|\d{2}-\d{2,4}|\d{3}|latest|preview|default|exp))*")


@lru_cache(maxsize=1024)
def limits(model: str) -> Limits:
    """What *model* can take in and give out, as far as known, however its name is spelled."""
    name = bare(model)
    end = len(name)
    while end > 0:
        found = _FAMILIES.get(name[:end])
        if found is not None and _SAME.fullmatch(name, end):
            return found
        end = max(name.rfind(mark, 0, end) for mark in "-@:.")
    return _UNKNOWN


def context_window(model: str) -> int | None:
    """The most input tokens of one call to *model*, or None when that is not known."""
    return limits(model).context


def max_output_tokens(model: str) -> int | None:
    """The most that one choice of *model* can give out, or None when that is not known."""
    return limits(model).output
