"""Names for who holds a key, a probe or a place: unique among all processes, cheap to make."""

import itertools
import os

_begin: str
_numbers = itertools.count(1)


def _this_process() -> None:
    global _begin
    _begin = f"{os.getpid():x}-{os.urandom(6).hex()}-"


_this_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_this_process)


def new_owner() -> str:
    """A name that nobody else has."""
    return f"{_begin}{next(_numbers)}"
