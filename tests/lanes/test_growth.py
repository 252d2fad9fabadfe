"""Nothing grows with traffic but the history: an hour of a busy conversation, and the session's own objects counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import Guardrail, RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.channels import MemoryHuman, memory_channel_pair
from kernl_rt.config import ResponseConfig
from kernl_rt.events import (
    AudioInputCommitted,
    InputTranscript,
    ItemCreated,
    ItemDelete,
    ItemDeleted,
    ItemDone,
    OutputItemAdded,
    Response,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
    ToolApprovalRequired,
)
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import ModelPeer, ScriptedModel
from tests.lanes.walking import census, sizes_of
from tests.scenarios.calls import audio, audio_done, created, done, refusal, tool_call, transcript, word

pytestmark = pytest.mark.anyio

#: What is not the session's: the provider that the test plays, and the class of the agent.
FOREIGN = ("_model", "model", "_agent")
#: Seconds of one turn; an hour has 80.
TURN = 45.0
#: How many items the application keeps.
KEPT = 40
#: What may fill up, as a memory of what was lately: its bound, by path or type.
_STATE = "._driver.machine.state"
BOUNDED = {
    f"{_STATE}.conversation._deleted": 256,
    f"{_STATE}.conversation._early": 256,
    f"{_STATE}.finished": 64,
    f"{_STATE}.guardrails._watches": 64,
    f"{_STATE}.tools._over": 256,
    f"{_STATE}.tools._calls": 264,
    "kernl_rt._core.toolcalls.Call": 264,
    "kernl_rt._core.toolcalls.Group": 264,
    "kernl_rt._core.guardrails._Watch": 64,
    "kernl_rt._core.guardrails._Progress": 64,
}


class Talk:
    """A busy conversation. Each turn is another kind of trouble, and the application deletes what is old."""

    def __init__(self, session: RealtimeSession[Any], model: ScriptedModel, human: MemoryHuman) -> None:
        self.session = session
        self.peer: ModelPeer = model.peer
        self.human = human
        self.turn = 0
        self.asked: ResponseConfig | None = None
        self.kinds = (
            self.spoken,
            self.interrupted,
            self.false_alarm,
            self.with_tools,
            self.refused,
            self.beside,
            self.tripped,
            self.approved,
            self.superseded,
            self.unnamed,
        )

    async def serve(self) -> None:
        """The provider's answers beyond those of the scripted model, and no memory of what was sent."""
        while True:
            event = await self.peer.hear()
            self.peer.sent.clear()
            if isinstance(event, ResponseCreate):
                self.asked = event.config
            if isinstance(event, ItemDelete):
                self.peer.say(ItemDeleted(event.item_id))

    async def turns(self, number: int) -> None:
        for _ in range(number):
            self.turn += 1
            start = anyio.current_time()
            await self.speech()
            await self.kinds[self.turn % len(self.kinds)]()
            await self.forget_the_old()
            await anyio.sleep_until(start + TURN)
            assert anyio.current_time() - start == pytest.approx(TURN), "a turn is longer than it should be"

    async def speech(self) -> None:
        item = f"u{self.turn}"
        self.peer.say(SpeechStarted(item))
        for _ in range(4):
            self.human.speak_nowait(bytes(24_000))
            await anyio.sleep(0.5)
        message = Message("user", [ContentPart("input_audio")], id=item)
        self.peer.say(SpeechStopped(item), AudioInputCommitted(item), ItemCreated(message))
        self.peer.say(InputTranscript(item, "Tell me.", content_index=0))
        await anyio.sleep(0.01)

    def begin(self, name: str | None = None, seconds: int = 2) -> tuple[str, str]:
        response = name or f"r{self.turn}"
        item = f"a{response}"
        message = Message("assistant", [ContentPart("output_audio")], id=item, status="in_progress")
        self.peer.say(created(response), OutputItemAdded(message, response_id=response), ItemCreated(message))
        for _ in range(seconds):
            self.peer.say(word("well ", response, item), audio(response, item, ms=1_000))
        return response, item

    def end(self, response: str, item: str) -> None:
        self.peer.say(transcript("Well, well.", response, item), audio_done(response, item))
        message = Message("assistant", [ContentPart("output_audio", transcript="Well, well.")], id=item)
        self.peer.say(ItemDone(message), done(response, tokens=10))

    async def spoken(self) -> None:
        self.end(*self.begin())
        await anyio.sleep(3)

    async def interrupted(self) -> None:
        response, item = self.begin(seconds=5)
        await anyio.sleep(1)
        self.peer.say(SpeechStarted(f"n{self.turn}"), InputTranscript(f"n{self.turn}", "Stop!", content_index=0))
        await anyio.sleep(0.01)
        self.peer.say(transcript("Well, well.", response, item), done(response, "cancelled"))
        self.peer.say(audio(response, item), SpeechStopped(f"n{self.turn}"))
        await anyio.sleep(0.01)

    async def false_alarm(self) -> None:
        self.end(*self.begin(seconds=3))
        await anyio.sleep(1)
        self.peer.say(SpeechStarted(f"n{self.turn}"))
        await anyio.sleep(0.2)
        self.peer.say(SpeechStopped(f"n{self.turn}"))
        await anyio.sleep(5)

    async def with_tools(self) -> None:
        response, item = self.begin()
        for number in range(3):
            call = f"c{self.turn}.{number}"
            self.peer.say(tool_call("look", call, f'{{"number": {number}}}', response, f"f{call}"))
        self.end(response, item)
        await anyio.sleep(1)
        self.end(*self.begin(f"r{self.turn}+"))
        await anyio.sleep(2)

    async def refused(self) -> None:
        await self.session.send_message("and?", reply=False).settled()
        self.peer.say(refusal("oops", message="something went wrong"))
        await anyio.sleep(0.01)

    async def beside(self) -> None:
        handle = self.session.request_reply(ResponseConfig(conversation="none"))
        await anyio.sleep(0.01)
        # The scripted provider answers it with its own metadata, as providers echo it.
        assert self.asked is not None
        about = self.asked.metadata
        self.peer.say(ResponseCreated(Response(id=f"b{self.turn}", status="in_progress", metadata=about)))
        self.peer.say(audio(f"b{self.turn}", f"x{self.turn}"))
        self.peer.say(ResponseDone(Response(id=f"b{self.turn}", status="completed", metadata=about)))
        await handle.settled()

    async def tripped(self) -> None:
        response, item = self.begin()
        self.peer.say(word("forbidden", response, item))
        await anyio.sleep(0.5)
        self.peer.say(done(response, "cancelled"))
        await anyio.sleep(0.5)

    async def approved(self) -> None:
        response, item = self.begin()
        self.peer.say(tool_call("buy", f"p{self.turn}", "{}", response, f"f{self.turn}"))
        self.end(response, item)
        await anyio.sleep(4)
        self.end(*self.begin(f"r{self.turn}+"))
        await anyio.sleep(2)

    async def superseded(self) -> None:
        """A reply that gives way to another without an end (xAI)."""
        self.begin(f"r{self.turn}-")
        self.peer.say(SpeechStarted(f"n{self.turn}"), InputTranscript(f"n{self.turn}", "No.", content_index=0))
        await anyio.sleep(0.01)
        self.peer.say(SpeechStopped(f"n{self.turn}"))
        self.end(*self.begin())
        await anyio.sleep(3)

    async def unnamed(self) -> None:
        """What a provider says of replies and items that nobody knows."""
        self.peer.say(audio(f"ghost{self.turn}", f"g{self.turn}"), done(f"ghost{self.turn}"))
        self.peer.say(transcript("Boo.", f"ghost{self.turn}", f"g{self.turn}"), done(f"nobody{self.turn}"))
        await anyio.sleep(1)

    async def forget_the_old(self) -> None:
        items = [item.id for item in self.session.history if item.id is not None]
        for item_id in items[:-KEPT]:
            self.session.send(ItemDelete(item_id))
        await anyio.sleep(0.01)


