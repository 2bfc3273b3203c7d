"""When each key of one part of a store is over, the first at hand.

Keys of one kind mostly end in the order in which they came, for a guard gives all of them the same time. They stand in
a line, where adding and taking one costs the same however many there are. What is out of order goes to a heap; so do
the heads of the lines.
"""

from collections import deque
from heapq import heappop, heappush, heapreplace
from math import inf

from actguard.stores.protocol import Kind


class Ends:
    """See the module. A key may be added more than once; all of them are taken."""

    __slots__ = ("_heap", "_lines", "count", "next")

    next: float

    def __init__(self) -> None:
        self.clear()

    def add(self, end: float, kind: Kind, key: str) -> None:
        self.count += 1
        line = self._lines.get(kind)
        if line and line[-1][0] <= end:
            line.append((end, key))
            return
        heads = not line
        if heads:
            self._lines.setdefault(kind, deque()).append((end, key))
        heappush(self._heap, (end, kind, heads, key))
        if end < self.next:
            self.next = end

    def take(self, now: float, most: int) -> tuple[Kind, list[str]] | None:
        """Some of one kind that end by *now*, at most *most*, the first of all before the others; not here any more."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            return None
        _, kind, heads, key = heap[0]
        keys = [key]
        if heads:
            line = self._lines[kind]
            line.popleft()
            while line and line[0][0] <= now and len(keys) < most:
                keys.append(line.popleft()[1])
            if line:
                heapreplace(heap, (line[0][0], kind, True, line[0][1]))
            else:
                heappop(heap)
        else:
            heappop(heap)
        self.count -= len(keys)
        self.next = heap[0][0] if heap else inf
        return kind, keys

    def rest(self, until: float) -> None:
        """Nobody need look before *until*, unless something ends that is added meanwhile."""
        if self.next < until:
            self.next = until

    def clear(self) -> None:
        self.count = 0
        """How many they are: `len`, for whoever asks before every new key."""
        self._heap: list[tuple[float, Kind, bool, str]] = []  # the bool: it stands first in its line
        self._lines: dict[Kind, deque[tuple[float, str]]] = {}
        self.next = inf
        """When the first one ends, or when to look for it."""

    def __len__(self) -> int:
        return self.count
