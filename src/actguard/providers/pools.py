"""The pools of multiprocessing.

    ThreadPool   a piece of work runs in the frame of who handed it in
    Pool         it carries the notice that limits end at the edge of a process (processes.py)

Their workers serve everybody, so they start outside, whoever makes the pool.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from actguard.context import APART, OUTSIDE, Frame, inside, is_outside
from actguard.propagation import Patching, carrying
from actguard.providers.processes import noticed
from actguard.steps import frame_here, stained

_Method = Callable[..., Any]
_END: Any = object()


def observe(package: str, patches: Patching) -> None:
    """Have the pools of *package*, `multiprocessing.pool`, hand frames on."""
    module = sys.modules[package]
    pool = module.Pool  # of which ThreadPool is a subclass
    patches.wrap(pool, "__init__", _around_birth)
    around = functools.partial(_around, module.ThreadPool)
    for name in ("apply_async", "_map_async"):  # all others come down to these four
        patches.wrap(pool, name, around)
    for name in ("imap", "imap_unordered"):
        patches.wrap(pool, name, functools.partial(_around_imap, around))


def _around_birth(original: _Method) -> _Method:
    @functools.wraps(original)
    def born(pool: Any, *args: Any, **kwargs: Any) -> None:
        with inside(APART):
            original(pool, *args, **kwargs)

    return born


def _around(threads: type[Any], original: _Method) -> _Method:
    @functools.wraps(original)
    def pooled(pool: Any, func: _Method, *args: Any, **kwargs: Any) -> Any:
        frame = frame_here()
        if not is_outside(frame):
            func = carrying(frame, func) if isinstance(pool, threads) else noticed(frame, func)
        elif stained and isinstance(pool, threads):
            func = carrying(OUTSIDE, func)
        return original(pool, func, *args, **kwargs)

    return pooled


def _around_imap(around: Callable[[_Method], _Method], original: _Method) -> _Method:
    """The items are made when they are needed, by a thread of the pool."""
    handed_in = around(original)

    @functools.wraps(original)
    def pooled(pool: Any, func: _Method, iterable: Any, *args: Any, **kwargs: Any) -> Any:
        frame = frame_here()
        if not is_outside(frame):
            iterable = _made_in(frame, iterable)
        return handed_in(pool, func, iterable, *args, **kwargs)

    return pooled


def _made_in(frame: Frame, iterable: Iterable[Any]) -> Iterator[Any]:
    with inside(frame):
        items = iter(iterable)
    while True:
        with inside(frame):
            item = next(items, _END)
        if item is _END:
            return
        yield item
