"""A connection whose codec has news of its own: the service acknowledges nothing of what it is told."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers.gemini._codec import GeminiCodec

__all__ = ["GeminiConnection"]


class GeminiConnection(RealtimeConnection):
    """Speaks events over ``stream``. What has been written is told to whoever receives, in order with the rest."""

    def __init__(self, stream: MessageStream, codec: GeminiCodec) -> None:
        self._stream = stream
        self._codec = codec
        self._news: list[ServerEvent] = []
        self._waiting: anyio.CancelScope | None = None
        self._end: ConnectionClosed | None = None

    async def receive(self) -> Sequence[ServerEvent]:
        while True:
            if self._news:
                news, self._news = self._news, []
                return news
            if self._end is not None:
                raise self._codec.closed(ConnectionClosed(self._end.code, self._end.reason)) from self._end
            messages = await self._next()
            # No checkpoint from here on: what has been taken from the stream is handed over.
            events = [event for message in messages for event in self._codec.decode(message)]
            if events:
                # What was said before these came has been written before they are told.
                news, self._news = self._news, []
                return [*news, *events]

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
        try:
            if self._end is not None and not frames:
                raise ConnectionClosed(self._end.code, self._end.reason)
            for frame in frames:
                await self._stream.send(frame)
        except ConnectionClosed as error:
            raise self._codec.closed(error) from error
        if news:
            self._news += news
            if self._waiting is not None:
                self._waiting.cancel()
