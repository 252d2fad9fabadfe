"""What of the model's sound was heard, and when: the line between what was sent and the human's ear."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from kernl_rt._recording.heard import Heard, HeardLine, Label
from kernl_rt.config import AudioFormat

#: A millisecond is two bytes.
THOUSAND = AudioFormat("pcm16", 1_000)
ONE, TWO = Label("r1", "i1"), Label("r2", "i2")


def marked() -> HeardLine:
    return HeardLine(THOUSAND, marks=True)


def clocked(now: float = 0.0) -> HeardLine:
    return HeardLine(THOUSAND, marks=False, now=now)


def test_a_mark_says_what_was_heard_until_now() -> None:
    line = marked()
    line.sent(b"a" * 200, ONE, 1.0)
    assert line.mark(30, 1.03) == [Heard(b"a" * 60, 1.0, ONE, fresh=True)]
    assert line.mark(30, 1.05) == []
    assert line.mark(20, 1.05) == [], "never backwards"
    [rest] = line.mark(500, 2.0)
    assert (len(rest.audio), round(rest.at, 6), rest.fresh) == (140, 1.93, False)
    assert (line.heard, line.pending) == (200, 0)


def test_a_mark_may_cross_from_one_reply_into_the_next() -> None:
    line = marked()
    line.sent(b"a" * 20, ONE, 0.0)
    line.sent(b"b" * 20, TWO, 0.0)
    heard = line.mark(15, 0.015)
    assert [(h.audio, round(h.at, 6), h.label) for h in heard] == [(b"a" * 20, 0.0, ONE), (b"b" * 10, 0.01, TWO)]


def test_the_clock_plays_one_piece_after_the_other() -> None:
    line = clocked()
    line.sent(b"a" * 20, ONE, 1.0)
    line.sent(b"b" * 20, ONE, 1.0)
    assert line.advance(1.0) == []
    assert [(h.audio, round(h.at, 6)) for h in line.advance(1.015)] == [(b"a" * 20, 1.0), (b"b" * 10, 1.01)]
    assert [(h.audio, round(h.at, 6)) for h in line.advance(9.0)] == [(b"b" * 10, 1.015)]
    line.sent(b"c" * 2, TWO, 9.5)
    assert line.advance(10.0) == [Heard(b"cc", 9.5, TWO, fresh=True)]


def test_what_was_cleared_is_never_heard() -> None:
    line = marked()
    line.sent(b"a" * 200, ONE, 0.0)
    assert [len(h.audio) for h in line.cut(40, 0.04)] == [80]
    assert (line.pending, line.mark(90, 0.09)) == (0, [])
    line.sent(b"b" * 10, TWO, 1.0)
    [heard] = line.mark(45, 1.005)
    assert (heard.audio, round(heard.at, 6), heard.label, heard.fresh) == (b"b" * 10, 1.0, TWO, True)


def test_what_plays_again_is_still_of_whom_it_was() -> None:
    line = marked()
    line.sent(b"a" * 20, ONE, 0.0)
    line.sent(b"b" * 20, TWO, 0.0)
    line.cut(5, 0.005)
    line.sent_again(b"a" * 10 + b"b" * 20, 1.0)
    assert [(len(h.audio), h.label) for h in line.mark(20, 1.015)] == [(10, ONE), (20, TWO)]


def test_a_reply_that_was_stopped_is_not_among_what_plays_again() -> None:
    line = marked()
    line.sent(b"a" * 20, ONE, 0.0)
    line.sent(b"b" * 20, TWO, 0.0)
    line.cut(5, 0.005)
    line.sent_again(b"b" * 20, 0.005, stopped=["r1"])
    assert [(len(h.audio), h.label) for h in line.mark(15, 0.015)] == [(20, TWO)]


def test_without_a_channel_one_reply_is_dropped_and_the_next_moves_up() -> None:
    line = clocked()
    line.sent(b"a" * 200, ONE, 0.0)
    line.sent(b"b" * 20, TWO, 0.0)
    assert [len(h.audio) for h in line.drop("r1", 0.05)] == [100]
    assert [(h.audio, round(h.at, 6)) for h in line.advance(1.0)] == [(b"b" * 20, 0.05)]


def test_what_was_sent_before_is_passed_over() -> None:
    line = HeardLine(THOUSAND, marks=True, position=100, ahead=40)
    line.sent(b"a" * 20, ONE, 0.0)
    assert line.mark(60, 0.01) == []
    assert [h.audio for h in line.mark(75, 0.03)] == [b"a" * 10]
    line = HeardLine(THOUSAND, marks=False, position=100, ahead=40, now=5.0)
    line.sent(b"a" * 20, ONE, 5.0)
    assert [(h.audio, round(h.at, 6)) for h in line.advance(9.0)] == [(b"a" * 20, 5.02)]
    assert line.heard == 160


steps = st.lists(
    st.one_of(
        st.tuples(st.just("sent"), st.integers(0, 90)),
        st.tuples(st.just("mark"), st.floats(0, 400)),
        st.tuples(st.just("wait"), st.floats(0, 0.1)),
        st.tuples(st.just("cut"), st.floats(0, 400)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps=steps, marks=st.booleans())
def test_nothing_is_heard_that_was_not_sent_nor_twice_nor_in_another_order(
    steps: list[tuple[str, float]], marks: bool
) -> None:
    line, now, sent, heard, number = HeardLine(THOUSAND, marks=marks), 0.0, b"", b"", 0
    found: list[Heard] = []
    for kind, value in steps:
        before = line.heard
        if kind == "sent":
            number += 1
            piece = bytes([number]) * int(value)
            line.sent(piece, ONE, now)
            sent += piece
        elif kind == "wait":
            now += value
            found += line.advance(now)
        elif kind == "mark" and marks:
            found += line.mark(value, now)
        elif kind == "cut":
            found += line.cut(value, now)
            sent = b"".join(h.audio for h in found)  # what lay behind is gone
        assert before <= line.heard
        heard = b"".join(h.audio for h in found)
        assert sent.startswith(heard)
        assert line.heard == len(heard)
        assert line.pending == len(sent) - len(heard)
    ends = [h.at + THOUSAND.ms(len(h.audio)) / 1000 for h in found]
    assert all(end <= now + 1e-4 for end in ends), "nothing is heard in the future"
