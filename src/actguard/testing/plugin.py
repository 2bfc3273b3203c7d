"""Pytest fixtures. Loaded by pytest itself once actguard is installed; imports nothing until a fixture is used.

`llm_provider`
    A `LocalProvider`, fresh for each test.
`llm_provider_env`
    The same one, with the environment pointing every SDK at it: `openai.OpenAI()` as in production.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from actguard.testing.provider import LocalProvider


@pytest.fixture
def llm_provider() -> "Iterator[LocalProvider]":
    """A local LLM provider with a billing ledger; see `actguard.testing`."""
    from actguard.testing.provider import LocalProvider

    with LocalProvider() as provider:
        yield provider


@pytest.fixture
def llm_provider_env(llm_provider: "LocalProvider", monkeypatch: pytest.MonkeyPatch) -> "LocalProvider":
    """`llm_provider`, and the SDKs' environment variables point at it."""
    for name in ("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)  # would win over what is set below
    for name, value in llm_provider.env().items():
        monkeypatch.setenv(name, value)
    return llm_provider
