"""The right side of a recording is what reached the human's ear: sample for sample, whatever happens in the call."""

from __future__ import annotations

import json
import tempfile
from array import array
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from kernl_rt import SessionConfig
from kernl_rt.channels import MemoryHuman, memory_channel_pair
from kernl_rt.config import PCM16_16K, PCM16_24K
from kernl_rt.events import SessionError, SpeechStarted
from kernl_rt.testing import virtual_backend
from tests.recording.calls import RATE, delta, flat, lines_of, ramp, rate_of, runs, sound_of, speak, until
from tests.scenarios.calls import calling, created, done, quiet
from tests.session.links import lose, redialling

strokes = st.lists(
    st.one_of(
        st.tuples(st.just("reply"), st.integers(1, 60_000)),
        st.tuples(st.just("wait"), st.integers(0, 900)),
        st.tuples(st.just("speech"), st.just(0)),
        st.tuples(st.just("interrupt"), st.just(0)),
        st.tuples(st.just("noise"), st.integers(1, 400)),
    ),
    min_size=1,
    max_size=12,
)


def ear(human: MemoryHuman) -> bytes:
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(human.hear_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            return b"".join(pieces)


async def perform(plan: list[tuple[str, int]], folder: Path, *, recover: bool, marks: bool) -> bytes:
    channel, human = memory_channel_pair(reports_playback=marks)
    number, first, heard = 0, 0, b""
    async with calling(channel=channel, recover_after=0.3 if recover else None) as call:
        call.session.record(folder)
        for kind, value in plan:
            if kind == "reply":
                number += 1
                await call.says(created(f"r{number}"), delta(ramp(first, value), f"r{number}", f"i{number}"))
                await call.says(done(f"r{number}"))
                first += value
            elif kind == "wait":
                await anyio.sleep(value / 1000)
            elif kind == "speech":
                await call.says(SpeechStarted(f"u{number}", 0))
            elif kind == "interrupt":
                call.session.interrupt()
            else:
                call.session.activity_started()
                await anyio.sleep(value / 1000)
                call.session.activity_ended()
            heard += ear(human)
        await anyio.sleep(5)
        heard += ear(human)
    return heard + ear(human)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=strokes, recover=st.booleans(), marks=st.booleans())
def test_the_right_side_is_what_the_human_heard(
    plan: list[tuple[str, int]], recover: bool, marks: bool, backend: str
) -> None:
    name, options = virtual_backend(backend)
    with tempfile.TemporaryDirectory() as folder:

        async def run() -> bytes:
            return await perform(plan, Path(folder), recover=recover, marks=marks)

        heard = anyio.run(run, backend=name, backend_options=options)
        _, right = sound_of(Path(folder))
        told = sum(line["audio"]["bytes"] for line in lines_of(Path(folder)) if line["kind"] == "recording.heard")
    assert array("h", [value for value in right if value]).tobytes() == heard
    assert told == len(heard)


pytestmark = pytest.mark.anyio


async def test_it_goes_on_over_a_lost_link(tmp_path: Path) -> None:
    channel, human = memory_channel_pair()
    async with redialling(channel=channel) as call:
        call.session.record(tmp_path)
        await speak(human, flat(5, RATE // 2))
        await quiet()
        await lose(call)
        begin = anyio.current_time()
        await speak(human, flat(6, RATE // 2))
        await call.says(created(), delta(ramp(0, RATE // 2)), done())
        await anyio.sleep(1)
    left, right = sound_of(tmp_path)
    assert {5, 6} <= set(left)
    assert begin >= 0
    ((start, end),) = runs(right)
    assert right[start:end].tobytes() == ramp(0, RATE // 2)
    assert "reconnecting" in [line.get("status") for line in lines_of(tmp_path)]


async def test_the_format_changes_on_the_way(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="rates are changed by soxr")
    async with calling(config=SessionConfig(input_format=PCM16_24K)) as call:
        call.session.record(tmp_path)
        command = call.session.update(input_format=PCM16_16K)
        await quiet()
        with anyio.fail_after(1):
            await command.settled()
        await anyio.sleep(1.0)
        call.session.send_audio(flat(900, 8_000))
        await anyio.sleep(1.0)
    assert rate_of(tmp_path) == RATE
    left, _ = sound_of(tmp_path)
    loud = [index for index, value in enumerate(left) if value > 450]
    assert (loud[0], loud[-1]) == pytest.approx((RATE // 2, RATE), abs=3)


async def test_words_and_picture_are_there_while_the_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernl_rt._session.recording_files.DRAW_EVERY", 0.0)
    monkeypatch.setattr("kernl_rt._session.recording_files.PERIOD", 0.01)
    async with calling() as call:
        call.session.record(tmp_path)
        await call.says(created(), delta(ramp(0, RATE)))
        call.session.emit("tick")
        await until((tmp_path / "timeline.svg").exists)
        assert json.loads((tmp_path / "transcript.json").read_text("utf-8"))["complete"] is False


async def test_a_file_that_is_full_ends_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernl_rt._session.recording_files.LARGEST", 100_000)
    monkeypatch.setattr("kernl_rt._session.recording_files.PERIOD", 0.01)
    channel, human = memory_channel_pair()
    errors: list[SessionError] = []
    async with calling(channel=channel) as call:
        call.session.on("error", errors.append)
        recording: Any = call.session.record(tmp_path)
        await speak(human, flat(5, 2 * RATE))
        await until(lambda: recording.state == "failed")
        await speak(human, flat(5, 960))
        assert call.session.status == "connected"
    assert [error.message for error in errors] == [
        "the recording stopped: audio.wav has grown to 4 GiB, which is all that a WAV file can hold"
    ]
    left, _ = sound_of(tmp_path)
    assert 0 < len(left) <= 25_000
