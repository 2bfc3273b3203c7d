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
        self.next = self._heap[0][0]

    def take(self) -> tuple[Kind, str]:
        """The one that ends first, which is not here any more."""
        heap = self._heap
        _, kind, heads, key = heap[0]
        line = self._lines[kind]
        if heads:
            line.popleft()
        if heads and line:
            heapreplace(heap, (line[0][0], kind, True, line[0][1]))
        else:
            heappop(heap)
        self.count -= 1
        self.next = heap[0][0] if heap else inf
        return kind, key

    def clear(self) -> None:
        self.count = 0
        """How many they are: `len`, for whoever asks before every new key."""
        self._heap: list[tuple[float, Kind, bool, str]] = []  # the bool: it stands first in its line
        self._lines: dict[Kind, deque[tuple[float, str]]] = {}
        self.next = inf
        """When the first one ends."""

    def __len__(self) -> int:
        return self.count
