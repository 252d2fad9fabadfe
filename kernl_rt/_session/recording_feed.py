"""From the session's event loop to the thread that writes its recording: what is handed over, and how much may wait."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from attrs import frozen

from kernl_rt._recording.lanes import Side
from kernl_rt.config import AudioFormat

__all__ = ["Begun", "Entry", "Feed", "Line", "Sound"]

#: Bytes that may wait for the disk, and entries: some minutes of a call.
FEED_BYTES = 32 * 2**20
FEED_ENTRIES = 50_000
#: What an entry without sound counts for.
_ENTRY = 256


@frozen
class Begun:
    """The formats are known: the sound is written at ``rate``."""

    rate: int


@frozen
class Sound:
    """One side's sound, whose first sample is number ``start`` of its lane, at the rate of its own format."""

    side: Side
    start: int
    audio: bytes
    format: AudioFormat


@frozen
class Line:
    """A line to be. ``payload`` is an event, or what it says."""

    t: float
    said: float
    heard: float
    source: str
    kind: str
    payload: Any


Entry: TypeAlias = Begun | Sound | Line


class Feed:
    """From the event loop to the thread. Bounded: what does not fit is counted, and nobody waits.

    One puts and one takes, each with a counter of its own, so that neither needs a lock.
    """

    def __init__(self, limit: int = FEED_BYTES, entries: int = FEED_ENTRIES) -> None:
        self._limit, self._most = limit, entries
        self._waiting: deque[Entry] = deque()
        self._put = 0
        self._taken = 0
        #: Lost, in all: milliseconds of sound of both sides, and events.
        self.lost_ms = 0.0
        self.lost_events = 0

    def put(self, entry: Entry) -> bool:
        """Hand over. Returns whether it was taken."""
        size = _size(entry)
        if self._put - self._taken + size > self._limit or len(self._waiting) >= self._most:
            if isinstance(entry, Sound):
                self.lost_ms += entry.format.ms(len(entry.audio))
            else:
                self.lost_events += 1
            return False
        self._put += size
        self._waiting.append(entry)
        return True

    def take(self) -> list[Entry]:
        """Everything that waits."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._taken += sum(map(_size, batch))
        return batch


def _size(entry: Entry) -> int:
    return _ENTRY + (len(entry.audio) if isinstance(entry, Sound) else 0)
