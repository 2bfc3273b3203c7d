"""What a guard does by itself while its store is away: count here alone, or refuse what must not run twice."""

from collections.abc import Sequence
from typing import Any

import pytest

from actguard import (
    CircuitOpenError,
    ConcurrencyExceeded,
    MaxAttemptsExceeded,
    RateLimitExceeded,
    circuit_breaker,
    concurrency,
    idempotent,
    max_attempts,
    no_repeat,
    rate_limit,
)
from actguard.exceptions import StoreUnavailableError
from actguard.stores.memory import MemoryStore


class Away(MemoryStore):
    """It does I/O, and nobody answers."""

    blocking = True

    def admit(self, steps: Sequence[Any]) -> Any:
        raise StoreUnavailableError("The store is away.")

    def finish(self, reports: Sequence[Any]) -> Any:
        raise StoreUnavailableError("The store is away.")


def fails() -> None:
    raise ConnectionError


@pytest.mark.parametrize(
    ("guard", "refusal"),
    [
        (rate_limit(max_calls=2, store=Away()), RateLimitExceeded),
        (max_attempts(calls=2, store=Away()), MaxAttemptsExceeded),
    ],
    ids=["rate_limit", "max_attempts"],
)
def test_calls_are_counted_here(run: object, guard: Any, refusal: type[Exception]) -> None:
    call = guard(lambda: "done")
    assert call() == call() == "done"
    with pytest.raises(refusal):
        call()


def test_loops_are_seen_here(run: object) -> None:
    call = no_repeat(max_identical=2, store=Away())(lambda: "done")
    assert call() == call() == "done"
    assert "made twice already" in call()


def test_a_circuit_opens_here() -> None:
    call = circuit_breaker(name="here", max_fails=2, store=Away())(fails)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            call()
    with pytest.raises(CircuitOpenError):
        call()


def test_places_are_held_here() -> None:
    @concurrency(limit=1, store=Away())
    def outer(again: bool) -> str:
        return outer(False) if again else "done"

    assert outer(False) == "done"
    with pytest.raises(ConcurrencyExceeded):
        outer(True)


def test_nothing_is_paid_where_nobody_knows_whether_it_has_been(run: object) -> None:
    paid: list[str] = []
    pay = idempotent(store=Away())(lambda idempotency_key: paid.append(idempotency_key))
    with pytest.raises(StoreUnavailableError):
        pay("k")
    assert paid == []
