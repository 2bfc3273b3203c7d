"""Streams that send nothing until somebody asks for their first chunk.

All of google-genai's are: a generator is what the call gives back, and its body is the call. It may be run anywhere,
and counts where it was asked for, as a stream of any other SDK does: each step is made in the frame of the call.
"""

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from actguard.context import Frame, current_frame, inside
from actguard.providers.patches import Patches
from actguard.steps import frame_here, generators

_END: Any = object()


def watch_streams(models: Any, chats: Any, patches: Patches) -> None:
    patches.wrap(models.Models, "generate_content_stream", _around)
    patches.wrap(models.AsyncModels, "generate_content_stream", _around_async)
    patches.wrap(chats.Chat, "send_message_stream", _around)
    patches.wrap(chats.AsyncChat, "send_message_stream", _around_async)


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def stream(*args: Any, **kwargs: Any) -> Any:
        chunks, frame = original(*args, **kwargs), frame_here()
        if frame.scope is None or not isinstance(chunks, GeneratorType):
            return chunks
        return _made_in(frame, chunks)  # pyright: ignore[reportUnknownArgumentType]

    return stream


def _around_async(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def stream(*args: Any, **kwargs: Any) -> Any:
        chunks, frame = await original(*args, **kwargs), frame_here()
        if frame.scope is None or not isinstance(chunks, AsyncGeneratorType):
            return chunks
        return _amade_in(frame, chunks)  # pyright: ignore[reportUnknownArgumentType]

    return stream


def _made_in(frame: Frame, chunks: Generator[Any, Any, Any]) -> Generator[Any]:
    own = _copied(frame)
    try:
        while True:
            if current_frame() is frame and not generators:
                chunk = next(chunks, _END)
            else:
                with inside(own):
                    chunk = next(chunks, _END)
            if chunk is _END:
                return
            yield chunk
    finally:
        chunks.close()


async def _amade_in(frame: Frame, chunks: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any]:
    own = _copied(frame)
    try:
        while True:
            if current_frame() is frame and not generators:
                chunk = await anext(chunks, _END)
            else:
                with inside(own):
                    chunk = await anext(chunks, _END)
            if chunk is _END:
                return
            yield chunk
    finally:
        await chunks.aclose()


def _copied(frame: Frame) -> Frame:
    """Another frame, so that it is not taken for one in which a generator has lost what it has entered."""
    return frame._replace()
