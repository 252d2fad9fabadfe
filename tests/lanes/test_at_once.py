"""What a step has to say is with the link before anybody is told of the step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.abc import RealtimeConnection
from kernl_rt.config import ConnectOptions, SessionConfig
from kernl_rt.events import (
    AudioInputAppend,
    ClientEvent,
    ItemCreate,
    ItemTruncate,
    ResponseCreate,
    ServerEvent,
    SpeechStarted,
)
from kernl_rt.testing import ScriptedModel
from tests.lanes.stalling import FRAME, StallingChannel
from tests.scenarios.calls import audio, created, quiet

pytestmark = pytest.mark.anyio


def session_with(model: ScriptedModel, **options: Any) -> RealtimeSession[Any]:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="-", model=model)
    return RealtimeSession(agent, reconnect=None, **options)


class Meddled(ScriptedModel):
    """A scripted model whose connection is wrapped."""

    def __init__(self, wrap: Callable[[RealtimeConnection], RealtimeConnection]) -> None:
        super().__init__()
        self._wrap = wrap

    @asynccontextmanager
    async def _connect(self, config: SessionConfig, options: ConnectOptions) -> AsyncIterator[RealtimeConnection]:
        async with super()._connect(config, options) as connection:
            yield self._wrap(connection)


class Wrapped(RealtimeConnection):
    def __init__(self, inner: RealtimeConnection) -> None:
        self._inner = inner

    async def receive(self) -> Sequence[ServerEvent]:
        return await self._inner.receive()

    async def send(self, event: ClientEvent) -> None:
        await self._inner.send(event)

    @property
    def ready(self) -> bool:
        return self._inner.ready

    def send_nowait(self, event: ClientEvent) -> None:
        self._inner.send_nowait(event)


async def test_a_verb_has_written_when_it_returns() -> None:
    model = ScriptedModel()
    async with session_with(model) as session:
        session.send_message("hello")
        assert len(model.peer.heard(ItemCreate)) == len(model.peer.heard(ResponseCreate)) == 1
        session.send_audio(FRAME)
        assert len(model.peer.heard(AudioInputAppend)) == 1
        assert session.statistics().to_model.waiting == 0


@pytest.mark.parametrize("channel", [False, True], ids=["no-channel", "channel"])
async def test_no_listener_hears_of_a_barge_in_before_the_provider(channel: bool) -> None:
    model = ScriptedModel()
    told: list[tuple[str, int]] = []
    async with session_with(model, channel=StallingChannel() if channel else None) as session:
        for topic in ("speech", "interrupted"):
            session.on(topic, lambda event: told.append((event.kind, len(model.peer.heard(ItemTruncate)))))
        model.peer.say(created(), audio(ms=400))
        await anyio.sleep(0.2)
        # Much comes at the same time, and none of it may delay the cut.
        model.peer.say(SpeechStarted("item_user"), *(audio(ms=20) for _ in range(50)))
        await quiet()
    assert told == [("speech.started", 1), ("interrupted", 1)]


async def test_nothing_comes_between_the_frames_of_an_event_that_is_being_sent() -> None:
    log: list[str] = []
    busy, may_end = anyio.Event(), anyio.Event()

    class Slow(Wrapped):
        """Says that it is ready between two frames, too."""

        refuse = False

        async def send(self, event: ClientEvent) -> None:
            if not self.refuse:
                await super().send(event)
                return
            log.append(f"{event.kind} begins")
            busy.set()
            await may_end.wait()
            log.append(f"{event.kind} ends")

        @property
        def ready(self) -> bool:
            return not self.refuse

        def send_nowait(self, event: ClientEvent) -> None:
            log.append(event.kind)

    connections: list[Slow] = []
    model = Meddled(lambda inner: connections.append(Slow(inner)) or connections[-1])
    async with session_with(model) as session:
        [connection] = connections
        connection.refuse = True
        session.send_message("first", reply=False)
        await busy.wait()
        connection.refuse = False
        session.send_audio(FRAME)
        assert log == ["item.create begins"]
        may_end.set()
        await quiet()
    assert log[:2] == ["item.create begins", "item.create ends"]
    # What waited behind it was written by the task.
    assert len(model.peer.heard(AudioInputAppend)) == 1


async def test_what_a_connection_raises_ends_the_session_and_not_its_caller() -> None:
    class Broken(Wrapped):
        def send_nowait(self, event: ClientEvent) -> None:
            raise ZeroDivisionError("a codec's mistake")

    told: list[str] = []
    with pytest.raises(ZeroDivisionError, match="a codec's mistake"):
        async with session_with(Meddled(Broken)) as session:
            session.send_message("hello")
            told.append("the caller")
            await anyio.sleep(60)
    assert told == ["the caller"]
