"""A body that may take as long as it likes, and tells when that was longer than it should have been."""

import time
from collections.abc import Callable
from typing import Any

from actguard.pipeline.target import Target


def watched(body: Callable[..., Any], target: Target, seconds: float, tell: Callable[[], None]) -> Callable[..., Any]:
    """*body*, as it is; *tell* is called when it ends, however it does, after more than *seconds*."""

    def ended(begun: float) -> None:
        if time.monotonic() - begun > seconds:
            tell()

    async def waited(begun: float, result: Any) -> Any:
        try:
            return await result
        finally:
            ended(begun)

    async def watched_items(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        items = body(*args, **kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()
            ended(begun)

    async def watched_coroutine(*args: Any, **kwargs: Any) -> Any:
        return await waited(time.monotonic(), body(*args, **kwargs))

    def watched_function(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        result: Any = None
        try:
            result = body(*args, **kwargs)
        finally:
            lazy = hasattr(type(result), "__await__")  # pyright: ignore[reportUnknownArgumentType]
            if not lazy:
                ended(begun)
        return waited(begun, result) if lazy else result

    kinds = {"async": watched_coroutine, "async_generator": watched_items}
    return kinds.get(target.kind, watched_function)
