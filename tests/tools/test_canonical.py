"""What makes calls the same: hostile, huge and odd arguments neither pass for others nor break the guard."""

import dataclasses
import threading
from collections.abc import Mapping

import pytest

from actguard import idempotent, no_repeat
from actguard.exceptions import ToolGuardError
from actguard.tools.canonical import digest


class BrokenMapping(Mapping):
    def __getitem__(self, key):
        raise RuntimeError

    def __iter__(self):
        raise RuntimeError

    def __len__(self):
        return 1


@dataclasses.dataclass
class BrokenRecord:
    number: int = 0

    def __getattribute__(self, name):
        if name == "number":
            raise RuntimeError
        return object.__getattribute__(self, name)


class BrokenModel:
    def model_dump(self):
        raise RuntimeError


class BrokenDict:
    @property
    def __dict__(self):
        raise RuntimeError


class BrokenText:
    def __repr__(self):
        raise RuntimeError


class BrokenInt(int):
    def __index__(self):
        raise RuntimeError


BROKEN = [BrokenMapping(), BrokenRecord(), BrokenModel(), BrokenDict(), BrokenText(), BrokenInt(3)]


@pytest.mark.parametrize("value", BROKEN, ids=lambda value: type(value).__name__)
def test_an_object_that_fights_back_counts_as_its_class(run, value):
    @no_repeat(max_identical=1, tell=False)
    def call(argument):
        return 1

    @idempotent(key="derived")
    def once(argument):
        return 2

    @idempotent()
    def pay(argument, idempotency_key):
        return 3

    assert (call(value), once([value]), pay({"deep": value}, "a")) == (1, 2, 3)
    assert len({digest(broken) for broken in BROKEN}) == len(BROKEN)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def endless():
    value = {}
    value["itself"] = value
    return value


@pytest.mark.parametrize("value", [nested(100), nested(100_000), endless()], ids=["deep", "abyss", "endless"])
def test_an_argument_that_is_nested_too_deeply_is_refused_by_name(run, value):
    made = []
    for guard in (no_repeat(), idempotent(key="derived"), idempotent()):
        call = guard(lambda argument, idempotency_key="k": made.append(1))
        with pytest.raises(ToolGuardError) as refused:
            call(value)
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "nested_too_deeply")
        assert refused.value.tool == "<lambda>"
        quiet = dataclasses.replace(guard, on_block="return_prompt")(lambda argument, idempotency_key="k": 1)
        assert "nested" in quiet(value)
    assert made == []


class Table:
    """Shows its ends, as tables and arrays do, and holds more."""

    def __init__(self, *cells):
        self._cells = cells

    def __repr__(self):
        return f"Table({self._cells[0]} ... {self._cells[-1]})"


class Unpicklable(Table):
    def __reduce_ex__(self, protocol):
        raise TypeError


class Packed:
    """Like Table, without a dictionary to look into."""

    __slots__ = ("cells",)

    def __init__(self, *cells):
        self.cells = cells

    def __repr__(self):
        return f"Packed({self.cells[0]} ... {self.cells[-1]})"


def test_what_a_long_value_does_not_show_counts(run):
    made = []

    @idempotent(key="derived")
    def store(table):
        made.append(table)

    store(Table(1, 2, 3))
    store(Table(1, 5, 3))
    store(Table(1, 2, 3))
    assert len(made) == 2
    assert digest(Unpicklable(1, 2, 3)) != digest(Unpicklable(1, 5, 3))
    assert digest(Packed(1, 2, 3)) == digest(Packed(1, 2, 3)) != digest(Packed(1, 5, 3))


def test_what_has_no_content_counts_as_its_class():
    assert digest(threading.Lock()) == digest(threading.Lock())
    assert digest(object()) == digest(object()) != digest(threading.Lock())
