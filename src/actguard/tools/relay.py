"""An asynchronous generator in the place of another: what is sent in, thrown in and closed reaches the one inside."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any


async def relay(
    items: AsyncGenerator[Any, Any],
    asking: Callable[[Awaitable[Any]], Awaitable[Any]],
    ended: Callable[[], None] = lambda: None,
) -> AsyncGenerator[Any, Any]:
    """Everything that *items* yields.

    Args:
        asking: awaits the next item; may raise instead.
        ended: called at the end, whichever it is.
    """
    asked: Awaitable[Any] = items.__anext__()
    try:
        while True:
            try:
                item = await asking(asked)
            except StopAsyncIteration:
                return
            try:
                sent = yield item
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, for the body
                asked = items.athrow(error)
            else:
                asked = items.asend(sent)
    finally:
        try:
            await items.aclose()
        finally:
            ended()
