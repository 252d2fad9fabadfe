"""What waits for the socket, and the rule for each lane when the socket falls behind.

=========  ==========================================================================================================
lane       when full
=========  ==========================================================================================================
URGENT     never: an interruption adds two or three events, and it is written before anything else
COMMAND    bounded by :data:`kernl_rt._core.backlog.LIMIT`: the caller's verb raises ``LaneFull``
AUDIO      live sound: :data:`LIVE_MS` of it, then the oldest is dropped and counted;
           sound that a caller handed over, and what must not overtake it: kept, up to :data:`HELD_BYTES`
=========  ==========================================================================================================
"""

from __future__ import annotations

from collections import deque

from kernl_rt._core.actions import Lane, Send
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioInputAppend, ClientEvent

__all__ = ["HELD_BYTES", "LIVE_MS", "Outbox"]

#: Live sound waits at most so long, in milliseconds: older sound is of no use to a conversation.
LIVE_MS = 500
#: Sound handed over by the caller waits up to this many bytes.
HELD_BYTES = 8 * 2**20


class Outbox:
    """``live`` says whether captured sound is dropped when it waits too long (a microphone) or kept (a file)."""

    def __init__(self, format: AudioFormat, *, live: bool = True) -> None:
        self._format = format
        self._live = live
        self._lanes: dict[Lane, deque[Send]] = {lane: deque() for lane in Lane}
        self._live_limit = format.size(LIVE_MS)
        self.audio_bytes = 0
        #: Of these, sound that may be dropped.
        self._live_bytes = 0
        self.dropped_bytes = 0
        self.written = 0
        #: Events that were forgotten because their link was gone. What matters of them is said again on the next.
        self.cleared = 0

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    @property
    def commands(self) -> int:
        """Commands and tool results that wait."""
        return len(self._lanes[Lane.COMMAND])

    @property
    def dropped_ms(self) -> float:
        return self._format.ms(self.dropped_bytes)

    @property
    def has_room(self) -> bool:
        """Whether a source that can wait should go on."""
        return self.audio_bytes < self._live_limit

    @property
    def full(self) -> bool:
        """Whether a caller that hands over sound must be refused."""
        return self.audio_bytes >= HELD_BYTES

    def use_format(self, format: AudioFormat) -> None:
        """The sound that comes from now on is in another format."""
        self._format = format
        self._live_limit = format.size(LIVE_MS)

    def push(self, send: Send) -> None:
        event = send.event
        self._lanes[send.lane].append(send)
        if type(event) is AudioInputAppend:
            size = len(event.audio)
            self.audio_bytes += size
            if send.captured and self._live:
                self._live_bytes += size
                if self._live_bytes > self._live_limit:
                    self._shed()

    def pop(self, *, urgent: bool = False) -> ClientEvent | None:
        """The next event to write; with ``urgent``, only one that overtakes the rest."""
        for lane in (self._lanes[Lane.URGENT],) if urgent else self._lanes.values():
            if lane:
                send = lane.popleft()
                self._leaves(send)
                self.written += 1
                return send.event
        return None

    def recall(self, event_id: str) -> bool:
        """Take back what has not been written yet. Returns whether it could be."""
        for lane in self._lanes.values():
            for send in lane:
                if send.event.event_id == event_id:
                    lane.remove(send)
                    self._leaves(send)
                    return True
        return False

    def clear(self) -> None:
        """Forget everything: the link that it waits for is gone."""
        self.cleared += len(self)
        for lane in self._lanes.values():
            lane.clear()
        self.audio_bytes = self._live_bytes = 0

    def _leaves(self, send: Send) -> int:
        """Returns the bytes of sound in it."""
        size = len(send.event.audio) if type(send.event) is AudioInputAppend else 0
        self.audio_bytes -= size
        if send.captured and self._live:
            self._live_bytes -= size
        return size

    def _shed(self) -> None:
        """Drop the oldest live sound; a commit, and what else may not be dropped, stays in its place."""
        lane = self._lanes[Lane.AUDIO]
        kept: deque[Send] = deque()
        while lane and self._live_bytes > self._live_limit:
            send = lane.popleft()
            if send.captured:
                self.dropped_bytes += self._leaves(send)
            else:
                kept.append(send)
        lane.extendleft(reversed(kept))
