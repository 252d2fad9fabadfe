"""What the human did and the session has not fetched: the bounded inbox that channels share."""

from __future__ import annotations

from collections import deque

import anyio

from kernl_rt.events import AudioCaptured, AudioPlayed, ChannelEvent

__all__ = ["Inbox"]

#: Events other than sound and marks.
_EVENTS_MAX = 1_024


class Inbox:
    """What the human did, in order, for the session. ``size`` is the bytes of sound in it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._events: deque[ChannelEvent] = deque()
        self._others = 0
        self.size: int = 0
        self.dropped: int = 0

    def __len__(self) -> int:
        return len(self._events)

    def has_room(self, size: int) -> bool:
        """A piece larger than the whole buffer is let in when there is no other sound."""
        return not self.size or self.size + size <= self._capacity

    def make_room(self, size: int) -> None:
        """Drop the oldest sound, and count it."""
        kept: deque[ChannelEvent] = deque()
        for event in self._events:
            if isinstance(event, AudioCaptured) and not self.has_room(size):
                self.size -= len(event.audio)
                self.dropped += len(event.audio)
            else:
                kept.append(event)
        self._events = kept

    def put_audio(self, event: AudioCaptured) -> None:
        if event.audio:
            self._events.append(event)
            self.size += len(event.audio)

    def put_event(self, event: ChannelEvent) -> None:
        if self._others >= _EVENTS_MAX:
            raise anyio.WouldBlock
        self._others += 1
        self._events.append(event)

    def put_mark(self, mark: AudioPlayed) -> None:
        """A mark replaces the one before it when nothing came between."""
        if self._events and isinstance(self._events[-1], AudioPlayed):
            self._events[-1] = mark
        else:
            self._events.append(mark)

    def drop_marks(self) -> None:
        self._events = deque(event for event in self._events if not isinstance(event, AudioPlayed))

    def take(self) -> ChannelEvent:
        event = self._events.popleft()
        if isinstance(event, AudioCaptured):
            self.size -= len(event.audio)
        elif not isinstance(event, AudioPlayed):
            self._others -= 1
        return event
