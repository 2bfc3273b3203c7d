"""Generators, looked through item by item: each is taken note of before it is handed on.

What the consumer sends or throws reaches the generator, and what that returns in the end is returned.
"""

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any


def tee(
    source: Generator[Any, Any, Any], take: Callable[[Any], None], ended: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """What *source* yields; *take* is told each item first, and *ended* when there are no more.

    If one of them raises, that ends it all, and *source* is closed.
    """
    step: Callable[[], Any] = functools.partial(next, source)
    try:
        while True:
            try:
                item = step()
            except StopIteration as end:
                ended()
                return end.value
            take(item)
            try:
                sent = yield item
            except GeneratorExit:
                raise
            except BaseException as thrown:  # noqa: BLE001 - handed to the generator it was thrown at
                step = functools.partial(source.throw, thrown)
            else:
                step = functools.partial(source.send, sent)
    finally:
        source.close()


async def atee(
    source: AsyncGenerator[Any, Any],
    begun: Callable[[], Awaitable[None]],
    take: Callable[[Any], Awaitable[None]],
    ended: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Any, Any]:
    """`tee`, of an asynchronous generator; *begun* is told when the first item is asked for."""
    await begun()
    step: Callable[[], Any] = source.__anext__
    try:
        while True:
            try:
                item = await step()
            except StopAsyncIteration:
                await ended()
                return
            await take(item)
            try:
                sent = yield item
            except GeneratorExit:
                raise
            except BaseException as thrown:  # noqa: BLE001 - handed to the generator it was thrown at
                step = functools.partial(source.athrow, thrown)
            else:
                step = functools.partial(source.asend, sent)
    finally:
        await source.aclose()
