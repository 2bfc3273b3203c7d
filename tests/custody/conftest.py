"""A session with a clock that only the test moves."""

from collections.abc import Iterator

import pytest

from actguard.custody.session import session
from actguard.stores.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock=clock)


@pytest.fixture
def here(store: MemoryStore) -> Iterator[session]:
    """An open session."""
    with session("s", store=store) as opened:
        yield opened
