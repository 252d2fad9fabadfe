"""A connection that keeps the timeline going, has news of its own, and says goodbye."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from kernl_rt._audio.pcm import silence
from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioInputAppend, ClientEvent, InputMute, InputUnmute, ServerEvent
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from kernl_rt.providers.openai._live_codec import LiveCodec

__all__ = ["LiveConnection"]

#: Seconds without sound after which silence is sent, and how much of it at a time. Jitter is shorter.
_QUIET = 1.0
_STEP = 0.2
#: Seconds that the provider gets to finish the session.
_GOODBYE = 0.5


class LiveConnection(RealtimeConnection):
    """Speaks events over ``stream``. What has been written is told to whoever receives, in order with the rest."""

    def __init__(self, stream: MessageStream, codec: LiveCodec, format: AudioFormat) -> None:
        self._stream = stream
        self._codec = codec
        self._format = format
        self._news: list[ServerEvent] = []
        self._waiting: anyio.CancelScope | None = None
        self._end: ConnectionClosed | None = None
        self._writing = anyio.Lock()
        self._sound_at = float("-inf")
        self._patience = _QUIET

    async def receive(self) -> Sequence[ServerEvent]:
        while True:
            if self._news:
                news, self._news = self._news, []
                return news
            if self._end is not None:
                raise self._codec.closed(ConnectionClosed(self._end.code, self._end.reason)) from self._end
            messages = await self._next()
            # No checkpoint from here on: what has been taken from the stream is handed over.
            self._news += [event for message in messages for event in self._codec.decode(message)]
            if self._codec.reason is not None and self._end is None:
                self._end = ConnectionClosed(1000)

    async def _next(self) -> Sequence[str | bytes]:
        """What the stream gives next; nothing where there are news meanwhile."""
        messages: Sequence[str | bytes] = ()
        try:
            with anyio.CancelScope() as self._waiting:
                messages = await self._stream.receive()
        except ConnectionClosed as error:
            self._end = error
            self._news += self._codec.last_words(error)
        finally:
            self._waiting = None
        return messages

    async def send(self, event: ClientEvent) -> None:
        frames = self._codec.encode(event)
        news = self._codec.echoes()
        if type(event) is AudioInputAppend:
            self._sound_at = anyio.current_time()
        elif isinstance(event, (InputMute, InputUnmute)):
            # No sound is to come: the model would stop in the midst of a word until silence was sent.
            self._patience = _QUIET if isinstance(event, InputUnmute) else 0.0
        if self._end is not None:
            raise self._codec.closed(ConnectionClosed(self._end.code, self._end.reason)) from self._end
        try:
            async with self._writing:
                for frame in frames:
                    await self._stream.send(frame)
        except ConnectionClosed as error:
            raise self._codec.closed(error) from error
        if news:
            self._news += news
            if self._waiting is not None:
                self._waiting.cancel()

    async def keep_going(self) -> None:
        """While nothing is heard of the human, send silence: without sound the model's time stands still, and it can
        neither speak nor answer.
        """
        step = AudioInputAppend(silence(self._format, _STEP * 1000))
        while self._end is None:
            await anyio.sleep(_STEP)
            if not self._codec.open or anyio.current_time() - self._sound_at < self._patience:
                continue
            (frame,) = self._codec.encode(step)
            try:
                async with self._writing:
                    await self._stream.send(frame)
            except ConnectionClosed:
                return  # whoever receives is told

    async def aclose(self) -> None:
        """Let the provider finish the session, if there still is one: only so is it stored whole. Takes half a second
        at most, also where the task was cancelled.
        """
        if self._end is not None or not self._codec.open:
            return
        with anyio.move_on_after(_GOODBYE, shield=True):
            try:
                async with self._writing:
                    await self._stream.send(self._codec.goodbye())
                while self._codec.reason is None:
                    for message in await self._stream.receive():
                        self._codec.decode(message)
            except (ConnectionClosed, MessageTooLarge):
                return  # it has gone already
