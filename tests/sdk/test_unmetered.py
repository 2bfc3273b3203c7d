"""What is billed and cannot be metered: WebSockets, speech, jobs. A policy decides, and it is always said."""

import asyncio
import inspect
import json
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import anthropic
import openai
import pytest

from actguard import BudgetGuard, BudgetWarning, PriceBook, UnknownPriceError, UnmeteredCallError
from actguard.testing import Delivery, LocalProvider, Reply

MODEL = "gpt-4o"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def client(llm_provider: LocalProvider) -> openai.OpenAI:
    return llm_provider.openai(max_retries=0)


# ---- endpoints -------------------------------------------------------------------------------------------------------

UNMETERED: Any = {
    "speech": lambda client: client.audio.speech.create(model="tts-1", voice="alloy", input="Hello").read(),
    "fine-tuning": lambda client: client.fine_tuning.jobs.create(model=MODEL, training_file="file-1"),
    "an unknown path": lambda client: client.post("/brand/new", cast_to=object, body={}),
}


@pytest.mark.parametrize("what", UNMETERED)
def test_what_cannot_be_metered_is_refused_before_it_is_sent_under_a_limit(client, llm_provider, what):
    with BudgetGuard(token_limit=1_000_000) as guard:
        with pytest.raises(UnmeteredCallError, match="unmetered='warn'"):
            UNMETERED[what](client)

    assert llm_provider.requests == []
    assert guard.unmetered_calls == 0


def test_without_a_limit_it_goes_through_with_a_warning_and_is_shown(client):
    with BudgetGuard() as guard:
        with pytest.warns(BudgetWarning, match=r"audio\.speech was not metered"):
            assert client.audio.speech.create(model="tts-1", voice="alloy", input="Hello").read()

    assert guard.unmetered_calls == 1
    assert guard.calls == 0


def test_a_policy_allows_it_in_silence(client, recwarn):
    with BudgetGuard(usd_limit=1, unmetered="allow") as guard:
        with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hi") as response:
            assert response.read()

    assert guard.unmetered_calls == 1
    assert not [warning for warning in recwarn if warning.category is BudgetWarning]


async def test_the_policy_holds_for_async_clients(llm_provider):
    aclient = llm_provider.async_openai(max_retries=0)

    async with BudgetGuard(usd_limit=1):
        with pytest.raises(UnmeteredCallError):
            await aclient.audio.speech.create(model="tts-1", voice="alloy", input="Hello")


def test_the_policy_holds_for_anthropic(llm_provider):
    client = llm_provider.anthropic(max_retries=0)

    with BudgetGuard(usd_limit=1):
        with pytest.raises(UnmeteredCallError):
            client.post("/v1/sessions", cast_to=object, body={})
    assert anthropic.__version__


def test_images_without_usage_need_a_price_under_a_dollar_limit(client, llm_provider):
    with BudgetGuard(usd_limit=1):
        with pytest.raises(UnknownPriceError, match="dall-e-3"):
            client.images.generate(model="dall-e-3", prompt="A hat")
    assert llm_provider.requests == []

    with BudgetGuard(token_limit=1_000_000) as guard:
        client.images.generate(model="dall-e-3", prompt="A hat")

    assert guard.unmetered_calls == 1
    assert guard.estimated


def test_a_transcription_that_says_nothing_of_its_usage_is_estimated_and_shown(client):
    with BudgetGuard(usd_limit=1) as guard:
        text = client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.wav", b"." * 32_000), response_format="text"
        )

    assert isinstance(text, str)
    assert (guard.calls, guard.unmetered_calls) == (1, 1)
    assert guard.estimated
    assert guard.usd_used > 0


def test_an_image_with_a_price_is_charged_although_its_reply_does_not_say_so(client):
    book = PriceBook()
    book.set("dall-e-3", image=0.04)

    with BudgetGuard(usd_limit=1, prices=book) as guard:
        client.images.generate(model="dall-e-3", prompt="A hat")

    assert guard.usd_used == 0.04
    assert (guard.calls, guard.unmetered_calls, guard.estimated) == (1, 1, True)


TRANSCRIPTS: Any = {
    "text": lambda audio, ask: audio.create(**ask),
    "raw": lambda audio, ask: audio.with_raw_response.create(**ask).parse(),
    "streamed": lambda audio, ask: read_through(audio.with_streaming_response.create(**ask)),
}


def read_through(response: Any) -> None:
    with response as opened:
        opened.read()


