"""How the result of a call is kept for those who make it again: as a copy in memory, as text in a store that writes
text.

What cannot be kept (a generator, an open file) is remembered as done, without its result.
"""

import base64
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

from actguard.stores.protocol import fast_new

Codec = tuple[Callable[[Any], str], Callable[[str], Any]]

_PLAIN: frozenset[type] = frozenset({str, int, float, bool, type(None), bytes, complex})
BARE: frozenset[type] = _PLAIN - {type(None)}
"""Kept as they are; None alone would say that nothing was kept."""


class NotKept(Exception):  # noqa: N818 - a fact, not a failure
    """The call was done, but its result could not be kept."""


class Kept(NamedTuple):
    """A result in memory, unless it is `BARE`. awaited: the function had returned it as something to wait for."""

    value: Any
    awaited: bool


def codec(name: str | Codec) -> Codec:
    """The two functions behind a codec's name."""
    if isinstance(name, str):
        return _CODECS[name]
    return name


def keep(result: Any, awaited: bool, writes: Codec | None) -> Any:
    """What to give a store: text if *writes* is there, a copy of the object otherwise. Never raises."""
    if writes is None:
        return copied(result, awaited)
    try:
        return f"{'a' if awaited else 'v'}:{writes[0](result)}"
    except Exception:  # noqa: BLE001 - whatever the result does not allow: the call was made, and says so
        return "x:"


def copied(result: Any, awaited: bool = False) -> Any:
    """What to give a store that keeps objects. Never raises."""
    try:
        if type(result) in BARE and not awaited:
            return result
        if type(result) in _PLAIN:
            return fast_new(Kept, (result, awaited))
        return Kept(copy.deepcopy(result), awaited)
    except Exception:  # noqa: BLE001 - as above
        return None


def replay(kept: Any, reads: Codec | None) -> Kept:
    """A result of its own for each caller.

    Raises:
        NotKept: there is none.
    """
    try:
        if reads is not None:
            tag, _, text = str(kept).partition(":")
            if tag in ("a", "v"):
                return Kept(reads[1](text), tag == "a")
        elif type(kept) in BARE:
            return Kept(kept, False)
        elif isinstance(kept, Kept):
            return kept if type(kept.value) in _PLAIN else Kept(copy.deepcopy(kept.value), kept.awaited)
    except Exception as error:
        raise NotKept from error
    raise NotKept


def _pickled(value: Any) -> str:
    return base64.b85encode(pickle.dumps(value)).decode("ascii")


def _unpickled(text: str) -> Any:
    return pickle.loads(base64.b85decode(text))


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=True)
    if json.loads(text) != value:
        raise ValueError("JSON would give back something else: use codec='pickle'")
    return text


_CODECS: dict[str, Codec] = {"json": (_json, json.loads), "pickle": (_pickled, _unpickled)}
