"""The one connection of all providers: a message stream and a codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed

__all__ = ["Codec", "CodecConnection"]


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


class CodecConnection(RealtimeConnection):
    """Speaks events over ``stream``, in the words of ``codec``. Whoever opened the stream closes it."""

    def __init__(self, stream: MessageStream, codec: Codec) -> None:
        self._stream = stream
        self._codec = codec

    async def receive(self) -> Sequence[ServerEvent]:
        decode = self._codec.decode
        while True:
            try:
                messages = await self._stream.receive()
            except ConnectionClosed as error:
                raise self._meaning(error) from error
            # No checkpoint from here on: what has been taken from the stream is handed over.
            events = [event for message in messages for event in decode(message)]
            if events:
                return events

    async def send(self, event: ClientEvent) -> None:
        frames = self._codec.encode(event)
        try:
            for frame in (frames,) if isinstance(frames, (str, bytes)) else frames:
                await self._stream.send(frame)
        except ConnectionClosed as error:
            raise self._meaning(error) from error

    def _meaning(self, error: ConnectionClosed) -> ConnectionClosed:
        return self._codec.closed(error)
