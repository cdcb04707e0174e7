"""A small memory of what is dear to make: the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by key.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[object, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def get(self, key: object) -> Value | None:
        """Return a value that is kept, or None."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: object, value: Value) -> Value:
        """Keep a value; returns it."""
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return value

    def made(self, key: object, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made now if it is not kept."""
        value = self.get(key)
        return self.put(key, make()) if value is None else value
