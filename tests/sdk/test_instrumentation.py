"""Together with whatever else watches the SDKs, in either order: each call is counted once, and a limit still stops it.

The habits of instrumentations are first shown by stand-ins, which need nothing installed; then the real ones, each in a
process of its own, as they leave traces.
"""

import asyncio
import functools
import importlib.util
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

import actguard
from actguard import BudgetExceededError, BudgetGuard
from actguard.testing import LocalProvider

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT: Any = {"model": "gpt-4o", "messages": MESSAGES}
MESSAGE: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}


@pytest.fixture(params=["before", "after"])
def when(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """`when()` puts our patches in place, before or after somebody else's: call it first, and once they are there."""
    actguard.uninstall()
    calls = 0

    def watch() -> None:
        nonlocal calls
        calls += 1
        if calls == (1 if request.param == "before" else 2):
            actguard.install()

    yield watch
    actguard.uninstall()


def counted(guard: BudgetGuard, seen: list[str], agrees: Any, calls: int) -> None:
    assert guard.calls == calls
    assert seen
    agrees(guard)


# ---- stand-ins -------------------------------------------------------------------------------------------------------


def test_a_request_method_set_on_the_client_class_is_counted_once(when, llm_provider, monkeypatch, agrees):
    """As logfire does it for all clients."""
    seen: list[str] = []
    when()
    for kind in (openai.OpenAI, anthropic.Anthropic):
        original = kind.request

        def request(client: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            seen.append("before")
            return original(client, *args, **kwargs)

        monkeypatch.setattr(kind, "request", functools.wraps(original)(request), raising=False)
    when()

    with BudgetGuard(usd_limit=1) as guard:
        llm_provider.openai().chat.completions.create(**CHAT)
        list(llm_provider.anthropic().messages.create(**MESSAGE, stream=True))

    counted(guard, seen, agrees, 2)
    actguard.uninstall()


def instrumented(client: Any, seen: list[str]) -> Any:
    original = client.request

    if asyncio.iscoroutinefunction(type(client).request):

        async def request(*args: Any, **kwargs: Any) -> Any:
            seen.append("before")
            return await original(*args, **kwargs)
    else:

        def request(*args: Any, **kwargs: Any) -> Any:
            seen.append("before")
            return original(*args, **kwargs)

    client.request = request
    return client


def test_a_request_method_set_on_one_client_is_counted_once(when, llm_provider, agrees):
    """As logfire does it for a client."""
    seen: list[str] = []
    when()
    client, claude = instrumented(llm_provider.openai(), seen), instrumented(llm_provider.anthropic(), seen)
    when()

    with BudgetGuard(usd_limit=1) as guard:
        for _ in range(2):
            client.chat.completions.create(**CHAT)
            list(client.chat.completions.create(**CHAT, stream=True))
            claude.messages.create(**MESSAGE)
            client.models.list()

    counted(guard, seen, agrees, 6)


def test_a_limit_stops_a_client_with_a_request_method_of_its_own(when, llm_provider):
    when()
    client = instrumented(llm_provider.openai(), [])
    when()

    with BudgetGuard(token_limit=20):
        with pytest.raises(BudgetExceededError) as first:
            client.chat.completions.create(**CHAT)
        with pytest.raises(BudgetExceededError) as second:
            client.chat.completions.create(**CHAT)

    assert first.value.response.choices
    assert (first.value.phase, second.value.phase) == ("after", "before")
    assert len(llm_provider.requests) == 1


@pytest.mark.parametrize("strict", [False, True])
async def test_fifty_tasks_over_a_client_with_a_request_method_of_its_own_wait_for_each_other(
    when, llm_provider, agrees, strict
):
    when()
    client = instrumented(llm_provider.async_openai(), [])
    when()
    limit = 20 * 0.0002225

    async def one() -> bool:
        try:
            await client.chat.completions.create(**CHAT, max_tokens=30)
        except BudgetExceededError as error:
            return error.response is not None
        return True

    async with BudgetGuard(usd_limit=limit, strict=strict) as guard:
        paid = await asyncio.gather(*(one() for _ in range(50)))

    assert sum(paid) == llm_provider.ledger.calls
    assert float(llm_provider.ledger.total_usd) <= limit * (1 if strict else 1.25)
    agrees(guard)


def test_a_wrapped_resource_method_with_a_wrapped_stream_is_counted_once(when, llm_provider, monkeypatch, agrees):
    """As OpenTelemetry, Sentry, langfuse and ddtrace do it."""
    completions = type(llm_provider.openai().chat.completions)
    seen: list[str] = []
    when()
    original = completions.create

    def create(*args: Any, **kwargs: Any) -> Any:
        seen.append("before")
        result = original(*args, **kwargs)
        if isinstance(result, openai.Stream):
            iterator = result._iterator
            result._iterator = (chunk for chunk in iterator)
        return result

    monkeypatch.setattr(completions, "create", functools.wraps(original)(create))
    when()

    with BudgetGuard(usd_limit=1) as guard:
        llm_provider.openai().chat.completions.create(**CHAT)
        assert len(list(llm_provider.openai().chat.completions.create(**CHAT, stream=True))) == 22

    counted(guard, seen, agrees, 2)


def test_what_an_instrumentation_raises_or_swallows_is_its_own(when, llm_provider, monkeypatch, agrees):
    completions = type(llm_provider.openai().chat.completions)
    when()
    original = completions.create

    def create(*args: Any, **kwargs: Any) -> Any:
        original(*args, **kwargs)
        raise ZeroDivisionError

    monkeypatch.setattr(completions, "create", create)
    when()

    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(ZeroDivisionError):
            llm_provider.openai().chat.completions.create(**CHAT)

    assert guard.calls == 1
    agrees(guard)


# ---- the real ones ---------------------------------------------------------------------------------------------------

SETUPS = {
    "logfire": """
        import logfire
        logfire.configure(send_to_logfire=False, console=False)
        logfire.instrument_openai()
        logfire.instrument_anthropic()
    """,
    "logfire, one client": """
        import logfire
        logfire.configure(send_to_logfire=False, console=False)
        for client in clients:
            (logfire.instrument_openai if "openai" in type(client).__module__ else logfire.instrument_anthropic)(client)
    """,
    "sentry_sdk": """
        import sentry_sdk
        from sentry_sdk.integrations.anthropic import AnthropicIntegration
        from sentry_sdk.integrations.openai import OpenAIIntegration
        sentry_sdk.init(dsn=None, traces_sample_rate=1.0, integrations=[OpenAIIntegration(), AnthropicIntegration()])
    """,
    "langfuse": """
        import langfuse.openai
    """,
    "opentelemetry.instrumentation.openai": """
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor
        OpenAIInstrumentor().instrument()
    """,
    "opentelemetry.instrumentation.anthropic": """
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
        AnthropicInstrumentor().instrument()
    """,
    "opentelemetry.instrumentation.openai_v2": """
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
        OpenAIInstrumentor().instrument()
    """,
    "openinference.instrumentation.openai": """
        from openinference.instrumentation.openai import OpenAIInstrumentor
        OpenAIInstrumentor().instrument()
    """,
    "langsmith": """
        from langsmith.wrappers import wrap_openai
        for client in clients:
            if isinstance(client, (openai.OpenAI, openai.AsyncOpenAI)):
                wrap_openai(client)
    """,
}

PROGRAM = """
import asyncio, json, logging, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
import anthropic, openai
import actguard
from actguard.testing import LocalProvider

CHAT = {chat!r}
MESSAGE = {message!r}
provider = LocalProvider().start()


def instrument(clients):
{setup}


if {first!r}:
    with actguard.BudgetGuard():
        pass
if {early!r}:
    instrument([])
client, aclient, claude = provider.openai(), provider.async_openai(), provider.anthropic()
if not {early!r}:
    instrument([client, aclient, claude])

with actguard.BudgetGuard(usd_limit=1) as guard:
    client.chat.completions.create(**CHAT)
    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    client.responses.create(model="gpt-4o", input="Hi")
    claude.messages.create(**MESSAGE)
    list(claude.messages.create(**MESSAGE, stream=True))
    with claude.messages.stream(**MESSAGE) as stream:
        stream.get_final_message()

    async def main():
        await aclient.chat.completions.create(**CHAT)
        return [chunk async for chunk in await aclient.chat.completions.create(**CHAT, stream=True)]

    asyncio.run(main())

provider.wait_idle()
billed = provider.ledger.calls, provider.ledger.tokens, str(provider.ledger.total_usd)
phases = []
with actguard.BudgetGuard(token_limit=20):
    for _ in range(2):
        try:
            client.chat.completions.create(**CHAT)
        except actguard.BudgetExceededError as error:
            phases.append(error.phase)
print("RESULT", json.dumps({{
    "guard": [guard.calls, guard.tokens_used, guard.usd_used, guard.estimated],
    "billed": billed,
    "choices": all(chunk.choices for chunk in chunks),
    "phases": phases,
}}))
provider.stop()
"""


@pytest.mark.parametrize("first", [True, False], ids=["after us", "before us"])
@pytest.mark.parametrize("name", SETUPS)
def test_calls_are_counted_once_and_stopped_beside(name, first):
    package = name.partition(",")[0]
    try:
        found = importlib.util.find_spec(package)
    except ImportError:
        found = None
    if found is None:
        pytest.skip(f"{package} is not installed")
    program = PROGRAM.format(
        chat=CHAT,
        message=MESSAGE,
        first=first,
        early="clients" not in SETUPS[name],
        setup=textwrap.indent(textwrap.dedent(SETUPS[name]), "    "),
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)

    if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{package} cannot be used with what is installed: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.rpartition("RESULT")[2])
    calls, tokens, usd, estimated = result["guard"]
    assert [calls, tokens] == result["billed"][:2] == [8, tokens]
    assert usd == float(result["billed"][2])
    assert not estimated
    assert result["choices"]
    assert result["phases"] == ["after", "before"]


def test_the_sdks_own_tracing_does_not_count_a_call_twice(llm_provider: LocalProvider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        client = llm_provider.anthropic()
        client.messages.create(**MESSAGE)
        list(client.messages.create(**MESSAGE, stream=True))

    assert guard.calls == 2
    agrees(guard)
