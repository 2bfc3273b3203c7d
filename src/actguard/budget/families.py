"""Families of models: how a model counts tokens, by its name, whatever vendor, region, date or version it carries."""

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from actguard.budget.names import bare
from actguard.budget.request import RequestFacts

Key = tuple[str | None, str, str]
Dialect = Literal["openai", "claude", "gemini", "nova", "grok", "other"]


class Profile(NamedTuple):
    """How a model counts."""

    family: str
    """The model's name without vendor, region, date and version suffixes."""
    dialect: Dialect
    version: tuple[int, int]
    overhead: int
    tools_overhead: int
    known: bool
    """Whether the name says which model it is: the name of an Azure deployment does not."""
    keys: "tuple[Key, Key]"
    """Where its ratios are learned: without tools, and with."""


# Tokens beyond the body that were seen, with room: what Claude (+315) and Nova (+570) are told around client tools, and
# Grok (+487) of itself.
_OVERHEAD: Final[dict[Dialect, tuple[int, int]]] = {
    "openai": (16, 16),
    "gemini": (16, 16),
    "claude": (16, 700),
    "nova": (64, 800),
    "other": (256, 512),
    "grok": (1500, 1500),
}
_DATE = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)(?=$|[-:.])")
_SUFFIX = re.compile(r"(?:-latest|-v\d+|:[\w-]+|-preview(?:-\d\d-\d{2,4})?|-\d{3}|-exp)+$")
_VERSION = re.compile(r"(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_OPENAI = re.compile(r"gpt-|chatgpt|o[1-9](?:$|-)|computer-use|codex|text-embedding|davinci|babbage|tts-|whisper")


@lru_cache(maxsize=1024)
def profile_of(provider: str | None, model: str) -> Profile:
    """The profile of *model*, whatever the vendor prefix, region or date it is written with."""
    name = bare(model[:200]).rsplit("/", 1)[-1]
    family = _SUFFIX.sub("", _DATE.sub("", name)) or name
    dialect: Dialect = "other"
    if "claude" in family or provider == "anthropic":
        dialect = "claude"
    elif family.startswith(("gemini", "gemma", "learnlm")) or provider == "google":
        dialect = "gemini"
    elif family.startswith("nova"):
        dialect = "nova"
    elif _OPENAI.match(family) or provider in ("openai", "azure"):
        dialect = "openai"
    elif family.startswith("grok"):
        dialect = "grok"
    version = _VERSION.search(family)
    known = dialect != "openai" or _OPENAI.match(family) is not None
    plain, tools = _OVERHEAD[dialect if known else "other"]
    number = (int(version[1]), int(version[2] or 0)) if version else (0, 0)
    keys = (provider, family, "plain"), (provider, family, "tools")
    return Profile(family, dialect, number, plain, tools, known, keys)


def profile_for(provider: str | None, facts: RequestFacts) -> Profile:
    """The profile of the model that a request names, also where its name says nothing and its endpoint does."""
    profile = profile_of(provider, facts.model)
    if facts.endpoint in _CLAUDE_ENDPOINTS and profile.dialect not in (
        "claude",
        "nova",
    ):  # behind an ARN or a deployment
        return profile_of("anthropic", facts.model)
    return profile


_CLAUDE_ENDPOINTS: Final = frozenset(("messages", "messages.batches", "complete"))
