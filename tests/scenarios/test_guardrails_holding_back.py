"""Output guardrails that hold sound back until its words were checked."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    Interrupted,
    ItemCreated,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    ResponseDone,
    SpeechStarted,
)
from kernl_rt.items import Message
from tests.scenarios.calls import (
    audio,
    audio_done,
    calling,
    created,
    done,
    item_added,
    quiet,
    transcript,
    word,
)
from tests.scenarios.guarding import BAD_WORDS, LONG, Judge, follow_ups, order, sounds, trips

pytestmark = pytest.mark.anyio


async def test_sound_waits_for_its_words() -> None:
    judge = Judge()
    channel = MemoryChannel()
    async with calling(guardrails=[judge.guardrail], channel=channel, hold_back=True) as call:
        await call.says(created(), word("0123456789"), audio(ms=100), word("abcdefghij"), audio(ms=200))
        assert not call.seen(AudioDelta)
        statistics = call.session.statistics()
        assert (statistics.held_back_ms, statistics.playback_pending_ms) == (300, 0)
        await judge.says(None)
        assert [len(event.audio) // 48 for event in sounds(call)] == [100], "the rest is not checked yet"
        await judge.says(None)
        assert len(sounds(call)) == 2
        await call.says(audio(ms=300), audio_done(), transcript("0123456789abcdefghij"), done())
        assert order(call, AudioDelta, AudioDone, ResponseDone)[2:] == ["AudioDelta", "AudioDone", "ResponseDone"]
        await anyio.sleep(2)
        assert call.session.statistics().heard_ms == 600
        assert not call.session.statistics().discarded.get("released_unchecked")


async def test_what_follows_the_sound_waits_with_it() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created(), word("hello"), audio(), audio_done(), transcript("hello"), done(tokens=3))
        assert order(call, AudioDelta, AudioDone, ResponseDone) == []
        assert call.session.usage.total_tokens == 3, "only what is told waits"
        await judge.says(None)
        assert order(call, AudioDelta, AudioDone, ResponseDone) == ["AudioDelta", "AudioDone", "ResponseDone"]


async def test_sound_before_the_first_word_waits_too() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created(), audio(), word("0123456789"))
        assert not call.seen(AudioDelta)
        await judge.says(None)
        assert len(call.seen(AudioDelta)) == 1


async def test_sound_without_words_is_let_go_at_the_end() -> None:
    async with calling(guardrails=[BAD_WORDS], hold_back=True) as call:
        await call.says(created(), audio())
        assert not call.seen(AudioDelta)
        await call.says(done())
        assert order(call, AudioDelta, ResponseDone) == ["AudioDelta", "ResponseDone"]


async def test_nothing_of_a_reply_that_trips_is_heard() -> None:
    channel = MemoryChannel()
    async with calling(guardrails=[BAD_WORDS], channel=channel, hold_back=True) as call:
        await call.says(created(), item_added(), audio(ms=500), word("this is bad, very"), audio(ms=500))
        assert len(trips(call)) == len(call.sent(ResponseCancel)) == 1
        await call.says(audio(), audio_done(), transcript("this is bad, very"), done("r1", "cancelled"))
        await anyio.sleep(5)
        assert not call.seen(AudioDelta)
        assert call.session.statistics().heard_ms == 0
        assert [interrupted.heard_ms for interrupted in call.seen(Interrupted)] == [0]
        assert not call.sent(ItemTruncate)


@pytest.mark.parametrize(("hold_back", "seconds"), [(True, 2.0), (0.5, 0.5)])
async def test_sound_does_not_wait_for_ever(hold_back: Any, seconds: float) -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=hold_back) as call:
        start = anyio.current_time()
        times: list[float] = []
        call.session.on("audio", lambda event: times.append(anyio.current_time() - start))
        await call.says(created(), word(LONG), audio())
        await anyio.sleep(0.1)
        await call.says(audio())
        await anyio.sleep(5)
        assert times == pytest.approx([seconds, seconds + 0.1])
        assert call.session.statistics().discarded["released_unchecked"] == 2
        await judge.says("no")
        assert len(trips(call)) == 1


async def test_an_interruption_while_sound_waits() -> None:
    """What was never sent to the human was not heard: the history and the truncation know it."""
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(ItemCreated(Message("assistant", id="i1")), created(), word("0123456789"), audio(ms=1_000))
        await judge.says(None)
        words = "0123456789 0123456789"
        await call.says(word(words[10:]), audio(ms=1_000), transcript(words))
        await anyio.sleep(1)
        call.session.interrupt()
        await quiet()
        assert [(e.item_id, e.audio_end_ms) for e in call.sent(ItemTruncate)] == [("i1", 1_000)]
        [message] = call.session.history
        assert isinstance(message, Message)
        assert message.text == "0123456789", "the second half was never played"
        assert call.session.statistics().held_back_ms == 0
        await judge.says(None)
        assert len(call.seen(AudioDelta)) == 1


async def test_an_interruption_when_all_sound_waits() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created(), item_added(), word(LONG), audio(), transcript(LONG), done())
        await call.says(SpeechStarted("u1", 0))
        assert [event.response_id for event in call.seen(Interrupted)] == ["r1"]
        await judge.says(None)
        assert not call.seen(AudioDelta)
        assert len(call.seen(ResponseDone)) == 1, "what is no sound is told all the same"


async def test_the_next_reply_waits_behind() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created("r1"), word(LONG, "r1"), audio("r1"), done("r1"))
        await call.says(created("r2"), word("ok", "r2"), audio("r2"), transcript("ok", "r2"), done("r2"))
        assert judge.asked == [LONG, "ok"]
        await judge.says(None, 1)
        assert not call.seen(AudioDelta), "order counts"
        await judge.says(None, 0)
        assert [event.response_id for event in call.seen(AudioDelta)] == ["r1", "r2"]


async def test_a_reply_that_is_over_and_was_held_back_is_mended() -> None:
    """Nobody heard it, and nothing else comes: silence would be no answer."""
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created(), word(LONG), audio(), done())
        await judge.says("no")
        assert trips(call)[0].stopped
        assert not call.sent(ResponseCancel)
        assert follow_ups(call) == ["guardrail judge tripped: no"]
        assert len(call.sent(ResponseCreate)) == 1
        assert not call.seen(AudioDelta)


async def test_a_reply_that_gives_way_to_another() -> None:
    """Its end is never said: its last words are checked all the same, and its sound goes on."""
    judge = Judge(threshold=1_000)
    async with calling(guardrails=[judge.guardrail], hold_back=5) as call:
        await call.says(created("r1"), word("well", "r1"), audio("r1"), created("r2"))
        assert judge.asked == ["well"]
        await judge.says(None)
        assert [event.response_id for event in call.seen(AudioDelta)] == ["r1"]


async def test_hanging_up_waits_for_sound_that_is_held_back() -> None:
    judge = Judge()
    async with calling(guardrails=[judge.guardrail], hold_back=True) as call:
        await call.says(created(), word(LONG), audio(ms=500), done())
        call.session.hang_up()
        await anyio.sleep(1)
        assert call.session.status == "connected"
        await judge.says(None)
        await call.session.wait_closed()
    assert len(call.seen(AudioDelta)) == 1
