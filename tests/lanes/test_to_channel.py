"""What waits for the loudspeaker while it is stuck: never dropped silently, and never in the way of the human."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    ItemTruncate,
    ResponseCancel,
    ResponseCreate,
    SessionError,
    SpeechStarted,
)
from tests.lanes.stalling import Call, StallingChannel, calling
from tests.scenarios.calls import audio, audio_done, created, done, quiet

pytestmark = pytest.mark.anyio

LIMIT = 16 * 2**20
#: A second of sound, 48,000 bytes.
SECOND = b"\1\0" * 24_000


def second(number: int, response_id: str = "r1") -> AudioDelta:
    sound = number.to_bytes(2, "little") * 24_000
    return AudioDelta(sound, response_id=response_id, item_id="i" + response_id[1:], content_index=0)


def waiting(call: Call) -> float:
    """Bytes of sound that wait for the channel."""
    return call.session.statistics().to_channel.audio_ms * 48


@pytest.mark.parametrize("reports_playback", [True, False])
async def test_promise_14_ten_minutes_of_sound_in_five_seconds(reports_playback: bool) -> None:
    """``reports_playback=False``: the clock believes that sound is heard which the channel has never taken."""
    async with calling(channel=StallingChannel(reports_playback=reports_playback)) as call:
        channel = call.channel
        assert channel is not None
        channel.speaker.shut()
        call.peer.say(created())
        most = 0.0
        for number in range(600):
            call.peer.say(second(number))
            await anyio.sleep(5 / 600 if reports_playback else 2)
            most = max(most, waiting(call))
            if call.seen(Interrupted):
                break
        [interrupted] = call.seen(Interrupted)
        assert interrupted.reason == "overflow"
        [error] = call.seen(SessionError)
        assert error.source == "playback"
        assert LIMIT - 2 * len(SECOND) <= most <= LIMIT + len(SECOND)
        assert len(call.peer.heard(ResponseCancel)) == 1
        # What else comes of it is of no use; nothing of it waits, and the session goes on.
        call.peer.say(second(601), done(status="cancelled"))
        await quiet()
        assert waiting(call) == 0
        assert call.session.status == "connected"
        channel.speaker.open()
        call.peer.say(created("r2"), second(7, "r2"), done("r2"))
        await quiet()
        assert bytes(channel.heard[-len(SECOND) :]) == b"\7\0" * 24_000


async def test_what_is_played_is_a_gapless_beginning() -> None:
    async with calling(channel=StallingChannel()) as call:
        channel = call.channel
        assert channel is not None
        call.peer.say(created(), *(second(number) for number in range(3)))
        await quiet()
        channel.speaker.shut()
        call.peer.say(*(second(number) for number in range(3, 8)))
        await quiet()
        call.session.interrupt()
        channel.speaker.open()
        await quiet()
        assert bytes(channel.heard) == b"".join(second(number).audio for number in range(3))


async def test_promise_14_a_stuck_speaker_delays_neither_speech_nor_barge_in() -> None:
    """All in the same tick: the event, the clearing, the truncation on the wire."""
    async with calling(channel=StallingChannel()) as call:
        channel = call.channel
        assert channel is not None
        call.peer.say(created(), second(0))
        await quiet()
        channel.speaker.shut()
        call.peer.say(*(second(number) for number in range(1, 300)))
        await quiet()
        assert waiting(call) > 290 * len(SECOND)
        heard: list[tuple[str, float]] = []
        call.session.on("speech.started", lambda event: heard.append(("speech", anyio.current_time())))
        call.session.on("interrupted", lambda event: heard.append(("interrupted", anyio.current_time())))
        start = anyio.current_time()
        call.peer.say(SpeechStarted("u1"))
        await quiet()
        assert [name for name, _ in heard] == ["speech", "interrupted"]
        assert channel.cleared == [pytest.approx(start, abs=0.02)]
        assert all(at - start <= 0.02 for _, at in heard)
        assert waiting(call) == 0
        assert call.peer.heard(ItemTruncate)[0].audio_end_ms == 1_000
        channel.speaker.open()
        await quiet()
        assert len(channel.heard) == len(SECOND), "sound of the interrupted reply was played"


async def test_a_stuck_speaker_holds_up_no_command() -> None:
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        call.channel.speaker.shut()
        call.peer.say(created(), *(second(number) for number in range(100)), done())
        await quiet()
        with anyio.fail_after(1):
            await call.session.send_message("still there?").settled()
            await call.peer.hear(ResponseCreate)


async def test_overflow_costs_that_reply_alone() -> None:
    """The reply before it was complete, and waits too; both are cut, since both are unheard, and each says so."""
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        call.channel.speaker.shut()
        call.peer.say(created(), *(second(number) for number in range(200)), audio_done(), done())
        await quiet()
        call.peer.say(created("r2"), *(second(number, "r2") for number in range(200)))
        await quiet()
        assert {event.response_id for event in call.seen(Interrupted)} == {"r1", "r2"}
        assert {event.reason for event in call.seen(Interrupted)} == {"overflow"}
        assert [event.response_id for event in call.peer.heard(ResponseCancel)] == ["r2"]


async def test_statistics_tell_what_waits_for_the_channel() -> None:
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        call.channel.speaker.shut()
        call.peer.say(created(), audio(ms=100), audio(ms=100), audio(ms=100))
        await quiet()
        statistics = call.session.statistics()
        # The first is in the channel's hands.
        assert (statistics.to_channel.waiting, statistics.to_channel.audio_ms) == (2, 200)
        assert statistics.playback_pending_ms == 300
        call.channel.speaker.open()
        await quiet()
        statistics = call.session.statistics()
        assert (statistics.to_channel.waiting, statistics.to_channel.audio_ms) == (0, 0)
        assert statistics.heard_ms == 300
