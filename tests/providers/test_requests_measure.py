"""The size of a body is found without serialising it, and is never below what is sent."""

import base64
import copy
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.budget.request import RequestFacts
from actguard.providers.anthropic.request import facts as anthropic_facts
from actguard.providers.endpoint import Endpoint, Kind
from actguard.providers.google.request import facts as google_facts
from actguard.providers.measure import Base64, audio_seconds, data_url, image_size, measure, measure_chat, text_bytes
from actguard.providers.openai.request import facts as openai_facts

texts = st.text(st.characters(codec="utf-8"), max_size=40) | st.text('"\\\n\t\x00\x1f/ é€😀', max_size=400)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)


def sent(body: Any) -> int:
    return len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


@given(values)
def test_a_body_is_never_larger_than_its_size(body: Any) -> None:
    before = copy.deepcopy(body)
    size, exact = measure(body)

    assert exact
    assert size >= sent(body)
    assert size <= sent(body) * 2 + 8
    assert body == before


@given(st.lists(st.fixed_dictionaries({"role": texts, "content": texts | st.none()}, optional={"name": texts})), values)
def test_a_plain_chat_measures_the_same_the_short_way(messages: list[Any], other: Any) -> None:
    body = {"model": "gpt-4o", "messages": messages, "metadata": other}
    size = measure_chat(body)

    assert size is not None
    assert size[0] >= sent(body)
    assert size[0] <= measure(body)[0] + 8


@given(texts)
def test_text_is_measured_to_the_byte(text: str) -> None:
    assert text_bytes(text) == sent(text) - 2
    assert text_bytes(text * 50) == sent(text * 50) - 2


@pytest.mark.parametrize(
    "content",
    [[{"type": "text", "text": "hi"}], iter(["hi"]), {"text": "hi"}],
    ids=["parts", "iterator", "object"],
)
def test_only_text_is_a_plain_chat(content: Any) -> None:
    assert measure_chat({"messages": [{"role": "user", "content": content}]}) is None


def test_lone_surrogates_do_no_harm() -> None:
    assert measure({"text": "\ud800"})[0] >= 14


def test_an_iterator_is_not_consumed() -> None:
    def parts() -> Iterator[str]:
        yield "one"

    content = parts()
    _, exact = measure({"messages": [{"role": "user", "content": content}]})

    assert not exact
    assert list(content) == ["one"]


def test_an_unknown_object_is_not_called() -> None:
    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

        def __len__(self) -> int:
            raise AssertionError

        def __str__(self) -> str:
            raise AssertionError

    assert measure({"x": Hostile()})[1] is False


def test_a_pydantic_object_counts_for_an_estimate_and_not_as_certain() -> None:
    pydantic = pytest.importorskip("pydantic")
    message = pydantic.create_model("Message", role=(str, ...), content=(str, ...))(role="user", content="x" * 500)

    size, exact = measure({"messages": [message]})

    assert size > 500
    assert not exact


class Role(StrEnum):
    USER = "user"


class Body(dict[str, Any]):
    pass


@pytest.mark.parametrize(
    ("value", "least"),
    [
        (Role.USER, 6),
        (("a", "b"), 9),
        (MappingProxyType({"a": 1}), 7),
        (Body(content="x" * 100), 114),
        (b"\x00" * 300, 402),
        (datetime(2026, 1, 1, tzinfo=UTC), 27),
        (10**400, 401),
        ({1: "a", None: "b", False: "c", 2.5: "d"}, 40),
    ],
)
def test_what_sdks_serialise_beside_json_is_measured_too(value: Any, least: int) -> None:
    size, exact = measure({"k": value})

    assert exact
    assert size >= least + 6


@pytest.mark.parametrize("name", ["NotGiven", "Omit"])
def test_values_that_are_not_given_are_not_sent_and_count_nothing(name: str) -> None:
    absent = type(name, (), {})()
    messages = [{"role": "user", "content": "Hello!"}]

    assert measure({"k": absent}) == (2, True)
    assert measure_chat({"messages": messages, "k": absent}) == measure_chat({"messages": messages})


def test_a_body_that_holds_itself_ends() -> None:
    body: dict[str, Any] = {"messages": []}
    body["messages"] += [body, body]

    assert measure(body)[1] is False


# -- whole requests

PAYLOAD = "iVBORw0KGgo" + "A" * 400
Build = Callable[[list[str | None], Any], dict[str, Any]]


def chat(said: list[str | None], other: Any) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PAYLOAD}"}}
        if text is None
        else {"type": "text", "text": text}
        for text in said
    ]
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": parts}], "metadata": other}


