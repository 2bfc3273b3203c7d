"""Every kind of client: clouds, module-level, copies, subclasses, and whatever HTTP library is underneath."""

from typing import Any

import anthropic
import openai
import pytest

from actguard import BudgetGuard, PriceBook
from actguard.testing import LocalProvider, Reply

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CHAT: Any = {"model": "gpt-4o", "messages": MESSAGES}
MESSAGE: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}


def of(module: Any, name: str) -> Any:
    found = getattr(module, name, None)
    if found is None:
        pytest.skip(f"this release has no {name}")
    return found


# ---- Azure -----------------------------------------------------------------------------------------------------------


def test_azure_is_charged_whole_and_streamed(llm_provider, agrees):
    client = llm_provider.azure()

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(**CHAT)
        list(client.chat.completions.create(**CHAT, stream=True))
        client.embeddings.create(model="text-embedding-3-small", input="Hi")

    assert guard.calls == 3
    assert {entry.provider for entry in llm_provider.ledger.entries} == {"azure"}
    agrees(guard)


async def test_async_azure_is_charged(llm_provider, agrees):
    client = openai.AsyncAzureOpenAI(**llm_provider.azure_kwargs())

    async with BudgetGuard(usd_limit=1) as guard:
        await client.chat.completions.create(**CHAT)
        assert [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True)]

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.parametrize(
    ("version", "policy", "asked"),
    [
        ("2024-02-01", "auto", False),
        ("2024-08-01-preview", "auto", False),
        ("2024-09-01-preview", "auto", True),
        ("2024-10-21", "auto", True),
        ("preview", "auto", True),
        ("2024-02-01", "always", True),
    ],
)
def test_azure_is_asked_for_the_usage_of_a_stream_by_the_versions_that_know_the_question(
    llm_provider, version, policy, asked
):
    client = llm_provider.azure(api_version=version)

    with BudgetGuard(usd_limit=1, include_usage=policy) as guard:
        assert list(client.chat.completions.create(**CHAT, stream=True))

    assert ("stream_options" in llm_provider.requests[-1].json) is asked
    assert guard.estimated is not asked
    assert guard.usd_used > 0


def test_a_version_that_a_request_itself_names_decides(llm_provider):
    client = llm_provider.azure(api_version="2024-10-21")

    with BudgetGuard(usd_limit=1):
        list(client.chat.completions.create(**CHAT, stream=True, extra_query={"api-version": "2024-02-01"}))

    assert "stream_options" not in llm_provider.requests[-1].json


def test_a_deployment_is_charged_as_the_model_behind_it_that_the_reply_names(llm_provider, agrees):
    llm_provider.default = Reply(model="gpt-4o-2024-08-06", cached_tokens=100)
    book = PriceBook()
    book.set("our-deployment", same_as="gpt-4o")

    with BudgetGuard(usd_limit=1, prices=book) as guard:
        llm_provider.azure().chat.completions.create(model="our-deployment", messages=MESSAGES)

    assert "/deployments/our-deployment/" in llm_provider.requests[-1].path
    assert list(guard.by_model) == ["gpt-4o-2024-08-06"]
    agrees(guard)


# ---- Bedrock, Vertex, Foundry ----------------------------------------------------------------------------------------

BEDROCK: Any = {**MESSAGE, "model": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}


def test_claude_on_bedrock_is_charged_at_the_prices_of_bedrock(llm_provider, agrees):
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs())

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**BEDROCK)

    entry = llm_provider.ledger.last
    assert "/model/us.anthropic.claude-haiku-4-5-20251001-v1:0/invoke" in llm_provider.requests[-1].path
    assert guard.account.used_pico == (entry.input_tokens * 1_100_000 + entry.output_tokens * 5_500_000)
    agrees(guard)


def test_claude_on_bedrock_is_charged_when_it_streams(llm_provider, agrees):
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs())
    llm_provider.reply(Reply(cached_tokens=50, cache_write_1h_tokens=20, reasoning_tokens=7), Reply(output_tokens=30))

    with BudgetGuard(usd_limit=1) as guard:
        stream = client.messages.create(**BEDROCK, stream=True)
        assert isinstance(stream, anthropic.Stream)
        assert list(stream)
        with client.messages.stream(**BEDROCK) as helper:
            assert helper.get_final_text()

    assert guard.calls == 2
    agrees(guard)


async def test_claude_on_bedrock_is_charged_when_it_streams_async(llm_provider, agrees):
    client = anthropic.AsyncAnthropicBedrock(**llm_provider.bedrock_kwargs())

    async with BudgetGuard(usd_limit=1) as guard:
        await client.messages.create(**BEDROCK)
        assert [event async for event in await client.messages.create(**BEDROCK, stream=True)]

    assert guard.calls == 2
    agrees(guard)


