"""The playback ledger: what was heard of what."""

from __future__ import annotations

from hypothesis import given, strategies as st

from kernl_rt._core.playback import Playback
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat

FORMATS = st.sampled_from([PCM16_24K, PCM16_16K, G711_ULAW])
CHUNKS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 500)), min_size=1, max_size=12)


@given(FORMATS, CHUNKS, st.floats(0, 5_000))
def test_a_cut_is_never_longer_than_what_was_heard_or_received(
    format: AudioFormat, chunks: list[tuple[str, int]], position: float
) -> None:
    playback = Playback(format, marks=True)
    received = {"a": 0, "b": 0}
    for item, ms in chunks:
        size = format.size(ms)
        received[item] += size
        playback.sent("r", item, 0, size, 0.0)
    total = sum(received.values())
    playback.mark(position)
    for cut in playback.clear(position, 0.0):
        assert 0 <= cut.heard_ms <= cut.received_ms <= format.ms(received[cut.item_id])
    assert playback.heard_ms <= min(position + 0.01, format.ms(total))
    assert playback.pending == 0


@given(st.lists(st.tuples(st.sampled_from(["send", "mark", "wait", "clear"]), st.floats(0, 900)), max_size=40))
def test_heard_never_falls_and_never_passes_what_was_sent(steps: list[tuple[str, float]]) -> None:
    for marks in (True, False):
        playback = Playback(PCM16_24K, marks=marks)
        now = heard = sent = 0.0
        for step, value in steps:
            if step == "send":
                size = PCM16_24K.size(value)
                sent += PCM16_24K.ms(size)
                playback.sent("r", "i", 0, size, now)
            elif step == "mark" and marks:
                playback.mark(value * 3)
            elif step == "wait":
                now += value / 1000
                playback.advance(now)
            elif step == "clear":
                playback.clear(playback.heard_ms if marks else None, now)
            assert playback.pending >= 0
            assert heard <= playback.heard_ms <= sent + 0.01
            heard = playback.heard_ms


@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=10), st.floats(0, 1e6))
def test_by_the_clock_everything_is_heard_when_it_should_be(pauses: list[float], start: float) -> None:
    """At ``heard_at`` nothing is pending: else the deadline would come again and again."""
    playback = Playback(PCM16_24K, marks=False)
    now = start
    for pause in pauses:
        playback.sent("r", "i", 0, PCM16_24K.size(100), now)
        now += pause
        playback.advance(now)
    due = playback.heard_at()
    if due is not None:
        playback.advance(max(due, now))
    assert playback.pending == 0
    assert playback.heard_at() is None


def test_the_clock_is_not_asked_where_marks_tell() -> None:
    playback = Playback(PCM16_24K, marks=True)
    playback.sent("r", "i", 0, 4_800, 0.0)
    playback.advance(1_000.0)
    assert playback.pending == 4_800
    assert playback.heard_at() is None


def test_sound_that_pauses_does_not_count_as_heard_meanwhile() -> None:
    playback = Playback(PCM16_24K, marks=False)
    playback.sent("r", "i", 0, PCM16_24K.size(100), 0.0)
    playback.advance(5.0)
    playback.sent("r", "i", 0, PCM16_24K.size(100), 5.0)
    playback.advance(5.05)
    assert playback.heard_ms == 150


def test_an_item_whose_sound_comes_in_two_stretches_counts_as_one() -> None:
    playback = Playback(PCM16_24K, marks=True)
    tenth = PCM16_24K.size(100)
    for item in ("a", "b", "a"):
        playback.sent(item, item, 0, tenth, 0.0)
    playback.finish("a")
    playback.finish("b")
    playback.mark(250)
    [cut] = playback.clear(250, 0.0)
    assert (cut.item_id, cut.heard_ms, cut.received_ms) == ("a", 150, 200)


def test_heard_sound_is_not_kept() -> None:
    line = Playback(PCM16_24K, marks=True)
    second = bytes(range(256)) * 187 + bytes(128)
    for number in range(600):
        line.sent("r", "i", 0, len(second), float(number), second)
        line.mark(number * 1000.0)
    [stretch] = line._stretches
    assert stretch.kept is not None
    assert len(stretch.kept) <= len(second) + 2 * 64 * 1024
    line.clear(599_500.0, 600.0, keep=True)
    assert b"".join(line.resume(600.0)) == second[len(second) // 2 :]
