"""Every store there is, with a clock that tests turn: what the contract is held against."""

import asyncio
from collections.abc import Sequence
from typing import Any

from actguard.stores.protocol import Step
from actguard.stores.store import AsyncStore, Store


class Clock:
    """Seconds, as stores with a monotonic clock want them, and microseconds, as Redis does.

    Turned in 64ths of a second, both are exact.
    """

    def __init__(self) -> None:
        self._micros = 1_700_000_000_000_000

    def __call__(self) -> float:
        return self._micros / 1_000_000

    def micros(self) -> int:
        return self._micros

    def turn(self, seconds: float) -> None:
        micros = round(seconds * 1_000_000)
        assert abs(micros - seconds * 1_000_000) < 1e-3
        self._micros += micros


class Awaited:
    """An asynchronous store, called as the others are: each call runs to its end on a loop of its own."""

    blocking = True
    aio = None

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._runner = asyncio.Runner()
        self.serialises = store.serialises

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            async def awaited() -> Any:
                return await getattr(self._store, name)(*arguments, **options)

            return self._runner.run(awaited())

        return call

    def close(self) -> None:
        self._runner.run(self._store.aclose())
        self._runner.close()


class Here:
    """A store and its clock, and the short words that the contract is written in."""

    def __init__(self, store: Any, clock: Clock) -> None:
        self.store: Store = store
        self.clock = clock

    def ask(self, *steps: Step) -> Any:
        """The receipt (or the list of them), or the refusal."""
        answer = self.store.admit(steps)
        if hasattr(answer, "refusal"):
            return answer.refusal
        return answer.receipts[0] if len(steps) == 1 else list(answer.receipts)

    def tell(self, *reports: Any) -> Any:
        """Whether it had an effect (or the list of that)."""
        answers: Sequence[bool] = self.store.finish(reports)
        return answers[0] if len(reports) == 1 else list(answers)

    def wait(self, seconds: float) -> None:
        self.clock.turn(seconds)