def message(said: list[str | None], other: Any) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PAYLOAD}
    parts = [{"type": "image", "source": source} if text is None else {"type": "text", "text": text} for text in said]
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"said": other}}
    return {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": [call]}]}


def contents(said: list[str | None], other: Any) -> dict[str, Any]:
    blob = {"mimeType": "image/png", "data": PAYLOAD}
    parts = [{"inlineData": blob} if text is None else {"text": text} for text in said]
    return {"contents": [{"parts": parts}, {"parts": [{"functionCall": {"name": "f", "args": {"a": other}}}]}]}


@pytest.mark.parametrize(
    ("name", "reader", "build"),
    [
        ("chat.completions", openai_facts, chat),
        ("messages", anthropic_facts, message),
        ("generate_content", google_facts, contents),
    ],
)
@given(said=st.lists(texts | st.none(), max_size=6), other=values)
def test_a_request_is_never_larger_than_its_size_but_for_its_images(
    name: str, reader: Callable[..., RequestFacts], build: Build, said: list[str | None], other: Any
) -> None:
    body = build(said, other)
    before = copy.deepcopy(body)
    found = reader(Endpoint(name, Kind.PRICED), "/x", body)
    images = said.count(None)

    assert found.body_bytes >= sent(body) - images * len(PAYLOAD)
    assert found.body_bytes <= 2 * (sent(body) - images * len(PAYLOAD)) + 8
    assert [item.kind for item in found.media] == ["image"] * images
    assert body == before


# -- headers of media


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\x00\x00\x00"


def jpeg(width: int, height: int) -> bytes:
    exif = b"\xff\xe1" + struct.pack(">H", 40_002) + b"\x00" * 40_000
    tables = b"\xff\xdb" + struct.pack(">H", 67) + b"\x00" * 65
    return b"\xff\xd8" + exif + tables + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + b"\x00" * 20


def webp(form: bytes, body: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 30) + b"WEBP" + form + struct.pack("<I", 20) + body.ljust(24, b"\x00")


IMAGES = {
    "png": png(640, 480),
    "gif": b"GIF89a" + struct.pack("<HH", 640, 480) + b"\x00" * 30,
    "jpeg": jpeg(640, 480),
    "webp lossy": webp(b"VP8 ", b"\x00" * 3 + b"\x9d\x01\x2a" + struct.pack("<HH", 640, 480)),
    "webp lossless": webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 479 << 14)),
    "webp extended": webp(b"VP8X", b"\x00" * 4 + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")),
}


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES.keys())
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_the_size_of_an_image_is_read_from_its_header(data: bytes, encode: Any) -> None:
    assert image_size(Base64(encode(data).decode())) == (640, 480)


@pytest.mark.parametrize("data", ["", "????", "AAAA", "aGVsbG8gd29ybGQ=", "/9j/", "iVBORw0KGgo="])
def test_what_is_no_image_has_no_size(data: str) -> None:
    assert image_size(Base64(data)) == (0, 0)


@given(st.binary(max_size=200))
def test_broken_images_raise_nothing(noise: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBPVP8X"):
        image_size(Base64(base64.b64encode(start + noise).decode()))


def wav(rate: int, seconds: int) -> bytes:
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    return head + struct.pack("<4sI", b"data", rate * 2 * seconds) + b"\x00" * (rate * 2 * seconds)


@pytest.mark.parametrize("rate", [8_000, 100])
def test_a_sound_lasts_no_longer_than_is_read_from_it(rate: int) -> None:
    assert 3 <= audio_seconds(Base64(base64.b64encode(wav(rate, 3)).decode()), "wav") <= 4


def test_an_mp3_is_taken_to_have_the_lowest_rate() -> None:
    assert audio_seconds(Base64("A" * 16_000), "audio/mpeg") == 13


@pytest.mark.parametrize("form", ["flac", "wav", "opus"])
def test_of_other_sounds_nothing_is_known(form: str) -> None:
    assert audio_seconds(Base64("AAAA" * 100), form) == 0


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,AAAA", ("image/png", 22)),
        ("data:;base64,AAAA", ("", 13)),
        ("data:image/svg+xml;charset=utf8;base64,AAAA", ("image/svg+xml", 39)),
        ("data:text/plain,hello", None),
        ("https://example.com/a.png", None),
    ],
)
def test_a_data_url_is_told_from_others(url: str, expected: tuple[str, int] | None) -> None:
    assert data_url(url) == expected
