"""Reading a link before there is a channel."""

from __future__ import annotations

from collections import deque

from kernl_rt.abc import MessageStream
from kernl_rt.channels._wire import Message

__all__ = ["MessageReader"]


class MessageReader:
    """Reads a link message by message, for a handshake before the channel exists. ``rest`` is for the channel."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self._messages: deque[Message] = deque()

    async def next(self) -> Message:
        """The next message. Cancelling it loses nothing. Raises as :meth:`~kernl_rt.abc.MessageStream.receive`."""
        while not self._messages:
            self._messages.extend(await self._stream.receive())
        return self._messages.popleft()

    @property
    def rest(self) -> tuple[Message, ...]:
        """What arrived and was not read."""
        return tuple(self._messages)
