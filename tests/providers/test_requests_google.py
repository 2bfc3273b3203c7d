"""What a Gemini request says about its size and its output."""

import base64
import copy
import json
import struct
from typing import Any

import pytest

from actguard.budget.request import CapTooSmall, Media
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google.request import facts, with_output_cap

GENERATE = Endpoint("generate_content", Kind.PRICED)
STREAM = Endpoint("stream_generate_content", Kind.PRICED)
INTERACTIONS = Endpoint("interactions", Kind.PRICED)
EMBED = Endpoint("embed_content", Kind.PRICED)
PATH = "models/gemini-2.5-flash:generateContent"
PNG = base64.urlsafe_b64encode(
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\xff" * 3000
).decode()


def ask(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": [{"parts": list(parts) or [{"text": "Hello!"}], "role": "user"}], **more}


def sent(body: Any) -> int:
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_plain_request_is_its_own_size() -> None:
    body = ask(generationConfig={"maxOutputTokens": 50, "candidateCount": 2, "temperature": 0.5})
    found = facts(GENERATE, PATH, body)

    assert (found.model, found.output_cap, found.choices, found.stream) == ("gemini-2.5-flash", 50, 2, False)
    assert sent(body) <= found.body_bytes <= sent(body) + 12


def test_what_the_sdk_keeps_for_itself_is_not_sent() -> None:
    body = ask()
    own = {"_url": {"model": "models/gemini-2.5-flash"}, "_query": {"alt": "sse"}}

    assert facts(GENERATE, PATH, {**body, **own}).body_bytes == facts(GENERATE, PATH, body).body_bytes


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini-2.5-pro"),
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("publishers/google/models/gemini-2.0-flash-001:generateContent", "gemini-2.0-flash-001"),
        (
            "projects/p/locations/l/publishers/google/models/gemini-3-flash-preview:generateContent",
            "gemini-3-flash-preview",
        ),
        ("tunedModels/mine:generateContent", "mine"),
    ],
)
def test_the_model_is_in_the_path(path: str, model: str) -> None:
    assert facts(GENERATE, path, ask()).model == model


def test_the_endpoint_says_whether_it_streams() -> None:
    assert facts(STREAM, "models/gemini-2.5-flash:streamGenerateContent?alt=sse", ask()).stream


def test_extra_body_is_merged_at_every_depth() -> None:
    body = ask(generationConfig={"maxOutputTokens": 50, "candidateCount": 2})
    before = copy.deepcopy(body)
    found = facts(GENERATE, PATH, body, {"generationConfig": {"maxOutputTokens": 7}})

    assert (found.output_cap, found.choices) == (7, 2)
    assert body == before


# -- media


@pytest.mark.parametrize("spelling", ["inlineData", "inline_data"])
def test_inline_images_are_measured(spelling: str) -> None:
    mime = "mimeType" if spelling == "inlineData" else "mime_type"
    found = facts(GENERATE, PATH, ask({"text": "What?"}, {spelling: {mime: "image/png", "data": PNG}}))

    assert found.media == (Media("image", "inline", 3024, "", 640, 480),)
    assert found.body_bytes < 250


def test_bytes_that_the_sdk_has_not_encoded_yet_are_media_too() -> None:
    found = facts(GENERATE, PATH, ask({"inlineData": {"mimeType": "application/pdf", "data": b"x" * 9000}}))

    assert found.media == (Media("pdf", "inline", 9000, "application/pdf"),)
    assert found.body_bytes < 250


