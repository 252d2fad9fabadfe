"""The rings between a sound card's thread and the loop: nothing is lost uncounted, nothing cleared is played."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernl_rt._audio.ring import CaptureRing, PlaybackRing
from kernl_rt.exceptions import MisconfiguredError


def test_a_ring_holds_something() -> None:
    with pytest.raises(MisconfiguredError, match="holds nothing"):
        CaptureRing(0)


@given(
    capacity=st.integers(1, 5),
    steps=st.lists(st.one_of(st.binary(min_size=0, max_size=6), st.none()), max_size=60),
)
def test_captured_sound_is_taken_in_order_or_counted(capacity: int, steps: list[bytes | None]) -> None:
    """Bytes put = taken + dropped + waiting, always; what is taken stands where it was put; the oldest go first."""
    ring, put, taken, end = CaptureRing(capacity), b"", 0, 0
    waiting: list[tuple[int, bytes]] = []
    for number, step in enumerate(steps):
        if step is not None:
            ring.put(step, float(number))
            if step:
                waiting = [*waiting, (len(put), step)][-capacity:]
                put += step
        elif (block := ring.take()) is not None:
            assert (block.offset, block.audio) == waiting.pop(0)
            assert put[block.offset : block.offset + len(block.audio)] == block.audio
            assert block.offset >= end
            taken, end = taken + len(block.audio), block.offset + len(block.audio)
        assert bool(ring) is bool(waiting)
        assert ring.captured == len(put)
        assert taken + ring.dropped + sum(len(audio) for _, audio in waiting) == len(put)


class Playback(RuleBasedStateMachine):
    """Pushed sound comes out once, in order, and at the time that is reported, unless it was cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = PlaybackRing(bytes_per_second=1_000)
        self.model = bytearray()
        self.reported: list[tuple[int, float]] = []
        self.now = 0.0
        self.counter = 0

    @rule(size=st.integers(0, 9))
    def push(self, size: int) -> None:
        sound = bytes((self.counter + index) % 255 + 1 for index in range(size))  # never 0, which is silence
        self.counter += size
        self.ring.push(sound)
        self.model += sound

    @rule(size=st.integers(1, 12))
    def fill(self, size: int) -> None:
        out = bytearray(b"\xee" * size)
        gaps = self.ring.gaps
        filled = self.ring.fill(memoryview(out), self.now)
        assert filled == min(size, len(self.model))
        assert out == self.model[:size] + bytes(size - filled)
        reports = self.ring.take_reports()
        assert sum(report.size for report in reports) == filled
        assert all(report.at >= self.now and report.generation == self.ring.generation for report in reports)
        if filled == size or self.ring.complete:
            assert self.ring.gaps == gaps
        elif filled:
            assert self.ring.gaps == gaps + 1
        del self.model[:size]
        self.now += size / 1_000

    @rule()
    def clear(self) -> None:
        self.ring.clear()
        self.model.clear()

    @rule()
    def end(self) -> None:
        self.ring.end()

    @invariant()
    def complete_means_that_nothing_follows(self) -> None:
        if self.ring.complete:
            assert self.ring.take_reports() == []


TestPlayback: Any = Playback.TestCase


def test_a_gap_is_counted_once_however_long_it_is() -> None:
    ring = PlaybackRing(1_000)
    ring.push(bytes(15))
    for _ in range(5):
        ring.fill(memoryview(bytearray(10)), 0.0)
    assert ring.gaps == 1
    ring.push(bytes(10))
    ring.end()
    for _ in range(3):
        ring.fill(memoryview(bytearray(10)), 0.0)
    assert ring.gaps == 1, "a reply that has ended has no gap behind it"


def test_cleared_in_the_middle_of_a_block_both_parts_are_told_apart() -> None:
    ring = PlaybackRing(1_000)

    class Sound(bytes):
        """Is cleared while it is copied, once."""

        armed = True

        def __getitem__(self, key: Any) -> Any:
            if Sound.armed:
                Sound.armed = False
                ring.clear()
                ring.push(b"new!")
            return super().__getitem__(key)

    ring.push(Sound(b"old"))
    out = bytearray(10)
    assert ring.fill(memoryview(out), 5.0) == 7
    assert out == b"oldnew!\0\0\0"
    first, second = ring.take_reports()
    assert (first.generation, first.size, first.at) == (0, 3, 5.0)
    assert (second.generation, second.size, second.at) == (1, 4, 5.003)


def test_two_threads_lose_nothing() -> None:
    """One thread puts as fast as it can, the other takes: what was put is taken or counted as dropped."""
    ring, blocks = CaptureRing(8), 20_000
    played = PlaybackRing(1_000)
    out = bytearray(7)
    heard = 0

    def card() -> None:
        nonlocal heard
        for number in range(blocks):
            ring.put(number.to_bytes(3, "little"), float(number))
            heard += played.fill(memoryview(out), 0.0)

    thread = threading.Thread(target=card)
    thread.start()
    taken, reported, pushed, last = 0, 0, 0, -1
    while thread.is_alive() or ring:
        if (block := ring.take()) is not None:
            number = int.from_bytes(block.audio, "little")
            assert number > last
            assert block.offset == 3 * number
            last, taken = number, taken + 3
        if pushed - reported < 100:
            played.push(bytes(5))
            pushed += 5
        reported += sum(report.size for report in played.take_reports())
    thread.join()
    reported += sum(report.size for report in played.take_reports())
    assert taken + ring.dropped == 3 * blocks == ring.captured
    assert reported == heard <= pushed
