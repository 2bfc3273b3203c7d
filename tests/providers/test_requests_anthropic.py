"""What a request to Claude says about its size and its output."""

import base64
import copy
import json
import struct
from typing import Any

import pytest

from actguard.budget.estimate import input_bound
from actguard.budget.request import CapTooSmall, Media
from actguard.providers.anthropic.request import facts, with_output_cap
from actguard.providers.endpoint import Endpoint, Kind

MESSAGES = Endpoint("messages", Kind.PRICED)
CONVERSE = Endpoint("converse", Kind.PRICED)
BATCHES = Endpoint("messages.batches", Kind.DEFERRED)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x00" * 3000).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


def ask(*content: Any, **more: Any) -> dict[str, Any]:
    said = content[0] if len(content) == 1 and isinstance(content[0], str) else list(content)
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": said or "Hello!"}],
        **more,
    }


def sent(body: Any) -> int:
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_plain_message_is_its_own_size() -> None:
    body = ask("Hello!", system="Be brief.", temperature=0.5, stop_sequences=["\n\n"])
    found = facts(MESSAGES, "/v1/messages", body)

    assert (found.model, found.output_cap, found.unbounded) == ("claude-sonnet-4-5", 100, ())
    assert sent(body) <= found.body_bytes <= sent(body) + 12


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("/model/anthropic.claude-3-haiku-20240307-v1:0/invoke", "anthropic.claude-3-haiku-20240307-v1:0"),
        (
            "/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-5@20251101:rawPredict",
            "claude-opus-4-5@20251101",
        ),
        ("/v1/messages", ""),
    ],
)
def test_the_model_may_be_in_the_path(path: str, model: str) -> None:
    body = ask()
    del body["model"]

    assert facts(MESSAGES, path, body).model == model


@pytest.mark.parametrize(
    ("path", "more", "stream"),
    [
        ("/v1/messages", {}, False),
        ("/v1/messages", {"stream": True}, True),
        ("/model/x/invoke-with-response-stream", {}, True),
        ("/models/x:streamRawPredict", {}, True),
    ],
)
def test_a_stream_is_told_by_the_body_or_the_path(path: str, more: dict[str, Any], stream: bool) -> None:
    assert facts(MESSAGES, path, ask(**more)).stream is stream


def test_images_are_measured_wherever_content_may_be() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": [IMAGE]}
    found = facts(MESSAGES, "/v1/messages", ask(IMAGE, result))

    assert found.media == (Media("image", "inline", 3024, "image/png", 640, 480),) * 2
    assert found.body_bytes < 500
    bound = input_bound("anthropic", found, strict=False)
    assert bound is not None
    assert bound < found.body_bytes + 1100


def test_base64_that_a_tool_was_called_with_is_text() -> None:
    call = {"type": "tool_use", "id": "1", "name": "show", "input": IMAGE}

    found = facts(MESSAGES, "/v1/messages", ask(call))

    assert found.media == ()
    assert found.body_bytes > len(PNG)


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


@pytest.mark.parametrize(
    ("block", "media", "unbounded", "state"),
    [
        (document(type="base64", media_type="application/pdf", data=PNG), "inline", False, False),
        (document(type="url", url="https://x/a.pdf"), "url", True, False),
        (document(type="file", file_id="file_1"), "file_id", False, True),
        (document(type="text", media_type="text/plain", data="hello"), None, False, False),
        (document(type="content", content=[IMAGE]), "inline", False, False),
        ({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}, "url", False, False),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, "file_id", False, False),
        ({"type": "container_upload", "file_id": "file_1"}, None, False, True),
        ({"type": "invented_later"}, None, True, False),
    ],
)
def test_documents_and_images_by_where_they_are(block: Any, media: str | None, unbounded: bool, state: bool) -> None:
    found = facts(MESSAGES, "/v1/messages", ask(block))

    assert [item.source for item in found.media] == ([media] if media else [])
    assert bool(found.unbounded) is unbounded
    assert bool(found.state) is state


def test_citations_cut_the_text_into_marked_pieces() -> None:
    cited = {**document(type="text", media_type="text/plain", data="hello"), "citations": {"enabled": True}}
    found = facts(MESSAGES, "/v1/messages", ask(cited))

    assert found.unsized
    assert input_bound("anthropic", found, strict=True) == 1_000_000


