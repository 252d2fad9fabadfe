"""Turns: what holds whatever a detector says, and however the sound is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt._audio import g711
from kernl_rt._audio.turns import GAP, Boundary, TurnSmoother, TurnTracker
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_24K, AudioFormat
from kernl_rt.events import ActivityEnded, ActivityStarted
from kernl_rt.exceptions import MisconfiguredError


class Loud:
    """Speech is what is not nearly zero."""

    def __init__(self, rate: int = 8_000, frame_samples: int = 160) -> None:
        self.rate = rate
        self.frame_samples = frame_samples
        self.resets = 0

    def is_speech(self, frame: bytes) -> bool:
        assert len(frame) == 2 * self.frame_samples
        return max(memoryview(frame).cast("h")) > 1_000

    def reset(self) -> None:
        self.resets += 1


def sound(*parts: tuple[int, int], rate: int = 8_000) -> bytes:
    """Parts of (milliseconds, amplitude)."""
    return b"".join((b"%c%c" % (value & 255, value >> 8)) * (rate * ms // 1000) for ms, value in parts)


def times(boundaries: list[Boundary]) -> list[tuple[str, float]]:
    return [(type(found).__name__, found.at or 0.0) for found in boundaries]


def tracker(audio_format: AudioFormat = PCM16_8K, onset_ms: float = 80, hangover_ms: float = 200, **options: int):
    return TurnTracker(audio_format, Loud(**options), onset_ms=onset_ms, hangover_ms=hangover_ms)


def track(pcm: bytes, cuts: list[int], start: float = 5.0, audio_format: AudioFormat = PCM16_8K) -> list[Boundary]:
    """``pcm`` in chunks at the cuts, each with its capture time."""
    one, found = tracker(audio_format), []
    width = audio_format.sample_width
    borders = [0, *sorted({cut // width * width for cut in cuts if cut < len(pcm)}), len(pcm)]
    for begin, end in pairwise(borders):
        if begin < end:
            found += one.push(pcm[begin:end], start + begin / audio_format.bytes_per_second)
    return found


VERDICTS = st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=12).map(
    lambda runs: [verdict for verdict, length in runs for _ in range(length)]
)


@given(
    VERDICTS,
    st.integers(0, 300),
    st.integers(0, 1_000),
    st.lists(st.floats(-0.1, 0.3), min_size=1, max_size=40),
    st.integers(0, 400),
)
def test_starts_and_ends_alternate_and_times_never_run_backwards(verdicts, onset, hangover, steps, lapse_at):
    smoother = TurnSmoother(20, onset_ms=onset, hangover_ms=hangover)
    found, clock = [], 100.0
    for index, verdict in enumerate(verdicts):
        clock += steps[index % len(steps)]  # a clock that may even run backwards
        found.append(smoother.push(verdict, clock, clock + 0.02))
        if index == lapse_at:
            found.append(smoother.lapse())
        assert smoother.speaking == isinstance(next((f for f in reversed(found) if f), None), ActivityStarted)
    found = [boundary for boundary in found if boundary is not None]
    for index, boundary in enumerate(found):
        assert type(boundary) is (ActivityEnded if index % 2 else ActivityStarted)
    assert all(earlier.at <= later.at for earlier, later in pairwise(found))


@given(VERDICTS)
def test_a_turn_is_at_least_the_onset_and_no_shorter_pause_than_the_hangover_ends_it(verdicts):
    smoother = TurnSmoother(20, onset_ms=80, hangover_ms=200)
    found = [smoother.push(verdict, n * 0.02, (n + 1) * 0.02) for n, verdict in enumerate(verdicts)]
    boundaries = [boundary for boundary in found if boundary is not None]
    for boundary in boundaries:
        frame = round(boundary.at / 0.02)
        if isinstance(boundary, ActivityStarted):
            assert verdicts[frame]  # the first frame of the run
            assert sum(verdicts[frame : frame + 5]) >= 4
        else:
            assert verdicts[frame - 1]  # the last frame of the run
            assert not any(verdicts[frame : frame + 10])
            assert len(verdicts) >= frame + 10
    started = [b for b in boundaries if isinstance(b, ActivityStarted)]
    runs = "".join("x" if verdict else " " for verdict in verdicts)
    assert bool(started) == any(runs[n : n + 5].count("x") >= 4 for n in range(len(runs)))


SPEECH = sound((300, 0), (60, 9_000), (300, 0), (400, 9_000), (100, 0), (400, 9_000), (500, 0), (200, 9_000), (400, 0))


def test_times_are_those_of_capture():
    assert times(track(SPEECH, [])) == [
        ("ActivityStarted", pytest.approx(5.66)),
        ("ActivityEnded", pytest.approx(6.56)),  # the pause of 100 ms is bridged
        ("ActivityStarted", pytest.approx(7.06)),
        ("ActivityEnded", pytest.approx(7.26)),
    ]


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(SPEECH)), max_size=200))
def test_cutting_makes_no_difference(cuts):
    whole, cut = track(SPEECH, []), track(SPEECH, cuts)
    assert [(name, pytest.approx(at)) for name, at in times(whole)] == times(cut)


@pytest.mark.parametrize("audio_format", [PCM16_24K, AudioFormat("pcm16", 44_100), G711_ULAW], ids=str)
def test_other_formats_give_the_same_turns(audio_format):
    parts = ((300, 0), (400, 9_000), (500, 0), (200, 9_000), (400, 0))
    pcm = sound(*parts, rate=audio_format.rate)
    spoken = g711.encode(pcm, "g711_ulaw") if audio_format == G711_ULAW else pcm
    step = audio_format.size(20)
    found = track(spoken, list(range(0, len(spoken), step)), audio_format=audio_format)
    expected = [("ActivityStarted", 5.3), ("ActivityEnded", 5.7), ("ActivityStarted", 6.2), ("ActivityEnded", 6.4)]
    assert times(found) == [(name, pytest.approx(at, abs=0.0201)) for name, at in expected]


def test_a_gap_in_the_sound_ends_the_turn_where_it_was_last_heard():
    one = tracker()
    spoken = sound((400, 9_000))
    assert times(one.push(spoken, 1.0)) == [("ActivityStarted", 1.0)]
    assert times(one.push(spoken, 1.4 + 0.2 + GAP + 0.01)) == [
        ("ActivityEnded", pytest.approx(1.4)),
        ("ActivityStarted", pytest.approx(2.11)),
    ]


def test_sound_that_is_late_by_less_does_not_end_it():
    one = tracker()
    spoken = sound((400, 9_000))
    one.push(spoken, 1.0)
    assert one.push(spoken, 1.4 + 0.2 + GAP - 0.01) == []
    assert one.speaking


def test_no_more_sound():
    one = tracker()
    assert one.lapse() == []
    one.push(sound((400, 9_000)), 1.0)
    assert times(one.lapse()) == [("ActivityEnded", pytest.approx(1.4))]
    assert one.lapse() == []
    assert not one.speaking


def test_sound_that_is_handed_over_all_at_one_time():
    """As a file does that does not keep time: the order still holds."""
    one, found = tracker(), []
    for start in range(0, len(SPEECH), 320):
        found += one.push(SPEECH[start : start + 320], 7.0)
    assert [name for name, _ in times(found)] == ["ActivityStarted", "ActivityEnded"] * 2
    assert all(earlier.at <= later.at for earlier, later in pairwise(found))


def test_a_detector_that_wants_no_sound():
    with pytest.raises(MisconfiguredError, match="at least one sample"):
        tracker(frame_samples=0)


def test_many_short_pauses_do_not_add_up():
    one = tracker()
    found = one.push(sound(*[(100, 9_000), (100, 0)] * 6, (300, 0)), 0.0)
    assert times(found) == [("ActivityStarted", 0.0), ("ActivityEnded", pytest.approx(1.1))]


def test_a_late_chunk_counts_by_its_own_capture_time():
    one = tracker()
    one.push(sound((100, 0)), 10.0)
    assert times(one.push(sound((100, 9_000), (300, 0)), 10.4)) == [
        ("ActivityStarted", pytest.approx(10.4)),
        ("ActivityEnded", pytest.approx(10.5)),
    ]