def test_images_in_a_function_response_are_media() -> None:
    response = {"name": "f", "response": {"a": 1}, "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}

    assert facts(GENERATE, PATH, ask({"functionResponse": response})).media[0].width == 640


def test_base64_in_the_arguments_of_a_function_is_text() -> None:
    call = {"name": "f", "args": {"inlineData": {"mimeType": "image/png", "data": PNG}}}

    found = facts(GENERATE, PATH, ask({"functionCall": call}))

    assert found.media == ()
    assert found.body_bytes > len(PNG)


def test_resolution_is_said_for_all_or_for_one() -> None:
    image = {"fileData": {"mimeType": "image/png", "fileUri": "https://x/a.png"}}
    sharp = {**image, "mediaResolution": {"level": "MEDIA_RESOLUTION_ULTRA_HIGH"}}
    found = facts(GENERATE, PATH, ask(image, sharp, generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"}))

    assert [item.detail for item in found.media] == ["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_ULTRA_HIGH"]


@pytest.mark.parametrize(
    ("mime", "uri", "source", "unbounded"),
    [
        ("image/png", "https://x/a.png", "url", False),
        ("image/png", "https://generativelanguage.googleapis.com/v1beta/files/a", "file_id", False),
        ("video/mp4", "gs://bucket/a.mp4", "file_id", True),
        ("application/pdf", "gs://bucket/a.pdf", "file_id", True),
        ("audio/mpeg", "https://x/a.mp3", "url", True),
        ("", "https://youtu.be/x", "url", True),
    ],
)
def test_media_elsewhere_have_a_bound_only_if_they_are_images(
    mime: str, uri: str, source: str, unbounded: bool
) -> None:
    found = facts(GENERATE, PATH, ask({"fileData": {"mimeType": mime, "fileUri": uri}}))

    assert found.media[0].source == source
    assert bool(found.unbounded) is unbounded


# -- tools and state


@pytest.mark.parametrize(
    "tool",
    [
        "googleSearch",
        "google_search",
        "googleSearchRetrieval",
        "urlContext",
        "codeExecution",
        "fileSearch",
        "googleMaps",
        "retrieval",
    ],
)
def test_server_tools_are_named(tool: str) -> None:
    found = facts(GENERATE, PATH, ask(tools=[{tool: {}}]))

    assert found.server_tools == (tool,)
    assert found.unbounded


def test_functions_are_client_tools() -> None:
    found = facts(GENERATE, PATH, ask(tools=[{"functionDeclarations": [{"name": "f"}], "googleSearch": None}]))

    assert (found.tools, found.unbounded) == (True, ())


def test_a_cache_is_state() -> None:
    assert facts(GENERATE, PATH, ask(cachedContent="cachedContents/1")).state == ("cachedContents/1",)


def test_what_is_continued_is_bounded_by_the_context_window_alone() -> None:
    assert facts(GENERATE, PATH, ask(continuationToken="bW9yZQ==")).unsized
    assert interact("hi", continuation_token="more").unsized
    told = interact("hi", continuation_token="more", previous_interaction_id="int_1")
    assert (told.unsized, told.state) == ((), ("int_1",))


@pytest.mark.parametrize("config", [{"routingConfig": {"autoMode": {}}}, {"model_config": {}}])
def test_where_another_model_may_answer_nothing_is_bounded(config: dict[str, Any]) -> None:
    assert facts(GENERATE, PATH, ask(generationConfig=config)).unbounded


def test_parts_that_are_not_known_are_unbounded() -> None:
    assert facts(GENERATE, PATH, ask({"inventedLater": {}})).unbounded


def test_an_embedding_reads_its_content_and_writes_nothing() -> None:
    one = facts(EMBED, "models/gemini-embedding-001:embedContent", {"content": {"parts": [{"text": "hi"}]}})
    many = facts(
        EMBED, "models/gemini-embedding-001:batchEmbedContents", {"requests": [{"content": {"parts": []}}] * 3}
    )

    assert (one.unbounded, many.unbounded, one.model) == ((), (), "gemini-embedding-001")


@pytest.mark.parametrize("name", ["predict", "predict_long_running", "batch_generate_content"])
def test_endpoints_that_do_not_say_what_they_read_are_unbounded(name: str) -> None:
    assert facts(Endpoint(name, Kind.UNMETERED), "models/imagen-4:predict", {"instances": [{"prompt": "x"}]}).unbounded


def test_the_sdk_hands_over_what_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    genai = pytest.importorskip("google.genai")
    seen: list[tuple[str, dict[str, Any]]] = []

    def request(self: Any, http_method: str, path: str, request_dict: dict[str, Any], http_options: Any = None) -> Any:
        seen.append((path, request_dict))
        raise InterruptedError

    monkeypatch.setattr("google.genai._api_client.BaseApiClient.request", request)
    types = genai.types
    with pytest.raises(InterruptedError):
        genai.Client(api_key="none").models.generate_content(
            model="gemini-2.5-flash",
            contents=["What?", types.Part.from_bytes(data=base64.urlsafe_b64decode(PNG), mime_type="image/png")],
            config=types.GenerateContentConfig(
                max_output_tokens=50,
                system_instruction="Be brief.",
                media_resolution="MEDIA_RESOLUTION_LOW",
                tools=[types.Tool(google_search=types.GoogleSearch())],
            ),
        )
    path, body = seen[0]
    found = facts(GENERATE, path, body)

    assert (found.model, found.output_cap, found.sized) == ("gemini-2.5-flash", 50, True)
    assert found.media == (Media("image", "inline", 3024, "MEDIA_RESOLUTION_LOW", 640, 480),)
    assert found.server_tools == ("googleSearch",)
    assert with_output_cap(GENERATE, body, 5)["generationConfig"]["maxOutputTokens"] == 5


# -- interactions


def interact(given: Any, **more: Any) -> Any:
    return facts(INTERACTIONS, "/v1beta/interactions", {"model": "gemini-2.5-flash", "input": given, **more})


def test_an_interaction_states_its_cap_and_how_it_runs() -> None:
    found = interact("hi", generation_config={"max_output_tokens": 9}, stream=True, background=True)

    assert (found.model, found.output_cap, found.stream, found.background) == ("gemini-2.5-flash", 9, True, True)
    assert found.unbounded == ()


@pytest.mark.parametrize(
    "given",
    [
        {"type": "image", "data": PNG, "mime_type": "image/png"},
        [{"type": "text", "text": "hi"}, {"type": "image", "data": PNG, "mime_type": "image/png"}],
        [{"type": "user_input", "content": [{"type": "image", "data": PNG, "mime_type": "image/png"}]}],
        [
            {
                "type": "function_result",
                "call_id": "1",
                "result": [{"type": "image", "data": PNG, "mime_type": "image/png"}],
            }
        ],
        [{"role": "user", "content": [{"type": "image", "data": PNG, "mime_type": "image/png"}]}],
    ],
)
def test_an_interaction_may_show_images_in_many_places(given: Any) -> None:
    found = interact(given)

    assert found.media == (Media("image", "inline", 3024, "", 640, 480),)
    assert found.body_bytes < 300


@pytest.mark.parametrize(
    "more",
    [
        {"agent": "deep-research-pro"},
        {"tools": [{"type": "google_search"}]},
        {"environment": {"type": "remote"}},
        {"input": [{"type": "video", "uri": "https://x", "mime_type": "video/mp4"}]},
        {"input": [{"type": "invented_later"}]},
    ],
)
def test_interactions_that_read_more_than_they_are_told_are_unbounded(more: dict[str, Any]) -> None:
    assert interact(**{"given": more.pop("input", "hi"), **more}).unbounded


def test_an_earlier_interaction_is_state() -> None:
    assert interact("hi", previous_interaction_id="int_1").state == ("int_1",)


def test_a_cache_of_an_interaction_is_state() -> None:
    assert interact("hi", cached_content="cachedContents/1").state == ("cachedContents/1",)


# -- caps


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        (GENERATE, ask(), {"generationConfig": {"maxOutputTokens": 40}}),
        (STREAM, ask(generationConfig={"topK": 3}), {"generationConfig": {"topK": 3, "maxOutputTokens": 40}}),
        (GENERATE, ask(generationConfig={"maxOutputTokens": 90}), {"generationConfig": {"maxOutputTokens": 40}}),
        (GENERATE, ask(generation_config={"max_output_tokens": 90}), {"generation_config": {"max_output_tokens": 40}}),
        (GENERATE, ask(generationConfig={"maxOutputTokens": 10}), {"generationConfig": {"maxOutputTokens": 10}}),
        (INTERACTIONS, {"input": "hi"}, {"generation_config": {"max_output_tokens": 40}}),
        (
            INTERACTIONS,
            {"input": "hi", "generation_config": {"max_output_tokens": 90}},
            {"generation_config": {"max_output_tokens": 40}},
        ),
        (EMBED, {"content": {}}, {}),
        (INTERACTIONS, {"agent": "deep-research", "input": "hi"}, {}),
    ],
)
def test_the_cap_is_put_where_the_api_reads_it(endpoint: Endpoint, body: Any, expected: Any) -> None:
    before = copy.deepcopy(body)

    assert with_output_cap(endpoint, body, 40) == {**before, **expected}
    assert body == before


def test_what_the_sdk_keeps_for_itself_stays_in_the_body() -> None:
    assert with_output_cap(GENERATE, ask(_url={"model": "m"}), 40)["_url"] == {"model": "m"}


def test_the_least_cap_is_one() -> None:
    with pytest.raises(CapTooSmall):
        with_output_cap(GENERATE, ask(), 0)


@pytest.mark.parametrize("endpoint", [GENERATE, INTERACTIONS, EMBED])
@pytest.mark.parametrize(
    "junk",
    [
        {"contents": None, "tools": "x", "generationConfig": "x", "input": 7, "generation_config": 7},
        {"contents": "hi", "tools": [None, 7], "systemInstruction": 7, "requests": 7, "input": [None, 7, {}]},
        {"contents": [None, 7, {}, {"parts": [None, 7, {}, {"inlineData": None}, {"fileData": 7}]}]},
        {"input": [{"type": []}], "tools": [{"type": {}}]},
        {"contents": {"parts": {"functionResponse": 7}}, "input": [{"type": "image"}, {"type": "document", "data": 7}]},
    ],
)
def test_a_malformed_request_is_the_providers_to_refuse(endpoint: Endpoint, junk: dict[str, Any]) -> None:
    before = copy.deepcopy(junk)
    facts(endpoint, "/x", junk)
    with_output_cap(endpoint, junk, 100)

    assert junk == before
