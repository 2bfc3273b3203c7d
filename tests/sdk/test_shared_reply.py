"""A reply is parsed once, for the SDK and for the guard; what the SDK makes of it is the same as without one."""

import asyncio
import importlib
import json
import pickle
from collections.abc import Callable
from typing import Any

import openai
import pytest

from actguard import BudgetGuard
from actguard.providers import call

HTTP: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}'


def reply(*more: bytes, usage: bytes = USAGE) -> bytes:
    said = b'"id":"chatcmpl-00000000000001","object":"chat.completion","created":1,"model":"gpt-4o","choices":[]'
    return b"{" + b",".join((said, usage, *more)) + b"}"


class Parsed:
    """Counts how often bodies are parsed: by the HTTP library, and by ourselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = self.by_us = 0
        original = HTTP.Response.json

        def counted(response: Any, **kwargs: Any) -> Any:
            self.times += 1
            return original(response, **kwargs)

        def counted_here(body: bytes) -> Any:
            self.by_us += 1
            return json.loads(body)

        monkeypatch.setattr(HTTP.Response, "json", counted)
        monkeypatch.setattr(call, "parse_json", counted_here)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Parsed:
    return Parsed(monkeypatch)


def answering(body: bytes, kind: str = "application/json") -> Any:
    return HTTP.MockTransport(lambda request: HTTP.Response(200, headers={"content-type": kind}, content=body))


def client(body: bytes, kind: str = "application/json") -> openai.OpenAI:
    return openai.OpenAI(api_key="none", max_retries=0, http_client=HTTP.Client(transport=answering(body, kind)))


def create(body: bytes, kind: str = "application/json") -> Any:
    return client(body, kind).chat.completions.create(model="gpt-4o", messages=MESSAGES)


async def acreate(body: bytes, kind: str = "application/json") -> Any:
    http = HTTP.AsyncClient(transport=answering(body, kind))
    made = openai.AsyncOpenAI(api_key="none", max_retries=0, http_client=http)
    return await made.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def test_a_reply_is_parsed_once(parsed):
    with BudgetGuard(usd_limit=1) as guard:
        assert create(reply()).usage.total_tokens == 21

    assert (parsed.times, parsed.by_us) == (1, 0)
    assert guard.tokens_used == 21


async def test_a_reply_to_an_async_client_is_parsed_once(parsed):
    async with BudgetGuard(usd_limit=1) as guard:
        assert (await acreate(reply())).usage.total_tokens == 21

    assert (parsed.times, parsed.by_us) == (1, 0)
    assert guard.tokens_used == 21


def test_a_raw_response_is_parsed_by_whom_it_is_given_to(parsed):
    with BudgetGuard(usd_limit=1) as guard:
        raw = client(reply()).chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
        assert (parsed.times, parsed.by_us) == (0, 1)
        assert raw.parse().usage.total_tokens == 21

    response = raw.http_response
    assert response.json() == json.loads(reply())
    assert response.json() is not response.json()
    assert guard.tokens_used == 21
    assert not guard.estimated


def test_a_response_that_the_sdk_does_not_parse_is_left_as_it_was():
    with BudgetGuard(usd_limit=1) as guard:
        response = client(reply()).post("/chat/completions", cast_to=HTTP.Response, body={"model": "gpt-4o"})

    assert "json" not in vars(response)
    assert pickle.loads(pickle.dumps(response)).json() == json.loads(reply())
    assert guard.tokens_used == 21


def test_a_document_is_parsed_in_the_way_that_is_asked_for(monkeypatch):
    """An SDK, or an instrumentation in it, that has numbers read in its own way gets them so."""
    original = openai._base_client.SyncAPIClient._process_response
    seen: list[Any] = []

    def process(sdk: Any, **kwargs: Any) -> Any:
        response = kwargs["response"]
        seen.extend((response.json(parse_int=str), response.json(), response.json()))
        return original(sdk, **kwargs)

    monkeypatch.setattr(openai._base_client.SyncAPIClient, "_process_response", process)
    with BudgetGuard(usd_limit=1) as guard:
        create(reply())

    assert seen[0]["usage"]["total_tokens"] == "21"
    assert seen[1] == seen[2] == json.loads(reply())
    assert seen[1] is not seen[2]
    assert guard.tokens_used == 21


BIG = b"9" * 4000
BODIES: dict[str, bytes] = {
    "numbers beyond any float": reply(b'"big":' + BIG, b'"huge":1e999,"tiny":-0,"small":1e-999'),
    "numbers beyond what Python converts": reply(b'"big":' + b"9" * 5000),
    "no numbers": reply(b'"odd":[NaN,Infinity,-Infinity]'),
    "keys said twice": reply(usage=b'"usage":{"prompt_tokens":1},' + USAGE),
    "keys said twice, the other way": reply(b'"usage":{"prompt_tokens":1}'),
    "half a character": reply(b'"odd":"\\ud800"'),
    "a byte order mark": b"\xef\xbb\xbf" + reply(),
    "another encoding": reply().decode().encode("utf-16"),
    "bytes that are no text": reply(b'"odd":"\xff"'),
    "a control character": reply(b'"odd":"\x01"'),
    "nothing": b"",
    "white space": b" \n",
    "null": b"null",
    "a list": b"[1]",
    "a text": b'"Hello!"',
    "half of it": reply()[:-10],
    "something behind it": reply() + b"}",
    "a document too deep to read": reply(b'"deep":' + b"[" * 100_000 + b"]" * 100_000),
}


def outcome(make: Callable[[], Any]) -> Any:
    try:
        result = make()
    except Exception as error:
        return type(error), str(error)
    return type(result), repr(result)


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
@pytest.mark.parametrize("body", BODIES)
def test_what_the_sdk_makes_of_a_reply_is_what_it_makes_of_it_without_a_guard(body, kind):
    plain = outcome(lambda: create(BODIES[body], kind))
    with BudgetGuard(usd_limit=1) as guard:
        guarded = outcome(lambda: create(BODIES[body], kind))
        awaited = outcome(lambda: asyncio.run(acreate(BODIES[body], kind)))

    assert guarded == awaited == plain
    assert guard.calls == 2  # each was paid for, and is counted


@pytest.mark.parametrize(
    "body", ["numbers beyond any float", "no numbers", "keys said twice", "half a character", "another encoding"]
)
def test_counts_are_those_that_the_document_holds(body):
    with BudgetGuard(usd_limit=1) as guard:
        create(BODIES[body])

    assert guard.tokens_used == 21
    assert not guard.estimated
