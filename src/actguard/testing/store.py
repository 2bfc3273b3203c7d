"""Bounded memory of what one request leaves for the next."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")
_LIMIT = 10_000


class Store(OrderedDict[str, T], Generic[T]):
    """By id; the oldest goes first."""

    def __setitem__(self, id: str, value: T) -> None:
        super().__setitem__(id, value)
        self.move_to_end(id)
        if len(self) > _LIMIT:
            self.popitem(last=False)
