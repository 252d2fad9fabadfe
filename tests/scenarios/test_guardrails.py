"""Output guardrails: the scenarios 14 and 15, and what cannot be."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import Guardrail, MisconfiguredError, tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    ItemCreate,
    ItemTruncate,
    OutputTranscriptDelta,
    ResponseCancel,
    ResponseCreate,
    ToolFinished,
)
from tests.scenarios.calls import (
    audio,
    audio_done,
    calling,
    created,
    done,
    item_added,
    make_session,
    tool_call,
    transcript,
    word,
)
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge, bad_words, follow_ups, sounds, trips

pytestmark = pytest.mark.anyio


def hear(channel: MemoryChannel) -> bytes:
    """All that the human has heard."""
    heard = b""
    with pytest.raises(anyio.WouldBlock):
        while True:
            heard += channel.human.hear_nowait()
    return heard


# -- the acceptance scenarios -----------------------------------------------------------------------------------------


async def test_14_guardrail_trip() -> None:
    one, other = Judge("one"), Judge("other")
    async with calling(guardrails=[one.guardrail, other.guardrail]) as call:
        await call.says(created(), audio(), word(LONG))
        assert one.asked == other.asked == [LONG]
        await one.says("too long")
        await other.says("too long as well")
        await call.says(word(" and so is this"), word(" and more of it, still"))
        assert [(t.name, t.response_id, t.text, t.reason, t.stopped) for t in trips(call)] == [
            ("one", "r1", LONG, "too long", True)
        ]
        assert [cancel.response_id for cancel in call.sent(ResponseCancel)] == ["r1"]
        assert follow_ups(call) == ["guardrail one tripped: too long"]
        assert not call.sent(ResponseCreate), "the cancelled reply is not over yet"
        await call.says(audio(), done("r1", "cancelled", reason="client_cancelled"), audio())
        assert len(call.sent(ResponseCreate)) == 1
        assert len(sounds(call)) == 1, "no sound after the trip"
        assert one.asked == other.asked == [LONG], "a reply that tripped is not checked any further"
        [interrupted] = call.seen(Interrupted)
        assert (interrupted.response_id, interrupted.reason) == ("r1", "guardrail")


async def test_14_the_follow_up_is_answered_without_a_new_trip() -> None:
    async with calling(guardrails=[BAD_WORDS]) as call:
        await call.says(created(), word("something bad"))
        await call.says(done("r1", "cancelled"))
        await call.says(created("r2"), word("something good", "r2"), transcript("something good", "r2"), done("r2"))
        assert len(trips(call)) == len(call.sent(ResponseCreate)) == 1


@pytest.mark.parametrize("with_channel", [False, True])
async def test_15_stale_guardrail(with_channel: bool) -> None:
    judge = Judge()
    channel = MemoryChannel() if with_channel else None
    async with calling(guardrails=[judge.guardrail], channel=channel) as call:
        await call.says(created("r1"), item_added("i1", "r1"), audio("r1", "i1", 2_000), word(LONG), done("r1"))
        await call.says(created("r2"), audio("r2", "i2", 500))
        await anyio.sleep(0.5)
        await judge.says("too late")
        [trip] = trips(call)
        assert (trip.response_id, trip.stopped) == ("r1", True)
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        assert not call.sent(ResponseCreate)
        [interrupted] = call.seen(Interrupted)
        assert (interrupted.response_id, interrupted.item_id) == ("r1", "i1")
        assert interrupted.heard_ms == pytest.approx(500, abs=25)
        [truncate] = call.sent(ItemTruncate)
        assert (truncate.item_id, truncate.audio_end_ms) == ("i1", interrupted.heard_ms)
        await call.says(audio("r1", "i1"), audio("r2", "i2"))
        assert len(sounds(call, "r1")) == 1, "late sound of the silenced reply"
        assert len(sounds(call, "r2")) == 2, "the other reply is untouched"
        assert call.session.statistics().playback_pending_ms == pytest.approx(600, abs=1)


async def test_15_the_other_reply_is_heard_in_full() -> None:
    """The channel forgets everything when it is cleared: the other reply is played to it again."""
    judge = Judge()
    channel = MemoryChannel()
    first, second = b"\1\0" * 48_000, b"\2\0" * 12_001
    async with calling(guardrails=[judge.guardrail], channel=channel) as call:
        one = AudioDelta(first, response_id="r1", item_id="i1", content_index=0)
        other = AudioDelta(second, response_id="r2", item_id="i2", content_index=0)
        await call.says(created("r1"), one, audio_done(), word(LONG), done("r1"))
        await call.says(created("r2"), other, audio_done("r2", "i2"))
        await anyio.sleep(1)
        await judge.says(True)
        await anyio.sleep(3)
        heard = hear(channel)
        assert call.session.statistics().playback_pending_ms == 0
    assert heard.count(b"\2\0") >= 12_001, "the other reply was cut"
    assert heard.replace(b"\2\0", b"").count(b"\1\0") == pytest.approx(24_000, abs=600)
    assert heard.rstrip(b"\0").endswith(b"\2")


async def test_15_the_first_reply_has_no_end() -> None:
    """The provider begins another reply without saying that the first is over."""
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1", ms=2_000), word(LONG), created("r2"), audio("r2", "i2"))
        await judge.says("no")
        assert not call.sent(ResponseCancel)
        assert not call.sent(ItemCreate)
        await call.says(audio("r1"), word("more", "r1"), audio("r2", "i2"))
        assert (len(sounds(call, "r1")), len(sounds(call, "r2"))) == (1, 2)
        assert call.seen(OutputTranscriptDelta)[-1].text == LONG


async def test_15_all_of_it_was_heard_and_more_comes() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1"), word(LONG), created("r2"))
        await anyio.sleep(1)
        await judge.says("no")
        assert not trips(call)[0].stopped
        await call.says(audio("r1"), word("more", "r1"))
        assert len(sounds(call)) == len(call.seen(OutputTranscriptDelta)) == 1


async def test_15_the_tools_of_the_other_reply_go_on() -> None:
    @tool(on_interrupt="cancel")
    async def slow() -> str:
        await anyio.sleep(1)
        return "slow"

    judge = Judge()
    async with calling(slow, guardrails=[judge.guardrail]) as call:
        await call.says(created("r1"), audio("r1", ms=5_000), word(LONG), tool_call("slow", "c1"), done("r1"))
        await call.says(created("r2"), tool_call("slow", "c2", response_id="r2"))
        await judge.says("no")
        await anyio.sleep(2)
        assert {event.call_id: event.outcome for event in call.seen(ToolFinished)} == {
            "c1": "cancelled",
            "c2": "result",
        }


async def test_15_while_playback_is_paused() -> None:
    """A noise has paused two replies; when they play on, the one that tripped does not."""
    judge = Judge()
    channel = MemoryChannel()
    async with calling(guardrails=[judge.guardrail], channel=channel, recover_after=1) as call:
        one = AudioDelta(b"\1\0" * 24_000, response_id="r1", item_id="i1", content_index=0)
        other = AudioDelta(b"\2\0" * 24_000, response_id="r2", item_id="i2", content_index=0)
        await call.says(created("r1"), one, word(LONG), done("r1"), created("r2"), other, done("r2"))
        await anyio.sleep(0.5)
        call.session.activity_started()
        call.session.activity_ended()
        await judge.says("no")
        assert trips(call)[0].stopped
        assert [event.response_id for event in call.seen(Interrupted)] == ["r1"]
        assert [truncate.item_id for truncate in call.sent(ItemTruncate)] == ["i1"]
        await anyio.sleep(5)
        heard = hear(channel)
        assert heard.count(b"\2\0") >= 24_000, "the other reply was cut"
        assert heard.replace(b"\2\0", b"").count(b"\1\0") == pytest.approx(12_000, abs=600)


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"guardrails": [BAD_WORDS, BAD_WORDS]}, "two guardrails are named 'words'"),
        ({"guardrails": [bad_words]}, "not a function"),
        ({"guardrails": BAD_WORDS, "hold_back": -1}, "hold_back=-1"),
        ({"guardrails": [BAD_WORDS], "hold_back": "yes"}, "hold_back='yes'"),
        ({"guardrails": [BAD_WORDS], "hold_back": 0}, "hold_back=0"),
        ({"hold_back": True}, "pass guardrails="),
    ],
)
def test_a_session_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(MisconfiguredError, match=match):
        make_session(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": " "}, "name"),
        ({"check": None}, "check must be a function"),
        ({"threshold": 0}, "threshold=0"),
        ({"threshold": True}, "threshold=True"),
        ({"timeout": 0}, "timeout=0"),
        ({"fail_closed": 1}, "fail_closed=1"),
        ({"follow_up": ""}, "follow_up"),
        ({"follow_up": "{nome}"}, "no template"),
        ({"follow_up": "{"}, "no template"),
        ({"follow_up": "{}"}, "no template"),
        ({"follow_up": "{name.x}"}, "no template"),
    ],
)
def test_a_guardrail_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(MisconfiguredError, match=match):
        Guardrail(**{"name": "x", "check": bad_words, **options})
