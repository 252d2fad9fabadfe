"""A plain listener that blocks the event loop is named."""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import Any

import pytest

from kernl_rt._emitter import STALL, Emitter
from kernl_rt.events import AudioDelta, LoopStalled, SessionError
from tests.scenarios.calls import Call, audio, calling, created

pytestmark = pytest.mark.anyio


class Clock:
    """Stands still, but for what a listener takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def emitter_of(clock: Clock) -> tuple[Emitter, list[tuple[Any, Any, float]]]:
    return Emitter(clock), []


def told(emitter: Emitter, stalls: list[Any], *topics: str) -> None:
    def failed(listener: Any, exc: Exception) -> None:
        stalls.append(exc)

    emitter.emit(topics, "event", failed, lambda *stall: stalls.append(stall))


def test_each_listener_is_timed_alone() -> None:
    clock = Clock()
    emitter, stalls = emitter_of(clock)

    def quick(event: Any) -> None:
        clock.now += STALL / 2

    def slow(event: Any) -> None:
        clock.now += STALL

    def slow_and_broken(event: Any) -> None:
        clock.now += 0.2
        raise ValueError("broken")

    for listener in (quick, quick, slow, quick, slow_and_broken, quick):
        emitter.on("topic", listener)
    told(emitter, stalls, "topic")
    error, *rest = [stall for stall in stalls if isinstance(stall, Exception)]
    assert (str(error), rest) == ("broken", [])
    assert [(stall[0], stall[1], round(stall[2], 9)) for stall in stalls if isinstance(stall, tuple)] == [
        (slow, "event", STALL),
        (slow_and_broken, "event", 0.2),
    ]


def test_the_clock_is_read_once_for_each_call() -> None:
    ticks = count()
    emitter = Emitter(lambda: next(ticks) / 1_000)
    for _ in range(10):
        emitter.on("topic", lambda event: None)
    told(emitter, [], "topic", "nobody")
    assert next(ticks) == 11


def test_without_a_clock_nothing_stalls() -> None:
    emitter = Emitter()
    emitter.on("topic", lambda event: time.sleep(STALL * 1.2))
    stalls: list[Any] = []
    told(emitter, stalls, "topic")
    assert stalls == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("kernl_rt._session.watch.stall_clock", clock)
    return clock


def sleepy(call: Call, clock: Clock, topic: str, seconds: float) -> None:
    def dawdler(event: Any) -> None:
        clock.now += seconds

    call.session.on(topic, dawdler)


async def test_it_is_an_event_and_a_warning(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kernl_rt"):
        async with calling() as call:
            sleepy(call, clock, "audio", 0.2)
            await call.says(created(), audio(), audio())
    [first, second] = call.seen(LoopStalled)
    assert first.listener.endswith("dawdler")
    assert (first.milliseconds, first.during) == (200, "audio.output.delta")
    assert second == first
    kinds = [event.kind for event in call.log]
    assert kinds.index("loop.stalled") > kinds.index("audio.output.delta"), "it follows its cause"
    assert [r.getMessage() for r in caplog.records if r.name == "kernl_rt"] == [
        f"listener {first.listener} blocked the event loop for 200 ms during audio.output.delta"
    ] * 2
    assert call.seen(SessionError) == [], "it is no error"


async def test_just_quick_enough_is_not_named(clock: Clock) -> None:
    async with calling() as call:
        sleepy(call, clock, "audio", 0.049)
        await call.says(created(), audio())
    assert call.seen(LoopStalled) == []


@pytest.mark.parametrize("topic", ["stall", "loop.stalled", "event"])
async def test_a_slow_listener_of_stalls_does_not_stall_for_ever(clock: Clock, topic: str) -> None:
    async with calling() as call:
        sleepy(call, clock, topic, 1.0)
        sleepy(call, clock, "audio", 1.0)
        await call.says(created(), audio())
        named = len(call.seen(LoopStalled))
        assert call.session.status == "connected"
    assert 1 <= named <= 4, "once for each event that is no stall itself"


async def test_a_stall_while_closing_is_still_heard(clock: Clock) -> None:
    async with calling() as call:
        sleepy(call, clock, "status", 0.3)
    assert [(e.during, e.milliseconds) for e in call.seen(LoopStalled)] == [("status", 300)]
    assert call.log[-1].status == "closed"


@pytest.mark.usefixtures("real_clock")
async def test_by_the_real_clock() -> None:
    def dawdler(event: Any) -> None:
        time.sleep(0.08)

    async with calling() as call:
        call.session.on("audio", dawdler)
        await call.says(created(), audio())
        assert call.seen(AudioDelta)
    # A busy machine may have more to say, of listeners that took long.
    [stall] = [e for e in call.seen(LoopStalled) if e.listener.endswith("dawdler")]
    assert stall.during == "audio.output.delta"
    assert 80 <= stall.milliseconds < 5_000
