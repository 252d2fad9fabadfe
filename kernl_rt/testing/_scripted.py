"""A model whose provider is the test: it reads what the session sends and says what the model would say."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
from attrs import evolve, frozen

from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import PCM16_24K, Capabilities, ConnectOptions, Credential, SessionConfig
from kernl_rt.events import (
    AudioInputCommit,
    AudioInputCommitted,
    ClientEvent,
    ItemCreate,
    ItemCreated,
    ItemDone,
    ServerEvent,
    SessionCreated,
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
    ToolResult,
)
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.items import FunctionCallOutput

__all__ = ["ModelPeer", "ScriptedModel"]

E = TypeVar("E")

#: Events that may wait, each way.
_BUFFER = 4_096


class _Mailbox(Generic[E]):
    """A bounded queue with one reader. Needs no closing, so that a test may drop it as it stands."""

    def __init__(self) -> None:
        self._waiting: deque[E] = deque()
        self._arrived: anyio.Event | None = None
        self._ended = False

    def put(self, item: E) -> None:
        if len(self._waiting) >= _BUFFER:
            raise anyio.WouldBlock
        self._waiting.append(item)
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    async def take(self) -> list[E]:
        """All that waits; raises ``EndOfStream`` once there is nothing and never will be."""
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise anyio.EndOfStream
            self._arrived = anyio.Event()
            await self._arrived.wait()
        batch = list(self._waiting)
        self._waiting.clear()
        return batch

    async def take_one(self) -> E:
        first, *rest = await self.take()
        self._waiting.extendleft(reversed(rest))
        return first


class ModelPeer:
    """The provider's end of one connection."""

    def __init__(self, *, acknowledge: bool, session_id: str = "sess_scripted") -> None:
        self._acknowledge = acknowledge
        self._session_id = session_id
        self._from_session: _Mailbox[ClientEvent] = _Mailbox()
        self._to_session: _Mailbox[ServerEvent] = _Mailbox()
        self._closing: ConnectionClosed | None = None
        #: Everything that the session has sent, in order, audio included.
        self.sent: list[ClientEvent] = []
        #: The session has closed the connection.
        self.closed: anyio.Event = anyio.Event()

    def say(self, *events: ServerEvent) -> None:
        """What the model says next. Never waits.

        Raises:
            anyio.WouldBlock: the session has not read thousands of events.
        """
        for event in events:
            self._to_session.put(event)

    async def hear(self, kind: type[E] | None = None) -> E:
        """The next event that the session sends; with ``kind``, the next of that class, passing over others."""
        while True:
            event: Any = await self._from_session.take_one()
            if kind is None or isinstance(event, kind):
                return event  # type: ignore[no-any-return]

    def heard(self, kind: type[E]) -> list[E]:
        """All events of a class that the session has sent so far."""
        return [event for event in self.sent if isinstance(event, kind)]

    def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """End the link, after what was said. Whoever waits in :meth:`hear` gets ``EndOfStream``."""
        self._closing = ConnectionClosed(code, reason)
        self._to_session.end()
        self._from_session.end()

    # -- the session's end --------------------------------------------------------------------------------------------

    async def _receive(self) -> Sequence[ServerEvent]:
        try:
            return await self._to_session.take()
        except anyio.EndOfStream:
            raise self._closing or ConnectionClosed(1006) from None

    async def _send(self, event: ClientEvent) -> None:
        if self._closing is not None:
            raise self._closing
        await anyio.lowlevel.checkpoint()
        self._take(event)

    def _take(self, event: ClientEvent) -> None:
        self.sent.append(event)
        self._from_session.put(event)
        if self._acknowledge:
            self._answer(event)

    def _answer(self, event: ClientEvent) -> None:
        match event:
            case SessionUpdate(config=config):
                info = SessionInfo(id=self._session_id, model="scripted", config=config)
                self.say(SessionCreated(info), SessionUpdated(info))
            case ItemCreate(item=item, previous_item_id=previous):
                done = evolve(item, status="completed")
                self.say(ItemCreated(done, previous), ItemDone(done))
            case ToolResult(call_id=call_id, output=output, item_id=item_id):
                item = FunctionCallOutput(call_id, output, id=item_id)
                self.say(ItemCreated(item), ItemDone(item))
            case AudioInputCommit():
                self.say(AudioInputCommitted("item_audio"))
            case _:
                pass

    def _close(self) -> None:
        self._from_session.end()
        self.closed.set()


@frozen
class Dialled:
    """One attempt to connect: when, in seconds of the loop's clock, and with what."""

    at: float
    config: SessionConfig
    options: ConnectOptions


class _ScriptedConnection(RealtimeConnection):
    def __init__(self, peer: ModelPeer) -> None:
        self._peer = peer

    async def receive(self) -> Sequence[ServerEvent]:
        return await self._peer._receive()

    async def send(self, event: ClientEvent) -> None:
        await self._peer._send(event)

    @property
    def ready(self) -> bool:
        return self._peer._closing is None

    def send_nowait(self, event: ClientEvent) -> None:
        self._peer._take(event)


class ScriptedModel(RealtimeModel):
    """A model without a provider: a test takes its end with :meth:`accept` and plays the part.

    With ``acknowledge`` (the default) it confirms the configuration, items and commits by itself, as a provider does,
    so that a test only says what it is about.
    """

    provider = "scripted"
    name = "scripted"

    def __init__(self, *, capabilities: Capabilities | None = None, acknowledge: bool = True) -> None:
        self.capabilities: Capabilities = capabilities or Capabilities(
            input_formats=(PCM16_24K,), output_formats=(PCM16_24K,)
        )
        #: Whether the peers of later connections answer by themselves.
        self.acknowledge = acknowledge
        self._refusals: deque[Exception | None] = deque()
        self._arrivals: _Mailbox[ModelPeer] = _Mailbox()
        #: The peers of all connections so far.
        self.peers: list[ModelPeer] = []
        #: Every attempt to connect, also those that came to nothing.
        self.dials: list[Dialled] = []

    @property
    def peer(self) -> ModelPeer:
        """The newest connection's peer."""
        return self.peers[-1]

    async def accept(self) -> ModelPeer:
        """Wait for the next connection and take its other end."""
        return await self._arrivals.take_one()

    def refuse(self, *errors: Exception) -> None:
        """Each of the next attempts to connect raises one of ``errors``, in order."""
        self._refusals.extend(errors)

    def hang(self, attempts: int = 1) -> None:
        """So many of the next attempts to connect, after those that are refused, never come to an end."""
        self._refusals.extend([None] * attempts)

    def check(self, config: SessionConfig) -> None:
        """Everything goes."""

    def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._connect(config, options)

    @asynccontextmanager
    async def _connect(self, config: SessionConfig, options: ConnectOptions) -> AsyncIterator[RealtimeConnection]:
        self.dials.append(Dialled(anyio.current_time(), config, options))
        if self._refusals:
            error = self._refusals.popleft()
            await anyio.lowlevel.checkpoint()
            if error is None:
                await anyio.sleep_forever()
            else:
                raise error
        number = len(self.peers) + 1
        name = "sess_scripted" if number == 1 else f"sess_scripted_{number}"
        peer = ModelPeer(acknowledge=self.acknowledge, session_id=name)
        self.peers.append(peer)
        self._arrivals.put(peer)
        try:
            yield _ScriptedConnection(peer)
        finally:
            peer._close()
