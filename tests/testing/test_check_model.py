"""``check_model`` passes what is right, and names what is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, evolve, field

from kernl_rt import events as ev
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import Capabilities, ConnectOptions, Credential, SessionConfig
from kernl_rt.exceptions import ConnectionClosed, ConnectRefusedError, HandshakeError, ProtocolError
from kernl_rt.items import Message
from kernl_rt.simulator import Simulator
from kernl_rt.testing import ModelPeer, ScriptedModel, check_model

pytestmark = pytest.mark.anyio

#: What a connection does wrong, and the words by which the suite names it.
FAULTS = {
    "a cancelled receive loses": "waiting for|lost|pieces",
    "a cancelled receive doubles": "pieces|created once|one call|after the end",
    "an empty batch": "at least one event",
    "not an event": "no event of a model",
    "the reply never ends": "waiting for ResponseDone",
    "late sound": "after the end of its reply",
    "pieces are lost": "the pieces say",
    "a reply begins twice": "created once",
    "no acknowledgement": "waiting for ItemCreated",
    "cancel is not sent": "ended as completed|waiting for ResponseDone",
    "truncate is not sent": "waiting for ItemTruncated",
    "delete is not sent": "waiting for ItemDeleted",
    "update is not sent": "waiting for SessionUpdated",
    "commit is not sent": "waiting for AudioInputCommitted",
    "half a sample": "no whole samples",
    "arguments are no JSON": "JSON object",
    "a call without an id": "has an id",
    "a refusal is raised": "ProviderRefusal came out",
    "a strange frame is raised": "strange frames",
    "the end hangs": "did not end within",
    "the end is another error": "ConnectionClosed, not",
    "the end is another code": "was told",
    "the body's error in a group": "not in a group",
    "the body's error is swallowed": "was swallowed",
    "a cancellation is swallowed": "cancellation",
    "leaving takes a minute": "leaving took|swallowed",
    "the link stays open": "leaving closes the link|still running",
    "a task stays": "still running",
    "another dial error": "HandshakeError|as it is",
    "its own transport": "dials with the transport",
    "shared state": "two at once",
    "check lets everything pass": "check\\(\\) refuses",
    "no formats": "at least one format",
}


class ProviderRefusal(Exception):
    """What a bad connection raises instead of giving an event."""


@define
class FaultyConnection(RealtimeConnection):
    inner: RealtimeConnection
    fault: str
    shared: list[Any]
    last: Sequence[Any] = ()
    again: Sequence[Any] = ()
    finished: list[Any] = field(factory=list)

    async def receive(self) -> Sequence[Any]:
        if self.fault == "a cancelled receive doubles" and self.again:
            again, self.again = self.again, ()
            return again
        try:
            events = list(await self.inner.receive())
        except anyio.get_cancelled_exc_class():
            self.again = self.last
            raise
        except ConnectionClosed as closed:
            raise await self._end(closed) from None
        if self.fault == "a cancelled receive loses":
            await anyio.lowlevel.checkpoint()
        self.last = events
        return self._spoilt(events)

    async def _end(self, closed: ConnectionClosed) -> Exception:
        if self.fault == "the end hangs":
            await anyio.sleep_forever()
        if self.fault == "the end is another error":
            return ProtocolError("gone")
        return ConnectionClosed(1011) if self.fault == "the end is another code" else closed

    def _spoilt(self, events: list[Any]) -> Sequence[Any]:
        spoilt: list[Any] = []
        for event in events:
            spoilt += self._one(event)
        if self.fault == "an empty batch":
            return []
        if self.fault == "shared state":
            self.shared += spoilt
            return tuple(self.shared)
        return spoilt or [ev.RawServerEvent("padding", {})]

    def _one(self, event: Any) -> list[Any]:
        match self.fault, event:
            case ("not an event", _):
                return ["hello"]
            case ("the reply never ends", ev.ResponseDone()) | ("no acknowledgement", ev.ItemCreated()):
                return []
            case ("late sound", ev.AudioDelta()):
                self.finished = [event]
            case ("late sound", ev.ResponseDone()):
                return [event, *self.finished]
            case ("pieces are lost", ev.OutputTranscriptDelta() | ev.TextDelta()):
                return [] if self.finished else self.finished.append(event) or [event]
            case ("a reply begins twice", ev.ResponseCreated()):
                return [event, event]
            case ("half a sample", ev.AudioDelta()):
                self.finished.append(event)
                return [evolve(event, audio=event.audio[:-1])] if len(self.finished) == 1 else [event]
            case ("arguments are no JSON", ev.ToolCalled()):
                return [evolve(event, arguments="{")]
            case ("a call without an id", ev.ToolCalled()):
                return [evolve(event, call_id="")]
            case ("a refusal is raised", ev.SessionError(source="provider")):
                raise ProviderRefusal(event.message)
            case ("a strange frame is raised", ev.RawServerEvent()):
                raise ProtocolError("what is that?")
            case _:
                pass
        return [event]

    async def send(self, event: Any) -> None:
        forgotten = {
            "cancel is not sent": ev.ResponseCancel,
            "truncate is not sent": ev.ItemTruncate,
            "delete is not sent": ev.ItemDelete,
            "commit is not sent": ev.AudioInputCommit,
            "update is not sent": ev.SessionUpdate,
        }
        kind = forgotten.get(self.fault)
        if kind is not None and isinstance(event, kind):
            first = kind is ev.SessionUpdate and not self.finished
            self.finished.append(event)
            if not first:
                return
        try:
            await self.inner.send(event)
        except ConnectionClosed as closed:
            raise await self._end(closed) from None


@define(eq=False)
class FaultyModel(RealtimeModel):
    """The simulated model with one fault."""

    inner: RealtimeModel
    fault: str
    outside: Any = None
    provider: str = "faulty"
    name: str = "faulty"
    capabilities: Capabilities = field(factory=Capabilities)
    shared: list[Any] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.capabilities = self.inner.capabilities
        if self.fault == "no formats":
            self.capabilities = evolve(self.capabilities, input_formats=())

    def check(self, config: SessionConfig) -> None:
        if self.fault != "check lets everything pass":
            self.inner.check(config)

    def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        if self.fault == "its own transport":
            transport = None
        return self._connect(config, options, transport)

    @asynccontextmanager
    async def _connect(self, config: Any, options: Any, transport: Any) -> AsyncIterator[RealtimeConnection]:
        try:
            async with self._dialled(self.inner.connect(config, options, transport=transport)) as connection:
                if self.fault == "a task stays":
                    self.outside.start_soon(anyio.sleep, 3_600)
                with self._spoilt_end():
                    yield FaultyConnection(connection, self.fault, self.shared)
                if self.fault == "leaving takes a minute":
                    await anyio.sleep(60)
        except ConnectRefusedError:
            if self.fault == "another dial error":
                raise HandshakeError("no") from None
            raise

    @contextmanager
    def _spoilt_end(self) -> Iterator[None]:
        try:
            yield
        except LookupError as error:
            if self.fault == "the body's error in a group":
                raise ExceptionGroup("mine", [error]) from None
            if self.fault not in ("the body's error is swallowed", "leaving takes a minute"):
                raise
        except anyio.get_cancelled_exc_class():
            if self.fault != "a cancellation is swallowed":
                raise

    @asynccontextmanager
    async def _dialled(self, dialled: Any) -> AsyncIterator[RealtimeConnection]:
        if self.fault != "the link stays open":
            async with dialled as connection:
                yield connection
            return
        connections: list[RealtimeConnection] = []
        arrived = anyio.Event()

        async def hold() -> None:
            async with dialled as connection:
                connections.append(connection)
                arrived.set()
                await anyio.sleep(3_600)

        self.outside.start_soon(hold)
        await arrived.wait()
        yield connections[0]


async def checked(fault: str) -> None:
    simulator = Simulator()
    broken: AssertionError | None = None
    with anyio.fail_after(10_000):
        async with anyio.create_task_group() as outside:
            try:
                await check_model(
                    lambda: FaultyModel(simulator.realtime(), fault, outside),
                    transport=simulator.transport(),
                    timeout=20.0,
                )
            except AssertionError as error:
                broken = error
            outside.cancel_scope.cancel()
    if broken is not None:
        raise broken


async def test_a_good_model_passes() -> None:
    await checked("none")


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_is_named(fault: str) -> None:
    with pytest.raises(AssertionError, match=FAULTS[fault]):
        await checked(fault)


# -- the scripted model -----------------------------------------------------------------------------------------------


async def play(model: RealtimeModel) -> None:
    """A provider for the scripted model, of a few lines."""
    assert isinstance(model, ScriptedModel)
    async with anyio.create_task_group() as group:
        while True:
            group.start_soon(_serve, await model.accept())


async def _serve(peer: ModelPeer) -> None:
    asked, number, running = "", 0, anyio.CancelScope()
    spoken = True
    async with anyio.create_task_group() as group:
        while True:
            try:
                event = await peer.hear()
            except anyio.EndOfStream:
                group.cancel_scope.cancel()
                return
            match event:
                case ev.SessionUpdate(config=config):
                    spoken = config.output_modality != "text" if config.output_modality else spoken
                case ev.ItemCreate(item=Message() as message):
                    asked = message.text
                case ev.ToolResult():
                    asked = "thanks"
                case ev.ResponseCreate():
                    number, running = number + 1, anyio.CancelScope()
                    group.start_soon(_reply, peer, f"r{number}", asked, running, spoken)
                case ev.ResponseCancel():
                    running.cancel()
                case ev.ItemTruncate(item_id=item_id, audio_end_ms=ms):
                    peer.say(ev.ItemTruncated(item_id, ms))
                case ev.ItemDelete(item_id=item_id):
                    peer.say(ev.ItemDeleted(item_id))
                case _:
                    pass


async def _reply(peer: ModelPeer, name: str, asked: str, running: anyio.CancelScope, spoken: bool) -> None:
    place: dict[str, Any] = {"response_id": name, "item_id": f"i{name}", "content_index": 0}
    peer.say(ev.ResponseCreated(ev.Response(id=name, status="in_progress")))
    if "weather" in asked:
        peer.say(ev.ToolCalled("c1", "weather", '{"city": "Paris"}', response_id=name))
        peer.say(ev.ResponseDone(ev.Response(id=name, status="completed")))
        return
    with running:
        for _ in range(100 if "story" in asked else 3):
            if spoken:
                peer.say(ev.AudioDelta(bytes(960), **place), ev.OutputTranscriptDelta("so ", **place))
            else:
                peer.say(ev.TextDelta("so ", **place))
            await anyio.sleep(0.02)
        whole = "so " * 3
        peer.say(ev.OutputTranscript(whole, **place) if spoken else ev.TextDone(whole, **place))
    status: Any = "cancelled" if running.cancelled_caught else "completed"
    peer.say(ev.ResponseDone(ev.Response(id=name, status=status)))


async def test_the_scripted_model_conforms() -> None:
    with anyio.fail_after(10_000):
        await check_model(ScriptedModel, provider=play, strict=False)


async def test_what_a_model_cannot_do_is_not_asked_of_it() -> None:
    able = Capabilities(can_truncate=False, can_delete=False, can_cancel=False)
    with anyio.fail_after(10_000):
        await check_model(lambda: ScriptedModel(capabilities=able), provider=play, strict=False)
