"""Programs around a real session, to be cancelled at every step. Each checks what must hold then."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from kernl_rt import Guardrail, RealtimeAgent, RealtimeSession, ToolContext, Toolkit, tool
from kernl_rt.channels.memory import MemoryHuman, memory_channel_pair
from kernl_rt.events import (
    AudioDelta,
    AudioInputAppend,
    ItemTruncate,
    ResponseCreate,
    SessionUpdate,
    SpeechStarted,
    SpeechStopped,
    ToolResult,
)
from kernl_rt.exceptions import ChannelError
from kernl_rt.testing import ModelPeer, Probe, PromiseChecker, ScriptedModel
from tests.scenarios.calls import audio_done, created, done, item_added, tool_call, transcript, word

#: The task group of the run's other players, for a planted fault that starts a task in it.
foreign: list[TaskGroup] = []
#: Tasks of the scenario that may still run when the session has been left.
OTHERS = ("provider", "human")
SILENCE = bytes(48 * 200)


def sound(reply: int, first_ms: int, ms: int) -> AudioDelta:
    """Sound in which every sample tells where it belongs."""
    samples = range(first_ms * 24, (first_ms + ms) * 24)
    pcm = b"".join(struct.pack("<H", (reply * 20_000 + sample) % 65_536) for sample in samples)
    return AudioDelta(pcm, response_id=f"r{reply}", item_id=f"i{reply}", content_index=0, output_index=0)


@define
class Stage:
    """One run: a session, what is around it, and who watches."""

    checker: PromiseChecker
    model: ScriptedModel
    human: MemoryHuman
    session: RealtimeSession[Any]
    ran: list[str] = field(factory=list)
    ended: list[str] = field(factory=list)

    def check(self) -> None:
        self.checker.check(running=OTHERS)
        assert sorted(self.ran) == sorted(self.ended), "a tool's finally did not run"


@asynccontextmanager
async def stage(provider: Any = None, human: Any = None, **options: Any) -> AsyncIterator[Stage]:
    """A session that is not yet connected, with a provider and a human who play their parts beside it."""
    ran: list[str] = []
    ended: list[str] = []
    checker = PromiseChecker()

    @asynccontextmanager
    async def noted(context: ToolContext[Any]) -> AsyncIterator[None]:
        checker.ran(context.call_id)
        ran.append(context.call_id)
        try:
            yield
        finally:
            ended.append(context.call_id)

    @tool
    async def slow(context: ToolContext[Any]) -> str:
        async with noted(context):
            await anyio.sleep(0.31)
            return "done"

    @tool
    async def raising(context: ToolContext[Any]) -> str:
        async with noted(context):
            await anyio.sleep(0.017)
            raise ValueError("it broke")

    @tool(on_interrupt="cancel")
    async def patient(context: ToolContext[Any]) -> str:
        async with noted(context):
            await anyio.sleep(60)
            return "never"

    model = ScriptedModel()
    channel, far = memory_channel_pair()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="swept",
        name="Swept",
        instructions="Be brief.",
        model=checker.model(model),
        toolkits=[Toolkit(id="tools", tools=[slow, raising, patient])],
    )
    session: RealtimeSession[Any] = RealtimeSession(agent, channel=checker.channel(channel), **options)
    checker.watch(session)
    async with anyio.create_task_group() as others:
        foreign[:] = [others]
        if provider is not None:
            others.start_soon(provider, model, name="provider")
        if human is not None:
            others.start_soon(human, far, name="human")
        try:
            yield Stage(checker, model, far, session, ran, ended)
        finally:
            foreign.clear()  # it holds the whole run
        others.cancel_scope.cancel()


# -- the parts --------------------------------------------------------------------------------------------------------


async def talkative(model: ScriptedModel) -> None:
    """Answers: a reply that speaks and calls three tools, a reply to their results that is interrupted, another."""
    with contextlib.suppress(anyio.EndOfStream):  # the session has left
        await _talk(await model.accept())


async def _talk(peer: ModelPeer) -> None:
    await peer.hear(SessionUpdate)
    await peer.hear(ResponseCreate)
    await say_reply(peer, 1, tools=("slow", "raising", "patient"))
    for _ in range(2):
        await peer.hear(ToolResult)
    peer.say(SpeechStarted(item_id="u1"))  # ends the third tool
    await peer.hear(ToolResult)
    peer.say(SpeechStopped(item_id="u1"))
    await peer.hear(ResponseCreate)
    peer.say(created("r2"), item_added("i2", "r2"), sound(2, 0, 100), sound(2, 100, 100), word("Well", "r2", "i2"))
    await anyio.sleep(0.0731)
    peer.say(SpeechStarted(item_id="u2"))
    await peer.hear(ItemTruncate)
    peer.say(done("r2", "cancelled"), SpeechStopped(item_id="u2"), created("r3"), item_added("i3", "r3"))
    peer.say(sound(3, 0, 60), audio_done("r3", "i3"), word("Bye", "r3", "i3"), transcript("Bye", "r3", "i3"))
    peer.say(done("r3", text="Bye"))


async def say_reply(peer: ModelPeer, number: int, *, tools: tuple[str, ...] = ()) -> None:
    reply, item = f"r{number}", f"i{number}"
    peer.say(created(reply), item_added(item, reply))
    for index in range(3):
        peer.say(sound(number, index * 20, 20), word("la", reply, item))
        await anyio.sleep(0.0013)
    peer.say(audio_done(reply, item), transcript("lalala", reply, item))
    for name in tools:
        peer.say(tool_call(name, f"{reply}-{name}", response_id=reply, item_id=f"{reply}-{name}-item"))
    peer.say(done(reply, text="lalala"))


async def chatty(human: MemoryHuman) -> None:
    with contextlib.suppress(ChannelError):  # the session has left
        await human.speak(SILENCE)


# -- the scenarios ----------------------------------------------------------------------------------------------------


async def connecting(probe: Probe) -> None:
    """Nothing but ``async with``."""
    async with stage() as it:
        with probe.victim():
            async with it.session:
                pass
        it.check()


async def conversation(probe: Probe) -> None:
    """Audio both ways, three tools, a barge-in."""
    async with stage(talkative, chatty) as it:
        with probe.victim():
            async with it.session as session:
                session.send_message("Hello")
                await anyio.sleep(0.7)
        it.check()
        if not probe.injected:
            assert len(it.model.peer.heard(ToolResult)) == 3
            assert it.model.peer.heard(AudioInputAppend)
            assert len(it.ran) == 3


async def consuming(probe: Probe) -> None:
    """The task that iterates is cancelled; the session lives, and another iterator takes over."""
    async with stage(talkative) as it, it.session as session:
        seen: list[Any] = []
        session.send_message("Hello")
        async with anyio.create_task_group() as group:

            async def consume() -> None:
                with probe.victim():
                    async for event in session:
                        await anyio.lowlevel.checkpoint()
                        seen.append(event)

            group.start_soon(consume, name="consumer")
            await anyio.sleep(0.5)
            if probe.injected:
                session.send_message("Still there?")
                assert session.status == "connected", "a cancelled consumer took the session with it"
            session.close()
        assert_in_order(seen, it.checker.trace)
        await session.wait_closed()
    it.checker.check()


async def tool_as_victim(probe: Probe) -> None:
    """Code inside a tool is cancelled by the tool's own scope: the call has its outcome and the session lives."""

    @tool
    async def inner() -> str:
        with probe.victim():
            await anyio.sleep(0.05)
            await anyio.lowlevel.checkpoint()
            return "all of it"
        return "cut short"

    checker = PromiseChecker()
    model = ScriptedModel()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="swept",
        name="Swept",
        instructions="Be brief.",
        model=checker.model(model),
        toolkits=[Toolkit(id="tools", tools=[inner])],
    )
    session: RealtimeSession[Any] = RealtimeSession(agent)
    checker.watch(session)
    async with session:
        session.send_message("Hello")
        peer = await model.accept()
        await peer.hear(ResponseCreate)
        await say_reply(peer, 1, tools=("inner",))
        result = await peer.hear(ToolResult)
        assert result.output == ("cut short" if probe.injected else "all of it")
        await peer.hear(ResponseCreate)
        assert session.status == "connected"
    checker.check()


