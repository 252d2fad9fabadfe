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
        self._lanes: dict[Lane, deque[ClientEvent]] = {lane: deque() for lane in Lane}
        self._live_limit = format.size(LIVE_MS)
        self.audio_bytes = 0
        self.dropped_bytes = 0
        self.written = 0

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

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
        self._lanes[send.lane].append(event)
        if type(event) is AudioInputAppend:
            self.audio_bytes += len(event.audio)
            if send.captured and self._live and self.audio_bytes > self._live_limit:
                self._shed()

    def pop(self) -> ClientEvent | None:
        """The next event to write."""
        for lane in self._lanes.values():
            if lane:
                event = lane.popleft()
                if type(event) is AudioInputAppend:
                    self.audio_bytes -= len(event.audio)
                self.written += 1
                return event
        return None

    def clear(self) -> int:
        """Forget everything. Returns how many events were lost."""
        lost = len(self)
        for lane in self._lanes.values():
            lane.clear()
        self.audio_bytes = 0
        return lost

    def _shed(self) -> None:
        """Drop the oldest sound; a commit, and what follows it, stays in its place."""
        lane = self._lanes[Lane.AUDIO]
        kept: deque[ClientEvent] = deque()
        while lane and self.audio_bytes > self._live_limit:
            event = lane.popleft()
            if type(event) is AudioInputAppend:
                self.audio_bytes -= len(event.audio)
                self.dropped_bytes += len(event.audio)
            else:
                kept.append(event)
        lane.extendleft(reversed(kept))