@pytest.mark.parametrize(
    "tool",
    [
        "web_search_20250305",
        "web_fetch_20250910",
        "code_execution_20260120",
        "advisor_20260301",
        "mcp_toolset",
        "tool_search_tool_regex",
    ],
)
def test_server_tools_are_named(tool: str) -> None:
    found = facts(MESSAGES, "/v1/messages", ask("hi", tools=[{"type": tool, "name": "x"}]))

    assert found.server_tools == (tool,)
    assert found.unbounded
    assert found.server_tool_uses is None


def test_max_uses_limits_server_tools_when_all_have_it() -> None:
    def uses(*most: int | None) -> int | None:
        tools = [{"type": "web_search_20250305", "max_uses": count} for count in most]
        return facts(MESSAGES, "/v1/messages", ask("hi", tools=tools)).server_tool_uses

    assert uses(3, 2) == 5
    assert uses(3, None) is None


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "f", "input_schema": {"type": "object"}},
        {"type": "custom", "name": "f", "input_schema": {}},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "e"},
        {"type": "memory_20250818", "name": "memory"},
        {"type": "computer_20251124", "name": "computer"},
    ],
)
def test_client_tools_stay_bounded(tool: dict[str, Any]) -> None:
    found = facts(MESSAGES, "/v1/messages", ask("hi", tools=[tool]))

    assert (found.tools, found.unbounded) == (True, ())


def test_tools_that_are_defined_in_a_message_are_tools_as_others_are() -> None:
    def added(tool: dict[str, Any]) -> Any:
        block = {"type": "tool_addition", "tool": tool}
        return facts(MESSAGES, "/v1/messages", {"model": "m", "messages": [{"role": "user", "content": [block]}]})

    own = added({"type": "tool_definition", "definition": {"type": "bash_20250124", "name": "bash"}})
    assert (own.tools, own.hidden_tokens > 0, own.unbounded) == (True, True, ())
    assert added({"type": "tool_definition", "definition": {"type": "web_search_20260318"}}).unbounded
    assert not added({"type": "tool_reference", "name": "declared in tools"}).unbounded


@pytest.mark.parametrize(
    "more",
    [
        {"mcp_servers": [{"type": "url", "name": "wiki", "url": "https://x"}]},
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        {"fallbacks": [{"model": "claude-opus-4-5"}]},
        {"container": {"skills": [{"skill_id": "pdf"}]}},
    ],
)
def test_requests_that_read_more_than_they_are_told_are_unbounded(more: dict[str, Any]) -> None:
    assert facts(MESSAGES, "/v1/messages", ask("hi", **more)).unbounded


def test_clearing_context_only_takes_away() -> None:
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}

    assert not facts(MESSAGES, "/v1/messages", ask("hi", context_management=edits)).unbounded


def test_a_thread_kept_by_the_provider_is_state() -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}

    assert facts(MESSAGES, "/v1/messages", ask("hi", thread=thread)).state == ("msg_1",)


def test_extra_body_replaces_what_the_body_says() -> None:
    found = facts(MESSAGES, "/v1/messages", ask(), {"max_tokens": 7, "model": "claude-opus-4-5"})

    assert (found.output_cap, found.model) == (7, "claude-opus-4-5")


def test_the_sdk_hands_over_what_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    anthropic = pytest.importorskip("anthropic")
    seen: list[Any] = []

    def request(self: Any, cast_to: Any, options: Any, **_: Any) -> Any:
        seen.append(options)
        raise InterruptedError

    monkeypatch.setattr(anthropic.Anthropic, "request", request)
    with pytest.raises(InterruptedError):
        anthropic.Anthropic(api_key="none").messages.create(
            model="claude-sonnet-5", max_tokens=50, messages=[{"role": "user", "content": [IMAGE]}]
        )
    found = facts(MESSAGES, seen[0].url, seen[0].json_data, seen[0].extra_json)

    assert (found.model, found.output_cap, len(found.media), found.sized) == ("claude-sonnet-5", 50, 1, True)


def test_nothing_is_consumed() -> None:
    parts = iter([{"type": "text", "text": "hi"}])

    assert not facts(MESSAGES, "/v1/messages", {"messages": [{"role": "user", "content": parts}]}).sized
    assert not facts(MESSAGES, "/v1/messages", {"messages": parts}).sized
    assert len(list(parts)) == 1


def test_a_batch_is_read_request_by_request() -> None:
    tools = [{"type": "web_search_20250305"}]
    requests = [{"params": ask(IMAGE)}, {"params": ask("hi", tools=tools)}]
    found = facts(BATCHES, "/v1/messages/batches", {"requests": requests})

    assert (len(found.media), found.server_tools) == (1, ("web_search_20250305",))
    assert found.body_bytes < 700


