"""Recorded traffic through the real SDKs: what a guard says was used is what the raw reply says, and what it costs.

Below the SDK, its own HTTP library answers with what was recorded. Exchanges that no SDK here makes (Bedrock's Converse
and the like) are read by the extractors alone, in tests/providers/test_recorded_replies.py. Both are counted.
"""

import importlib
import inspect
import io
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import anthropic
import openai
import pytest
import requests
import urllib3
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from actguard import BudgetGuard, PriceBook
from actguard.budget.account import Account
from actguard.budget.usage import NOTHING, Usage
from actguard.providers.endpoint import Kind
from tests.recorded import AT, MALFORMED, OTHER_PRICE, RECORDED, Exchange, bill_of, each, naive, their_cost

KEY = "recorded"
CHUNK = 700  # bytes; small enough to cut through most events
Play = Callable[[], Any]


# ---- the SDKs --------------------------------------------------------------------------------------------------------


def play(exchange: Exchange) -> Play | None:
    """The call that makes the recorded request; None where no SDK does."""
    return {"openai": openai_call, "anthropic": anthropic_call, "google": google_call, "bedrock": bedrock_call}[
        exchange.wire
    ](exchange)


def sent(create: Callable[..., Any], exchange: Exchange, **more: Any) -> Play:
    """*create* with the recorded body: what it does not know goes into `extra_body`."""
    known = inspect.signature(create).parameters
    body = {**(exchange.request or {}), **more}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return lambda: create(**body)
    extra = {key: value for key, value in body.items() if key not in known}
    return lambda: create(**{key: value for key, value in body.items() if key in known}, extra_body=extra or None)


@cache
def openai_client(base_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0)


@cache
def azure_client(endpoint: str, version: str) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(azure_endpoint=endpoint, api_version=version, api_key=KEY, max_retries=0)


_OPENAI_PATH = re.compile(
    r"(.*?)(/(?:chat/completions|responses|embeddings|completions|images|audio|moderations|threads|realtime)(?:/.*)?)$"
)


def openai_call(exchange: Exchange) -> Play | None:
    url = urlsplit(exchange.url)
    origin = f"{url.scheme}://{url.netloc}"
    deployment = re.search(r"/deployments/([^/]+)(/.*)", url.path)
    more: dict[str, Any] = {}
    if deployment:
        [version] = parse_qs(url.query)["api-version"]
        client: openai.OpenAI = azure_client(origin, version)
        path, more = deployment[2], {"model": deployment[1]}
    else:
        found = _OPENAI_PATH.match(url.path)
        if found is None:
            return None
        client, path = openai_client(origin + found[1]), found[2]
    if exchange.method == "GET":
        return lambda: client.get(path, cast_to=object)
    if path == "/audio/transcriptions":  # what was sent is a form, and sound
        return lambda: client.audio.transcriptions.create(model=exchange.model, file=("sound.mp3", b"sound"))
    create = {
        "/chat/completions": client.chat.completions.create,
        "/completions": client.completions.create,
        "/responses": client.responses.create,
        "/embeddings": client.embeddings.create,
        "/images/generations": client.images.generate,
        "/moderations": client.moderations.create,
    }.get(path)
    body = exchange.request
    # A response by a stored prompt has no model: older releases have no method for that.
    if create is not None and body is not None and (path != "/responses" or {"input", "model"} <= {*body}):
        return sent(create, exchange, **more)
    return lambda: client.post(
        path,
        cast_to=object,
        body={**(body or {}), **more},
        stream=exchange.stream,
        stream_cls=openai.Stream[object],
    )


@cache
def anthropic_client() -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url="https://api.anthropic.com", api_key=KEY, max_retries=0, timeout=60)


def anthropic_call(exchange: Exchange) -> Play | None:
    client = anthropic_client()
    url = urlsplit(exchange.url)
    messages: Any = client.beta.messages if "beta" in url.query else client.messages
    if url.path.endswith("/messages"):
        return sent(messages.create, exchange)
    if url.path.endswith("/count_tokens"):
        return sent(messages.count_tokens, exchange)
    return lambda: client.post(
        url.path,
        cast_to=object,
        body=exchange.request,
        stream=exchange.stream,
        stream_cls=anthropic.Stream[object],
    )


