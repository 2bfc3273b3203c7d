"""Attempts: one hold over an SDK's own retries; what was answered costs what it says, what was lost an estimate."""

import asyncio
import importlib
import importlib.util
import inspect
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
import requests

import actguard
from actguard import BudgetExceededError, BudgetGuard
from actguard.budget.ratios import InputRatios
from actguard.providers import quote
from actguard.providers.senders import never_sent
from actguard.testing import Cut, HttpError, LocalProvider, Lost, Reply

Ask = Callable[..., Awaitable[Any]]
"""Makes one call with an SDK; takes options of its client."""

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
FAILURES = (openai.APIConnectionError, anthropic.APIConnectionError)

HTTPX = {name: importlib.import_module(name) for name in ("httpx", "httpx2") if importlib.util.find_spec(name)}
"""What the SDKs send with: the older ones with httpx, the newer ones with httpx2, and some with either."""
LIBRARIES = [*HTTPX.values(), requests]
BROKEN_OFF = (*FAILURES, requests.RequestException, *(library.HTTPError for library in HTTPX.values()))


WAYS = ["openai", "openai-async", "anthropic", "anthropic-async"]
if hasattr(openai, "DefaultAioHttpClient"):
    WAYS.append("openai-aiohttp")
if "httpx" in HTTPX:
    WAYS.append("openai-legacy")


@pytest.fixture(params=WAYS)
def ask(request: pytest.FixtureRequest, llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """One of the ways in which SDKs send. Their retries come at once."""
    for sdk in (openai, anthropic):
        monkeypatch.setattr(sdk._base_client.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0)
    name: str = request.param

    async def ask(**options: Any) -> Any:
        if name == "openai":
            return chat(llm_provider.openai(**options))
        if name == "openai-legacy":
            with HTTPX["httpx"].Client() as client:
                return chat(llm_provider.openai(http_client=client, **options))
        if name == "openai-async":
            return await chat(llm_provider.async_openai(**options))
        if name == "openai-aiohttp":
            async with openai.DefaultAioHttpClient() as client:
                return await chat(llm_provider.async_openai(http_client=client, **options))
        if name == "anthropic":
            return message(llm_provider.anthropic(**options))
        return await message(llm_provider.async_anthropic(**options))

    return ask


def chat(client: Any) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=100)


def message(client: Any) -> Any:
    return client.messages.create(model="claude-opus-4-8", messages=MESSAGES, max_tokens=100)


def spent(guard: BudgetGuard) -> int:
    """Pico-dollars, with nothing left in flight."""
    account = guard.account
    assert account is not None
    account.admission.settle_pending()
    assert (account.held_pico, account.held_tokens, account.in_flight) == (0, 0, 0)
    return account.used_pico


def billed(provider: LocalProvider) -> int:
    provider.wait_idle()
    return int(provider.ledger.total_usd * 10**12)


# ---- answers that were lost -----------------------------------------------------------------------------------------


async def test_a_lost_answer_is_charged_by_estimate_beside_the_one_that_came(
    ask: Ask, llm_provider: LocalProvider
) -> None:
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1) as guard:
        await ask(max_retries=2)

    assert llm_provider.ledger.calls == guard.calls == 2
    assert guard.estimated
    assert spent(guard) > billed(llm_provider) / 2


