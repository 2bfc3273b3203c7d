"""What an OpenAI request says about its size and its output."""

import base64
import copy
import json
import struct
from typing import Any

import pytest

from actguard.budget.estimate import input_bound
from actguard.budget.request import CapTooSmall, Media
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.openai.request import facts, with_include_usage, with_output_cap

CHAT = Endpoint("chat.completions", Kind.PRICED)
RESPONSES = Endpoint("responses", Kind.PRICED)
COMPLETIONS = Endpoint("completions", Kind.PRICED)
EMBEDDINGS = Endpoint("embeddings", Kind.PRICED)
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x00" * 3000).decode()


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], **more}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": list(parts)}]}


def sent(body: Any) -> int:
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


# -- size


def test_a_plain_chat_is_its_own_size() -> None:
    found = facts(CHAT, "/chat/completions", chat())

    assert (found.model, found.sized, found.unbounded) == ("gpt-4o", True, ())
    assert sent(chat()) <= found.body_bytes <= sent(chat()) + 8


def test_tool_calls_and_results_are_part_of_the_size() -> None:
    body = chat()
    body["messages"] += [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "x" * 500},
    ]
    body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    found = facts(CHAT, "/chat/completions", body)

    assert found.tools
    assert sent(body) <= found.body_bytes <= sent(body) + 16
    assert input_bound("openai", found, strict=True) == found.body_bytes + 16


def test_the_model_of_an_azure_path_is_its_deployment() -> None:
    found = facts(CHAT, "https://x.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=1", {})

    assert found.model == "my-gpt"


def test_extra_body_replaces_what_the_body_says() -> None:
    extra = {"model": "gpt-5", "max_tokens": 7, "n": 3}
    found = facts(CHAT, "/chat/completions", chat(max_tokens=100), extra)

    assert (found.model, found.output_cap, found.choices) == ("gpt-5", 7, 3)


def test_extra_body_may_be_all_there_is() -> None:
    assert facts(CHAT, "/chat/completions", None, chat()).model == "gpt-4o"
    assert facts(CHAT, "/chat/completions", None).body_bytes <= 4


def test_values_not_given_say_nothing() -> None:
    class NotGiven:
        pass

    class Omit:
        pass

    absent = {"max_tokens": NotGiven(), "n": Omit(), "tools": NotGiven(), "stream": Omit(), "stream_options": Omit()}
    for body, extra in ((chat(**absent), None), (chat(max_tokens=5), absent)):
        found = facts(CHAT, "/chat/completions", body, extra)
        assert (found.output_cap, found.choices, found.tools, found.stream, found.sized) == (
            None,
            1,
            False,
            False,
            True,
        )


def test_what_must_be_consumed_to_be_measured_is_left_alone() -> None:
    messages = iter([{"role": "user", "content": "hi"}])
    parts = iter([{"type": "text", "text": "hi"}])

    assert not facts(CHAT, "/chat/completions", {"model": "gpt-4o", "messages": messages}).sized
    assert not facts(CHAT, "/chat/completions", {"model": "m", "messages": [{"role": "user", "content": parts}]}).sized
    assert not facts(CHAT, "/chat/completions", chat(tools=iter([]))).sized
    assert not facts(RESPONSES, "/responses", {"model": "m", "input": parts}).sized
    assert len(list(messages)) == len(list(parts)) == 1


def test_the_sdk_hands_over_what_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    openai = pytest.importorskip("openai")
    seen: list[Any] = []

    def request(self: Any, cast_to: Any, options: Any, **_: Any) -> Any:
        seen.append(options)
        raise InterruptedError

    monkeypatch.setattr(openai.OpenAI, "request", request)
    client = openai.OpenAI(api_key="none")
    with pytest.raises(InterruptedError):
        client.chat.completions.create(
            model="gpt-4o",
            messages=({"role": "user", "content": text} for text in ("Hello", "there")),
            max_completion_tokens=50,
            stream=True,
            extra_body={"n": 2},
        )
    found = facts(CHAT, seen[0].url, seen[0].json_data, seen[0].extra_json)

    assert (found.model, found.output_cap, found.choices, found.stream) == ("gpt-4o", 50, 2, True)
    assert found.sized
    assert found.body_bytes > len('{"role":"user","content":""}') * 2


# -- output


@pytest.mark.parametrize(("older", "newer"), [(50, 20), (20, 50)])
def test_of_two_caps_the_higher_is_the_bound_as_a_host_may_obey_either(older: int, newer: int) -> None:
    assert facts(CHAT, "", chat(max_tokens=older, max_completion_tokens=newer)).output_cap == 50


