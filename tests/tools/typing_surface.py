"""What type checkers see of guarded functions: checked by mypy and pyright (test_typing.py), never run."""

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, assert_type

import actguard


@actguard.rate_limit(max_calls=3, scope="user")
def search(user: str, limit: int = 3) -> list[str]:
    return [user] * limit


@actguard.tool(timeout=3, rate_limit="10/s", max_attempts=3)
async def fetch(url: str, *, retries: int = 0) -> bytes:
    return url.encode()


@actguard.circuit_breaker(name="rows")
def rows(table: str) -> Generator[int, None, str]:
    yield 1
    return table


@actguard.rate_limit()
async def arows() -> AsyncGenerator[int, None]:
    yield 1


@actguard.tool
def bare(text: str) -> str:
    return text


class Tools:
    @actguard.timeout(3)
    def method(self, text: str) -> str:
        return text

    @classmethod
    @actguard.max_attempts(calls=3)
    def of_class(cls, number: int) -> "Tools":
        return cls()

    @staticmethod
    @actguard.idempotent()
    def static(idempotency_key: str) -> float:
        return 1.0

    @actguard.no_repeat()
    @actguard.concurrency(limit=2)
    async def amethod(self) -> int:
        return 1


assert_type(search("a", limit=2), list[str])
fetched = assert_type(fetch("a", retries=1), Coroutine[Any, Any, bytes])
assert_type(rows("t"), Generator[int, None, str])
assert_type(arows(), AsyncGenerator[int, None])
assert_type(bare("x"), str)
assert_type(Tools().method("x"), str)
assert_type(Tools.of_class(1), Tools)
assert_type(Tools.static("k"), float)
done = assert_type(Tools().amethod(), Coroutine[Any, Any, int])
assert_type(actguard.explain(search), str)
assert_type(actguard.remaining(), float | None)

as_callback: Callable[[str], list[str]] = search

search(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
search("a", unknown=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
actguard.rate_limit(max_call=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
actguard.rate_limit(algorithm="leaky")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