async def test_every_lost_attempt_is_charged_once(
    ask: Ask, llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimates: list[int] = []
    for lost in (1, 2):
        monkeypatch.setattr(quote, "ratios", InputRatios())  # nothing was learned before
        llm_provider.reset()
        llm_provider.reply(*[Lost()] * lost)
        with BudgetGuard(usd_limit=1) as guard:
            await ask(max_retries=2)
        real = billed(llm_provider) // (lost + 1)
        estimates.append(spent(guard) - real)
        assert guard.calls == lost + 1

    assert estimates[1] == 2 * estimates[0] > 0


async def test_a_call_of_which_nothing_was_heard_is_charged_for_each_attempt(
    ask: Ask, llm_provider: LocalProvider
) -> None:
    llm_provider.default = Reply(fault=Lost())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(FAILURES):
        await ask(max_retries=2)

    assert llm_provider.ledger.calls == guard.calls == 3
    assert guard.estimated
    assert spent(guard) > 0


async def test_policy_ignore_charges_only_what_was_answered(ask: Ask, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1, lost_attempts="ignore") as guard:
        await ask(max_retries=2)

    assert guard.calls == 1
    assert not guard.estimated
    assert spent(guard) * 2 == billed(llm_provider)


async def test_a_read_timeout_may_have_been_billed(ask: Ask, llm_provider: LocalProvider) -> None:
    with llm_provider.hold(), BudgetGuard(usd_limit=1) as guard, pytest.raises(FAILURES):
        await ask(max_retries=0, timeout=0.1)

    assert (guard.calls, guard.estimated) == (1, True)
    assert spent(guard) > 0


async def test_an_answer_that_broke_off_in_its_body_was_billed(ask: Ask, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(fault=Cut()))

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(BROKEN_OFF):
        await ask(max_retries=0)

    assert (guard.calls, guard.estimated) == (1, True)
    assert spent(guard) > 0


async def test_a_strict_limit_is_never_passed_by_attempts_that_were_lost(ask: Ask, llm_provider: LocalProvider) -> None:
    llm_provider.default = Reply(output_tokens=100, fault=Lost())

    with pytest.raises(BudgetExceededError), BudgetGuard(usd_limit=0.04, strict=True) as guard:
        await ask(max_retries=80)

    assert 1 < llm_provider.ledger.calls < 80
    assert llm_provider.ledger.total_usd <= Decimal("0.04")
    assert guard.usd_used <= 0.04
    spent(guard)


async def test_a_cancelled_call_may_have_been_billed(llm_provider: LocalProvider) -> None:
    client = llm_provider.async_openai()

    with llm_provider.hold() as gate, BudgetGuard(usd_limit=1) as guard:
        task = asyncio.ensure_future(chat(client))
        await gate.wait_for_async(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert (guard.calls, guard.estimated) == (1, True)
    assert spent(guard) > 0


# ---- google, whose retries are below what is watched ----------------------------------------------------------------


@pytest.fixture
def google(llm_provider: LocalProvider) -> Callable[..., Any]:
    """Makes a client; takes `http_options`."""
    genai = pytest.importorskip("google.genai")

    def client(**options: Any) -> Any:
        return genai.Client(api_key="key", http_options={"base_url": llm_provider.url, **options})

    return client


GEMINI: Any = {"model": "gemini-2.5-flash", "contents": "Hello!", "config": {"max_output_tokens": 1000}}


def test_a_lost_answer_of_google_is_charged(google: Callable[..., Any], llm_provider: LocalProvider) -> None:
    client = google()
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(BROKEN_OFF):
        client.models.generate_content(**GEMINI)

    assert (guard.calls, guard.estimated) == (1, True)
    assert spent(guard) > 0


def test_a_lost_stream_of_google_is_charged(google: Callable[..., Any], llm_provider: LocalProvider) -> None:
    client = google()
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1) as guard, pytest.raises(BROKEN_OFF):
        list(client.models.generate_content_stream(**GEMINI))

    assert (guard.calls, guard.estimated) == (1, True)
    assert spent(guard) > 0


def test_every_attempt_that_google_repeats_is_charged(google: Callable[..., Any], llm_provider: LocalProvider) -> None:
    if not hasattr(pytest.importorskip("google.genai.types"), "HttpRetryOptions"):
        pytest.skip("this version of google-genai does not retry")
    client = google(timeout=100, retry_options={"attempts": 3, "initial_delay": 0.001, "max_delay": 0.001})

    with llm_provider.hold(), BudgetGuard(usd_limit=1) as guard, pytest.raises(BROKEN_OFF):
        client.models.generate_content(**GEMINI)

    assert (guard.calls, guard.estimated) == (3, True)
    spent(guard)


@pytest.fixture
def aiohttp_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over aiohttp, google repeats a lost request without being asked to. Here at once."""
    client = pytest.importorskip("google.genai._api_client")
    if not hasattr(client, "random"):
        pytest.skip("this version of google-genai does not repeat what was lost")
    monkeypatch.setattr(client.random, "randint", lambda *_: -1)


@pytest.mark.usefixtures("aiohttp_retries")
async def test_a_repetition_by_google_is_charged_beside_the_lost_attempt(
    google: Callable[..., Any], llm_provider: LocalProvider
) -> None:
    client = google()
    llm_provider.reply(Lost())

    with BudgetGuard(usd_limit=1) as guard:
        await client.aio.models.generate_content(**GEMINI)

    assert llm_provider.ledger.calls == guard.calls == 2
    assert guard.estimated
    spent(guard)


@pytest.mark.usefixtures("aiohttp_retries")
async def test_a_strict_limit_stops_a_repetition_by_google(
    google: Callable[..., Any], llm_provider: LocalProvider
) -> None:
    client = google()
    llm_provider.default = Reply(output_tokens=1000, fault=Lost())

    with pytest.raises(BudgetExceededError), BudgetGuard(usd_limit=0.004, strict=True) as guard:
        await client.aio.models.generate_content(**GEMINI)

    assert llm_provider.ledger.calls == 1
    assert guard.usd_used <= 0.004
    spent(guard)


def test_a_connection_that_google_is_refused_costs_nothing(google: Callable[..., Any], refused: str) -> None:
    client = google(base_url=refused)
    with BudgetGuard(usd_limit=1) as guard, pytest.raises(BROKEN_OFF):
        client.models.generate_content(**GEMINI)

    assert (guard.calls, guard.estimated, spent(guard)) == (0, False, 0)


# ---- answers that came ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_failures_that_the_sdk_retries_are_one_hold_and_cost_nothing(
    ask: Ask, llm_provider: LocalProvider, status: int
) -> None:
    llm_provider.reply(HttpError(status=status, retry_after=0), HttpError(status=status, retry_after=0))
    held: list[int] = []

    with BudgetGuard(usd_limit=1) as guard:
        account = guard.account
        assert account is not None
        llm_provider.when(lambda _: held.append(account.in_flight) or Reply(), times=1, match=lambda _: bool(held))
        await ask(max_retries=2)

    assert guard.calls == llm_provider.ledger.calls == 1
    assert not guard.estimated
    assert spent(guard) == billed(llm_provider)


async def test_a_failure_that_is_final_costs_nothing(ask: Ask, llm_provider: LocalProvider) -> None:
    llm_provider.reply(HttpError(status=400))

    with BudgetGuard(usd_limit=1) as guard, pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
        await ask()

    assert (guard.calls, guard.estimated, spent(guard)) == (0, False, 0)


async def test_a_refused_connection_costs_nothing(ask: Ask, llm_provider: LocalProvider) -> None:
    with BudgetGuard(usd_limit=1) as guard, pytest.raises(FAILURES):
        await ask(max_retries=1, base_url=f"http://127.0.0.1:{closed_port()}")

    assert (guard.calls, guard.estimated, spent(guard)) == (0, False, 0)


def test_a_client_that_was_closed_sends_nothing_and_costs_nothing(
    llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai._base_client.BaseClient, "_calculate_retry_timeout", lambda *_, **__: 0)
    client = llm_provider.openai()
    client.close()

    with BudgetGuard(usd_limit=1) as guard, pytest.raises((openai.APIConnectionError, RuntimeError)):
        chat(client)

    assert (guard.calls, guard.estimated, spent(guard)) == (0, False, 0)


def test_a_token_that_an_sdk_could_not_fetch_is_not_the_call(llm_provider: LocalProvider) -> None:
    with LocalProvider() as identity:
        identity.default = Reply(fault=Lost())

        def token() -> str:
            requests.post(f"{identity.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})
            return "never reached"

        client = openai.AzureOpenAI(
            azure_endpoint=llm_provider.url, api_version="2024-10-21", azure_ad_token_provider=token
        )
        with BudgetGuard(usd_limit=1) as guard, pytest.raises(requests.ConnectionError):
            chat(client)

    assert (guard.calls, guard.estimated, spent(guard)) == (0, False, 0)


# ---- what a sender's exception says ---------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def refused() -> str:
    return f"http://127.0.0.1:{closed_port()}"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_a_refused_connection_was_never_sent(library: Any, refused: str) -> None:
    with pytest.raises(Exception) as raised:
        library.post(refused)

    assert never_sent(raised.value)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_a_url_that_makes_no_sense_was_never_sent(library: Any) -> None:
    with pytest.raises(Exception) as raised:
        library.post("nowhere://at.all/")

    assert never_sent(raised.value)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
@pytest.mark.parametrize("fault", [Lost(), Cut()])
def test_an_answer_that_was_lost_was_sent(library: Any, fault: Any, llm_provider: LocalProvider) -> None:
    llm_provider.reply(Reply(fault=fault))

    with pytest.raises(Exception) as raised:
        library.post(f"{llm_provider.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES})

    assert not never_sent(raised.value)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
def test_an_answer_that_took_too_long_was_sent(library: Any, llm_provider: LocalProvider) -> None:
    with llm_provider.hold(), pytest.raises(Exception) as raised:
        library.post(
            f"{llm_provider.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES}, timeout=0.1
        )

    assert not never_sent(raised.value)


async def test_aiohttp_tells_as_well(llm_provider: LocalProvider, refused: str) -> None:
    llm_provider.reply(Reply(fault=Lost()))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError) as unreachable:
            await session.post(refused)
        with pytest.raises(aiohttp.ClientError) as lost:
            await session.post(
                f"{llm_provider.url}/v1/chat/completions", json={"model": "gpt-4o", "messages": MESSAGES}
            )

    assert never_sent(unreachable.value)
    assert not never_sent(lost.value)


def test_a_certificate_that_is_not_trusted_was_never_sent_to() -> None:
    urllib3 = pytest.importorskip("urllib3")
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")
    wrapped = urllib3.exceptions.MaxRetryError(None, "/", reason=urllib3.exceptions.SSLError(refused))  # type: ignore[arg-type]

    assert never_sent(requests.exceptions.SSLError(wrapped))


def test_what_nobody_has_heard_of_may_have_been_sent() -> None:
    assert not never_sent(asyncio.CancelledError())
    assert not never_sent(OSError(104, "reset"))
    assert not never_sent(RuntimeError("from a transport of my own"))


# ---- observed, and nothing else -------------------------------------------------------------------------------------

SENDERS = [
    *((library.Client, "send") for library in HTTPX.values()),
    *((library.AsyncClient, "send") for library in HTTPX.values()),
    (requests.Session, "send"),
    (aiohttp.ClientSession, "_request"),
]


@pytest.mark.parametrize(("owner", "name"), SENDERS)
def test_a_watched_sender_looks_as_before(owner: Any, name: str) -> None:
    def look() -> tuple[Any, ...]:
        method = getattr(owner, name)
        return inspect.signature(method), method.__qualname__, inspect.iscoroutinefunction(method)

    actguard.uninstall()
    before, original = look(), vars(owner)[name]

    actguard.install()
    assert vars(owner)[name] is not original
    assert look() == before

    actguard.uninstall()
    assert vars(owner)[name] is original


def test_a_library_that_looks_different_some_day_works_as_ever_and_is_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    actguard.uninstall()
    monkeypatch.setitem(sys.modules, "requests", ModuleType("requests"))

    with BudgetGuard():
        pass
    actguard.uninstall()

    assert "requests is not observed" in caplog.text
