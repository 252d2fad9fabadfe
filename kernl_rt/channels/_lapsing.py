"""What is remembered for a while, and then forgotten by itself: pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Lapsing"]

K = TypeVar("K")
V = TypeVar("V")


class Lapsing(Generic[K, V]):
    """Values by key, each for ``seconds`` from when it was put in; of more than ``most``, the oldest goes before that.

    Time enters as ``now``, in seconds. What has lapsed is there until :meth:`forget` is called.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    @property
    def full(self) -> bool:
        """One more would take the place of the oldest."""
        return len(self._kept) >= self._most

    def forget(self, now: float) -> None:
        """Let go of what has lapsed."""
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._kept.popitem(last=False)

    def put(self, key: K, value: V, now: float) -> None:
        """Keep a value of a new ``key``."""
        if self.full:
            self._kept.popitem(last=False)
        self._kept[key] = (now + self._seconds, value)

    def pop(self, key: K) -> V | None:
        """Take a value out, if it is there."""
        kept = self._kept.pop(key, None)
        return None if kept is None else kept[1]
