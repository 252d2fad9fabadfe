"""The connections of all providers: a message stream and a codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed

__all__ = ["BURST", "Codec", "CodecConnection", "EchoingCodec", "EchoingConnection"]

#: So many messages are decoded at once. Before the next, everybody else has a turn: who consumes what they say must not
#: fall behind only because all of them came together.
BURST = 64


class Codec(Protocol):
    """Pure translation between one connection's frames and events."""

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame; none where it says nothing. Never raises."""
        ...

    def encode(self, event: ClientEvent) -> str | bytes | Sequence[str | bytes]:
        """The frame that says ``event``, or several, or none where the provider needs none."""
        ...

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        """What the end of the link means: ``error`` itself, or a :class:`~kernl_rt.exceptions.SessionExpired`."""
        ...


def _next_burst(unread: list[str | bytes], codec: Codec) -> list[ServerEvent]:
    """What the next of these messages say. They are taken: no checkpoint may come before it is handed over."""
    burst = unread[:BURST]
    del unread[:BURST]
    events: list[ServerEvent] = []
    for message in burst:
        events += codec.decode(message)
    return events


class CodecConnection(RealtimeConnection):
    """Speaks events over ``stream``, in the words of ``codec``. Whoever opened the stream closes it."""

    def __init__(self, stream: MessageStream, codec: Codec) -> None:
        self._stream = stream
        self._codec = codec
        self._unread: list[str | bytes] = []

    async def receive(self) -> Sequence[ServerEvent]:
        unread = self._unread
        while True:
            if unread:
                await checkpoint()
            else:
                try:
                    unread.extend(await self._stream.receive())
                except ConnectionClosed as error:
                    raise self._meaning(error) from error
            if events := _next_burst(unread, self._codec):
                return events

    async def send(self, event: ClientEvent) -> None:
        frames = self._frames(event)
        try:
            for frame in frames:
                await self._stream.send(frame)
        except ConnectionClosed as error:
            raise self._meaning(error) from error

    @property
    def ready(self) -> bool:
        return self._stream.ready

    def send_nowait(self, event: ClientEvent) -> None:
        for frame in self._frames(event):
            self._stream.send_nowait(frame)

    def _frames(self, event: ClientEvent) -> Sequence[str | bytes]:
        frames = self._codec.encode(event)
        return (frames,) if isinstance(frames, (str, bytes)) else frames

    def _meaning(self, error: ConnectionClosed) -> ConnectionClosed:
        return self._codec.closed(error)


class EchoingCodec(Codec, Protocol):
    """For a service that does not acknowledge what it is told: the codec says itself what has become of it."""

    def encode(self, event: ClientEvent) -> Sequence[str | bytes]:
        """The frames that say ``event``, if any; a single one in a sequence, too."""
        ...

    def echoes(self) -> Sequence[ServerEvent]:
        """What became of what was encoded since the last call, to be told once it has been written."""
        ...

    def last_words(self, error: ConnectionClosed) -> Sequence[ServerEvent]:
        """What the end of the link says besides, to be told before it."""
        ...


class EchoingConnection(RealtimeConnection):
    """Speaks events over ``stream``. What has been written is told to whoever receives, in order with the rest.

    Whoever opened the stream closes it.
    """

    def __init__(self, stream: MessageStream, codec: EchoingCodec) -> None:
        self._stream = stream
        self._codec = codec
        self._unread: list[str | bytes] = []
        self._news: list[ServerEvent] = []
        self._waiting: anyio.CancelScope | None = None
        self._end: ConnectionClosed | None = None

    async def receive(self) -> Sequence[ServerEvent]:
        while True:
            if self._news:
                news, self._news = self._news, []
                return news
            if self._end is not None:
                raise self._meaning(self._end)
            await self._listen()

    async def _listen(self) -> None:
        """Until the stream gave something, ended, or an echo came first."""
        unread = self._unread
        if unread:
            await checkpoint()
        else:
            try:
                with anyio.CancelScope() as self._waiting:
                    unread.extend(await self._stream.receive())
            except ConnectionClosed as error:
                self._end = error
                self._news += self._codec.last_words(error)
            finally:
                self._waiting = None
        self._news += _next_burst(unread, self._codec)

    async def send(self, event: ClientEvent) -> None:
        frames = self._codec.encode(event)
        echoes = self._codec.echoes()
        end = self._end
        if end is None:
            try:
                await self._write(frames)
            except ConnectionClosed as error:
                end = error
        if end is not None:
            raise self._meaning(end)
        if echoes:
            self._news += echoes
            if self._waiting is not None:
                self._waiting.cancel()

    async def _write(self, frames: Sequence[str | bytes]) -> None:
        for frame in frames:
            await self._stream.send(frame)

    def _meaning(self, error: ConnectionClosed) -> ConnectionClosed:
        # Of a copy, and raised without a cause: ``error`` keeps the peer's own words, which may quote a key.
        return self._codec.closed(ConnectionClosed(error.code, error.reason))
