"""Those who have connected and not said who they are: they take no line, and never keep the others out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio

__all__ = ["WaitingRoom"]


class WaitingRoom:
    """Holds at most ``most``; one more sends away who has waited longest.

    Whoever means it speaks at once, so those who wait long are the ones who do not: a thousand silent connections cost
    what ``most`` of them cost, and a caller who comes after them is heard all the same.
    """

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._waiting: dict[object, anyio.CancelScope] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def place(self) -> Iterator[anyio.CancelScope]:
        """A place until the block is left. Its scope is cancelled where somebody else needs it."""
        while len(self._waiting) >= self._most:
            self._waiting.pop(next(iter(self._waiting))).cancel()
        key = object()
        with anyio.CancelScope() as scope:
            self._waiting[key] = scope
            try:
                yield scope
            finally:
                self._waiting.pop(key, None)
