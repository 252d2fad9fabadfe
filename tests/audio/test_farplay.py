"""The ledger of a far loudspeaker: what holds in any order of events, and what each kind of confirmation means."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from kernl_rt._audio.farplay import FarPlayout
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat

FRAME = PCM16_24K.size(20)
SECOND = PCM16_24K.bytes_per_second

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3_000).map(lambda n: 2 * n), st.integers(0, 3_000)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 400), st.just(0)),
        st.tuples(st.just("played"), st.integers(0, 60_000), st.integers(-1, 3)),
        st.tuples(st.just("mark"), st.just(0), st.just(0)),
        st.tuples(st.just("echoed"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0)),
        st.tuples(st.just("report"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(EVENTS, st.sampled_from([None, 0.0, 120.0]), st.sampled_from([PCM16_24K, PCM16_16K, G711_ULAW]))
def test_whatever_comes(events: list[tuple[str, int, int]], trust: float | None, audio_format: AudioFormat) -> None:
    ledger = FarPlayout(audio_format, trust_ms=trust)
    now, position, marks, reported = 100.0, 0, 0, -1.0
    pushed = 0
    width = audio_format.sample_width
    for kind, first, second in events:
        confirmed, clears = ledger.confirmed, ledger.clears
        match kind:
            case "push":
                pushed += first
                ledger.push(first, second, now)
            case "settle":
                ledger.settle(now)
            case "wait":
                now += first / 1000
                ledger.advance(now)
            case "played":
                ledger.played(first, None if second < 0 else second, now)
                if 0 <= second != clears:
                    assert ledger.confirmed == confirmed or trust is None
            case "mark":
                marks += 1
                ledger.mark(f"m{marks}")
            case "echoed":
                ledger.echoed(f"m{first}", now)
            case "clear":
                held = ledger.unconfirmed > 0
                told = ledger.clear(now)
                assert told or not held or trust is None
                assert ledger.pending == ledger.unconfirmed == 0
                assert ledger.clears == clears + told
            case _:
                mark = ledger.take_mark()
                if mark is not None:
                    assert reported < mark == ledger.position_ms
                    reported = mark
        assert position <= ledger.heard <= ledger.sent, "never backwards, never more than was sent"
        assert 0 <= ledger.confirmed <= ledger.sent
        assert ledger.heard >= ledger.confirmed
        assert ledger.sent + ledger.cleared == pushed
        assert ledger.heard % width == 0
        if trust is not None:
            room = ledger.room_at(width, now)
            assert room is None or room < now + 10
        due, before = ledger.mark_at, ledger.heard
        if due is not None:
            now = max(now, due)
            ledger.advance(now)
            assert ledger.heard > before, "there is something to report then"
        position = ledger.heard


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 80)), min_size=1, max_size=30), st.integers(0, 300))
def test_an_honest_far_end_is_believed_to_the_sample(pieces: list[tuple[int, int]], delay_ms: int) -> None:
    """It plays what it gets, a while later, and reports every 50 ms: in the end the ledger knows all of it."""
    ledger = FarPlayout(PCM16_24K)
    now, sent = 0.0, 0
    for ms, pause in pieces:
        ledger.push(PCM16_24K.size(ms), PCM16_24K.size(ms), now)
        sent += PCM16_24K.size(ms)
        now += pause / 1000
        ledger.advance(now)
        assert ledger.confirmed == 0
        assert ledger.heard <= PCM16_24K.size(120), "the clock is trusted for so long"
    now += delay_ms / 1000
    for count in range(0, sent + 1, PCM16_24K.size(50)):
        before = ledger.heard
        ledger.played(count, 0, now)
        assert ledger.confirmed == count
        assert ledger.heard >= max(count, before)
        now += 0.05
    ledger.played(sent, 0, now)
    assert ledger.heard == ledger.confirmed == sent
    assert ledger.stale == ledger.excess == 0


@given(st.integers(1, 500), st.integers(0, 500), st.integers(0, 500), st.lists(st.integers(0, 24_000), max_size=10))
def test_counts_from_before_a_clear_never_count_after_it(
    sent_ms: int, waited_ms: int, again_ms: int, late: list[int]
) -> None:
    ledger = FarPlayout(PCM16_24K)
    ledger.push(PCM16_24K.size(sent_ms), PCM16_24K.size(sent_ms), 0.0)
    now = waited_ms / 1000
    if not ledger.clear(now):
        return
    position = ledger.heard
    ledger.push(PCM16_24K.size(again_ms), PCM16_24K.size(again_ms), now)
    for samples in late:
        ledger.played(samples * 2, 0, now)
    assert ledger.heard == ledger.confirmed == position
    assert ledger.stale == len(late)
    ledger.played(9_600, 1, now)  # its own count when it obeyed: whatever it says, that is where we are
    assert ledger.confirmed == position
    ledger.played(9_600 + PCM16_24K.size(again_ms), 1, now)
    assert ledger.heard == position + PCM16_24K.size(again_ms)


def test_marks_that_are_echoed_because_of_a_clear_were_not_heard() -> None:
    ledger = FarPlayout(G711_ULAW, trust_ms=1_000)
    for name in ("a", "b", "c"):
        ledger.push(800, 800, 0.0)
        ledger.mark(name)
    ledger.echoed("a", 0.15)
    assert ledger.confirmed == ledger.heard == 800
    ledger.advance(10.0)
    assert ledger.heard == 1_600, "not beyond a mark that was not echoed"
    assert ledger.clear(10.0)
    ledger.push(800, 800, 10.0)
    ledger.mark("d")
    for name in ("b", "c"):
        ledger.echoed(name, 10.05)
    assert ledger.confirmed == 1_600
    assert ledger.stale == 2
    ledger.echoed("d", 10.3)
    assert ledger.heard == 2_400


def test_the_echo_of_a_mark_stands_for_those_before_it() -> None:
    ledger = FarPlayout(G711_ULAW)
    for name in ("a", "b"):
        ledger.push(800, 800, 0.0)
        ledger.mark(name)
    ledger.echoed("b", 0.3)
    ledger.echoed("a", 0.3)
    assert (ledger.confirmed, ledger.stale) == (1_600, 1)


def test_converted_sound_is_counted_in_the_sessions_format() -> None:
    """20 ms frames at 24 kHz that become 8 kHz with a filter which holds back the first 5 ms until the end."""
    ledger = FarPlayout(PCM16_24K)
    sizes = [0, 120, *([160] * 8), 160]
    for size in sizes:
        ledger.push(FRAME, size, 0.0)
    ledger.played(120, 0, 0.0)
    assert ledger.confirmed == 2 * FRAME
    ledger.played(120 + 80, 0, 0.0)
    assert ledger.confirmed == 2 * FRAME + FRAME // 2
    ledger.push(0, 39, 0.0)
    ledger.push(10, 0, 0.0)
    ledger.settle(0.0)
    ledger.played(sum(sizes) + 39, 0, 0.0)
    assert ledger.confirmed == ledger.sent == len(sizes) * FRAME + 10


def test_more_than_was_sent_is_not_believed() -> None:
    ledger = FarPlayout(PCM16_24K)
    ledger.push(FRAME, FRAME, 0.0)
    ledger.played(10**12, 0, 0.0)
    assert (ledger.heard, ledger.excess) == (FRAME, 1)
    ledger.played(2, 0, 0.0)
    assert (ledger.heard, ledger.stale) == (FRAME, 1)
    ledger.push(FRAME, FRAME, 0.0)
    ledger.played(FRAME + 480, 0, 0.0)
    assert ledger.confirmed == FRAME + 480, "the truth is believed again"


def test_the_sender_is_a_little_ahead_of_the_clock_and_not_far_ahead_of_what_is_known() -> None:
    ledger = FarPlayout(PCM16_24K, ahead_ms=200, slack_ms=1_000)
    now, sent = 0.0, 0
    while (room := ledger.room_at(FRAME, now)) is not None:
        assert room - now <= 0.02 + 1e-9
        now = max(now, room)
        ledger.push(FRAME, FRAME, now)
        sent += 1
        assert ledger.sent - int(now * SECOND) <= PCM16_24K.size(200) + 2
    assert sent == 60, "1.2 s are unconfirmed"
    ledger.played(FRAME, 0, now)
    assert ledger.room_at(FRAME, now) is not None
    assert ledger.room_at(2 * FRAME, now) is None


def test_without_any_confirmation_the_clock_is_all_there_is() -> None:
    ledger = FarPlayout(PCM16_24K, trust_ms=None)
    for frame in range(1_000):
        now = frame / 50
        assert ledger.room_at(FRAME, now) == now
        ledger.push(FRAME, FRAME, now)
    assert len(ledger._pieces) < 3
    ledger.advance(1_000.0)
    assert ledger.heard == ledger.confirmed == 1_000 * FRAME


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_reports_are_due_by_the_clock_as_far_as_it_is_trusted(late: float) -> None:
    ledger = FarPlayout(PCM16_24K, trust_ms=120)
    ledger.push(SECOND, SECOND, late)
    due = []
    while (at := ledger.mark_at) is not None:
        ledger.advance(at)
        if (mark := ledger.take_mark()) is not None:
            due.append((round(at - late, 3), mark))
    assert due == [(step * 0.02, step * 20.0) for step in range(1, 7)]
    ledger.played(PCM16_24K.size(200), 0, late + 0.5)
    assert ledger.take_mark() == 200.0
    assert ledger.mark_at == pytest.approx(late + 0.52)
