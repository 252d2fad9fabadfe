"""What the trip of an output guardrail does."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt import Guardrail, tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import Interrupted, ItemCreate, ResponseCancel, ResponseCreate, SpeechStarted, ToolResult
from kernl_rt.items import Message
from tests.scenarios.calls import audio, calling, created, done, tool_call, transcript, word
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge, bad_words, follow_ups, trips

pytestmark = pytest.mark.anyio


async def test_what_the_model_is_told() -> None:
    custom = Guardrail("polite", lambda text, context: True, threshold=1, follow_up="{name}! {{{reason}}}")
    async with calling(guardrails=[custom]) as call:
        await call.says(created(), word("x"))
        assert follow_ups(call) == ["polite! {not allowed}"]
        [create] = call.sent(ItemCreate)
        assert isinstance(create.item, Message)
        assert create.item.role == "system"


async def test_no_follow_up() -> None:
    silent = Guardrail("silent", bad_words, threshold=1, follow_up=None)
    async with calling(guardrails=[silent]) as call:
        await call.says(created(), word("bad"))
        await call.says(done("r1", "cancelled"))
        assert len(trips(call)) == len(call.sent(ResponseCancel)) == 1
        assert not call.sent(ItemCreate)
        assert not call.sent(ResponseCreate)


async def test_a_trip_while_the_tail_plays_through_a_channel() -> None:
    channel = MemoryChannel()
    async with calling(guardrails=[BAD_WORDS], channel=channel) as call:
        await call.says(created(), audio(ms=2_000), word("all is go"), done())
        await anyio.sleep(1)
        await call.says(transcript("all is good, but bad"))
        assert trips(call)[0].stopped
        assert not call.sent(ResponseCancel)
        assert not follow_ups(call)
        assert call.session.statistics().playback_pending_ms == 0


async def test_too_late_to_stop_anything() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(ms=100), word(LONG), done())
        await anyio.sleep(5)
        await judge.says("no")
        assert [trip.stopped for trip in trips(call)] == [False]
        assert not call.seen(Interrupted)
        assert not call.sent(ItemCreate)


async def test_a_reply_that_the_human_has_interrupted() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(), word(LONG), SpeechStarted("u1", 0))
        await judge.says("no")
        assert [trip.stopped for trip in trips(call)] == [False]
        assert len(call.seen(Interrupted)) == 1
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        await call.says(word(LONG), transcript(LONG + LONG), done("r1", "cancelled"))
        assert len(judge.asked) == 1


async def test_an_interrupted_reply_is_not_checked_any_further() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created(), audio(), word(LONG))
        await judge.says(None)
        await call.says(SpeechStarted("u1", 0), transcript(LONG + LONG), done("r1", "cancelled"))
        assert judge.asked == [LONG]


async def test_a_reply_that_was_interrupted_before_its_first_word() -> None:
    async with calling(guardrails=[BAD_WORDS]) as call:
        await call.says(created(), audio(), SpeechStarted("u1", 0), done("r1", "cancelled", text="bad, very bad"))
        assert not trips(call)


async def test_the_result_for_a_reply_long_gone_is_nothing() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r0"), word(LONG, "r0"), done("r0"))
        for number in range(1, 66):
            await call.says(created(f"r{number}"), word("x", f"r{number}"), done(f"r{number}", "cancelled"))
        before = len(call.log)
        await judge.says("no", 0)
        assert call.log[before:] == []


async def test_with_tools() -> None:
    """The tools of a stopped reply still have one outcome each, and one reply answers both them and the follow-up."""

    @tool
    async def slow() -> str:
        await anyio.sleep(1)
        return "slow"

    async with calling(slow, guardrails=[BAD_WORDS]) as call:
        await call.says(created(), tool_call("slow"), word("bad, very bad"))
        await call.says(done("r1", "cancelled"))
        assert len(call.sent(ResponseCreate)) == 1, "the follow-up"
        await call.says(created("r2"))
        await anyio.sleep(2)
        assert [result.output for result in call.sent(ToolResult)] == ["slow"]
        await call.says(done("r2"))
        assert len(call.sent(ResponseCreate)) == 2
        assert len(trips(call)) == 1


async def test_it_may_interrupt_from_a_listener() -> None:
    channel = MemoryChannel()
    async with calling(guardrails=[BAD_WORDS], channel=channel) as call:
        call.session.on("guardrail", lambda event: call.session.interrupt())
        await call.says(created(), audio(ms=500), word("bad, very bad"))
        assert len(call.sent(ResponseCancel)) == 1
        assert call.session.statistics().playback_pending_ms == 0
