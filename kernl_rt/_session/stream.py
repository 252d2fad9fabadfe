"""Event iterators: one bounded buffer for each consumer, and the rule for one that falls behind.

The rule (``policy``):

``"shed"``
    the default. Partial content (deltas, audio) is dropped first, oldest first, and counted in one ``dropped`` event
    that stands where the gap is. Lifecycle, tool, final transcript and error events are never dropped: when only those
    are left and the buffer is full, the iterator ends with ``SlowConsumer``. The session lives.
``"drop_oldest"``
    whatever is oldest goes, and is counted.
``"block"``
    nothing is dropped: the session stops reading from the model until there is room. Barge-in waits with it.
"""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import anyio

from kernl_rt._emitter import EVERYTHING
from kernl_rt.events import AudioDelta, EventsDropped
from kernl_rt.exceptions import MisconfiguredError, SessionStateError, SlowConsumer

__all__ = ["BUFFER", "EventStream", "Policy", "Streams", "topics_of"]

#: Events that wait for one iterator.
BUFFER = 1_024

Policy: TypeAlias = Literal["shed", "drop_oldest", "block"]


def topics_of(event: Any) -> tuple[str, ...]:
    """The names under which an event is heard: its topic, its kind, and ``"event"``."""
    topic, kind = event.topic, event.kind
    if topic is None or topic == kind:
        return (kind, EVERYTHING)
    return (topic, kind, EVERYTHING)


class EventStream:
    """An asynchronous iterator over the session's events, from the moment it was made.

    It ends after the ``closed`` status. Leaving it needs no clean-up: it holds no task and no scope.
    """

    def __init__(self, topics: tuple[str, ...], policy: Policy, limit: int) -> None:
        if policy not in ("shed", "drop_oldest", "block"):
            raise MisconfiguredError(f"unknown policy {policy!r}: use 'shed', 'drop_oldest' or 'block'")
        if limit < 2:
            raise MisconfiguredError(f"an event buffer of {limit!r} is too small: it needs at least 2 places")
        self._topics = frozenset(topics) - {EVERYTHING} if EVERYTHING not in topics else frozenset()
        self.policy = policy
        self._limit = limit
        self._buffer: deque[Any] = deque()
        self._dropped: Counter[str] = Counter()
        self._slow = False
        self._closed = False
        self._parked: anyio.Event | None = None
        self._room: anyio.Event | None = None
        self.dropped: int = 0
        self.peak: int = 0

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def wants_everything(self) -> bool:
        return not self._topics

    @property
    def full(self) -> bool:
        return len(self._buffer) >= self._limit

    @property
    def live(self) -> bool:
        return not self._closed and not self._slow

    def hears(self, names: tuple[str, ...]) -> bool:
        return not self._topics or not self._topics.isdisjoint(names)

    # -- the session's side -------------------------------------------------------------------------------------------

    def push(self, event: Any) -> None:
        """Hand an event over. Never waits."""
        if not self.live:
            return
        if len(self._buffer) >= self._limit and self.policy != "block" and not self._make_room(event):
            return
        self._buffer.append(event)
        self.peak = max(self.peak, len(self._buffer))
        self._wake()

    def close(self) -> None:
        """No more events will come; what waits is still delivered."""
        self._closed = True
        self._wake()

    def discard(self) -> None:
        """Forget what waits, too."""
        self._buffer.clear()
        self._dropped.clear()
        self.close()

    def _wake(self) -> None:
        if self._parked is not None:
            self._parked.set()

    def purge(self, response_id: str | None) -> None:
        """Sound of an interrupted reply is of no use to anybody any more."""
        stale = [e for e in self._buffer if type(e) is AudioDelta and e.response_id == response_id]
        if stale:
            gone = set(map(id, stale))
            self._buffer = deque(e for e in self._buffer if id(e) not in gone)
            self._count(AudioDelta.kind, len(stale))

    def _make_room(self, event: Any) -> bool:
        """Drop by the policy. Returns whether ``event`` itself may come in."""
        if self.policy == "drop_oldest":
            self._count(self._buffer.popleft().kind)
            return True
        for index, old in enumerate(self._buffer):
            if old.sheddable:
                del self._buffer[index]
                self._count(old.kind)
                return True
        if event.sheddable:
            self._count(event.kind)
            return False
        self._slow = True
        self._wake()
        return False

    def _count(self, kind: str, number: int = 1) -> None:
        self._dropped[kind] += number
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
                if self._room is not None and not self.full:
                    self._room.set()
                return event
            if self._slow:
                raise SlowConsumer(
                    f"more than {self._limit} events that may not be dropped waited for this iterator; consume faster, "
                    "iterate over fewer topics, or use policy='drop_oldest'"
                )
            if self._closed:
                raise StopAsyncIteration
            if self._parked is not None:
                raise SessionStateError("another task waits on this iterator; give each task its own session.events()")
            self._parked = anyio.Event()
            try:
                await self._parked.wait()
            finally:
                self._parked = None

    async def wait_room(self) -> None:
        """Wait until a blocking stream has room again, or has ended."""
        while self.full and self.live:
            self._room = anyio.Event()
            await self._room.wait()


class Streams:
    """The session's streams. Held weakly: one that nobody holds any more takes no more events."""

    def __init__(self) -> None:
        self._streams: list[weakref.ref[EventStream]] = []
        self.closed = False

    def open(self, topics: tuple[str, ...], policy: Policy, limit: int) -> EventStream:
        stream = EventStream(topics, policy, limit)
        if self.closed:
            stream.close()
        else:
            self._streams.append(weakref.ref(stream, self._streams.remove))
        return stream

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
    def blocked(self) -> EventStream | None:
        """A stream that makes the session wait."""
        for stream in self:
            if stream.policy == "block" and stream.full:
                return stream
        return None