@asynccontextmanager
async def talking(**options: Any) -> AsyncIterator[Talk]:
    @tool
    async def look(number: int) -> str:
        """Look."""
        await anyio.sleep(0.1)
        return f"{number}: " + "a tree " * 100

    @tool(needs_approval=True)
    async def buy() -> str:
        """Buy it."""
        return "bought"

    model = ScriptedModel()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="busy", name="Busy", instructions="Talk.", model=model, toolkits=[Toolkit(id="t", tools=[look, buy])]
    )
    channel, human = memory_channel_pair(hear_buffer=48_000)
    guardrail: Guardrail[Any] = Guardrail("polite", lambda text, context: "forbidden" in text)
    session: RealtimeSession[Any] = RealtimeSession(
        agent, channel=channel, recover_after=2.0, guardrails=[guardrail], reconnect=None, dead_air=None, **options
    )
    session.on("error", lambda event: None)

    def consent(event: ToolApprovalRequired) -> None:
        session.approve(event.call_id)

    session.on("tool.approval", consent)
    with anyio.fail_after(100_000):
        async with session, anyio.create_task_group() as group:
            talk = Talk(session, model, human)
            group.start_soon(talk.serve)
            yield talk
            group.cancel_scope.cancel()


def grown(before: Counter[str], after: Counter[str], slack: int) -> dict[str, tuple[int, int]]:
    """What is larger than it was, by more than a quarter and ``slack``, or than it may be."""
    found = {name: (bound, after[name]) for name, bound in BOUNDED.items() if after[name] > bound}
    for name, size in after.items():
        if size > before[name] + max(slack, before[name] // 4) and not name.startswith(tuple(BOUNDED)):
            found[name] = (before[name], size)
    return found


async def test_promise_26_an_hour_of_busy_conversation_leaves_everything_flat() -> None:
    """The application deletes old items, so that the history is flat, too. So must be everything else."""
    async with talking() as talk:
        await talk.turns(20)
        sizes, alive = sizes_of(talk.session, FOREIGN), census()
        assert sizes["._driver.machine.state.conversation._items"] >= KEPT, "the walk does not see the history"
        await talk.turns(80)
        after, still_alive = sizes_of(talk.session, FOREIGN), census()
        assert len(talk.session.history) <= KEPT + 10
        more = {**grown(sizes, after, 6), **grown(alive, still_alive, 16)}
        assert not more, "\n".join(f"{name}: {counts}" for name, counts in more.items())


async def test_promise_26_an_iterator_that_nobody_asks_holds_no_more_than_its_buffer() -> None:
    async with talking() as talk:
        absent = talk.session.events()
        lazy = talk.session.events(policy="drop_oldest")
        await talk.turns(45)
        assert len(absent) <= 1_024
        assert len(lazy) == 1_024
        alive = census()
        await talk.turns(20)
        assert len(lazy) == 1_024
        after = census()
        # Each event of the history shows the whole of it, so there are no more items than that.
        waiting = len(absent) + len(lazy) + 10
        for name in [name for name in after if name.startswith("kernl_rt.items.")]:
            assert after.pop(name) <= waiting * (KEPT + 10) * 2
        assert grown(alive, after, 400) == {}


async def test_promise_26_settled_tool_calls_are_forgotten() -> None:
    """Four hundred calls; with them goes what each was told, up to 64 KiB."""
    async with talking() as talk:
        for number in range(400):
            name = f"r{number}"
            talk.peer.say(created(name), tool_call("look", f"c{number}", f'{{"number": {number}}}', name, f"f{number}"))
            talk.peer.say(done(name))
            await anyio.sleep(0.5)
            talk.peer.say(created(f"{name}+"), done(f"{name}+"))
            await talk.forget_the_old()
        sizes = sizes_of(talk.session, FOREIGN)
        assert sizes[f"{_STATE}.conversation._calls"] <= KEPT
        assert sizes[f"{_STATE}.tools._calls"] <= 264
        assert census()["kernl_rt._core.toolcalls.Call"] <= 264


async def test_the_walk_finds_what_grows() -> None:
    """The test of the test: a leak planted in the state, in a value of a value, and in a task's variables."""
    async with talking() as talk:
        await talk.turns(20)
        sizes, alive = sizes_of(talk.session, FOREIGN), census()
        driver: Any = talk.session._driver
        driver.machine.state.counts.update({f"leak {number}": 1 for number in range(100)})
        hidden = [Message("user", id=str(number)) for number in range(100)]
        found = grown(sizes, sizes_of(talk.session, FOREIGN), 64)
        assert set(found) >= {"._driver.machine.state.counts"}
        assert "kernl_rt.items.Message" in grown(alive, census(), 64)
        assert len(hidden) == 100