def test_a_bedrock_stream_left_early_is_charged_for_what_arrived(llm_provider):
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs())

    with BudgetGuard(usd_limit=1) as guard:
        with client.messages.create(**BEDROCK, stream=True) as stream:
            while next(stream).type != "content_block_delta":
                pass

        llm_provider.wait_idle()
        assert guard.estimated or guard.tokens_used == llm_provider.ledger.tokens
        assert guard.usage["output_tokens"] >= 1


def test_claude_on_bedrock_obeys_a_strict_limit(llm_provider, agrees):
    client = anthropic.AnthropicBedrock(**llm_provider.bedrock_kwargs())
    llm_provider.default = Reply(output_tokens=900)

    with BudgetGuard(token_limit=700, strict=True) as guard:
        client.messages.create(**{**BEDROCK, "max_tokens": 1000})

    assert llm_provider.requests[-1].json["max_tokens"] < 700
    assert guard.tokens_used <= 700
    agrees(guard)


def test_claude_on_vertex_is_charged(llm_provider, agrees):
    client = anthropic.AnthropicVertex(**llm_provider.vertex_kwargs())
    ask: Any = {**MESSAGE, "model": "claude-haiku-4-5@20251001"}

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**ask)
        assert list(client.messages.create(**ask, stream=True))

    assert guard.calls == 2
    assert {entry.provider for entry in llm_provider.ledger.entries} == {"vertex"}
    agrees(guard)


async def test_claude_on_vertex_is_charged_async(llm_provider, agrees):
    client = anthropic.AsyncAnthropicVertex(**llm_provider.vertex_kwargs())

    async with BudgetGuard(usd_limit=1) as guard:
        await client.messages.create(**{**MESSAGE, "model": "claude-haiku-4-5@20251001"})

    agrees(guard)


def test_counting_tokens_on_a_cloud_costs_nothing(llm_provider):
    client = anthropic.AnthropicVertex(**llm_provider.vertex_kwargs())

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.count_tokens(model="claude-haiku-4-5@20251001", messages=MESSAGES)

    assert (guard.calls, guard.unmetered_calls) == (0, 0)


def test_claude_on_foundry_is_charged(llm_provider, agrees):
    client = anthropic.AnthropicFoundry(api_key="x", base_url=f"{llm_provider.url}/anthropic")

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**MESSAGE)
        assert list(client.messages.create(**MESSAGE, stream=True))

    assert guard.calls == 2
    agrees(guard)


def test_claude_through_aws_is_charged(llm_provider, agrees):
    client = of(anthropic, "AnthropicAWS")(
        aws_region="us-east-1", aws_access_key="x", aws_secret_key="y", workspace_id="w", base_url=llm_provider.url
    )

    with BudgetGuard(usd_limit=1) as guard:
        client.messages.create(**MESSAGE)

    agrees(guard)


def test_openai_on_bedrock_is_charged_at_the_prices_of_bedrock(llm_provider):
    client = of(openai, "BedrockOpenAI")(api_key="x", base_url=f"{llm_provider.url}/openai/v1")
    ask: Any = {"model": "openai.gpt-oss-120b-1:0", "messages": MESSAGES}

    with BudgetGuard(usd_limit=1) as guard:
        client.chat.completions.create(**ask)
        list(client.chat.completions.create(**ask, stream=True))

    assert guard.calls == 2
    assert guard.tokens_used == llm_provider.ledger.tokens
    assert guard.usd_used > 0


@pytest.mark.parametrize("cloud", ["bedrock", "vertex"])
def test_the_providers_of_the_openai_client_are_charged(llm_provider, agrees, cloud):
    make = getattr(of(openai, "providers"), cloud, None)
    if make is None:
        pytest.skip(f"this release has no provider {cloud}")
    key: Any = {"api_key": "x"} if cloud == "bedrock" else {"token_provider": lambda: "x"}
    client = openai.OpenAI(provider=make(base_url=f"{llm_provider.url}/openai/v1", **key))

    with BudgetGuard(usd_limit=1) as guard:
        client.responses.create(model="gpt-4o", input="Hi")
        assert list(client.responses.create(model="gpt-4o", input="Hi", stream=True))

    assert guard.calls == 2
    agrees(guard)


# ---- the same client in other shapes ---------------------------------------------------------------------------------


