"""Ctrl-C, or a signal handler that raises, in the midst of our own code: no call is left in flight, none is forgotten.

In a notebook a program goes on afterwards, often with the same guard.
"""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any

import pytest

from actguard import BudgetGuard
from actguard.budget import scope
from actguard.budget.hold import Hold
from actguard.context import OUTSIDE, current_frame
from actguard.providers import quote
from actguard.providers.call import current_call
from actguard.providers.senders import sending
from actguard.testing import LocalProvider, Reply
from tests.interrupted import interrupted_everywhere

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


class Again:
    """Stands before the transport of a client, and answers every request as the first one was, in the same pieces."""

    def __init__(self, client: Any) -> None:
        self._behind, self._said = client._transport, None
        self.answered = 0
        client._transport = self
        library = importlib.import_module(type(client).__mro__[-3].__module__.partition(".")[0])

        class Pieces(library.SyncByteStream, library.AsyncByteStream):
            def __init__(self, pieces: list[bytes]) -> None:
                self.pieces = pieces

            def __iter__(self) -> Iterator[bytes]:
                return iter(self.pieces)

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for piece in self.pieces:
                    yield piece

        self._answer = lambda status, headers, pieces: library.Response(status, headers=headers, stream=Pieces(pieces))

    def handle_request(self, request: Any) -> Any:
        if self._said is None:
            response = self._behind.handle_request(request)
            self._said = (response.status_code, response.headers, b"".join(response.stream).splitlines(keepends=True))
        self.answered += 1
        return self._answer(*self._said)

    async def handle_async_request(self, request: Any) -> Any:
        if self._said is None:
            response = await self._behind.handle_async_request(request)
            body = b"".join([piece async for piece in response.stream])
            self._said = (response.status_code, response.headers, body.splitlines(keepends=True))
        self.answered += 1
        return self._answer(*self._said)

    def close(self) -> None:
        self._behind.close()

    async def aclose(self) -> None:
        await self._behind.aclose()


class AgainByRequests:
    """`Again` for versions of google-genai that send through requests, by a new session for each request."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        adapters = importlib.import_module("requests.adapters")
        self._behind, self._said = adapters.HTTPAdapter.send, None
        self.answered = 0
        patch.setattr(adapters.HTTPAdapter, "send", lambda adapter, *args, **kwargs: self._send(adapter, args, kwargs))

    def _send(self, adapter: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._said is None:
            response = self._behind(adapter, *args, **kwargs)
            self._said = (type(response), response.status_code, response.headers, response.content)
        self.answered += 1
        kind, status, headers, body = self._said
        again = kind()
        again.status_code, again.headers, again.raw, again.request = status, headers, BytesIO(body), args[0]
        return again


Made = tuple[Callable[[], Any], Again | AgainByRequests]
"""A call, and what answers it."""


def openai_call(provider: LocalProvider, patch: pytest.MonkeyPatch, **stream: Any) -> Made:
    client = provider.openai(max_retries=0)
    create: Any = client.chat.completions.create
    work = partial(create, model="gpt-4o", messages=MESSAGES, max_completion_tokens=20, **stream)
    return work, Again(client._client)


def openai_stream(provider: LocalProvider, patch: pytest.MonkeyPatch) -> Made:
    call, again = openai_call(provider, patch, stream=True)
    return lambda: list(call()), again


def openai_awaited(provider: LocalProvider, patch: pytest.MonkeyPatch) -> Made:
    client, runner = provider.async_openai(max_retries=0), asyncio.Runner()
    create: Any = client.chat.completions.create
    call = partial(create, model="gpt-4o", messages=MESSAGES, max_completion_tokens=20)
    return lambda: runner.run(call()), Again(client._client)


def anthropic_call(provider: LocalProvider, patch: pytest.MonkeyPatch, **stream: Any) -> Made:
    client = provider.anthropic(max_retries=0)
    create: Any = client.messages.create
    work = partial(create, model="claude-sonnet-5", messages=MESSAGES, max_tokens=20, **stream)
    return work, Again(client._client)


def anthropic_stream(provider: LocalProvider, patch: pytest.MonkeyPatch) -> Made:
    call, again = anthropic_call(provider, patch, stream=True)
    return lambda: list(call()), again


def google_client(provider: LocalProvider, patch: pytest.MonkeyPatch) -> tuple[Any, Again | AgainByRequests]:
    client = provider.google()
    http: Any = getattr(client._api_client, "_httpx_client", None)
    return client, AgainByRequests(patch) if http is None else Again(http)


def google_call(provider: LocalProvider, patch: pytest.MonkeyPatch) -> Made:
    client, again = google_client(provider, patch)
    return partial(client.models.generate_content, model="gemini-2.5-flash", contents="Hello!"), again


def google_stream(provider: LocalProvider, patch: pytest.MonkeyPatch) -> Made:
    client, again = google_client(provider, patch)
    call = partial(client.models.generate_content_stream, model="gemini-2.5-flash", contents="Hello!")
    return lambda: list(call()), again


WORK = (
    *(openai_call, openai_awaited, openai_stream),
    *(anthropic_call, anthropic_stream, google_call, google_stream),
)


@pytest.fixture(autouse=True)
def nothing_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call does the same: also what is done for some of them only, for one in eight, say."""
    monkeypatch.setattr(quote.ratios, "due", lambda model: True)
    monkeypatch.setattr(scope, "_MANY", sys.maxsize)


@pytest.mark.parametrize("how", ["default", "strict", "beside another"])
@pytest.mark.parametrize("kind", WORK)
def test_whatever_is_broken_off_is_not_in_flight_and_what_was_paid_for_is_counted(
    llm_provider: LocalProvider,
    kind: Callable[[LocalProvider, pytest.MonkeyPatch], Made],
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llm_provider.default = Reply(output_tokens=3)
    work, provider = kind(llm_provider, monkeypatch)
    with BudgetGuard(usd_limit=10_000) as outer, BudgetGuard(usd_limit=1_000, strict=how == "strict") as guard:
        account, around = guard.account, outer.account
        assert account is not None
        assert around is not None
        if how == "beside another":
            another = Hold(account)
            another.estimate_pico = another.estimate_tokens = 7
            account.admission.hold(another)
        work()  # what is found out for the first call is known
        in_flight = (account.held_pico, account.held_tokens, account.in_flight)
        price = account.used_pico
        calls, billed, estimates, pico = 1, 1, 0, price
        for place in interrupted_everywhere(work):
            account.admission.settle_pending()
            for one in (account, around):
                assert (one.held_pico, one.held_tokens, one.in_flight) == in_flight, place
                assert one.used_pico == sum(tally.pico for tally in one.by_model.values()), place
            assert (account.used_pico, account.calls) == (around.used_pico, around.calls), place
            counted = account.calls - calls
            assert provider.answered - billed <= counted <= 1, place
            if account.estimates == estimates:
                assert counted == provider.answered - billed, place
                assert account.used_pico - pico == counted * price, place
            assert current_call.get() is None, place
            assert not sending.get(), place
            calls, billed = account.calls, provider.answered
            estimates, pico = account.estimates, account.used_pico
    assert current_frame() is OUTSIDE