@pytest.mark.parametrize("way", TRANSCRIPTS)
def test_a_transcription_that_is_billed_by_the_second_is_estimated_by_the_size_of_its_sound(client, way):
    ask = {"model": "whisper-1", "file": ("a.wav", b"." * 3_200_000), "response_format": "srt"}

    with BudgetGuard(usd_limit=1) as guard:
        TRANSCRIPTS[way](client.audio.transcriptions, ask)

    assert guard.estimated
    assert 0.01 < guard.usd_used < 0.04  # of 200 seconds, at $0.006 a minute


def test_a_sound_of_unknown_size_is_not_free(client, llm_provider):
    class Pipe(BytesIO):
        def tell(self) -> int:
            raise OSError("not on a pipe")

    llm_provider.when("Hello", path="/audio/")
    with BudgetGuard(usd_limit=1) as guard:
        client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", Pipe(b"." * 32_000)), response_format="text"
        )

    assert guard.usd_used > 0


# ---- WebSockets ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def websocket_server() -> Iterator[str]:
    """Accepts every connection and sends back what it hears."""
    server_of = pytest.importorskip("websockets.sync.server", reason="websockets is not installed")

    def echo(connection: Any) -> None:
        for message in connection:
            connection.send(json.dumps({"type": "echo", "heard": json.loads(message)}))

    with server_of.serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        server.shutdown()
        thread.join()


def resource(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name, None)
    if not hasattr(client, "connect"):
        pytest.skip(f"this release has no {path}.connect")
    return client


RESOURCES = {
    "realtime": {"model": "gpt-realtime"},
    "beta.realtime": {"model": "gpt-realtime"},
    "responses": {},
    "live": {},
}


def connection(client: Any, path: str) -> Any:
    where = resource(client, path)
    try:
        return where.connect(**RESOURCES[path])
    except TypeError as needs:
        pytest.skip(f"{path}.connect wants other arguments: {needs}")


@pytest.fixture
def ws_client(websocket_server: str) -> openai.OpenAI:
    return openai.OpenAI(api_key="x", websocket_base_url=websocket_server)


@pytest.fixture
def ws_aclient(websocket_server: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="x", websocket_base_url=websocket_server)


@pytest.mark.parametrize("path", RESOURCES)
def test_a_websocket_is_not_opened_under_a_limit(ws_client, path):
    with BudgetGuard(usd_limit=1) as guard:
        with pytest.raises(UnmeteredCallError, match="cannot be metered"):
            connection(ws_client, path).enter()
        with pytest.raises(UnmeteredCallError):
            with connection(ws_client, path):
                pass

    assert guard.unmetered_calls == 0


@pytest.mark.parametrize("path", RESOURCES)
async def test_an_async_websocket_is_not_opened_under_a_limit(ws_aclient, path):
    async with BudgetGuard(usd_limit=1):
        with pytest.raises(UnmeteredCallError, match="cannot be metered"):
            await connection(ws_aclient, path).enter()
        with pytest.raises(UnmeteredCallError):
            async with connection(ws_aclient, path):
                pass


def test_an_allowed_websocket_works_as_ever_and_is_shown_once(ws_client):
    with BudgetGuard(usd_limit=1, unmetered="allow") as guard:
        with connection(ws_client, "realtime" if hasattr(ws_client, "realtime") else "beta.realtime") as socket:
            for _ in range(3):
                socket.response.create()
                assert socket.recv().type == "echo"

    assert guard.unmetered_calls == 1


def test_a_websocket_from_before_the_guard_is_not_used_inside_it(ws_client):
    with connection(ws_client, "realtime" if hasattr(ws_client, "realtime") else "beta.realtime") as socket:
        socket.response.create()
        assert socket.recv().type == "echo"
        with BudgetGuard(usd_limit=1):
            with pytest.raises(UnmeteredCallError):
                socket.response.create()
        with BudgetGuard() as tracking:
            with pytest.warns(BudgetWarning, match="not metered"):
                socket.response.create()
            socket.response.create()
        socket.response.create()

    assert tracking.unmetered_calls == 1


async def test_an_async_websocket_from_before_the_guard_is_not_used_inside_it(ws_aclient):
    async with connection(ws_aclient, "realtime" if hasattr(ws_aclient, "realtime") else "beta.realtime") as socket:
        async with BudgetGuard(usd_limit=1):
            with pytest.raises(UnmeteredCallError):
                await socket.response.create()
        await socket.response.create()
        assert (await socket.recv()).type == "echo"
    assert asyncio.get_running_loop()


