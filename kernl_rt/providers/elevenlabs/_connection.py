"""A connection whose codec answers pings, and says itself what has become of what was said.

The service acknowledges nothing, so the codec does (its ``echoes``); and it wants every ping answered, which is none of
the session's business (its ``answers``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers.elevenlabs._codec import AgentsCodec

__all__ = ["AgentsConnection"]

#: Answers that may wait while the link takes nothing; of more the oldest are not worth giving any more.
_MOST_ANSWERS = 64


class AgentsConnection(RealtimeConnection):
    """Speaks events over ``stream``. Whoever opened the stream closes it."""

    def __init__(self, stream: MessageStream, codec: AgentsCodec) -> None:
        self._stream = stream
        self._codec = codec
        self._events: list[ServerEvent] = []
        self._answers: deque[str] = deque(maxlen=_MOST_ANSWERS)
        #: Only one task writes to a stream at a time: the sender, or the receiver that answers a ping.
        self._writing = anyio.Lock()
        self._waiting: anyio.CancelScope | None = None
        self._end: ConnectionClosed | None = None

    async def receive(self) -> Sequence[ServerEvent]:
        while True:
            if self._answers and self._end is None:
                await self._answer()
            # No checkpoint from here to the return: what has been taken from the stream is handed over.
            if self._events:
                events, self._events = self._events, []
                return events
            if self._end is not None:
                raise self._closed(self._end)
            for message in await self._next():
                self._events += self._codec.decode(message)
            self._answers += self._codec.answers()

    async def _next(self) -> Sequence[str | bytes]:
        """What the stream gives next; nothing where an event of our own comes first."""
        messages: Sequence[str | bytes] = ()
        try:
            with anyio.CancelScope() as self._waiting:
                messages = await self._stream.receive()
        except ConnectionClosed as error:
            self._end = error
            self._events += self._codec.last_words(error)
        finally:
            self._waiting = None
        return messages

    async def _answer(self) -> None:
        """Answer pings, unless the sender is writing: then it will. Cancelled, an answer is given once more."""
        if self._writing.locked():
            return
        async with self._writing:
            try:
                await self._flush()
            except ConnectionClosed:
                self._answers.clear()  # the stream will say so to receive(), after all that came before

    async def _flush(self) -> None:
        while self._answers:
            await self._stream.send(self._answers[0])
            self._answers.popleft()

    async def send(self, event: ClientEvent) -> None:
        async with self._writing:
            frames = self._codec.encode(event)
            echoes = self._codec.echoes()
            try:
                if self._end is not None:
                    raise ConnectionClosed(self._end.code, self._end.reason)
                for frame in frames:
                    await self._stream.send(frame)
                await self._flush()
            except ConnectionClosed as error:
                raise self._closed(error) from error
        if echoes:
            self._events += echoes
            if self._waiting is not None:
                self._waiting.cancel()

    def _closed(self, error: ConnectionClosed) -> ConnectionClosed:
        return self._codec.closed(ConnectionClosed(error.code, error.reason))
