"""Scenario 20 of the acceptance list, history, whole; and conversations that begin with one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, tool
from kernl_rt.events import (
    HistoryChanged,
    InputTranscript,
    ItemCreate,
    ItemCreated,
    ItemDeleted,
    ItemDone,
    OutputItemAdded,
    ResponseCreate,
    SessionError,
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
    ToolResult,
    UsageUpdated,
)
from kernl_rt.exceptions import (
    MisconfiguredError,
)
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.testing import ScriptedModel
from tests.scenarios.agents import calling, order
from tests.scenarios.calls import (
    Call,
    audio,
    created,
    done,
    item_added,
    quiet,
    refusal,
    tool_call,
    transcript,
)

pytestmark = pytest.mark.anyio


# -- 20: history ------------------------------------------------------------------------------------------------------


def histories(call: Call) -> list[HistoryChanged]:
    return call.seen(HistoryChanged)


async def test_20_history_added_updated_removed() -> None:
    async with calling() as call:
        user = Message("user", [ContentPart("input_audio")], id="u1", status="completed")
        await call.says(ItemCreated(user))
        assert [item.id for item in histories(call)[-1].added] == ["u1"]
        await call.says(InputTranscript("u1", "hello there", 0))
        [updated] = histories(call)[-1].updated
        assert isinstance(updated, Message)
        assert updated.text == "hello there"
        assert histories(call)[-1].added == ()
        await call.says(ItemCreated(Message("assistant", id="a1"), "u1"), ItemCreated(Message("user", id="u0"), "u1"))
        assert [item.id for item in call.session.history] == ["u1", "u0", "a1"]
        await call.says(ItemCreated(Message("user", id="u5"), "nobody"))
        assert call.session.history[-1].id == "u5"
        await call.says(ItemDeleted("u0"))
        assert [item.id for item in histories(call)[-1].removed] == ["u0"]
        count = len(histories(call))
        await call.says(ItemCreated(user, None))
        assert len(histories(call)) == count, "nothing new, nothing said"
        assert call.seen(ItemCreated)[-1].previous_item_id is None


async def test_20_usage_before_the_end() -> None:
    async with calling() as call:
        await call.says(created(), done(tokens=14), created("r2"), done("r2", tokens=10))
        assert [event.total.total_tokens for event in call.seen(UsageUpdated)] == [14, 24]


async def test_20_a_transcript_before_its_item() -> None:
    async with calling() as call:
        await call.says(InputTranscript("u1", "early words", 0))
        assert call.session.history == ()
        await call.says(ItemCreated(Message("user", [ContentPart("input_audio")], id="u1")))
        [item] = call.session.history
        assert isinstance(item, Message)
        assert item.text == "early words"


async def test_20_a_late_word_does_not_bring_back_what_was_deleted() -> None:
    async with calling() as call:
        await call.says(ItemCreated(Message("user", id="u1")), ItemDeleted("u1"))
        await call.says(ItemDone(Message("user", id="u1")), InputTranscript("u1", "late", 0))
        assert call.session.history == ()


def tool_items(call: Call) -> list[Any]:
    return [(item.type, item.status) for item in call.session.history]


async def test_20_tool_item_goes_from_in_progress_to_completed() -> None:
    gate = anyio.Event()

    @tool
    async def slow() -> str:
        await gate.wait()
        return "done"

    async with calling(slow) as call:
        begun = FunctionCall("slow", "", "c1", id="f1", status="in_progress")
        await call.says(created(), ItemCreated(begun), tool_call("slow"))
        await call.says(ItemDone(FunctionCall("slow", "{}", "c1", id="f1", status="completed")), done())
        assert tool_items(call) == [("function_call", "in_progress")], "the tool still runs"
        gate.set()
        await quiet()
        assert tool_items(call) == [("function_call", "completed"), ("function_call_output", None)]
        output = call.session.history[1]
        assert isinstance(output, FunctionCallOutput)
        assert (output.output, output.id) == ("done", call.sent(ToolResult)[0].item_id)


async def test_20_tool_items_without_the_providers_help() -> None:
    """A provider that has no items for calls, or does not acknowledge them."""

    @tool
    async def quick() -> str:
        return "done"

    async with calling(quick, quietly=True) as call:
        await call.says(created(), tool_call("quick"), done())
        call_item, output = call.session.history
        assert (call_item.id, call_item.status, output.id) == ("f1", "completed", None)
        named = FunctionCallOutput("c1", "done", id="theirs")
        await call.says(ItemCreated(Message("user", id="u1"), "f1"), ItemCreated(named, "f1"))
        assert [item.id for item in call.session.history] == ["f1", "theirs", "u1"], "placed where the provider says"
        assert [item.id for item in histories(call)[-1].updated] == ["theirs"]


async def test_20_a_call_that_nobody_wants_has_no_output() -> None:
    @tool
    async def endless_tool() -> str:
        await anyio.sleep_forever()
        return ""

    async with calling(endless_tool) as call:
        await call.says(created(), tool_call("endless_tool"))
    assert [(item.type, item.status) for item in call.session.history] == [("function_call", "incomplete")]


def words(call: Call) -> list[str]:
    return [item.text for item in call.session.history if isinstance(item, Message)]


async def test_20_words_before_their_sound_were_not_heard() -> None:
    """The transcript leads the sound: an item that was interrupted before its first sound says nothing."""
    async with calling() as call:
        await call.says(created(), item_added(), ItemCreated(Message("assistant", id="i1", status="in_progress")))
        call.session.interrupt()
        await quiet()
        await call.says(transcript("I was about to say something"))
        assert words(call) == [""]
        assert call.session.history[0].status == "incomplete"


async def test_20_words_that_were_written_before_the_interruption_were_not_heard() -> None:
    """One item plays, the next is already written, and has no sound yet."""
    async with calling() as call:
        await call.says(created(), item_added(), ItemCreated(Message("assistant", id="i1")), audio(ms=1000))
        await call.says(transcript("one two three four"))
        await call.says(item_added("i2"), ItemCreated(Message("assistant", id="i2")))
        await call.says(transcript("never said", item_id="i2"))
        await anyio.sleep(0.5)
        call.session.interrupt()
        await quiet()
        assert words(call) == ["one two", ""]


async def test_20_items_after_the_interruption_were_not_heard() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000))
        call.session.interrupt()
        await quiet()
        second = Message("assistant", [ContentPart("output_audio", transcript="never said")], id="i2")
        await call.says(OutputItemAdded(second, response_id="r1"), ItemCreated(second))
        assert words(call) == [""]


async def test_20_late_sound_counts_as_unheard() -> None:
    """All that had come was heard, and more came too late: its words were not heard."""
    async with calling() as call:
        await call.says(created(), ItemCreated(Message("assistant", id="i1")), audio(ms=1000))
        await anyio.sleep(2)
        call.session.interrupt()
        await quiet()
        await call.says(audio(ms=1000), transcript("one two three four"))
        assert words(call) == ["one two"]


# -- seeding ----------------------------------------------------------------------------------------------------------

EARLIER = (
    Message("user", [ContentPart("input_audio", transcript="my name is Ann")], id="u1", status="completed"),
    Message("assistant", [ContentPart("output_audio", transcript="Hello")], id="a1", status="incomplete"),
    Message("assistant", [ContentPart("output_audio", transcript="")], id="a2", status="incomplete"),
    FunctionCall("lookup", '{"q": 1}', "c" * 40, id="f1", status="completed"),
    FunctionCallOutput("c" * 40, "found", id="o1"),
    FunctionCall("lookup", "{}", "c2", id="f2", status="in_progress"),
    FunctionCallOutput("nobody", "dangling", id="o9"),
)


async def test_seeding() -> None:
    async with calling(history=EARLIER) as call:
        seeds = [event.item for event in call.sent(ItemCreate)]
        assert order(call) == [ItemCreate] * 6, "and no reply is asked for"
        assert [item.id for item in seeds[:4]] == ["u1", "a1", "f1", "o1"]
        assert seeds[0] == Message(
            "user", [ContentPart("input_text", text="my name is Ann")], id="u1", status="completed"
        )
        assert seeds[1] == Message(
            "assistant", [ContentPart("output_text", text="Hello")], id="a1", status="incomplete"
        )
        first, first_output, second, second_output = seeds[2:]
        assert isinstance(first, FunctionCall)
        assert isinstance(first_output, FunctionCallOutput)
        assert first.call_id == first_output.call_id
        assert len(first.call_id or "") <= 32
        assert isinstance(second, FunctionCall)
        assert isinstance(second_output, FunctionCallOutput)
        assert second_output.call_id == second.call_id == "c2"
        assert "interrupted" in second_output.output
        assert list(call.session.history)[:3] == seeds[:3]
        assert len(call.session.history) == 6
        assert call.session._driver.machine.state.seeding.waiting == 0  # type: ignore[union-attr]
        call.session.send_message("go on")
        await quiet()
        assert order(call)[6:] == [ItemCreate, ResponseCreate]


async def test_seeds_are_in_the_history_when_connect_returns() -> None:
    model = ScriptedModel()
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=model)
    async with RealtimeSession(agent, history=EARLIER[:1]) as session:
        assert [item.id for item in session.history] == ["u1"]
        session.send_message("now")
        await quiet()
        assert model.peer.heard(ItemCreate)[0].item.id == "u1", "before anything else"


async def test_a_long_history_does_not_fill_the_lane_of_commands() -> None:
    many = [Message("user", [ContentPart("input_text", text="x")], id=f"u{n}") for n in range(600)]
    async with calling(history=many) as call:
        call.session.send_message("now")
        await quiet()
        assert len(call.sent(ItemCreate)) == 601


async def test_ids_of_ours_are_not_given_twice() -> None:
    ours = [Message("user", [ContentPart("input_text", text="x")], id=f"item_kernl_{n}") for n in (3, 7)]
    nameless = Message("user", [ContentPart("input_text", text="x")])
    async with calling(history=[*ours, nameless, evolve_id(nameless, "i" * 40), ours[0]]) as call:
        for _ in range(4):
            call.session.send_message("now")
        await quiet()
        ids = [event.item.id for event in call.sent(ItemCreate)]
        assert len(ids) == len(set(ids)) == 9
        assert all(len(name or "") <= 32 for name in ids)


def evolve_id(message: Message, name: str) -> Message:
    return Message(message.role, message.content, id=name)


async def test_a_refused_seed_is_reported_and_gone() -> None:
    model = ScriptedModel(acknowledge=False)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=model)
    errors: list[SessionError] = []
    seen = anyio.Event()

    async def play() -> None:
        peer = await model.accept()
        await peer.hear(SessionUpdate)
        peer.say(SessionUpdated(SessionInfo(id="s")))
        seed = await peer.hear(ItemCreate)
        await seen.wait()
        peer.say(refusal("invalid_value", event_id=seed.event_id, message="too old"))

    async with anyio.create_task_group() as group:
        group.start_soon(play)
        session = RealtimeSession(agent, history=EARLIER[:2])
        session.on("error", errors.append)
        async with session:
            assert len(session.history) == 2
            seen.set()
            await quiet()
            assert [item.id for item in session.history] == ["a1"]
    [error] = errors
    assert error.code == "invalid_value"
    assert "message u1: too old" in error.message


def test_a_history_of_something_else() -> None:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="x", model=ScriptedModel())
    with pytest.raises(MisconfiguredError, match="holds a str"):
        RealtimeSession(agent, history=["hello"])  # type: ignore[list-item]