def test_a_websocket_outside_any_guard_is_nobodys_business(ws_client):
    with BudgetGuard():
        pass

    with connection(ws_client, "realtime" if hasattr(ws_client, "realtime") else "beta.realtime") as socket:
        socket.response.create()
        assert socket.recv().type == "echo"


# ---- billed later ----------------------------------------------------------------------------------------------------


def in_background(client: Any, **options: Any) -> Any:
    """A response that is made in the background; older releases have no argument for it, but every server knows it."""
    return client.responses.create(model=MODEL, input="Hi", extra_body={"background": True}, **options)


def without(method: Any, *names: str) -> None:
    missing = [name for name in names if name not in inspect.signature(method).parameters]
    if missing:
        pytest.skip(f"in this release {method.__name__} has no {missing[0]}")


def test_a_reply_made_in_the_background_is_charged_once_when_a_read_finds_it_finished(client, llm_provider, agrees):
    llm_provider.reply(Reply(polls=1))

    with BudgetGuard(usd_limit=1) as guard:
        response = in_background(client)
        assert (response.status, guard.calls) == ("queued", 0)
        assert client.responses.retrieve(response.id).status == "in_progress"
        assert guard.calls == 0
        assert client.responses.retrieve(response.id).status == "completed"
        assert guard.calls == 1
        client.responses.retrieve(response.id)

    assert guard.calls == 1
    agrees(guard)


async def test_an_awaited_background_reply_is_charged_once(llm_provider, agrees):
    llm_provider.reply(Reply(polls=2))
    aclient = llm_provider.async_openai()

    async with BudgetGuard(usd_limit=1) as guard:
        response = await in_background(aclient)
        while response.status != "completed":
            response = await aclient.responses.retrieve(response.id)

    assert guard.calls == 1
    agrees(guard)


