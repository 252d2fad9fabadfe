"""A connection that also answers pings: the service wants it, and it is none of the session's business."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio

from kernl_rt.abc import MessageStream
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers._connection import EchoingConnection
from kernl_rt.providers.elevenlabs._codec import AgentsCodec

__all__ = ["AgentsConnection"]

#: Answers that may wait while the link takes nothing; of more the oldest are not worth giving any more.
_MOST_ANSWERS = 64


class AgentsConnection(EchoingConnection):
    """Speaks events over ``stream``, and gives the codec's ``answers``. Whoever opened the stream closes it."""

    def __init__(self, stream: MessageStream, codec: AgentsCodec) -> None:
        super().__init__(stream, codec)
        self._new_answers = codec.answers
        self._answers: deque[str] = deque(maxlen=_MOST_ANSWERS)
        #: Only one task writes to a stream at a time: the sender, or the receiver that answers a ping.
        self._writing = anyio.Lock()

    async def receive(self) -> Sequence[ServerEvent]:
        await self._answer()  # what a call that was cancelled has left
        return await super().receive()

    async def _listen(self) -> None:
        await super()._listen()
        self._answers += self._new_answers()
        await self._answer()

    async def _answer(self) -> None:
        """Answer pings, unless the sender is writing: then it will. Cancelled, an answer is given once more."""
        if not self._answers or self._end is not None or self._writing.locked():
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
            await super().send(event)

    async def _write(self, frames: Sequence[str | bytes]) -> None:
        await super()._write(frames)
        await self._flush()