@pytest.mark.parametrize("cap", [None, True, -1, "100", 10.5])
def test_a_cap_that_is_no_count_is_none(cap: Any) -> None:
    assert facts(CHAT, "", chat(max_tokens=cap)).output_cap is None


def test_a_stream_says_how_it_reports_usage() -> None:
    asked = facts(CHAT, "", chat(stream=True, stream_options={"include_usage": False}))

    assert (asked.stream, asked.include_usage) == (True, False)
    assert facts(CHAT, "", chat(stream=True)).include_usage is None


def test_a_background_response_says_so() -> None:
    assert facts(RESPONSES, "", {"model": "gpt-5", "input": "hi", "background": True}).background


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({"prompt": "one"}, 1),
        ({"prompt": ["one", "two", "three"]}, 3),
        ({"prompt": ["one", "two"], "n": 2}, 4),
        ({"prompt": "one", "n": 2, "best_of": 5}, 5),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({}, 1),
    ],
)
def test_legacy_prompts_each_spend_the_cap(body: dict[str, Any], choices: int) -> None:
    found = facts(COMPLETIONS, "", {"model": "gpt-3.5-turbo-instruct", "max_tokens": 9, **body})

    assert (found.choices, found.output_cap) == (choices, 9)


def test_a_legacy_completion_has_a_cap_of_its_own() -> None:
    assert facts(COMPLETIONS, "", {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}).output_cap == 16
    assert facts(COMPLETIONS, "", {"model": "some-llama", "prompt": "hi"}).output_cap is None


def test_embeddings_of_token_ids_are_bounded() -> None:
    body = {"model": "text-embedding-3-small", "input": [[7, 8, 9], [100_000]]}
    found = facts(EMBEDDINGS, "", body)

    assert found.body_bytes >= sent(body)
    assert not found.unbounded


# -- media


def test_base64_is_not_text() -> None:
    url = f"data:image/png;base64,{PNG}"
    part = {"type": "image_url", "image_url": {"url": url, "detail": "high"}}
    found = facts(CHAT, "", user({"type": "text", "text": "What is this?"}, part))

    assert found.media == (Media("image", "inline", 3024, "high", 640, 480),)
    assert found.body_bytes < 250
    assert found.sized


@pytest.mark.parametrize(
    ("part", "item"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/a.png"}}, Media("image", "url", 0, "auto")),
        (
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}},
            Media("pdf", "inline", 3024, "application/pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "A" * 4000, "format": "mp3"}},
            Media("audio", "inline", 3000, "", seconds=4),
        ),
    ],
    ids=["image url", "pdf", "sound"],
)
def test_media_of_a_chat(part: dict[str, Any], item: Media) -> None:
    found = facts(CHAT, "", user(part))

    assert found.media == (item,)
    assert found.body_bytes < 250


@pytest.mark.parametrize(
    ("part", "item"),
    [
        (
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
            Media("image", "inline", 3024, "auto", 640, 480),
        ),
        ({"type": "input_image", "file_id": "file-1", "detail": "low"}, Media("image", "file_id", 0, "low")),
        ({"type": "input_file", "file_data": f"data:text/csv;base64,{PNG}"}, Media("file", "inline", 3024, "text/csv")),
    ],
    ids=["image", "image id", "csv"],
)
@pytest.mark.parametrize("place", ["message", "tool output"])
def test_media_of_a_response(part: dict[str, Any], item: Media, place: str) -> None:
    item_in = (
        {"role": "user", "content": [part]}
        if place == "message"
        else {"type": "function_call_output", "call_id": "1", "output": [part]}
    )
    found = facts(RESPONSES, "", {"model": "gpt-5", "input": [item_in]})

    assert found.media == (item,)
    assert found.body_bytes < 250
    assert not found.unbounded


def test_base64_outside_of_content_is_text() -> None:
    arguments = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body = chat(metadata=arguments, tools=[{"type": "function", "function": {"name": "f", "parameters": arguments}}])

    found = facts(CHAT, "", body)

    assert found.media == ()
    assert found.body_bytes > 2 * len(PNG)


@pytest.mark.parametrize(
    "part",
    [{"type": "video_url", "video_url": {"url": "https://x"}}, {"type": "hologram", "hologram": "x"}],
)
def test_content_that_has_no_largest_size_is_unbounded(part: dict[str, Any]) -> None:
    assert facts(CHAT, "", user(part)).unbounded


