"""The ledger keeps its invariants in any order of calls."""

from __future__ import annotations

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernl_rt._audio.playout import Heard, Pace, Playout
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.exceptions import SessionStateError


class PlayoutMachine(RuleBasedStateMachine):
    @initialize(
        audio_format=st.sampled_from([PCM16_24K, PCM16_16K, G711_ULAW, AudioFormat("pcm16", 11_025)]),
        pace=st.sampled_from(["realtime", "instant", "manual"]),
        now=st.floats(0, 1e6),
    )
    def start(self, audio_format: AudioFormat, pace: Pace, now: float) -> None:
        self.format, self.pace, self.now = audio_format, pace, now
        self.playout = Playout(audio_format, pace)
        self.given = bytearray()  # all that may be heard: sent, less what was cleared
        self.ear = bytearray()
        self.position = 0.0
        self.mark = 0.0
        self.ended = now
        self.budget = 0.0  # seconds that have passed: more cannot have been heard by the clock
        self.number = 0

    def take(self, heard: list[Heard]) -> None:
        for piece in heard:
            assert piece.audio
            assert piece.at >= self.ended - 1e-6, "pieces overlap"
            assert piece.at <= self.now + 1e-3
            self.ended = piece.at + (self.format.ms(len(piece.audio)) / 1000 if self.pace == "realtime" else 0)
            assert self.ended <= self.now + 1e-3 or self.pace != "realtime"
            self.ear += piece.audio

    @rule(samples=st.integers(0, 3_000))
    def send(self, samples: int) -> None:
        self.number = (self.number + 1) % 256
        audio = bytes([self.number]) * (samples * self.format.sample_width)
        self.given += audio
        self.take(self.playout.push(audio, self.now))

    @rule(seconds=st.floats(0, 0.3))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.budget += seconds
        self.take(self.playout.advance(self.now))

    @rule()
    def to_the_mark(self) -> None:
        at = self.playout.mark_at
        if at is None:
            assert self.pace != "realtime" or not self.playout.pending
            return
        assert at >= self.now - 1e-6 or self.playout.take_mark() is not None
        self.budget += max(at - self.now, 0)
        self.now = max(at, self.now)
        self.take(self.playout.advance(self.now))
        assert self.playout.mark_at is None or self.playout.mark_at > at or self.playout.take_mark() is not None

    @rule()
    def take_mark(self) -> None:
        position = self.playout.take_mark()
        if position is not None:
            assert position > self.mark
            assert position == self.playout.position_ms
            self.mark = position
            assert self.playout.take_mark() is None

    @rule(part=st.floats(0, 1))
    @precondition(lambda self: self.pace == "manual")
    def play(self, part: float) -> None:
        samples = int(self.playout.pending // self.format.sample_width * part)
        self.take(self.playout.play(samples * self.format.sample_width, self.now))

    @rule()
    def clear(self) -> None:
        pending = self.playout.pending
        heard, dropped = self.playout.clear(self.now)
        self.take(heard)
        assert dropped <= pending
        assert dropped == len(self.given) - len(self.ear)
        del self.given[len(self.ear) :]
        assert self.playout.pending == 0
        assert self.playout.clear(self.now) == ([], 0)
        assert self.playout.take_mark() is None
        self.mark = max(self.mark, self.playout.position_ms)

    @invariant()
    def accounts_hold(self) -> None:
        if not hasattr(self, "playout"):
            return
        playout = self.playout
        assert 0 <= playout.heard <= playout.sent
        assert playout.heard == len(self.ear)
        assert playout.sent == len(self.given)
        assert self.given.startswith(self.ear), "what is heard is what was sent and not cleared, in order"
        assert playout.heard % self.format.sample_width == 0
        assert playout.position_ms >= self.position
        self.position = playout.position_ms
        if self.pace == "realtime":
            assert playout.position_ms <= self.budget * 1000 + 1e-2


TestPlayout = PlayoutMachine.TestCase
TestPlayout.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_by_the_clock() -> None:
    playout = Playout(PCM16_24K)
    assert playout.push(bytes(4_800), 10.0) == []
    assert playout.mark_at == pytest.approx(10.02)
    assert playout.advance(10.033) == [Heard(bytes(1_584), 10.0)]
    assert playout.take_mark() == 33.0
    assert playout.take_mark() is None
    assert playout.clear(10.05) == ([Heard(bytes(816), pytest.approx(10.033))], 2_400)
    assert playout.position_ms == 50.0
    assert playout.quiet_since == 10.05
    assert playout.mark_at is None


def test_sound_after_a_pause_begins_when_it_is_sent() -> None:
    playout = Playout(PCM16_24K)
    playout.push(bytes(480), 0.0)
    playout.advance(5.0)
    assert playout.quiet_since == pytest.approx(0.01)
    playout.push(bytes(960), 5.0)
    assert playout.advance(5.01) == [Heard(bytes(480), 5.0)]
    assert playout.position_ms == 20.0


def test_the_end_of_what_was_sent_is_reported_though_the_step_is_not_full() -> None:
    playout = Playout(PCM16_24K)
    playout.push(bytes(240), 0.0)
    playout.advance(0.004)
    assert playout.take_mark() is None
    playout.advance(0.005)
    assert playout.take_mark() == 5.0


def test_more_than_was_sent_cannot_be_heard() -> None:
    playout = Playout(PCM16_24K, "manual")
    playout.push(bytes(96), 0.0)
    with pytest.raises(SessionStateError, match="2 ms"):
        playout.play(98, 0.0)
    assert playout.heard == 0
