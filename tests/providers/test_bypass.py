"""Bypasses: a provider that is called around the watched SDKs is noticed, whatever sends."""

import importlib
import importlib.util
import json
import socket
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiohttp.abc
import openai
import pytest
import requests
import requests.adapters

from actguard import BudgetGuard, BudgetWarning, UnmeteredCallError, add_cost
from actguard.testing import HttpError, LocalProvider

HTTPX = {name: importlib.import_module(name) for name in ("httpx", "httpx2") if importlib.util.find_spec(name)}
"""What the SDKs send with: the older ones with httpx, the newer ones with httpx2, and some with either."""
httpx = HTTPX["httpx2" if hasattr(openai._base_client, "httpx2") else "httpx"]  # openai's own

Send = Callable[..., Awaitable[dict[str, Any]]]
"""Sends a JSON body to a URL and returns that of the answer: `await send(url, method="POST")`."""

OPENAI = "http://api.openai.com/v1/chat/completions"
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}


class Loopback(aiohttp.abc.AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        return [
            {"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0},
        ]

    async def close(self) -> None:
        pass


class ToLocal(requests.adapters.HTTPAdapter):
    """Every host is the local provider."""

    def __init__(self, provider: LocalProvider) -> None:
        super().__init__()
        self.provider = provider

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        request.url = self.provider.url + request.path_url
        return super().send(request, *args, **kwargs)


def to_local(library: Any, provider: LocalProvider, *, asynchronous: bool = False) -> Any:
    """A transport of httpx or httpx2 to which every host is the local provider."""
    base = library.AsyncHTTPTransport if asynchronous else library.HTTPTransport

    class Transport(base):  # type: ignore[misc, valid-type]
        def handle_request(self, request: Any) -> Any:
            return super().handle_request(self.readdressed(request))

        async def handle_async_request(self, request: Any) -> Any:
            return await super().handle_async_request(self.readdressed(request))

        def readdressed(self, request: Any) -> Any:
            url = request.url.copy_with(host="127.0.0.1", port=provider.port)
            return library.Request(request.method, url, headers=request.headers, stream=request.stream)

    return Transport()


@pytest.fixture(params=[*HTTPX, *(f"{name}-async" for name in HTTPX), "aiohttp", "requests"])
def send(request: pytest.FixtureRequest, llm_provider: LocalProvider) -> Send:
    """One of the ways in which a program may call a provider by itself."""
    name, _, asynchronous = request.param.partition("-")
    library = HTTPX.get(name)

    async def send(url: str, method: str = "POST") -> Any:
        if name == "requests":
            with requests.Session() as session:
                session.mount("http://", ToLocal(llm_provider))
                return session.request(method, url, json=BODY).json()
        if name == "aiohttp":
            host = urlsplit(url).netloc
            here = url.replace(host, f"{host}:{llm_provider.port}")
            connector = aiohttp.TCPConnector(resolver=Loopback())
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.request(method, here, json=BODY) as response,
            ):
                return await response.json()
        assert library is not None
        if asynchronous:
            async with library.AsyncClient(transport=to_local(library, llm_provider, asynchronous=True)) as client:
                return (await client.request(method, url, json=BODY)).json()
        with library.Client(transport=to_local(library, llm_provider)) as client:
            return client.request(method, url, json=BODY).json()

    return send


# ---- policies -------------------------------------------------------------------------------------------------------


async def test_a_bypass_is_warned_about_and_goes_through(send: Send, llm_provider: LocalProvider) -> None:
    with BudgetGuard(name="alice's", usd_limit=1) as guard, pytest.warns(BudgetWarning) as told:
        reply = await send(OPENAI)

    assert reply["choices"]
    assert llm_provider.ledger.calls == 1
    assert (guard.calls, guard.unmetered_calls) == (0, 1)
    [warning] = [str(warning.message) for warning in told if warning.category is BudgetWarning]
    assert "POST /v1/chat/completions at api.openai.com" in warning
    assert "alice's" in warning


async def test_it_is_warned_about_once_per_host_and_guard(send: Send) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with BudgetGuard() as guard:
            await send(OPENAI)
            await send(OPENAI)
            await send("http://api.groq.com/openai/v1/chat/completions")
        with BudgetGuard():
            await send(OPENAI)

    assert guard.unmetered_calls == 3
    assert len([warning for warning in told if warning.category is BudgetWarning]) == 3


async def test_policy_block_refuses_before_anything_is_sent(send: Send, llm_provider: LocalProvider) -> None:
    with BudgetGuard(bypass="block") as guard, pytest.raises(UnmeteredCallError, match="official SDK") as refused:
        await send(OPENAI)

    assert refused.value.reason == "bypass"
    assert llm_provider.requests == []
    assert guard.unmetered_calls == 0


async def test_policy_allow_is_silent_and_counts(send: Send, llm_provider: LocalProvider) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", BudgetWarning)
        with BudgetGuard(usd_limit=1, bypass="allow") as guard:
            await send(OPENAI)

    assert (llm_provider.ledger.calls, guard.unmetered_calls) == (1, 1)


async def test_outside_a_guard_nothing_is_said(send: Send) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", BudgetWarning)
        with BudgetGuard():
            pass
        assert (await send(OPENAI))["choices"]


async def test_errors_and_statuses_come_as_ever(send: Send, llm_provider: LocalProvider) -> None:
    llm_provider.reply(HttpError(status=400, message="mine"))

    with BudgetGuard(bypass="allow"):
        reply = await send(OPENAI)

    assert reply["error"]["message"] == "mine"


# ---- what is a bypass -----------------------------------------------------------------------------------------------

BYPASSES = [
    "POST https://api.openai.com/v1/chat/completions",
    "POST https://api.openai.com/v1/responses?stream=true",
    "POST https://api.openai.com/v1/batches",
    "POST https://api.openai.com/v1/audio/speech",
    "POST https://api.openai.com/v1/something/new",
    "POST https://eu.api.openai.com/v1/embeddings",
    "POST https://mine.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
    "POST https://mine.cognitiveservices.azure.com/openai/deployments/gpt/chat/completions",
    "POST https://api.anthropic.com/v1/messages",
    "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent?key=secret",
    "POST https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/google/models/"
    "gemini-2.5-flash:streamGenerateContent",
    "POST https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/anthropic/models/"
    "claude-sonnet-4-5:rawPredict",
    "POST https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
    "POST https://openrouter.ai/api/v1/chat/completions",
    "POST https://api.mistral.ai/v1/fim/completions",
    "POST https://api.cohere.com/v2/chat",
]
OTHERS = [
    "GET https://api.openai.com/v1/models",
    "GET https://api.openai.com/v1/responses/resp_1",
    "DELETE https://api.openai.com/v1/files/file-1",
    "POST https://api.openai.com/v1/files",
    "POST https://api.openai.com/v1/moderations",
    "POST https://api.openai.com/v1/traces/ingest",  # the OpenAI Agents SDK tells what it did
    "POST https://api.anthropic.com/v1/messages/count_tokens",
    "POST https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens",
    "POST https://generativelanguage.googleapis.com/upload/v1beta/files",
    "POST https://mine.cognitiveservices.azure.com/vision/v3.2/analyze",
    "POST https://storage.googleapis.com/upload/storage/v1/b/bucket/o",
    "POST https://example.com/v1/chat/completions",
    "POST http://localhost:11434/v1/chat/completions",
    "POST http://127.0.0.1:8000/v1/messages",
    "POST http://[::1]:8000/v1/messages",
    "POST http://192.168.1.20:1234/v1/chat/completions",
]


def posted(url: str) -> int:
    """How many bypasses a guard counts when this is sent."""
    method, _, address = url.partition(" ")
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    with BudgetGuard(bypass="allow") as guard, httpx.Client(transport=answers) as client:
        client.request(method, address)
    return guard.unmetered_calls


@pytest.mark.parametrize("url", BYPASSES)
def test_a_billed_request_to_a_provider_is_one(url: str) -> None:
    assert posted(url) == 1


@pytest.mark.parametrize("url", OTHERS)
def test_what_is_free_or_elsewhere_is_none(url: str) -> None:
    assert posted(url) == 0


def test_no_secret_is_told() -> None:
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    with (
        BudgetGuard(bypass="block"),
        httpx.Client(transport=answers) as client,
        pytest.raises(UnmeteredCallError) as refused,
    ):
        client.post("https://u:pass@generativelanguage.googleapis.com/v1beta/models/g:generateContent?key=secret")

    told = f"{refused.value} {refused.value.details}"
    assert "generativelanguage.googleapis.com" in told
    assert "secret" not in told
    assert "pass@" not in told


async def test_a_websocket_to_a_provider_is_one(llm_provider: LocalProvider) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Loopback())) as session:
        with BudgetGuard(bypass="block"), pytest.raises(UnmeteredCallError, match=r"api\.openai\.com"):
            await session.ws_connect("wss://api.openai.com/v1/realtime?model=gpt-realtime")

    assert llm_provider.requests == []