def test_a_file_behind_a_url_is_unbounded_and_one_behind_an_id_is_state() -> None:
    def response(**part: str) -> Any:
        return facts(RESPONSES, "", {"model": "gpt-5", "input": [{"content": [{"type": "input_file", **part}]}]})

    assert response(file_url="https://x/a.pdf").unbounded
    assert response(file_id="file-1").state == ("file-1",)


# -- what cannot be bounded


@pytest.mark.parametrize(
    "tool",
    ["web_search", "web_search_preview_2025_03_11", "file_search", "code_interpreter", "mcp", "image_generation"],
)
def test_server_tools_are_named(tool: str) -> None:
    found = facts(RESPONSES, "", {"model": "gpt-5", "input": "hi", "tools": [{"type": tool}], "max_tool_calls": 3})

    assert found.server_tools == (tool,)
    assert found.unbounded == (f"server tool {tool}",)
    assert found.server_tool_uses == 3
    assert not found.tools


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "f"},
        {"type": "computer_use_preview"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
    ],
)
def test_client_tools_stay_bounded(tool: dict[str, Any]) -> None:
    found = facts(RESPONSES, "", {"model": "gpt-5", "input": "hi", "tools": [tool]})

    assert (found.tools, found.unbounded) == (True, ())


def test_a_shell_in_a_container_is_a_server_tool() -> None:
    shell = {"type": "shell", "environment": {"type": "container_auto"}}

    assert facts(RESPONSES, "", {"model": "gpt-5", "input": "hi", "tools": [shell]}).server_tools == ("shell",)


@pytest.mark.parametrize(
    "body",
    [
        chat(web_search_options={}),
        chat(web_search_options={"search_context_size": "low"}),
        chat(plugins=[{"id": "web"}]),
        chat(search_parameters={"mode": "on"}),
        chat(data_sources=[{"type": "azure_search"}]),
        chat(models=["x-ai/grok-4"]),
        chat(prediction={"type": "content", "content": "x"}),
        {**chat(), "model": "gpt-4o-search-preview"},
        {**chat(), "model": "openai/gpt-4o:online"},
        {**chat(), "model": "o3-deep-research"},
        {**chat(), "model": "groq/compound"},
    ],
)
def test_chats_that_read_more_than_they_are_told_are_unbounded(body: dict[str, Any]) -> None:
    assert facts(CHAT, "/chat/completions", body).unbounded


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": {"id": "pmpt_1"}},
        {"context_management": [{"type": "compaction"}]},
        {"reasoning": {"mode": "pro"}},
        {"multi_agent": {"enabled": True}},
        {"input": [{"type": "compaction_trigger"}]},
        {"input": [{"type": "invented_later"}]},
        {"input": [{"type": "additional_tools", "tools": [{"type": "web_search"}]}]},
        {"input": [{"type": "tool_search_output", "tools": [{"type": "mcp", "server_label": "s"}]}]},
    ],
)
def test_responses_that_read_more_than_they_are_told_are_unbounded(more: dict[str, Any]) -> None:
    assert facts(RESPONSES, "/responses", {"model": "gpt-5", "input": "hi", **more}).unbounded


def test_an_agent_that_is_alone_is_bounded() -> None:
    body = {"model": "gpt-5", "input": "hi", "multi_agent": {"enabled": False}}
    assert not facts(RESPONSES, "/responses", body).unbounded


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({"previous_response_id": "resp_1"}, "resp_1"),
        ({"conversation": "conv_1"}, "conv_1"),
        ({"conversation": {"id": "conv_1"}}, "conv_1"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "msg_1"),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "rs_1"),
    ],
)
def test_state_is_named_by_its_id(more: dict[str, Any], state: str) -> None:
    found = facts(RESPONSES, "/responses", {"model": "gpt-5", "input": "hi", **more})

    assert found.state == (state,)
    assert not found.unbounded


def test_reasoning_that_is_sent_along_is_text() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x" * 400}

    assert facts(RESPONSES, "/responses", {"model": "gpt-5", "input": [item]}).state == ()


@pytest.mark.parametrize("name", ["images", "audio.transcriptions", "audio.speech", "videos", "invented_later"])
def test_endpoints_without_a_cap_in_tokens_are_unbounded(name: str) -> None:
    assert facts(Endpoint(name, Kind.PRICED), "", {"model": "gpt-image-1", "prompt": "hi", "n": 2}).unbounded


# -- caps