def test_a_batch_adds_up() -> None:
    body = {"requests": [{"custom_id": str(n), "params": ask("hello", max_tokens=n)} for n in (10, 50)]}
    found = facts(BATCHES, "/v1/messages/batches", body)

    assert (found.output_cap, found.choices, found.model) == (50, 2, "claude-sonnet-4-5")
    assert found.body_bytes >= sent(body)
    assert with_output_cap(BATCHES, body, 5) == body


# -- caps


def test_a_cap_is_lowered_and_never_raised() -> None:
    body = ask()

    assert with_output_cap(MESSAGES, body, 40) == {**ask(), "max_tokens": 40}
    assert with_output_cap(MESSAGES, body, 400) == ask()
    assert body == ask()


def test_a_cap_must_leave_room_for_thinking() -> None:
    body = ask(max_tokens=8000, thinking={"type": "enabled", "budget_tokens": 2000})

    assert with_output_cap(MESSAGES, body, 2001)["max_tokens"] == 2001
    with pytest.raises(CapTooSmall) as refused:
        with_output_cap(MESSAGES, body, 2000)
    assert refused.value.minimum == 2001


@pytest.mark.parametrize(
    "thinking",
    [{"type": "adaptive"}, {"type": "disabled"}, {"type": "enabled", "budget_tokens": 20_000}],
    ids=["adaptive", "disabled", "interleaved"],
)
def test_other_thinking_needs_no_room(thinking: dict[str, Any]) -> None:
    assert with_output_cap(MESSAGES, ask(max_tokens=8000, thinking=thinking), 50)["max_tokens"] == 50


def test_the_least_cap_is_one() -> None:
    with pytest.raises(CapTooSmall):
        with_output_cap(MESSAGES, ask(), 0)


# -- converse


def converse(*blocks: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}], "inferenceConfig": {"maxTokens": 100}, **more}


def test_converse_is_read_in_its_own_form() -> None:
    body = converse(
        {"text": "hi"},
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"document": {"format": "txt", "name": "n", "source": {"bytes": PNG}}},
        {"toolResult": {"toolUseId": "1", "content": [{"image": {"format": "png", "source": {"bytes": PNG}}}]}},
        toolConfig={"tools": [{"toolSpec": {"name": "f"}}]},
    )
    found = facts(CONVERSE, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/converse", body)

    assert [item.kind for item in found.media] == ["image", "file", "image"]
    assert (found.output_cap, found.tools, found.unbounded) == (100, True, ())
    assert found.body_bytes < 800
    assert with_output_cap(CONVERSE, body, 5)["inferenceConfig"] == {"maxTokens": 5}
    assert body["inferenceConfig"] == {"maxTokens": 100}


@pytest.mark.parametrize(
    "body",
    [
        converse({"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://x"}}}}),
        converse({"invented_later": {}}),
        converse({"text": "hi"}, promptVariables={}),
        converse({"text": "hi"}, toolConfig={"tools": [{"systemTool": {"name": "nova_grounding"}}]}),
    ],
)
def test_converse_may_be_unbounded(body: dict[str, Any]) -> None:
    assert facts(CONVERSE, "/model/x/converse", body).unbounded


@pytest.mark.parametrize("endpoint", [MESSAGES, CONVERSE, BATCHES])
@pytest.mark.parametrize(
    "junk",
    [
        {"messages": None, "tools": "x", "system": 7, "max_tokens": "many", "thinking": "x", "requests": 7},
        {"messages": "hi", "tools": [None, 7], "system": [None], "context_management": 7, "container": "c"},
        {
            "messages": [
                None,
                7,
                {},
                {"content": [None, 7, {}, {"type": None}, {"type": "image"}, {"type": "document"}]},
            ]
        },
        {"messages": [{"content": [{"image": None}, {"document": 7}, {"toolResult": "x"}]}], "inferenceConfig": "x"},
        {"requests": [None, 7, {}, {"params": None}]},
        {
            "tools": [{"type": []}],
            "messages": [{"content": [{"type": {}}, {"type": "document", "source": {"type": []}}]}],
        },
    ],
)
def test_a_malformed_request_is_the_providers_to_refuse(endpoint: Endpoint, junk: dict[str, Any]) -> None:
    before = copy.deepcopy(junk)
    facts(endpoint, "/x", junk)
    with_output_cap(endpoint, junk, 100)

    assert junk == before
