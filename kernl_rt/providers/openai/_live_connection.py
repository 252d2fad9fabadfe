"""A connection that keeps the timeline going, has news of its own, and says goodbye."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from kernl_rt._audio.pcm import silence
from kernl_rt.abc import MessageStream
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioInputAppend, ClientEvent, InputMute, InputUnmute
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from kernl_rt.providers._connection import EchoingConnection
from kernl_rt.providers.openai._live_codec import LiveCodec

__all__ = ["LiveConnection"]

#: Seconds without sound after which silence is sent, and how much of it at a time. Jitter is shorter.
_QUIET = 1.0
_STEP = 0.2
#: Seconds that the provider gets to finish the session.
_GOODBYE = 0.5


class LiveConnection(EchoingConnection):
    """Speaks events over ``stream``. What has been written is told to whoever receives, in order with the rest."""

    def __init__(self, stream: MessageStream, codec: LiveCodec, format: AudioFormat) -> None:
        super().__init__(stream, codec)
        self._live = codec
        self._format = format
        self._writing = anyio.Lock()
        self._sound_at = float("-inf")
        self._patience = _QUIET

    async def _listen(self) -> None:
        await super()._listen()
        if self._live.reason is not None and self._end is None:
            self._end = ConnectionClosed(1000)

    async def send(self, event: ClientEvent) -> None:
        if type(event) is AudioInputAppend:
            self._sound_at = anyio.current_time()
        elif isinstance(event, (InputMute, InputUnmute)):
            # No sound is to come: the model would stop in the midst of a word until silence was sent.
            self._patience = _QUIET if isinstance(event, InputUnmute) else 0.0
        await super().send(event)

    async def _write(self, frames: Sequence[str | bytes]) -> None:
        async with self._writing:
            await super()._write(frames)

    async def keep_going(self) -> None:
        """While nothing is heard of the human, send silence: without sound the model's time stands still, and it can
        neither speak nor answer.
        """
        step = AudioInputAppend(silence(self._format, _STEP * 1000))
        while self._end is None:
            await anyio.sleep(_STEP)
            if not self._live.open or anyio.current_time() - self._sound_at < self._patience:
                continue
            (frame,) = self._live.encode(step)
            try:
                async with self._writing:
                    await self._stream.send(frame)
            except ConnectionClosed:
                return  # whoever receives is told

    async def aclose(self) -> None:
        """Let the provider finish the session, if there still is one: only so is it stored whole. Takes half a second
        at most, also where the task was cancelled.
        """
        if self._end is not None or not self._live.open:
            return
        with anyio.move_on_after(_GOODBYE, shield=True):
            try:
                async with self._writing:
                    await self._stream.send(self._live.goodbye())
                while self._live.reason is None:
                    for message in await self._stream.receive():
                        self._live.decode(message)
            except (ConnectionClosed, MessageTooLarge):
                return  # it has gone already