@cache
def google_client(origin: str, version: str, vertex: bool) -> genai.Client:
    options = types.HttpOptions(base_url=origin, api_version=version)
    if not vertex:
        return genai.Client(api_key=KEY, http_options=options)
    return genai.Client(
        vertexai=True, project="p", location="l", credentials=Credentials(token=KEY), http_options=options
    )


def google_call(exchange: Exchange) -> Play | None:
    url = urlsplit(exchange.url)
    _, version, path = url.path.split("/", 2)
    client = google_client(f"{url.scheme}://{url.netloc}", version, "aiplatform" in url.netloc)
    if path == "interactions":
        if not hasattr(client, "interactions"):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is experimental
            return sent(client.interactions.create, exchange)
    api: Any = client._api_client
    if exchange.stream:
        return lambda: api.request_streamed("post", f"{path}?alt=sse", exchange.request, None)
    return lambda: api.request("post", path, exchange.request, None)


@cache
def bedrock_client(origin: str) -> anthropic.AnthropicBedrock:
    return anthropic.AnthropicBedrock(
        base_url=origin, aws_access_key=KEY, aws_secret_key=KEY, aws_region="us-east-1", max_retries=0, timeout=60
    )


def bedrock_call(exchange: Exchange) -> Play | None:
    """Messages to Claude are Anthropic's SDK's; the rest is botocore's."""
    url = urlsplit(exchange.url)
    found = re.match(r"/model/([^/]+)/invoke", url.path)
    if found is None or "anthropic_version" not in (exchange.request or {}):
        return None
    client = bedrock_client(f"{url.scheme}://{url.netloc}")
    more = {"stream": True} if exchange.stream else {}
    return sent(client.messages.create, exchange, model=unquote(found[1]), **more)


# ---- below them ------------------------------------------------------------------------------------------------------


