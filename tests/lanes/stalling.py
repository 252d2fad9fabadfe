"""A session whose links can be stalled: the model's socket, the channel's loudspeaker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit
from kernl_rt.abc import RealtimeChannel, RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import PCM16_24K, AudioFormat, Capabilities, ConnectOptions, Credential
from kernl_rt.events import AudioCaptured, AudioPlayed, ChannelEvent, ClientEvent, ServerEvent
from kernl_rt.testing import ModelPeer, ScriptedModel

#: 20 ms of PCM16 at 24 kHz.
FRAME = b"\1\0" * 480


class Gate:
    """Open at first."""

    def __init__(self) -> None:
        self._opened: anyio.Event | None = None

    def shut(self) -> None:
        self._opened = anyio.Event()

    def open(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.set()

    async def passed(self) -> None:
        while self._opened is not None:
            await self._opened.wait()


class _Connection(RealtimeConnection):
    def __init__(self, inner: RealtimeConnection, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    async def receive(self) -> Sequence[ServerEvent]:
        return await self._inner.receive()

    async def send(self, event: ClientEvent) -> None:
        await self._gate.passed()
        await self._inner.send(event)


class StallingModel(RealtimeModel):
    """A scripted model behind a socket that takes nothing while ``socket`` is shut; it is still read from."""

    provider = name = "stalling"

    def __init__(self, capabilities: Capabilities | None = None, *, acknowledge: bool = True) -> None:
        self.scripted = ScriptedModel(capabilities=capabilities, acknowledge=acknowledge)
        self.capabilities = self.scripted.capabilities
        self.socket = Gate()

    @property
    def peer(self) -> ModelPeer:
        return self.scripted.peer

    def check(self, config: SessionConfig) -> None:
        self.scripted.check(config)

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
        async with self.scripted.connect(config, options) as connection:
            yield _Connection(connection, self.socket)


class StallingChannel(RealtimeChannel):
    """A telephone that plays at once, and takes nothing while ``speaker`` is shut."""

    input_formats = output_formats = (PCM16_24K,)

    def __init__(self, *, live: bool = True, reports_playback: bool = True) -> None:
        self.live = live
        self.reports_playback = reports_playback
        self.speaker = Gate()
        self.microphone: list[AudioCaptured] = []
        self.heard = bytearray()
        #: When the channel was told to clear, in seconds.
        self.cleared: list[float] = []
        self._news = anyio.Event()
        self._position = self._told = 0.0

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        yield

    def say(self, audio: bytes) -> None:
        self.microphone.append(AudioCaptured(audio, at=anyio.current_time()))
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def receive(self) -> ChannelEvent:
        while True:
            if self.microphone:
                return self.microphone.pop(0)
            if self.reports_playback and self._position > self._told:
                self._told = self._position
                return AudioPlayed(self._told, at=anyio.current_time())
            await self._news.wait()

    async def send(self, audio: bytes) -> None:
        cleared = len(self.cleared)
        await self.speaker.passed()
        if len(self.cleared) > cleared:
            return
        self.heard += audio
        self._position = PCM16_24K.ms(len(self.heard))
        self._wake()
        await anyio.lowlevel.checkpoint()

    def clear(self) -> float:
        self.cleared.append(anyio.current_time())
        return self._position


@define
class Call:
    session: RealtimeSession[Any]
    model: StallingModel
    channel: StallingChannel | None
    log: list[Any] = field(factory=list)

    @property
    def peer(self) -> ModelPeer:
        return self.model.peer

    @property
    def waiting(self) -> int:
        return self.session.statistics().to_model.waiting

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]


@asynccontextmanager
async def calling(
    *tools: Any,
    channel: StallingChannel | None = None,
    acknowledge: bool = True,
    config: SessionConfig | None = None,
    capabilities: Capabilities | None = None,
    **options: Any,
) -> AsyncIterator[Call]:
    """A connected session whose events are logged, sound left out."""
    model = StallingModel(capabilities, acknowledge=acknowledge)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="lanes",
        name="Lanes",
        instructions="Be brief.",
        model=model,
        config=config,
        toolkits=[Toolkit(id="tools", tools=tools)],
    )
    # A link that takes nothing for a minute would be given up; here it is the subject.
    options = {"reconnect": None, "dead_air": None, **options}
    session: RealtimeSession[Any] = RealtimeSession(agent, channel=channel, **options)
    log: list[Any] = []
    session.on("event", lambda event: None if event.sheddable else log.append(event))
    # Under a virtual clock a deadlock would hang for real: a timer somewhere turns it into a failure.
    with anyio.fail_after(20_000):
        async with session:
            yield Call(session, model, channel, log)
