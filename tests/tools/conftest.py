"""What tests of guards share: a store with a clock that only the test moves, and a run to be in."""

from collections.abc import Iterator

import pytest

import actguard
from actguard.context import Frame, Run, inside
from actguard.pipeline import settings
from actguard.tools.circuits import circuits


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class Heard:
    """An emitter that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []

    def emit(self, category, name, payload, fields) -> None:
        self.events.append((f"{category}.{name}", {**payload, **fields}))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """The clock of the store of this test; circuits of other tests are forgotten."""
    clock = Clock()
    before = settings.configure(store=actguard.MemoryStore(clock=clock))
    yield clock
    settings.configure(store=before.store, app=before.app, env=before.env, mode=before.mode)
    for name in tuple(circuits):
        circuits.forget(name)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def run(heard: Heard) -> Iterator[Run]:
    run = Run("run-1", "alice", heard)
    with inside(Frame(run=run)):
        yield run
