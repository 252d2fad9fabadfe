"""Put numbered messages in order, waiting a little for those that are late."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Order"]

T = TypeVar("T")

#: A step beyond this is no loss: the far end began to count anew.
_JUMP = 500


class Order(Generic[T]):
    """Numbers in any order in, rising ones out. At most ``hold`` messages wait, and none longer than ``patience`` s.

    What has been given up on is lost; should it come after all, it is dropped and counted as repeated.
    """

    def __init__(self, hold: int = 5, patience: float = 0.1) -> None:
        self.hold = hold
        self.patience = patience
        self.lost: int = 0
        self.repeated: int = 0
        self._next: int | None = None
        self._held: dict[int, tuple[T, float]] = {}

    def push(self, number: int, item: T, now: float) -> list[T]:
        """What can be used now, in order."""
        if self._next is None:
            self._next = min(number, 1) if number <= self.hold else number
        ready: list[T] = []
        if abs(number - self._next) > _JUMP:
            ready = self.flush()
            self._next = number
        if number < self._next or number in self._held:
            self.repeated += 1
            return ready
        self._held[number] = (item, now)
        self._take(ready)
        while self._held and (len(self._held) > self.hold or now - self._oldest() >= self.patience):
            first = min(self._held)
            self.lost += first - self._next
            self._next = first
            self._take(ready)
        return ready

    def flush(self) -> list[T]:
        """What waits, in order; the gaps between are lost."""
        ready: list[T] = []
        for number in sorted(self._held):
            assert self._next is not None
            self.lost += number - self._next
            self._next = number + 1
            ready.append(self._held.pop(number)[0])
        return ready

    def _take(self, ready: list[T]) -> None:
        assert self._next is not None
        while self._next in self._held:
            ready.append(self._held.pop(self._next)[0])
            self._next += 1

    def _oldest(self) -> float:
        return min(at for _, at in self._held.values())