@pytest.mark.parametrize(
    ("endpoint", "body", "provider", "field"),
    [
        (CHAT, chat(), "openai", "max_completion_tokens"),
        (CHAT, chat(model="gpt-5"), None, "max_completion_tokens"),
        (CHAT, chat(model="o3"), "azure", "max_completion_tokens"),
        (CHAT, chat(model="my-deployment"), "azure", "max_completion_tokens"),
        (CHAT, chat(model="gpt-4o"), "azure", "max_tokens"),
        (CHAT, chat(model="llama"), "groq", "max_tokens"),
        (CHAT, chat(model="llama"), None, "max_tokens"),
        (CHAT, chat(max_tokens=900), "openai", "max_tokens"),
        (CHAT, chat(max_completion_tokens=900), "groq", "max_completion_tokens"),
        (COMPLETIONS, {"model": "llama", "prompt": "hi"}, None, "max_tokens"),
        (RESPONSES, {"model": "gpt-5", "input": "hi"}, "openai", "max_output_tokens"),
        (RESPONSES, {"model": "gpt-5", "input": "hi", "max_output_tokens": 900}, "openai", "max_output_tokens"),
    ],
)
def test_the_cap_is_put_where_the_api_reads_it(endpoint: Endpoint, body: Any, provider: str, field: str) -> None:
    before = copy.deepcopy(body)
    capped = with_output_cap(endpoint, body, 100, provider=provider)

    assert capped == {**before, field: 100}
    assert body == before


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, chat(max_tokens=50)),
        (CHAT, chat(max_completion_tokens=100)),
        (RESPONSES, {"model": "gpt-5", "input": "hi", "max_output_tokens": 20}),
        (COMPLETIONS, {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}),
        (EMBEDDINGS, {"model": "text-embedding-3-small", "input": "hi"}),
        (CHAT, chat(prediction={"type": "content", "content": "x"})),
    ],
)
def test_a_cap_is_never_raised_nor_put_where_none_exists(endpoint: Endpoint, body: Any) -> None:
    assert with_output_cap(endpoint, body, 100, provider="openai") == body


def test_a_cap_above_the_models_own_is_not_stated() -> None:
    assert with_output_cap(CHAT, chat(), 20_000, provider="openai") == chat()


def test_both_caps_of_a_chat_are_lowered() -> None:
    capped = with_output_cap(CHAT, chat(max_tokens=500, max_completion_tokens=50), 100)

    assert (capped["max_tokens"], capped["max_completion_tokens"]) == (100, 50)


@pytest.mark.parametrize(("endpoint", "body", "minimum"), [(RESPONSES, {"input": "hi"}, 16), (CHAT, chat(), 1)])
def test_a_cap_the_api_would_refuse_is_refused_here(endpoint: Endpoint, body: Any, minimum: int) -> None:
    with pytest.raises(CapTooSmall) as refused:
        with_output_cap(endpoint, body, minimum - 1)

    assert refused.value.minimum == minimum
    assert with_output_cap(endpoint, body, minimum)


def test_usage_is_asked_for_beside_what_else_the_stream_is_told() -> None:
    body = chat(stream=True, stream_options={"include_obfuscation": False})
    asked = with_include_usage(body)

    assert asked["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert body["stream_options"] == {"include_obfuscation": False}
    assert with_include_usage(chat())["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize(
    "junk",
    [
        {"messages": None, "input": None, "prompt": 7, "tools": "x", "n": "many", "stream": "yes"},
        {"messages": "hello", "input": 7, "tools": [None, 3, "x"], "stream_options": "x", "prompt": []},
        {"messages": [None, 7, "x", {}], "input": [None, 7, "x", {}], "reasoning": "x"},
        {"messages": [{"content": [None, 7, {}, {"type": None}, {"type": "image_url"}, {"type": "file"}]}]},
        {
            "input": [
                {"content": [None, {"type": "input_image"}, {"type": "input_file"}]},
                {"type": "computer_call_output"},
            ]
        },
        {"messages": [{"content": [{"type": "image_url", "image_url": "data:image/png;base64,AAAA"}]}]},
        {"tools": [{"type": []}, {"type": {}}], "messages": [{"content": [{"type": []}]}], "input": [{"type": {}}]},
        {"messages": [{"content": [{"type": "input_audio", "input_audio": 7}]}], "model": 7},
    ],
)
def test_a_malformed_request_is_the_providers_to_refuse(endpoint: Endpoint, junk: dict[str, Any]) -> None:
    before = copy.deepcopy(junk)
    facts(endpoint, "/x", junk)
    with_output_cap(endpoint, junk, 100)

    assert junk == before