class Recording:
    """Answers instead of the network: in httpx, httpx2 or requests, whichever the SDK uses."""

    def __init__(self) -> None:
        self.exchange: Exchange
        self.seen = 0

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        self.seen += 1
        kind = self.exchange.headers.get("content-type", "" if self.exchange.stream else "application/json")
        return self.exchange.status, {"content-type": kind} if kind else {}, self.exchange.body

    def httpx(self, library: Any) -> Callable[..., Any]:
        def handle_request(transport: Any, request: Any) -> Any:
            status, headers, body = self.answer()
            chunks = (body[i : i + CHUNK] for i in range(0, len(body), CHUNK))
            return library.Response(status, headers=headers, content=chunks)

        return handle_request

    def requests(self) -> Callable[..., Any]:
        def send(adapter: Any, request: Any, **options: Any) -> Any:
            status, headers, body = self.answer()
            raw = urllib3.HTTPResponse(io.BytesIO(body), headers, status, preload_content=False)
            return adapter.build_response(request, raw)

        return send


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    recording = Recording()
    for name in ("httpx", "httpx2"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        monkeypatch.setattr(library.HTTPTransport, "handle_request", recording.httpx(library))
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", recording.requests())
    return recording


@pytest.fixture(scope="module")
def played() -> Iterator[Counter[tuple[str, str]]]:
    """How many exchanges of which provider went where; printed in the end."""
    counted: Counter[tuple[str, str]] = Counter()
    yield counted
    ways = ("priced", "estimated", "free", "unmetered", "error", "no SDK")
    print("\n" + " ".join(f"{word:>10}" for word in (*ways, "")) + "  replayed")
    for provider in [*sorted({provider for provider, _ in counted}), "all"]:
        counts = [sum(n for (p, w), n in counted.items() if w == way and provider in (p, "all")) for way in ways]
        print(" ".join(f"{count:>10}" for count in (*counts, sum(counts[:-1]))) + f"  {provider}")


BOOK = PriceBook(clock=AT.timestamp)


def run(call: Play, exchange: Exchange) -> tuple[BudgetGuard, Exception | None]:
    """Make the call in a guard, read all of its reply, and say what the SDK raised."""
    failed: Exception | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of models that are retired, and of what is not metered
        with BudgetGuard(prices=BOOK, unmetered="allow") as guard:
            try:
                result = call()
                if exchange.stream:
                    for _ in result:
                        pass
            except (openai.APIError, anthropic.APIError, genai.errors.APIError) as error:
                failed = error
            except ValueError as error:
                if exchange.body:  # a few recordings have none
                    raise
                failed = error
    return guard, failed


# ---- the tests -------------------------------------------------------------------------------------------------------


@each(RECORDED)
def test_a_guard_says_what_the_recorded_reply_says_it_billed(
    exchange: Exchange, recording: Recording, played: "Counter[tuple[str, str]]"
) -> None:
    recording.exchange = exchange
    call = play(exchange)
    if call is None:
        played[exchange.provider, "no SDK"] += 1
        return

    guard, failed = run(call, exchange)

    assert recording.seen == 1
    account = guard.account
    assert account is not None
    assert account.in_flight == 0
    played[exchange.provider, way_of(exchange, guard, failed)] += 1
    if exchange.status >= 400:
        assert failed is not None
        bills_nothing(guard)
    elif exchange.endpoint.kind is Kind.FREE or exchange.endpoint.kind is Kind.TERMINAL:
        bills_nothing(guard)
    elif is_unmetered(exchange):
        assert (guard.calls, guard.tokens_used, guard.usd_used) == (0, 0, 0)
        assert guard.unmetered_calls == 1
    else:
        bills_what_it_says(account, exchange)


def is_unmetered(exchange: Exchange) -> bool:
    """Of what Vertex calls `predict`, embeddings of texts say what they bill."""
    return exchange.endpoint.kind is Kind.UNMETERED and "predictions" not in exchange.body.decode("utf-8", "replace")


def way_of(exchange: Exchange, guard: BudgetGuard, failed: Exception | None) -> str:
    if exchange.status >= 400:
        return "error"
    if is_unmetered(exchange):
        return "unmetered"
    if not guard.calls:
        return "free"
    return "estimated" if guard.estimated else "priced"


def bills_nothing(guard: BudgetGuard) -> None:
    assert (guard.calls, guard.tokens_used, guard.usd_used) == (0, 0, 0)
    assert not guard.estimated
    assert guard.unmetered_calls == 0


def bills_what_it_says(account: Account, exchange: Exchange) -> None:
    expected = None if exchange.is_one_of(MALFORMED) else naive(exchange)
    if not expected:  # it does not say, or is not finished
        assert account.estimates == 1
        return
    assert account.estimates == 0
    assert account.unmetered_calls == 0
    assert account.calls == 1
    said = [tally.usage for tally in account.by_model.values()]
    assert sorted(said) == sorted(by_model(expected).values())
    bill = bill_of(exchange)
    assert bill is not None
    assert sum(tally.usage.tokens for tally in account.by_model.values()) == sum(
        line.usage.tokens for line in bill.lines
    )
    costs_what_it_should(account, exchange)


def by_model(expected: list[tuple[str, dict[str, int], dict[str, str]]]) -> dict[str, Usage]:
    found: dict[str, Usage] = {}
    for model, counts, _ in expected:
        found[model] = found.get(model, NOTHING).plus(Usage(**counts))
    return found


def costs_what_it_should(account: Account, exchange: Exchange) -> None:
    bill, host = bill_of(exchange), BOOK.host_of(exchange.url)
    assert bill is not None
    if bill.reported_cost is not None:
        assert account.used_pico == bill.reported_cost
    elif host.known and not exchange.is_one_of(OTHER_PRICE):
        costs = [their_cost(host.provider, line) for line in bill.lines]
        if None not in costs:  # else genai-prices knows no such model there
            assert account.used_pico == sum(cost for cost in costs if cost is not None)