def bedrock(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of AWS's own SDK, to which the host of Bedrock is the local provider."""
    boto3 = pytest.importorskip("boto3")
    here = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: here("127.0.0.1", *args, **kwargs))
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"http://bedrock-runtime.us-east-1.amazonaws.com:{provider.port}",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


CLAUDE = {
    "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "body": json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": BODY["messages"]}),
}


def test_what_the_sdk_of_aws_sends_to_a_model_is_one(
    llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bedrock(llm_provider, monkeypatch)

    with BudgetGuard(bypass="allow") as guard:
        assert json.loads(client.invoke_model(**CLAUDE)["body"].read())["content"]

    assert (guard.calls, guard.unmetered_calls, llm_provider.ledger.calls) == (0, 1, 1)


def test_what_the_sdk_of_aws_sends_to_a_model_can_be_blocked(
    llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bedrock(llm_provider, monkeypatch)

    with BudgetGuard(bypass="block"), pytest.raises(UnmeteredCallError, match=r"bedrock-runtime\.us-east-1"):
        client.invoke_model(**CLAUDE)

    assert llm_provider.requests == []


async def test_a_session_with_a_base_url_is_seen_through(llm_provider: LocalProvider) -> None:
    connector = aiohttp.TCPConnector(resolver=Loopback())
    async with aiohttp.ClientSession("http://api.openai.com/v1/", connector=connector) as session:
        with BudgetGuard(bypass="block"), pytest.raises(UnmeteredCallError):
            await session.post("chat/completions", json=BODY)

    assert llm_provider.requests == []


def test_a_raw_stream_is_one(llm_provider: LocalProvider) -> None:
    with (
        BudgetGuard(bypass="allow") as guard,
        httpx.Client(transport=to_local(httpx, llm_provider)) as client,
        client.stream("POST", OPENAI, json={**BODY, "stream": True}) as response,
    ):
        lines = [line for line in response.iter_lines() if line]

    assert lines[-1] == "data: [DONE]"
    assert guard.unmetered_calls == 1


# ---- what is none ---------------------------------------------------------------------------------------------------


def test_what_a_watched_sdk_sends_is_none(llm_provider: LocalProvider) -> None:
    client = openai.OpenAI(
        api_key="key",
        base_url="http://api.openai.com/v1",
        http_client=httpx.Client(transport=to_local(httpx, llm_provider)),
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error", BudgetWarning)
        with BudgetGuard(bypass="block", usd_limit=1) as guard:
            client.chat.completions.create(**BODY)  # type: ignore[call-overload]
            client.chat.completions.with_raw_response.create(**BODY)  # type: ignore[call-overload]
            list(client.chat.completions.create(**BODY, stream=True))  # type: ignore[call-overload]
            client.models.list()

    assert (guard.calls, guard.unmetered_calls) == (3, 0)
    assert guard.usd_used == float(llm_provider.ledger.total_usd)


def test_what_an_sdk_sends_where_somebody_else_has_replaced_its_request_is_none(llm_provider: LocalProvider) -> None:
    with BudgetGuard():
        pass  # everything is watched from here on

    class Instrumented(openai.OpenAI):
        def request(self, cast_to: Any, options: Any, **kwargs: Any) -> Any:  # type: ignore[override]
            return openai._base_client.SyncAPIClient.request.__wrapped__(self, cast_to, options, **kwargs)  # type: ignore[attr-defined]

    client = Instrumented(
        api_key="key",
        base_url="http://api.openai.com/v1",
        http_client=httpx.Client(transport=to_local(httpx, llm_provider)),
    )

    with BudgetGuard(bypass="block", usd_limit=1) as guard:
        client.chat.completions.create(**BODY)  # type: ignore[call-overload]

    assert (guard.calls, guard.unmetered_calls) == (1, 0)


async def test_a_sender_within_a_sender_is_one_bypass(llm_provider: LocalProvider) -> None:
    class OverAiohttp(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            url = str(request.url.copy_with(port=llm_provider.port))
            connector = aiohttp.TCPConnector(resolver=Loopback())
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.post(url, data=await request.aread(), headers={"content-type": "application/json"}) as response,
            ):
                return httpx.Response(response.status, content=await response.read())

    with BudgetGuard(bypass="allow") as guard:
        async with httpx.AsyncClient(transport=OverAiohttp()) as client:
            reply = await client.post(OPENAI, json=BODY)

    assert reply.json()["choices"]
    assert guard.unmetered_calls == 1


# ---- imports --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [*HTTPX, "requests"])
def test_a_library_that_is_imported_inside_a_guard_is_observed_too(library: str) -> None:
    program = f"""
import json, sys
from actguard import BudgetGuard, UnmeteredCallError
with BudgetGuard(bypass="block"):
    late = {library!r} not in sys.modules
    import {library} as library
    try:
        library.post("https://api.openai.com/v1/chat/completions", json={{}})
    except UnmeteredCallError as error:
        print(json.dumps([late, error.reason]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(done.stdout) == [True, "bypass"]


def test_a_cost_can_be_stated_for_what_went_around(llm_provider: LocalProvider) -> None:
    with BudgetGuard(usd_limit=1, bypass="allow") as guard:
        with httpx.Client(transport=to_local(httpx, llm_provider)) as client:
            client.post(OPENAI, json=BODY)
        add_cost(name="raw call", usd=0.25)

    assert guard.usd_used == 0.25
