"""What is still to be sent over a link, and the task that sends it: an order to clear overtakes everything.

::

    link ◀── run ◀── clear ◀─ control ◀─ sound
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from kernl_rt._audio.farplay import FarPlayout
from kernl_rt.abc import MessageStream
from kernl_rt.channels._gate import Gate
from kernl_rt.channels._wire import Message, Wire
from kernl_rt.exceptions import ConnectionClosed, ProtocolError

__all__ = ["Outbox"]

_CONTROL_MAX = 1_024
#: For the last words, in seconds; the link's own goodbye is bounded by itself.
_GOODBYE_TIMEOUT = 1.0


class Outbox:
    """Three bounded lanes of one link. ``sound_max`` messages of sound are the sender's to respect."""

    def __init__(self, stream: MessageStream, wire: Wire) -> None:
        self._stream = stream
        self._wire = wire
        self.sound_max = 0
        #: Nobody is there to be told anything.
        self.gone = False
        #: Opened when there is room for sound again.
        self.room = Gate()
        self._work = Gate()
        self._clear_due = False
        self._control: deque[tuple[object, Message]] = deque()
        self._sound: deque[Message] = deque()

    @property
    def full(self) -> bool:
        """No more sound should be put in."""
        return len(self._sound) >= self.sound_max

    @property
    def waiting(self) -> int:
        """Messages that were not sent yet."""
        return len(self._sound) + len(self._control)

    def put_sound(self, messages: Sequence[Message]) -> None:
        """To be sent when nothing more urgent is. Call :meth:`wake` when all is in."""
        self._sound.extend(messages)

    def put_control(self, message: Message, key: object = None) -> bool:
        """To be sent before sound. It replaces a waiting one of the same ``key``, in its place. ``False``: no room."""
        if key is not None:
            for index, (known, _) in enumerate(self._control):
                if known == key:
                    self._control[index] = (key, message)
                    return True
        if len(self._control) >= _CONTROL_MAX:
            return False
        self._control.append((key, message))
        self._work.open()
        return True

    def wake(self) -> None:
        """There is something to send."""
        self._work.open()

    def drop_sound(self) -> None:
        """What waits is not sent."""
        self._sound.clear()

    def order_clear(self) -> None:
        """The far end is told to drop what it has, before anything else is said."""
        self._clear_due = True
        self._work.open()

    def close(self) -> None:
        """Only control messages are sent from now on."""
        self._sound.clear()
        self._clear_due = False

    async def run(self, ledger: FarPlayout) -> None:
        """Send, until the link is gone. ``ledger`` counts the clears."""
        try:
            while True:
                if self._clear_due:
                    self._clear_due = False
                    for message in self._wire.encode_clear(ledger.clears):
                        await self._stream.send(message)
                elif self._control:
                    await self._stream.send(self._control.popleft()[1])
                elif self._sound:
                    message = self._sound.popleft()
                    if len(self._sound) == self.sound_max - 1:
                        self.room.open()
                    await self._stream.send(message)
                else:
                    await self._work.wait()
        except (ConnectionClosed, ProtocolError):
            self.gone = True  # the reading task tells why

    async def part(self, code: int) -> None:
        """Say what is left to say, and close the link; bounded. :meth:`run` must have ended."""
        if not self.gone:
            self.gone = True
            with anyio.move_on_after(_GOODBYE_TIMEOUT):
                try:
                    while self._control:
                        await self._stream.send(self._control.popleft()[1])
                    for message in self._wire.encode_goodbye():
                        await self._stream.send(message)
                except (ConnectionClosed, ProtocolError):
                    pass  # it went first
        await self._stream.aclose(code)
