"""Calls that returned something to ask for, such as a generator, and whose callers threw it away unasked.

Nobody knows what came of such a call, and what it holds must not stay held. That it was thrown away is noticed by the
garbage collector, in the middle of anything: there it is only noted down. It is seen to by the next call that is
refused, or that returns such a thing itself.
"""

from collections import deque
from typing import Protocol

from actguard.pipeline.call import Call
from actguard.pipeline.guard import Ending


class Abandons(Protocol):
    """Sees to the end of calls (plan.py)."""

    def abandon(self, call: Call, ending: Ending) -> None: ...


_thrown_away: deque[tuple[Abandons, Call]] = deque()


class Unasked:
    """A call whose result waits to be asked for."""

    __slots__ = ("_call", "_plan")

    def __init__(self, plan: Abandons, call: Call) -> None:
        self._plan = plan
        self._call: Call | None = call

    def take(self) -> Call:
        """The call, for whoever now sees to its end."""
        call, self._call = self._call, None
        assert call is not None
        return call

    def __del__(self) -> None:
        if self._call is not None and self._call.held:
            _thrown_away.append((self._plan, self._call))


def settle() -> bool:
    """See to what was thrown away; whether there was anything."""
    found = False
    while _thrown_away:
        try:
            plan, call = _thrown_away.popleft()
        except IndexError:  # somebody else was quicker
            break
        found = True
        plan.abandon(call, Ending(None, GeneratorExit("nobody asked for its result"), True, 0.0))
    return found