@pytest.fixture
def module(llm_provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The openai module, pointed at the provider as programs point it: by assignment."""
    from openai import _reset_client

    _reset_client()
    monkeypatch.setattr(openai, "api_key", "x")
    monkeypatch.setattr(openai, "base_url", f"{llm_provider.url}/v1/")
    yield openai
    _reset_client()


def test_the_module_itself_is_a_client(module, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        module.chat.completions.create(**CHAT)
        list(module.chat.completions.create(**CHAT, stream=True))
        module.embeddings.create(model="text-embedding-3-small", input="Hi")

    assert guard.calls == 3
    agrees(guard)


def test_copies_and_clients_with_other_options_are_watched(llm_provider, agrees):
    client, claude = llm_provider.openai(), llm_provider.anthropic()

    with BudgetGuard(usd_limit=1) as guard:
        client.copy().chat.completions.create(**CHAT)
        client.with_options(timeout=5, max_retries=1).chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT, timeout=5, extra_headers={"x-a": "b"}, extra_query={"c": "d"})
        claude.copy().messages.create(**MESSAGE)
        claude.with_options(max_retries=0).messages.create(**MESSAGE)

    assert guard.calls == 5
    agrees(guard)


def test_subclasses_are_watched_whatever_they_override(llm_provider, agrees):
    class Ours(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            seen.append("request")
            return super().request(*args, **kwargs)

    class Theirs(anthropic.Anthropic):
        def _prepare_options(self, options: Any) -> Any:
            seen.append("prepare")
            return super()._prepare_options(options)

    seen: list[str] = []
    with BudgetGuard(usd_limit=1) as guard:
        Ours(**llm_provider.openai_kwargs()).chat.completions.create(**CHAT)
        Theirs(**llm_provider.anthropic_kwargs()).messages.create(**MESSAGE)

    assert seen == ["request", "prepare"]
    assert guard.calls == 2
    agrees(guard)


def test_a_client_from_before_the_first_guard_is_watched(llm_provider, agrees):
    import actguard

    actguard.uninstall()
    from openai import OpenAI

    client = OpenAI(**llm_provider.openai_kwargs())
    create = client.chat.completions.create

    with BudgetGuard(usd_limit=1) as guard:
        create(**CHAT)

    agrees(guard)


# ---- HTTP libraries --------------------------------------------------------------------------------------------------


def http_clients(sdk: Any, asynchronous: bool) -> dict[str, Any]:
    """What this release of an SDK takes as `http_client`, by name."""
    name = "AsyncClient" if asynchronous else "Client"
    libraries = ["httpx", "httpx2"]
    makers = {library: lambda library=library: getattr(pytest.importorskip(library), name)() for library in libraries}
    makers["the SDK's default"] = getattr(sdk, f"Default{'Async' if asynchronous else ''}HttpxClient")
    if asynchronous:
        makers["aiohttp"] = lambda: of(sdk, "DefaultAioHttpClient")()
    return makers


def made(maker: Any, client: Any, options: Any) -> Any:
    try:
        return client(**options, http_client=maker())
    except (TypeError, RuntimeError, ImportError) as refused:
        pytest.skip(f"this release does not take it: {str(refused)[:80]}")


@pytest.mark.parametrize("library", ["httpx", "httpx2", "the SDK's default"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_calls_are_charged_over_every_http_library(llm_provider, agrees, name, library):
    sdk: Any = openai if name == "openai" else anthropic
    client = made(
        http_clients(sdk, False)[library],
        openai.OpenAI if name == "openai" else anthropic.Anthropic,
        getattr(llm_provider, f"{name}_kwargs")(),
    )

    with client, BudgetGuard(usd_limit=1) as guard:
        if name == "openai":
            client.chat.completions.create(**CHAT)
            assert list(client.chat.completions.create(**CHAT, stream=True))
        else:
            client.messages.create(**MESSAGE)
            assert list(client.messages.create(**MESSAGE, stream=True))

    assert guard.calls == 2
    agrees(guard)


@pytest.mark.parametrize("library", ["httpx", "httpx2", "the SDK's default", "aiohttp"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_async_calls_are_charged_over_every_http_library(llm_provider, agrees, name, library):
    sdk: Any = openai if name == "openai" else anthropic
    client = made(
        http_clients(sdk, True)[library],
        openai.AsyncOpenAI if name == "openai" else anthropic.AsyncAnthropic,
        getattr(llm_provider, f"{name}_kwargs")(),
    )

    async with client, BudgetGuard(usd_limit=1) as guard:
        create, ask = (client.chat.completions.create, CHAT) if name == "openai" else (client.messages.create, MESSAGE)
        await create(**ask)
        assert [event async for event in await create(**ask, stream=True)]
        stream = await create(**ask, stream=True)
        await anext(stream)
        await stream.close()

    assert guard.calls == 3
    assert guard.account.in_flight == 0
