"""Both sides stand in the file where they were on the clock, to the sample; what nobody heard is not there."""

from __future__ import annotations

import itertools
from array import array
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt import SessionConfig
from kernl_rt._audio import g711
from kernl_rt.channels import MemoryChannel, memory_channel_pair
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, Capabilities
from kernl_rt.events import SpeechStarted
from kernl_rt.exceptions import MisconfiguredError
from tests.recording.calls import (
    RATE,
    delta,
    flat,
    lines_of,
    ramp,
    rate_of,
    runs,
    sound_of,
    speak,
    words_of,
    written_in,
)
from tests.scenarios.calls import calling, created, done, item_added, make_session, quiet, transcript

pytestmark = pytest.mark.anyio


async def test_each_side_is_exact_to_the_sample(tmp_path: Path) -> None:
    channel, human = memory_channel_pair()
    spoken, answer = ramp(0, RATE), ramp(7_000, RATE // 2)
    session = make_session(channel=channel)
    session.record(tmp_path)
    async with session:
        await anyio.sleep(0.25)
        await speak(human, spoken)
        await anyio.sleep(0.5)
        model: Any = session.model
        model.peer.say(created(), delta(answer), done())
        await anyio.sleep(1.5)
    left, right = sound_of(tmp_path)
    assert runs(left) == [(RATE // 4, RATE // 4 + RATE)]
    assert left[RATE // 4 : RATE // 4 + RATE].tobytes() == spoken
    begin = round(1.75 * RATE)
    assert runs(right) == [(begin, begin + RATE // 2)]
    assert right[begin : begin + RATE // 2].tobytes() == answer


async def test_a_barge_in_leaves_no_unheard_sound(tmp_path: Path) -> None:
    """The model sends five seconds at once; the human interrupts after one."""
    channel, _human = memory_channel_pair()
    async with calling(channel=channel) as call:
        recording = call.session.record(tmp_path)
        await call.says(created(), item_added(), delta(ramp(0, 5 * RATE)), transcript("one two three four five"))
        await anyio.sleep(1.0)
        await call.says(SpeechStarted("u1", 0))
        await anyio.sleep(3.0)
    assert recording.state == "stopped"
    _, right = sound_of(tmp_path)
    assert runs(right) == [(0, RATE)]
    assert right[:RATE].tobytes() == ramp(0, RATE)
    [cut] = [line for line in lines_of(tmp_path) if line["kind"] == "interrupted"]
    assert (cut["t"], cut["heard_ms"]) == (1.0, 1_000)
    [words] = words_of(tmp_path)
    assert words == {
        "start": 0.0, "end": 1.0, "who": "agent", "text": "one", "name": "test", "interrupted": True, "item_id": "i1"
    }  # fmt: skip


async def test_a_reply_after_an_interruption_is_heard_where_it_was(tmp_path: Path) -> None:
    channel, _ = memory_channel_pair()
    async with calling(channel=channel) as call:
        call.session.record(tmp_path)
        await call.says(created(), delta(flat(5, 3 * RATE)))
        await anyio.sleep(0.5)
        await call.says(SpeechStarted("u1", 0), done(status="cancelled"))
        await anyio.sleep(1.0)
        await call.says(created("r2"), delta(flat(9, RATE // 4), "r2", "i2"), done("r2"))
        await anyio.sleep(1.0)
    _, right = sound_of(tmp_path)
    assert runs(right) == [(0, RATE // 2), (3 * RATE // 2, 3 * RATE // 2 + RATE // 4)]
    assert set(right[: RATE // 2]) == {5}
    assert set(right[3 * RATE // 2 :]) == {9}


async def test_noise_only_pauses_the_reply(tmp_path: Path) -> None:
    """What was paused plays on: it is heard once, in two stretches, and is still of the same item."""
    channel, _ = memory_channel_pair()
    async with calling(channel=channel, recover_after=0.5) as call:
        call.session.record(tmp_path)
        await call.says(created(), item_added(), delta(ramp(0, RATE)), transcript("all of it"), done())
        await anyio.sleep(0.4)
        call.session.activity_started()
        await anyio.sleep(0.1)
        call.session.activity_ended()
        await anyio.sleep(3.0)
    _, right = sound_of(tmp_path)
    (one, two), (three, four) = runs(right)
    assert (one, two) == (0, round(0.4 * RATE))
    assert three == RATE
    assert right[one:two].tobytes() + right[three:four].tobytes() == ramp(0, RATE)
    heard = [line for line in lines_of(tmp_path) if line["kind"] == "recording.heard"]
    assert {line["item_id"] for line in heard} == {"i1"}
    assert sum(line["audio"]["bytes"] for line in heard) == 2 * RATE


async def test_a_channel_without_marks_is_timed_by_the_clock(tmp_path: Path) -> None:
    channel = MemoryChannel(reports_playback=False)
    async with calling(channel=channel) as call:
        call.session.record(tmp_path)
        await anyio.sleep(0.5)
        await call.says(created(), delta(ramp(0, RATE)), delta(ramp(RATE, RATE)))
        await anyio.sleep(1.25)
        await call.says(SpeechStarted("u1", 0))
        await anyio.sleep(2.0)
    _, right = sound_of(tmp_path)
    assert runs(right) == [(RATE // 2, RATE // 2 + 5 * RATE // 4)]
    assert right[RATE // 2 :].tobytes() == ramp(0, 5 * RATE // 4)


async def test_a_session_without_a_channel(tmp_path: Path) -> None:
    async with calling() as call:
        call.session.record(tmp_path)
        await anyio.sleep(0.5)
        call.session.send_audio(flat(3, RATE // 2))
        await call.says(created(), delta(ramp(0, RATE)))
        await anyio.sleep(0.25)
        call.session.interrupt()
        await anyio.sleep(1.0)
    left, right = sound_of(tmp_path)
    assert runs(left) == [(0, RATE // 2)], "said before it was handed over"
    assert runs(right) == [(RATE // 2, 3 * RATE // 4)]


async def test_what_is_said_while_muted_is_not_recorded(tmp_path: Path) -> None:
    channel, human = memory_channel_pair()
    async with calling(channel=channel) as call:
        call.session.record(tmp_path)
        await speak(human, flat(5, RATE // 2))
        await quiet()
        call.session.mute()
        await speak(human, flat(6, RATE // 2))
        await quiet()
        call.session.unmute()
        await speak(human, flat(7, RATE // 2))
        await quiet()
    left, _ = sound_of(tmp_path)
    assert runs(left) == [(0, RATE // 2), (RATE, 3 * RATE // 2)]
    assert 6 not in set(left)


async def test_it_starts_in_the_middle(tmp_path: Path) -> None:
    """From now on: nothing of before, not even what the model has sent and the human still has to hear."""
    channel, human = memory_channel_pair(send_ahead_ms=200)
    async with calling(channel=channel) as call:
        await speak(human, flat(5, RATE // 2))
        tenth = RATE // 10
        await call.says(created(), *[delta(ramp(index * tenth, tenth)) for index in range(20)], done())
        await anyio.sleep(0.5)
        call.session.record(tmp_path)
        await speak(human, flat(6, RATE))
        await anyio.sleep(1.5)
    left, right = sound_of(tmp_path)
    assert runs(left) == [(0, RATE)]
    assert set(left[:RATE]) == {6}
    # What the channel had been given already, 200 ms and the piece that waits for room there, is nobody's to give.
    ((begin, end),) = runs(right)
    assert 0 <= begin <= 3 * RATE // 10
    assert end == 3 * RATE // 2
    assert right[begin:end].tobytes() == ramp(RATE // 2 + begin, 3 * RATE // 2 - begin)


async def test_g711_is_decoded(tmp_path: Path) -> None:
    channel = MemoryChannel(input_formats=[G711_ULAW], output_formats=[G711_ULAW])
    pcm = array("h", [100 * index for index in range(-40, 40)]).tobytes()
    law = g711.encode(pcm, "g711_ulaw")
    config = SessionConfig(input_format=G711_ULAW, output_format=G711_ULAW)
    able = Capabilities(input_formats=(G711_ULAW,), output_formats=(G711_ULAW,))
    async with calling(channel=channel, config=config, capabilities=able) as call:
        call.session.record(tmp_path)
        await speak(channel.human, law, 160)
        await call.says(created(), delta(law), done())
        await anyio.sleep(1.0)
    left, right = sound_of(tmp_path)
    assert rate_of(tmp_path) == 8_000
    assert left[: len(law)].tobytes() == g711.decode(law, "g711_ulaw")
    begin = 160
    assert right[begin : begin + len(law)].tobytes() == g711.decode(law, "g711_ulaw")


async def test_two_rates_become_the_higher_one(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="rates are changed by soxr")
    able = Capabilities(input_formats=(PCM16_16K,), output_formats=(PCM16_24K,))
    channel = MemoryChannel(input_formats=[PCM16_16K], output_formats=[PCM16_24K])
    async with calling(channel=channel, capabilities=able) as call:
        call.session.record(tmp_path)
        await anyio.sleep(0.5)
        await speak(channel.human, flat(1_000, 16_000), 640)
        await anyio.sleep(0.5)
        await speak(channel.human, flat(1_000, 8_000), 640)
        await call.says(created(), delta(ramp(0, RATE)), done())
        await anyio.sleep(1.5)
    assert rate_of(tmp_path) == 24_000
    left, right = sound_of(tmp_path)
    loud = [index for index, value in enumerate(left) if value > 500]
    assert abs(loud[0] - RATE // 2) <= 2
    gap = [index for one, two in itertools.pairwise(loud) if two - one > 100 for index in (one, two)]
    assert gap == pytest.approx([3 * RATE // 2, 2 * RATE], abs=3)
    assert loud[-1] == pytest.approx(5 * RATE // 2, abs=3)
    assert runs(right) == [(5 * RATE // 2, 7 * RATE // 2)]


async def test_two_rates_without_soxr_are_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernl_rt._session.recording.can_resample", lambda: False)
    able = Capabilities(input_formats=(PCM16_16K,), output_formats=(PCM16_24K,))
    session = make_session(capabilities=able)
    session.record(tmp_path)
    with pytest.raises(MisconfiguredError, match=r"kernl_rt\[audio\]"):
        await session.__aenter__()
    assert session._driver is not None
    assert session._driver.outbox.written == 0
    assert not written_in(tmp_path), "nothing is left of it"
    async with calling(capabilities=able) as call:
        with pytest.raises(MisconfiguredError, match=r"kernl_rt\[audio\]"):
            call.session.record(tmp_path / "two")
        assert call.session.recording is None


async def test_a_channel_whose_clock_is_wrong(tmp_path: Path) -> None:
    """Nothing was said in the future; and a time that is none is now."""
    channel, human = memory_channel_pair()
    async with calling(channel=channel) as call:
        call.session.record(tmp_path)
        await anyio.sleep(1.0)
        human.speak_nowait(flat(5, 480), at=anyio.current_time() + 1e6)
        await anyio.sleep(1.0)
        human.speak_nowait(flat(6, 480), at=float("nan"))
        await anyio.sleep(1.0)
        human.speak_nowait(flat(7, 480), at=-1e6)
        await quiet()
    left, _ = sound_of(tmp_path)
    assert runs(left) == [(RATE, RATE + 480), (2 * RATE, 2 * RATE + 480)]
