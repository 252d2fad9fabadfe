"""The sweep itself: what it counts, what it finds, and how it says so."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing import Deadlock, Flavour, Livelock, Probe, SweepFailed, run_once, sweep
from kernl_rt.testing._sweep import Backend


async def three_steps(probe: Probe) -> int:
    reached = 0
    with probe.victim():
        for _ in range(3):
            await anyio.sleep(1)
            reached += 1
    return reached


async def careless(probe: Probe) -> None:
    """What it received is lost where it is cancelled between receiving and keeping."""
    sent, kept = [1, 2, 3], []

    async def receive() -> int:
        await anyio.sleep(0.1)
        return sent.pop(0)

    with probe.victim():
        for _ in range(3):
            number = await receive()
            await anyio.lowlevel.checkpoint()
            kept.append(number)
    assert sorted(kept + sent) == [1, 2, 3], "a message was lost"


def test_each_point_is_another_place(backend: Backend) -> None:
    dry = run_once(three_steps, backend=backend)
    assert dry.result == 3
    assert dry.points == 3
    assert [run_once(three_steps, backend=backend, k=k).result for k in range(1, 4)] == [0, 1, 2]


async def handed_over(probe: Probe) -> str:
    """How far the victim came: it waits for another task, and then passes a checkpoint."""
    came = "waits"
    handed = anyio.Event()

    async def other() -> None:
        await anyio.sleep(1)
        handed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        with probe.victim():
            await handed.wait()
            came = "has it"
            await anyio.lowlevel.checkpoint()
            came = "kept it"
    return came


def test_before_during_and_after_a_handover(backend: Backend) -> None:
    """Resumed at its own step, the victim has what it waited for, and is cut where it next waits."""
    flavours: list[Flavour] = ["parked", "resumed"]
    for flavour in flavours:
        came = [run_once(handed_over, backend=backend, k=k, flavour=flavour).result for k in range(1, 6)]
        assert sorted(set(came)) == ["has it", "kept it", "waits"]


def test_a_report_adds_up(backend: Backend) -> None:
    report = sweep(three_steps, backend=backend, seeds=(None, 5))
    assert report.points == 2 * (3 + 3)
    assert report.runs == report.points + 4
    assert report.violations == ()
    assert report.longest == pytest.approx(3)
    assert report.leaving == 0
    report.raise_for_violations()


def test_a_lost_message_is_found_and_can_be_repeated(backend: Backend) -> None:
    report = sweep(careless, backend=backend)
    assert 0 < len(report.violations) < report.runs
    with pytest.raises(SweepFailed) as caught:
        report.raise_for_violations()
    first = report.violations[0]
    assert caught.value.report is report
    assert caught.value.__cause__ is first.error
    assert f"{len(report.violations)} of {report.runs} runs broke a promise" in str(caught.value)
    assert first.repeat in str(caught.value)
    assert "AssertionError: a message was lost" in str(caught.value)
    with pytest.raises(AssertionError, match="a message was lost"):
        eval(first.repeat)


def test_only_every_so_manyth_and_only_so_many(backend: Backend) -> None:
    whole = sweep(careless, backend=backend, flavours=["parked"])
    third = sweep(careless, backend=backend, flavours=["parked"], every=3)
    assert third.points == whole.points
    assert third.runs == 1 + len(range(1, whole.points + 1, 3))
    assert sweep(careless, backend=backend, flavours=["parked"], limit=2).runs == 3
    assert sweep(careless, backend=backend, flavours=["parked"], limit=1_000).runs == whole.runs
    assert len(sweep(careless, backend=backend, stop_after=1).violations) == 1


def test_a_swallowed_cancellation_is_a_livelock(backend: Backend) -> None:
    async def stubborn(probe: Probe) -> None:
        with probe.victim():
            while True:
                try:
                    await anyio.sleep(1)
                    return
                except anyio.get_cancelled_exc_class():
                    continue

    with pytest.raises(Livelock, match="steps of tasks, and the clock still stands at"):
        run_once(stubborn, backend=backend, k=1, step_limit=500)


def test_many_steps_are_no_livelock_while_time_moves(backend: Backend) -> None:
    async def busy(probe: Probe) -> None:
        with probe.victim():
            for _ in range(100):
                await anyio.sleep(0.01)

    run_once(busy, backend=backend, step_limit=50)


def test_a_scenario_that_waits_for_ever_is_a_deadlock(backend: Backend) -> None:
    async def waiting(probe: Probe) -> None:
        with probe.victim():
            await anyio.sleep_forever()

    with pytest.raises(Deadlock, match="did not end within 300 virtual seconds"):
        run_once(waiting, backend=backend)
    assert run_once(waiting, backend=backend, k=1).seconds == 0


@pytest.mark.usefixtures("real_clock")
def test_also_behind_a_shield(backend: Backend) -> None:
    async def shielded(probe: Probe) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.Event().wait()

    with pytest.raises(Deadlock, match="every task is waiting"):
        run_once(shielded, backend=backend)


def test_a_victim_that_takes_too_long(backend: Backend) -> None:
    async def slow(probe: Probe) -> None:
        with probe.victim(bound=2):
            try:
                await anyio.sleep(1)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(3)

    run_once(slow, backend=backend)
    with pytest.raises(AssertionError, match="ended only 3 s later; 2 s are allowed"):
        run_once(slow, backend=backend, k=1)


def test_any_function_can_be_the_target(backend: Backend) -> None:
    async def told(probe: Probe) -> tuple[bool, float | None]:
        flag = anyio.Event()
        probe.target(flag.set)
        await anyio.sleep(1)
        probe.release()
        await anyio.sleep(1)
        return flag.is_set(), probe.injected_at

    assert run_once(told, backend=backend).result == (False, None)
    happened, at = run_once(told, backend=backend, k=1).result
    assert happened
    assert at is not None
    assert run_once(told, backend=backend).points == 1


def test_what_the_target_raises_is_not_lost(backend: Backend) -> None:
    async def wrong(probe: Probe) -> None:
        probe.target(lambda: [].pop())  # type: ignore[misc]
        await anyio.sleep(1)

    with pytest.raises(IndexError):
        run_once(wrong, backend=backend, k=1)


def test_a_single_exception_comes_out_bare(backend: Backend) -> None:
    async def failing(probe: Probe) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_once(failing, backend=backend)


def test_what_makes_no_sense_is_refused(backend: Backend) -> None:
    async def nothing(probe: Probe) -> None:
        with probe.victim():
            pass

    with pytest.raises(MisconfiguredError, match="no point to cancel at"):
        sweep(nothing, backend=backend)
    with pytest.raises(MisconfiguredError, match="every=0"):
        sweep(three_steps, backend=backend, every=0)
    with pytest.raises(MisconfiguredError, match="limit=0"):
        sweep(three_steps, backend=backend, limit=0)


def test_an_unknown_backend() -> None:
    unknown: Any = "curio"
    with pytest.raises(MisconfiguredError, match="unknown backend 'curio'"):
        run_once(three_steps, backend=unknown)


def test_what_stops_a_test_stops_the_sweep(backend: Backend) -> None:
    async def skipping(probe: Probe) -> None:
        pytest.skip("not here")

    async def interrupted(probe: Probe) -> None:
        raise KeyboardInterrupt

    with pytest.raises(pytest.skip.Exception):
        sweep(skipping, backend=backend)
    with pytest.raises(KeyboardInterrupt):
        sweep(interrupted, backend=backend)