def test_a_background_reply_is_settled_in_its_guard_wherever_it_is_read(client, llm_provider, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        response = in_background(client)
    assert guard.estimated  # it may be running still
    assert guard.usd_used > 0

    with BudgetGuard(usd_limit=1) as other:
        client.responses.retrieve(response.id)

    assert (other.calls, other.usd_used) == (0, 0)
    assert guard.calls == 1
    agrees(guard)


def test_a_background_reply_is_settled_when_it_is_read_outside_any_guard(client, agrees):
    with BudgetGuard(usd_limit=1) as guard:
        response = in_background(client)

    client.responses.retrieve(response.id)

    assert guard.calls == 1
    agrees(guard)


def test_a_background_reply_is_settled_by_every_way_of_reading_it(client, agrees):
    without(client.responses.retrieve, "stream")
    with BudgetGuard(usd_limit=1) as guard:
        ids = [in_background(client).id for _ in range(4)]
        client.responses.with_raw_response.retrieve(ids[0])
        with client.responses.with_streaming_response.retrieve(ids[1]) as response:
            response.read()
        list(client.responses.retrieve(ids[2], stream=True))
        client.responses.cancel(ids[3])

    assert guard.calls == 4
    agrees(guard)


def test_a_cancelled_background_reply_is_charged_what_it_had_used(client, llm_provider, agrees):
    if not hasattr(client.responses, "cancel"):
        pytest.skip("this release has no responses.cancel")
    llm_provider.reply(Reply(polls=5))

    with BudgetGuard(usd_limit=1) as guard:
        response = in_background(client)
        assert client.responses.cancel(response.id).status == "cancelled"

    assert guard.calls == 1
    agrees(guard)


def test_a_background_stream_that_is_left_goes_on_and_is_settled_when_it_is_resumed(client, llm_provider, agrees):
    without(client.responses.retrieve, "stream")
    llm_provider.reply(Reply(delivery=Delivery(pause_after=3)))

    with BudgetGuard(usd_limit=1) as guard:
        with in_background(client, stream=True) as stream:
            response_id = next(stream).response.id
        assert guard.calls == 0
        llm_provider.release()
        llm_provider.wait_idle()
        assert list(client.responses.retrieve(response_id, stream=True))[-1].type == "response.completed"

    assert guard.calls == 1
    agrees(guard)


@pytest.mark.parametrize("strict", [False, True])
def test_a_background_stream_that_is_left_open_is_settled_when_it_is_resumed(client, llm_provider, agrees, strict):
    without(client.responses.retrieve, "stream")
    llm_provider.reply(Reply(output_tokens=40))

    with BudgetGuard(usd_limit=1, strict=strict) as guard:
        left = in_background(client, stream=True)
        begun = next(iter(left)).response.id
        llm_provider.wait_idle()
        assert list(client.responses.retrieve(begun, stream=True))
        left.close()

    assert guard.calls == 1
    agrees(guard)


def test_nobody_waits_for_a_background_reply(client, llm_provider):
    llm_provider.default = Reply(polls=1)

    with BudgetGuard(token_limit=300) as guard:
        in_background(client, max_output_tokens=200)
        thread = threading.Thread(
            target=client.responses.create, kwargs={"model": MODEL, "input": "Hi", "max_output_tokens": 200}
        )
        thread.start()
        thread.join(10)

    assert not thread.is_alive()
    assert guard.calls == 2


def test_settled_background_replies_are_forgotten(client):
    without(client.responses.retrieve, "stream")
    from actguard.providers.call import deferred

    before = len(deferred)
    with BudgetGuard(usd_limit=1):
        ids = [in_background(client).id for _ in range(3)]
        assert len(deferred) == before + 3
        client.responses.retrieve(ids[0])
        list(client.responses.retrieve(ids[1], stream=True))
        client.responses.cancel(ids[2])

    assert len(deferred) == before


# ---- batches ---------------------------------------------------------------------------------------------------------

LINE = {
    "custom_id": "a",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": MODEL, "messages": MESSAGES},
}


def batch(client: openai.OpenAI) -> Any:
    file = client.files.create(file=("batch.jsonl", json.dumps(LINE).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_a_batch_whose_cost_stands_in_a_file_needs_permission_under_a_limit(client, llm_provider):
    with BudgetGuard(usd_limit=1):
        with pytest.raises(UnmeteredCallError, match="unmetered='allow'"):
            batch(client)

    assert llm_provider.ledger.calls == 0


def test_a_permitted_batch_is_charged_once_at_batch_prices(client, llm_provider, agrees):
    llm_provider.reply(Reply(polls=1, cached_tokens=100))

    with BudgetGuard(usd_limit=1, unmetered="allow") as guard:
        made = batch(client)
        for _ in range(4):
            made = client.batches.retrieve(made.id)

    assert made.status == "completed"
    assert guard.calls == 1
    assert guard.unmetered_calls == 0
    agrees(guard)


def test_a_batch_without_a_limit_is_simply_counted(client, agrees):
    with BudgetGuard() as guard:
        client.batches.retrieve(batch(client).id)

    agrees(guard)


def message_batch(client: Any) -> Any:
    params = {"model": "claude-sonnet-5", "max_tokens": 50, "messages": MESSAGES}
    requests: Any = [{"custom_id": name, "params": params} for name in "abc"]
    return client.messages.batches.create(requests=requests)


def test_a_message_batch_is_charged_by_its_results(llm_provider, agrees):
    client = llm_provider.anthropic()
    llm_provider.reply(Reply(polls=1, cache_write_1h_tokens=100), Reply(reasoning_tokens=10), "Hello")

    with BudgetGuard(usd_limit=1) as guard:
        made = message_batch(client)
        while made.processing_status != "ended":
            made = client.messages.batches.retrieve(made.id)
        assert guard.calls == 0
        for _ in range(2):
            assert [result.result.type for result in client.messages.batches.results(made.id)] == ["succeeded"] * 3

    assert guard.calls == 1
    agrees(guard)


def test_results_that_are_not_read_to_their_end_settle_nothing_yet(llm_provider, agrees):
    client = llm_provider.anthropic()

    with BudgetGuard(usd_limit=1) as guard:
        made = message_batch(client)
        made = client.messages.batches.retrieve(made.id)
        results = client.messages.batches.results(made.id)
        next(iter(results))
        results.http_response.close()
        assert guard.calls == 0
        list(client.messages.batches.results(made.id))

    agrees(guard)


async def test_an_async_message_batch_is_charged_by_its_results(llm_provider, agrees):
    client = llm_provider.async_anthropic()

    async with BudgetGuard(usd_limit=1) as guard:
        made = await message_batch(client)
        await client.messages.batches.retrieve(made.id)
        assert len([result async for result in await client.messages.batches.results(made.id)]) == 3

    agrees(guard)
