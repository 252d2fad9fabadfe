"""The bounded buffer of what the far end of a memory channel hears."""

from __future__ import annotations

from collections import deque

__all__ = ["Ear"]


class Ear:
    """Sound for the human, not fetched yet: at most ``capacity`` bytes, the oldest are dropped and counted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[bytes] = deque()
        self.size: int = 0
        self.dropped: int = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def put(self, audio: bytes) -> None:
        self._pieces.append(audio)
        self.size += len(audio)
        while self.size > self._capacity and len(self._pieces) > 1:
            self.dropped += len(self.take())

    def take(self) -> bytes:
        piece = self._pieces.popleft()
        self.size -= len(piece)
        return piece

    def take_all(self) -> bytes:
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return whole

    def drop_newest(self, size: int) -> None:
        """The last ``size`` bytes were cleared; as many of them as are still here go."""
        while size > 0 and self._pieces:
            piece = self._pieces.pop()
            self.size -= len(piece)
            if len(piece) > size:
                self.put(piece[: len(piece) - size])
            size -= len(piece)
