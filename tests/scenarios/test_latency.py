"""How long the human waits, as events and in the statistics; and what a session costs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.events import (
    ActivityStarted,
    Interrupted,
    LatencyMeasured,
    Response,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
    TokenDetails,
    Usage,
    UsageUpdated,
)
from tests.scenarios.calls import Call, audio, calling, created, done, quiet, tool_call, transcript, word
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge

pytestmark = pytest.mark.anyio


def measured(call: Call) -> list[tuple[Any, ...]]:
    """What was measured of replies, rounded to a tenth of a millisecond."""
    replies = [event for event in call.seen(LatencyMeasured) if event.barge_in is None]
    return [(e.response_id, e.since, *map(tenths, (e.to_first_audio, e.to_first_heard))) for e in replies]


def tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


async def test_from_the_end_of_speech_to_the_first_sound() -> None:
    async with calling() as call:
        await call.says(SpeechStarted("u1", 0), SpeechStopped("u1", 900))
        await anyio.sleep(0.3)
        await call.says(created(), word("well"))
        await anyio.sleep(0.1)
        await call.says(audio(), audio())
        assert measured(call) == [("r1", "speech", 0.4, 0.4)]
        await call.says(done(), created("r2"), audio("r2"))
        assert len(measured(call)) == 1, "nobody waited for the second reply"


async def test_the_clock_says_when_sound_behind_other_sound_is_heard() -> None:
    async with calling() as call:
        await call.says(created("r0"), audio("r0", "i0", 1_000), done("r0"))
        call.session.send_message("and now?")
        await quiet()
        await anyio.sleep(0.25)
        await call.says(created(), audio())
        assert measured(call) == []
        await anyio.sleep(5)
        assert measured(call) == [("r1", "message", 0.25, 1.0)]


async def test_a_channel_says_when_it_is_heard() -> None:
    channel = MemoryChannel(playback="manual")
    async with calling(channel=channel) as call:
        call.session.send_message("hello?")
        await quiet()
        await anyio.sleep(0.2)
        await call.says(created(), audio(ms=1_000))
        await anyio.sleep(0.3)
        await quiet()
        assert measured(call) == [], "sent, but not heard"
        channel.human.played(100)
        await quiet()
        assert measured(call) == [("r1", "message", 0.2, pytest.approx(0.4, abs=0.001))]


@pytest.mark.parametrize("how", ["activity", "commit", "request"])
async def test_what_ends_the_humans_turn(how: str) -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        call.session.send_audio(b"\0" * 4_800)
        if how == "activity":
            call.session.activity_started()
            call.session.activity_ended()
        elif how == "commit":
            call.session.commit()
        else:
            call.session.request_reply()
        await anyio.sleep(0.5)
        await call.says(created(), audio())
        expected = {"activity": "speech", "commit": "commit", "request": "request"}[how]
        assert measured(call) == [("r1", expected, 0.5, 0.5)]


async def test_a_refused_commit_is_no_turn() -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        call.session.commit()
        await call.says(created(), audio())
        assert measured(call) == []


async def test_the_human_waits_for_tools_too() -> None:
    @tool
    async def look() -> str:
        await anyio.sleep(2)
        return "seen"

    async with calling(look) as call:
        call.session.send_message("look!")
        await call.says(created(), tool_call("look"), done())
        await anyio.sleep(3)
        await call.says(created("r2"), audio("r2"))
        assert measured(call) == [("r2", "message", 3.0, 3.0)]
        tools = call.session.statistics().latency.tools
        assert tools.count == 1
        assert tools.last == pytest.approx(2)


async def test_a_reply_that_is_interrupted_before_it_is_heard() -> None:
    channel = MemoryChannel(playback="manual")
    async with calling(channel=channel) as call:
        call.session.send_message("hello?")
        await call.says(created(), audio())
        call.session.interrupt()
        await quiet()
        assert measured(call) == [("r1", "message", 0, None)]
        statistics = call.session.statistics().latency
        assert (statistics.to_first_audio.count, statistics.to_first_heard.count) == (1, 0)


async def test_a_human_who_speaks_again_waits_anew() -> None:
    async with calling() as call:
        call.session.send_message("hello?")
        await anyio.sleep(1)
        await call.says(SpeechStarted("u1", 0))
        await anyio.sleep(1)
        await call.says(SpeechStopped("u1", 900))
        await anyio.sleep(0.5)
        await call.says(created(), audio())
        assert measured(call) == [("r1", "speech", 0.5, 0.5)]


async def test_a_human_who_speaks_does_not_wait() -> None:
    async with calling() as call:
        call.session.send_message("hello?")
        await call.says(SpeechStarted("u1", 0), created(), audio())
        assert measured(call) == []


async def test_barge_in() -> None:
    async with calling() as call:
        await call.says(SpeechStarted("u0", 0), SpeechStopped("u0", 1))
        assert not call.seen(LatencyMeasured), "there was nothing to interrupt"
        await call.says(created(), audio(ms=2_000))
        await anyio.sleep(0.5)
        await call.says(SpeechStarted("u1", 0))
        [event] = [event for event in call.seen(LatencyMeasured) if event.barge_in is not None]
        assert (event.response_id, event.barge_in, event.to_first_audio) == ("r1", 0, None)
        assert call.log.index(event) > call.log.index(call.seen(Interrupted)[0])
        assert call.session.statistics().latency.barge_in.count == 1
        call.session.interrupt()
        await quiet()
        await call.says(done("r1", "cancelled"), SpeechStarted("u2", 0), SpeechStopped("u2", 1))
        await call.says(created("r2"), audio("r2", ms=2_000))
        call.session.interrupt()
        await quiet()
        assert call.session.statistics().latency.barge_in.count == 1, "not every interruption is speech"


async def test_barge_in_that_was_noticed_late() -> None:
    """A channel says when the sound was captured; what it took to be told is part of the latency."""
    channel = MemoryChannel()
    async with calling(channel=channel) as call:
        await call.says(created(), audio(ms=2_000))
        await anyio.sleep(0.5)
        driver = call.session._driver
        assert driver is not None
        driver.feed(ActivityStarted(at=anyio.current_time() - 0.12))
        await quiet()
        [event] = call.seen(LatencyMeasured)
        assert event.barge_in == pytest.approx(0.12)


async def test_sound_that_is_held_back_is_heard_later() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        call.session.send_message("hello?")
        await call.says(created(), word(LONG), audio())
        await anyio.sleep(1.5)
        assert measured(call) == []
        await judge.says(None)
        assert measured(call) == [("r1", "message", 0, 1.5)]


async def test_sound_that_is_held_back_and_refused_is_never_heard() -> None:
    async with calling(guardrails=[BAD_WORDS], hold_back=True) as call:
        call.session.send_message("hello?")
        await call.says(created(), audio(), transcript("bad"))
        assert measured(call) == [("r1", "message", 0, None)]


async def test_statistics() -> None:
    async with calling() as call:
        empty = call.session.statistics().latency
        assert (empty.to_first_heard.count, empty.to_first_heard.mean) == (0, 0.0)
        for number, wait in enumerate([0.2, 0.6, 0.4]):
            call.session.send_message("hello?")
            await anyio.sleep(wait)
            await call.says(created(f"r{number}"), audio(f"r{number}"), done(f"r{number}"))
            await anyio.sleep(1)
        latency = call.session.statistics().latency.to_first_audio
        assert (latency.count, latency.last, latency.mean, latency.max) == pytest.approx((3, 0.4, 0.4, 0.6))


async def test_usage_by_kind() -> None:
    def used(response_id: str, audio: int, text: int, cached: int) -> ResponseDone:
        usage = Usage(
            input_tokens=audio + text,
            output_tokens=audio,
            total_tokens=2 * audio + text,
            input=TokenDetails(
                audio=audio, text=text, cached=cached, cached_details=TokenDetails(audio=cached, text=0)
            ),
            output=TokenDetails(audio=audio),
        )
        return ResponseDone(Response(id=response_id, status="completed", usage=usage))

    async with calling() as call:
        await call.says(created("r1"), used("r1", 10, 3, 0), created("r2"), used("r2", 100, 1, 7))
        total = call.session.statistics().usage
        assert total == call.session.usage == call.seen(UsageUpdated)[-1].total
        assert (total.input_tokens, total.output_tokens, total.total_tokens) == (114, 110, 224)
        assert total.input is not None
        assert total.output is not None
        assert (total.input.audio, total.input.text, total.input.cached) == (110, 4, 7)
        assert total.input.cached_details == TokenDetails(audio=7, text=0)
        assert (total.output.audio, total.output.text) == (110, None)