async def own_task_group(probe: Probe) -> None:
    """``connect(task_group)``: the group is the caller's, and what is cancelled is the group."""
    async with stage(talkative, chatty) as it:
        with probe.victim():
            async with anyio.create_task_group() as group:
                await it.session.connect(group)
                it.session.send_message("Hello")
                await anyio.sleep(0.4)
                await it.session.aclose()
        it.check()


async def listening(probe: Probe) -> None:
    """Listeners that are awaited, one of them slow, one raising; a guardrail that trips."""
    heard: list[Any] = []

    async def check(text: str, context: Any) -> bool:
        await anyio.sleep(0.011)
        return "lala" in text

    guard: Guardrail[Any] = Guardrail("no singing", check, threshold=4, follow_up=None)
    async with stage(talkative, guardrails=[guard], hold_back=True) as it:

        async def careful(event: Any) -> None:
            heard.append(event)
            await anyio.sleep(0.003)

        async def clumsy(event: Any) -> None:
            await anyio.lowlevel.checkpoint()
            raise LookupError("of the listener")

        it.session.on("event", careful).on("transcript", clumsy)
        with probe.victim():
            async with it.session as session:
                session.send_message("Hello")
                await anyio.sleep(0.25)
        it.check()
        assert_in_order(heard, it.checker.trace)


async def clumsy_listener(probe: Probe) -> None:
    """A listener that raises, in the session's own loop: the conversation goes on."""
    async with stage(talkative) as it:

        def clumsy(event: Any) -> None:
            raise LookupError("of the listener")

        it.session.on("transcript", clumsy)
        with probe.victim():
            async with it.session as session:
                session.send_message("Hello")
                await anyio.sleep(0.15)
        it.check()


async def closing(probe: Probe) -> None:
    """``aclose`` is cancelled while it waits; the session closes all the same."""
    async with stage(talkative, chatty) as it:
        async with it.session as session:
            session.send_message("Hello")
            await anyio.sleep(0.1)
            with probe.victim():
                await session.aclose()
                await anyio.lowlevel.checkpoint()
            await session.wait_closed()
        it.check()


def assert_in_order(part: list[Any], whole: list[Any]) -> None:
    """A consumer that came in somewhere, and left somewhere, got what everybody gets, in the same order."""
    rest = iter(map(id, whole))
    assert all(id(event) in rest for event in part if event.kind != "dropped"), "events in another order"


SCENARIOS = [
    connecting,
    conversation,
    consuming,
    tool_as_victim,
    own_task_group,
    listening,
    clumsy_listener,
    closing,
]
