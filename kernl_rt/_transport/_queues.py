"""The two bounded queues of a link: what has arrived and was not yet received, what is to be written.

They are deques with one parked task instead of memory streams: the same meaning at a fraction of the cost per message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from kernl_rt._parking import Parking
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge, SessionStateError

__all__ = ["READ_AHEAD", "Inbox", "Outbox"]

#: How many bytes of messages are kept for a receiver that does not come (150 of the usual ones: a receiver that comes
#: at all is never that late). What is beyond waits where it costs nothing: at the sender.
READ_AHEAD = 2**20
#: What one message costs beyond its bytes, so that empty messages do not come for nothing.
_OVERHEAD = 64
#: Pongs and pings that wait to be written; beyond it the oldest go: only the latest ping must be answered
#: (RFC 6455 section 5.5.3).
_CONTROL = 64


class Inbox:
    """Messages that have arrived, in order, and after them the reason why no more will."""

    def __init__(self, budget: int = READ_AHEAD, max_messages: int | None = None) -> None:
        self._messages: list[str | bytes] = []
        self._size = 0
        self._budget = budget
        self._max_messages = max_messages
        self._error: ConnectionClosed | MessageTooLarge | None = None
        self._arrival = Parking()
        self._room: anyio.Event | None = None
        #: Called when a receiver has made room.
        self.on_room: Callable[[], None] | None = None

    @property
    def error(self) -> ConnectionClosed | MessageTooLarge | None:
        return self._error

    @property
    def settled(self) -> bool:
        """A receiver need not wait: there are messages, or there will be none any more."""
        return bool(self._messages) or self._error is not None

    @property
    def wanted(self) -> bool:
        """A receiver waits."""
        return self._arrival.taken

    @property
    def full(self) -> bool:
        """No more should be read for now. Never after the end."""
        if self._error is not None:
            return False
        return self._size >= self._budget or (
            self._max_messages is not None and len(self._messages) >= self._max_messages
        )

    def put(self, message: str | bytes) -> None:
        """Add a message; after the end it is dropped."""
        if self._error is not None:
            return
        self._messages.append(message)
        self._size += len(message) + _OVERHEAD
        self._arrival.wake()

    def end(self, error: ConnectionClosed | MessageTooLarge) -> None:
        """No more will come. What has arrived stays; only the first ``error`` counts."""
        if self._error is None:
            self._error = error
            self._arrival.wake()
            self._made_room()

    def _made_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
        if self.on_room is not None:
            self.on_room()

    async def take(self) -> list[str | bytes]:
        """Everything that is there; waits for the first. Nothing is taken when it is cancelled."""
        if self._messages or self._error is not None:
            await checkpoint_if_cancelled()
        while not self._messages:
            if self._error is not None:
                raise self.fresh_error()
            if self._arrival.taken:
                raise SessionStateError("another task is already receiving from this stream")
            await self._arrival.park()
        messages, self._messages = self._messages, []
        was_full = self.full
        self._size = 0
        if was_full or self._room is not None:
            self._made_room()
        return messages

    def fresh_error(self) -> ConnectionClosed | MessageTooLarge:
        """A new exception for each caller: a shared one would collect their tracebacks."""
        if isinstance(self._error, MessageTooLarge):
            return MessageTooLarge(str(self._error))
        return ConnectionClosed() if self._error is None else ConnectionClosed(self._error.code, self._error.reason)

    async def room(self) -> None:
        """Wait until there is room, or the end."""
        while self.full:
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()


class _Item:
    __slots__ = ("done", "failed", "payload")

    def __init__(self, payload: str | bytes | None) -> None:
        self.payload = payload
        self.done = anyio.Event()
        self.failed = False


class Outbox:
    """What is to be written. One task writes, so that a cancelled sender never tears a frame.

    A sender that is cancelled before its turn takes its message back; one that is cancelled while it is being written
    leaves at once, and the message is written whole without it.
    """

    def __init__(self, write: Callable[[str | bytes], Awaitable[None]]) -> None:
        self._write = write
        self._control: deque[bytes] = deque(maxlen=_CONTROL)
        self._items: deque[_Item] = deque()
        #: What is left of a message that the system has begun to take.
        self._rest = b""
        self._work = Parking()
        self._failed = False

    @property
    def idle(self) -> bool:
        """All that was given has been written, and the writer waits for more."""
        return self._work.taken

    async def send(self, payload: str | bytes) -> bool:
        """Wait until ``payload`` has been written. ``False``: it was not, the link is gone."""
        return await self._queue(_Item(payload))

    async def flush(self) -> bool:
        """Wait until all that was given before has been written. ``False``: it was not, the link is gone."""
        return await self._queue(_Item(None))

    async def _queue(self, item: _Item) -> bool:
        if self._failed:
            return False
        self._items.append(item)
        self._work.wake()
        try:
            await item.done.wait()
        finally:
            if not item.done.is_set() and item in self._items:
                self._items.remove(item)
        return not item.failed

    def urge(self, frame: bytes) -> None:
        """Write a control frame soon, before the messages that wait."""
        self._control.append(frame)
        self._work.wake()

    def finish(self, rest: bytes) -> None:
        """Write ``rest`` before anything else: what was before it is with the system already."""
        self._rest += rest
        self._work.wake()

    def fail(self) -> None:
        """Nothing can be written any more: let every sender go."""
        self._failed = True
        for item in self._items:
            item.failed = True
            item.done.set()
        self._items.clear()
        self._control.clear()
        self._rest = b""

    async def run(self) -> None:
        """Write until cancelled, or until writing fails with its exception."""
        while True:
            if not (self._rest or self._control or self._items):
                await self._work.park()
            while self._rest:
                rest, self._rest = self._rest, b""
                await self._write(rest)
            while self._control:
                await self._write(self._control.popleft())
            if self._items:
                item = self._items.popleft()
                item.failed = True
                try:
                    if item.payload is not None:
                        await self._write(item.payload)
                    item.failed = False
                finally:
                    item.done.set()
