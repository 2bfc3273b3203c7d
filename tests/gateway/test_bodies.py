"""Bodies are read without searching every name for characters that it cannot hold, and mean the same."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actguard.gateway.http import bodies
from actguard.gateway.http.bodies import BudgetBody, Decoder, ReserveBody, SettleBody

_NAMES = st.text(st.sampled_from('a\\"/\n\r\t\x00\x1f\x7f\x80\u2028é'), max_size=4) | st.text(max_size=5)


def said(decoder: Any, body: bytes) -> Any:
    try:
        return msgspec.json.encode(decoder.decode(body))
    except msgspec.DecodeError as error:
        return str(error)


@given(_NAMES, _NAMES, st.booleans())
def test_a_body_is_read_as_its_type_says_however_it_is_written(one: str, other: str, ascii: bool) -> None:
    """Whatever is in a name, and where it is, the strict reader of the type decides."""
    told: list[tuple[type, Any]] = [
        (ReserveBody, {"run_id": one, "user_id": other, "plan_key": None}),
        (ReserveBody, {"run_id": "r", "plan_key": one}),
        (SettleBody, {"reserve_id": "r", "usage_breakdown": [{"provider": one, "context": {other: one}}]}),
        (SettleBody, {"reserve_id": "r" + one, "reasoning_effort": other, "unknown": one}),
        (BudgetBody, {"scope": "user", "key": one, "usd_micros": 1}),
    ]
    for kind, value in told:
        body = json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
        assert said(Decoder(kind), body) == said(msgspec.json.Decoder(kind), body)


@pytest.mark.parametrize("text", [b"a\\n", b"a\\u0000", b"a\\u007f", b"a\x7f", b"\\u001f", b"a\\u000a"])
def test_a_name_with_a_control_character_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="run_id"):
        Decoder(ReserveBody).decode(b'{"run_id":"%s"}' % text)


@pytest.mark.parametrize("text", [b"a\n", b"\x00", b"a\x1f"])
def test_a_control_character_that_is_not_escaped_is_no_json(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError, match="malformed"):
        Decoder(ReserveBody).decode(b'{"run_id":"%s"}' % text)


@pytest.mark.parametrize(
    "kind", [each for each in vars(bodies).values() if isinstance(each, type) and each.__name__.endswith("Body")]
)
def test_lengths_and_bounds_hold_without_an_escape_too(kind: type) -> None:
    """The schemas of the two are the same but for the one pattern, and for what is only said to people."""

    def limits(schema: Any) -> Any:
        if isinstance(schema, list):
            return [*map(limits, schema)]
        if not isinstance(schema, dict):
            return schema
        return {
            name: limits(value)
            for name, value in schema.items()
            if name != "description" and (name, value) != ("pattern", bodies.PRINTABLE)
        }

    whole, unsearched = msgspec.json.schema(kind), msgspec.json.schema(bodies.unsearched(kind))
    assert limits(unsearched) == limits(whole)
    assert json.dumps(bodies.PRINTABLE) not in json.dumps(unsearched)
