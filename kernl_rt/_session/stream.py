"""Event iterators: one bounded buffer for each consumer, and the rule for one that falls behind.

The rule (``policy``):

``"shed"``
    the default. Partial content (deltas, audio) is dropped first, oldest first, and counted in one ``dropped`` event
    that comes before what waits; sound also where more than :data:`SOUND` bytes of it wait. Lifecycle, tool, final
    transcript and error events are never dropped: when only those are left and the buffer is full, the iterator ends
    with ``SlowConsumer``. The session lives.
``"drop_oldest"``
    whatever is oldest goes, and is counted.
``"block"``
    nothing is dropped: the session stops reading from the model until there is room. Barge-in waits with it. An
    iterator that nobody holds any more blocks nobody.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import anyio
from attrs import define, field

from kernl_rt._emitter import EVERYTHING
from kernl_rt._parking import Parking
from kernl_rt.events import AudioDelta, EventsDropped
from kernl_rt.exceptions import MisconfiguredError, SessionStateError, SlowConsumer

__all__ = ["BUFFER", "EventStream", "Losses", "Policy", "Room", "Streams", "topics_of"]

#: Events that wait for one iterator, and bytes of sound among them (27 seconds of PCM16 at 24 kHz). Whoever asks for
#: more places gets room for more sound.
BUFFER = 1_024
SOUND = 1_280 * BUFFER
#: Seconds after which a session that waits for room looks whether the iterator still exists.
_LOOK_AGAIN = 0.1

Policy: TypeAlias = Literal["shed", "drop_oldest", "block"]


def topics_of(event: Any) -> tuple[str, ...]:
    """The names under which an event is heard: its topic, its kind, and ``"event"``."""
    key = event.topic, event.kind
    names = _NAMES.get(key)
    if names is None:
        topic, kind = key
        names = (kind, EVERYTHING) if topic is None or topic == kind else (topic, kind, EVERYTHING)
        if len(_NAMES) < _MOST_NAMES:  # the user's own events may be named by data
            _NAMES[key] = names
    return names


_NAMES: dict[tuple[str | None, str], tuple[str, ...]] = {}
_MOST_NAMES = 1_000


@define
class Losses:
    """What all iterators of a session have lost so far, those included that are gone."""

    #: Events that were shed, by kind.
    dropped: Counter[str] = field(factory=Counter)
    #: Iterators that ended because they were too slow.
    slow: int = 0


class Room:
    """Where the session waits for a blocking iterator.

    It does not keep the iterator alive: one that was abandoned would otherwise be waited for forever, by the only one
    who still holds it.
    """

    def __init__(self, stream: EventStream) -> None:
        self._stream = weakref.ref(stream)
        self._made: anyio.Event | None = None

    @property
    def missing(self) -> bool:
        stream = self._stream()
        return stream is not None and stream.policy == "block" and stream.full and stream.live

    def made(self) -> None:
        if self._made is not None:
            self._made.set()

    async def wait_room(self) -> None:
        """Wait until there is room again, or nobody who needs it."""
        while self.missing:
            self._made = anyio.Event()
            try:
                # The end of an object is not announced to a task: it may happen in any thread.
                with anyio.move_on_after(_LOOK_AGAIN):
                    await self._made.wait()
            finally:
                self._made = None


class EventStream:
    """An asynchronous iterator over the session's events, from the moment it was made.

    It ends after the ``closed`` status. Leaving it needs no clean-up: it holds no task and no scope.
    """

    def __init__(self, topics: tuple[str, ...], policy: Policy, limit: int, losses: Losses | None = None) -> None:
        if policy not in ("shed", "drop_oldest", "block"):
            raise MisconfiguredError(f"unknown policy {policy!r}: use 'shed', 'drop_oldest' or 'block'")
        if limit < 2:
            raise MisconfiguredError(f"an event buffer of {limit!r} is too small: it needs at least 2 places")
        self._topics = frozenset(topics) - {EVERYTHING} if EVERYTHING not in topics else frozenset()
        self.policy = policy
        self.limit: int = limit
        self._losses = losses or Losses()
        self._buffer: deque[Any] = deque()
        self._sound = 0  # bytes in it
        self._most_sound = max(SOUND, SOUND // BUFFER * limit)
        self._dropped: Counter[str] = Counter()
        self._slow = False
        self._closed = False
        self._parked = Parking()
        self.room: Room = Room(self)
        self.dropped: int = 0
        self.peak: int = 0

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def wants_everything(self) -> bool:
        return not self._topics

    @property
    def full(self) -> bool:
        return len(self._buffer) >= self.limit or self._sound > self._most_sound

    @property
    def live(self) -> bool:
        return not self._closed and not self._slow

    @property
    def slow(self) -> bool:
        """It fell behind by more than may be dropped, and has ended."""
        return self._slow

    def hears(self, names: tuple[str, ...]) -> bool:
        return not self._topics or not self._topics.isdisjoint(names)

    # -- the session's side -------------------------------------------------------------------------------------------

    def push(self, event: Any) -> None:
        """Hand an event over. Never waits."""
        if self._closed or self._slow:
            return
        buffer = self._buffer
        if len(buffer) >= self.limit and self.policy != "block" and not self._make_room(event):
            return
        buffer.append(event)
        if type(event) is AudioDelta:
            self._sound += len(event.audio)
            while self._sound > max(self._most_sound, len(event.audio)) and self.policy != "block":
                self._drop_sound()
        if len(buffer) > self.peak:
            self.peak = len(buffer)
        self._parked.wake()

    def close(self) -> None:
        """No more events will come; what waits is still delivered."""
        self._closed = True
        self._parked.wake()
        self.room.made()

    def discard(self) -> None:
        """Forget what waits, too."""
        self._buffer.clear()
        self._sound = 0
        self._dropped.clear()
        self.close()

    def purge(self, response_id: str | None) -> None:
        """Sound of an interrupted reply is of no use to anybody any more."""
        stale = [e for e in self._buffer if type(e) is AudioDelta and e.response_id == response_id]
        if stale:
            gone = set(map(id, stale))
            self._buffer = deque(e for e in self._buffer if id(e) not in gone)
            self._sound -= sum(len(e.audio) for e in stale)
            self._count(AudioDelta.kind, len(stale))
            self.room.made()

    def _make_room(self, event: Any) -> bool:
        """Drop by the policy. Returns whether ``event`` itself may come in."""
        if self.policy == "drop_oldest":
            self._count(self._take(0).kind)
            return True
        for index, old in enumerate(self._buffer):
            if old.sheddable:
                self._count(self._take(index).kind)
                return True
        if event.sheddable:
            self._count(event.kind)
            return False
        self._slow = True
        self._losses.slow += 1
        self._parked.wake()
        return False

    def _drop_sound(self) -> None:
        """The oldest sound gets too old: what is said now matters more. There is some before the newest."""
        oldest = next(index for index, event in enumerate(self._buffer) if type(event) is AudioDelta)
        self._count(self._take(oldest).kind)

    def _take(self, index: int) -> Any:
        event = self._buffer[index]
        del self._buffer[index]
        if type(event) is AudioDelta:
            self._sound -= len(event.audio)
        return event

    def _count(self, kind: str, number: int = 1) -> None:
        self._dropped[kind] += number
        self._losses.dropped[kind] += number
        self.dropped += number

    # -- the consumer's side ------------------------------------------------------------------------------------------

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Any:
        """The next event. Returns at once, without a checkpoint, while events wait; cancelling it loses none.

        Raises:
            SlowConsumer: this iterator fell too far behind and has ended.
        """
        while True:
            if self._dropped:
                counts, self._dropped = dict(self._dropped), Counter()
                return EventsDropped(counts)
            if self._buffer:
                event = self._buffer.popleft()
                if type(event) is AudioDelta:
                    self._sound -= len(event.audio)
                if not self.full:
                    self.room.made()
                return event
            if self._slow:
                raise SlowConsumer(
                    f"more than {self.limit} events that may not be dropped waited for this iterator; consume faster, "
                    "iterate over fewer topics, or use policy='drop_oldest'"
                )
            if self._closed:
                raise StopAsyncIteration
            if self._parked.taken:
                raise SessionStateError("another task waits on this iterator; give each task its own session.events()")
            await self._parked.park()


class Streams:
    """The session's streams. Held weakly: one that nobody holds any more takes no more events."""

    def __init__(self) -> None:
        self._streams: list[weakref.ref[EventStream]] = []
        self.closed = False
        self.losses = Losses()

    def open(self, topics: tuple[str, ...], policy: Policy, limit: int) -> EventStream:
        stream = EventStream(topics, policy, limit, self.losses)
        if self.closed:
            stream.close()
        else:
            self._streams.append(weakref.ref(stream, self._streams.remove))
        return stream

    @property
    def any(self) -> bool:
        return bool(self._streams)

    def __iter__(self) -> Iterator[EventStream]:
        for ref in tuple(self._streams):
            stream = ref()
            if stream is not None and stream.live:
                yield stream

    def close(self) -> None:
        self.closed = True
        for stream in self:
            stream.close()

    @property
    def blocked(self) -> Room | None:
        """Where to wait for a stream that makes the session wait."""
        if not self._streams:
            return None
        return next((stream.room for stream in self if stream.room.missing), None)
