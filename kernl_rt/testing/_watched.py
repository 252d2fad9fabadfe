"""A model and a channel that pass everything on, and tell a ledger what went through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from kernl_rt.abc import RealtimeChannel, RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import AudioFormat, ConnectOptions, Credential, ResponseConfig, SessionConfig
from kernl_rt.events import ChannelEvent, ClientEvent, ServerEvent

__all__ = ["ChannelLedger", "WatchedChannel", "WatchedModel", "WireLedger"]


class WireLedger(Protocol):
    """What is told of one connection. A send *begins*, and then either is *done* or was *cut* half way."""

    def begins(self, event: ClientEvent) -> None: ...
    def done(self, event: ClientEvent) -> None: ...
    def cut(self, event: ClientEvent) -> None: ...
    def received(self, event: ServerEvent) -> None: ...
    def left(self) -> None: ...


class ChannelLedger(Protocol):
    """What is told of a channel."""

    def opened(self, output_format: AudioFormat) -> None: ...
    def left(self) -> None: ...
    def played(self, audio: bytes) -> None: ...
    def cleared(self, position_ms: float) -> None: ...
    def happened(self, event: ChannelEvent) -> None: ...


class _WatchedConnection(RealtimeConnection):
    def __init__(self, connection: RealtimeConnection, ledger: WireLedger) -> None:
        self._connection = connection
        self._ledger = ledger

    async def receive(self) -> Sequence[ServerEvent]:
        events = await self._connection.receive()
        for event in events:
            self._ledger.received(event)
        return events

    async def send(self, event: ClientEvent) -> None:
        self._ledger.begins(event)
        try:
            await self._connection.send(event)
        except BaseException:  # cancelled, too: whether it was written is not known
            self._ledger.cut(event)
            raise
        self._ledger.done(event)

    @property
    def ready(self) -> bool:
        return self._connection.ready

    def send_nowait(self, event: ClientEvent) -> None:
        self._ledger.begins(event)
        self._connection.send_nowait(event)
        self._ledger.done(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class WatchedModel(RealtimeModel):
    """Another model, watched. ``make_ledger`` gives a ledger for each connection."""

    def __init__(self, model: RealtimeModel, make_ledger: Callable[[], WireLedger]) -> None:
        self._watched = model
        self._make_ledger = make_ledger
        self.provider = model.provider
        self.name = model.name
        self.capabilities = model.capabilities

    def check(self, config: SessionConfig) -> None:
        self._watched.check(config)

    def check_response(self, config: ResponseConfig) -> None:
        self._watched.check_response(config)

    def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._connect(self._watched.connect(config, options, credential=credential, transport=transport))

    @asynccontextmanager
    async def _connect(
        self, connecting: AbstractAsyncContextManager[RealtimeConnection]
    ) -> AsyncIterator[RealtimeConnection]:
        ledger: WireLedger | None = None
        try:
            async with connecting as connection:
                ledger = self._make_ledger()
                yield _WatchedConnection(connection, ledger)
        finally:
            if ledger is not None:
                ledger.left()

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        return await self._watched.authenticate(config, expires_after=expires_after)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)


class WatchedChannel(RealtimeChannel):
    """Another channel, watched."""

    def __init__(self, channel: RealtimeChannel, ledger: ChannelLedger) -> None:
        self._watched = channel
        self._ledger = ledger
        self.input_formats = channel.input_formats
        self.output_formats = channel.output_formats
        self.live = channel.live
        self.reports_playback = channel.reports_playback

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        opened = False
        try:
            async with self._watched.open(input_format, output_format):
                opened = True
                self._ledger.opened(output_format)
                yield
        finally:
            if opened:
                self._ledger.left()

    async def receive(self) -> ChannelEvent:
        event = await self._watched.receive()
        self._ledger.happened(event)
        return event

    async def send(self, audio: bytes) -> None:
        self._ledger.played(audio)
        await self._watched.send(audio)

    async def flush(self) -> None:
        await self._watched.flush()

    def clear(self) -> float:
        position = self._watched.clear()
        self._ledger.cleared(position)
        return position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watched, name)
