"""A card's clock, and what was heard by it: properties over hostile clocks and any order of calls."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kernl_rt._audio.device import DeviceClock, DevicePlayback
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat

DEVICE_48K = AudioFormat("pcm16", 48_000)
DEVICE_44K = AudioFormat("pcm16", 44_100)

# -- the clock --------------------------------------------------------------------------------------------------------


@given(
    zero=st.floats(-1e6, 1e6),
    drift=st.floats(-2e-4, 2e-4),
    delays=st.lists(st.floats(0, 0.05), min_size=20, max_size=60),
)
def test_the_difference_of_the_clocks_is_found_through_the_delays(
    zero: float, drift: float, delays: list[float]
) -> None:
    """Once a block has come without delay, moments are right to a millisecond, whatever the delays of the others."""
    clock = DeviceClock(0.02)
    delays[10] = 0.0
    for number, delay in enumerate(delays):
        true = 100 + 0.02 * number  # when the card calls, on the session's clock; it is noticed ``delay`` later
        device = true * (1 + drift) + abs(zero) + 1_000
        heard_at = clock.heard_at(device + 0.03, device, true + delay)
        captured_at = clock.captured_at(device - 0.04, device, true + delay, 0.02)
        if number >= 10:
            assert heard_at == pytest.approx(true + 0.03, abs=1.5e-3)
            assert captured_at == pytest.approx(true - 0.04, abs=1.5e-3)


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9),
            st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9),
            st.floats(0, 10),
        ),
        max_size=40,
    )
)
def test_whatever_a_card_says_sound_was_captured_in_order_and_not_in_the_future(
    stamps: list[tuple[float, float, float]],
) -> None:
    clock = DeviceClock(0.02)
    now, last = 50.0, -math.inf
    for device_now, stamp, passed in stamps:
        now += passed
        at = clock.captured_at(stamp, device_now, now, 0.02)
        assert last <= at <= now
        assert now - 6 <= clock.heard_at(stamp, device_now, now) <= now + 6 + 1e-6 * abs(device_now)
        last = at


@pytest.mark.parametrize("stamp", [0.0, -1.0, 1e9])
def test_without_a_stamp_the_driver_s_latency_counts(stamp: float) -> None:
    clock = DeviceClock(0.05)
    assert clock.captured_at(stamp, 1_000.0, 10.0, 0.02) == pytest.approx(9.93)
    assert clock.heard_at(stamp, 1_000.0, 10.0) == pytest.approx(10.05)


def test_a_card_whose_clock_is_set_anew_is_followed_at_once() -> None:
    clock = DeviceClock(0.05)
    clock.observe(1_000.0, 10.0)
    assert clock.heard_at(5.03, 5.0, 11.0) == pytest.approx(11.03)
    assert clock.heard_at(90_000.03, 90_000.0, 12.0) == pytest.approx(12.03)


# -- what was heard ---------------------------------------------------------------------------------------------------


class Played(RuleBasedStateMachine):
    """``0 <= heard <= sent``, never falling; only what was handed over, and only when its time has come."""

    session = PCM16_24K
    device = DEVICE_48K

    def __init__(self) -> None:
        super().__init__()
        self.played = DevicePlayback(self.session, self.device)
        self.now = 0.0
        self.waiting = 0
        self.last = 0
        self.handed_until = 0.0
        self.ended = True

    @rule(samples=st.integers(0, 480), held_back=st.floats(0, 1))
    def push(self, samples: int, held_back: float) -> None:
        size = samples * self.session.sample_width
        device_size = int(samples * self.device.rate / self.session.rate * held_back) * 2
        self.played.push(size, device_size)
        self.waiting += device_size
        self.ended = self.ended and not size

    @rule(samples=st.integers(0, 200))
    def end(self, samples: int) -> None:
        self.played.end(2 * samples)
        self.waiting += 2 * samples
        self.ended = True

    @precondition(lambda self: self.waiting)
    @rule(part=st.floats(0, 1), ahead=st.floats(0, 0.2))
    def hand(self, part: float, ahead: float) -> None:
        size = max(int(self.waiting * part) // 2 * 2, 2)
        self.waiting -= size
        at = max(self.now + ahead, self.handed_until)
        self.played.hand(size, at)
        self.handed_until = at + size / self.device.bytes_per_second

    @rule(seconds=st.floats(0, 0.5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def clear(self) -> None:
        self.played.clear()
        self.waiting = self.last = 0
        self.handed_until = 0.0
        self.ended = True

    @invariant()
    def honest(self) -> None:
        heard = self.played.heard(self.now)
        assert self.last <= heard <= self.played.sent
        assert heard % self.session.sample_width == 0
        self.last = heard
        until = self.played.audible_until
        assert (until is None) or until == pytest.approx(self.handed_until)
        if self.ended and not self.waiting and self.now > self.handed_until + 1e-6:
            assert heard == self.played.sent, "all was handed over, and its time is over"


class PlayedAs44K(Played):
    session = PCM16_16K
    device = DEVICE_44K


class PlayedFromG711(Played):
    session = G711_ULAW
    device = AudioFormat("pcm16", 8_000)


TestPlayed: Any = Played.TestCase
TestPlayedAs44K: Any = PlayedAs44K.TestCase
TestPlayedFromG711: Any = PlayedFromG711.TestCase


def test_what_is_in_the_card_s_buffer_is_not_heard() -> None:
    played = DevicePlayback(PCM16_24K, PCM16_24K)
    played.push(960, 960)
    played.hand(960, 10.0)
    assert [played.heard(at) for at in (9.9, 10.0, 10.01, 10.02, 11.0)] == [0, 0, 480, 960, 960]
