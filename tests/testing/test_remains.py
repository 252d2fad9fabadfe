"""A run that had to be stopped ends with the call that reports it: nothing of it is left to a later one."""

from __future__ import annotations

import gc
import sys
import types
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Any

import anyio
import pytest

from kernl_rt.testing import Deadlock, Livelock, Probe, SweepFailed, _chaos_trio, _clock, run_once, sweep
from kernl_rt.testing._remains import collect, end
from kernl_rt.testing._sweep import Backend

#: What a careless scenario keeps of its runs.
kept: list[Any] = []
#: What has been told of their ends.
told: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    kept.clear()
    told.clear()


def suspended() -> list[Any]:
    """Coroutines and asynchronous generators of this module that have begun, or not, and have not ended."""
    found: list[Any] = []
    for each in gc.get_objects():
        if type(each) is types.CoroutineType:
            frame, code = each.cr_frame, each.cr_code
        elif type(each) is types.AsyncGeneratorType:
            frame, code = each.ag_frame, each.ag_code
        else:
            continue
        if frame is not None and code.co_filename in (__file__, anyio.TaskHandle._run_coro.__code__.co_filename):
            found.append(each)
    return found


async def bystander(name: str) -> None:
    """Waits, and waits again in its ``finally``."""
    try:
        await anyio.sleep_forever()
    finally:
        told.append(name)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)


async def numbers() -> AsyncIterator[int]:
    """Waits in its ``finally``, too."""
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        told.append("numbers")
        await anyio.sleep(1)


async def stubborn(probe: Probe) -> None:
    """Swallows its cancellation, between tasks that wait; and what it is made of is kept."""
    with probe.victim():
        async with anyio.create_task_group() as group:
            kept.append(group)
            group.start_soon(bystander, "one", name="one")
            group.start_soon(bystander, "two", name="two")
            ticks = numbers()
            while True:
                try:
                    await anyio.sleep(1)
                    group.cancel_scope.cancel()
                    return
                except anyio.get_cancelled_exc_class():
                    await anext(ticks)


async def broken(probe: Probe) -> None:
    """Ends, with a broken promise."""
    box = [Witness()] if probe.k else []
    with probe.victim():
        await anyio.sleep(1)
    assert not probe.injected, f"cancelled beside {len(box)}"


class Wait:
    """For whatever, without any event loop."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Witness:
    """Something that is made in a run. It refers to itself, so that only the garbage collector frees it."""

    def __init__(self) -> None:
        self.self = self

    def __del__(self) -> None:
        told.append("freed")
        warnings.warn("a witness was freed", ResourceWarning, stacklevel=1)


def test_a_stopped_run_leaves_no_coroutine(backend: Backend) -> None:
    with pytest.raises(Livelock) as caught:
        run_once(stubborn, backend=backend, k=1, step_limit=500)
    assert caught.value.__traceback__ is not None
    assert suspended() == [], "tasks of the run are still suspended"
    assert sorted(told) == ["numbers", "one", "two"], "what its tasks do in the end is left to a later run"


def test_nor_does_a_sweep_that_keeps_its_report(backend: Backend) -> None:
    report = sweep(stubborn, backend=backend, stop_after=2, step_limit=500)
    assert [type(violation.error) for violation in report.violations] == [Livelock, Livelock]
    assert suspended() == []


def test_nor_does_a_deadlock(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chaos_trio, "_IDLE_GRACE", 0.05)
    monkeypatch.setattr(_clock, "_THREAD_GRACE", 0.05)

    async def shielded(probe: Probe) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(bystander, "one")
            with anyio.CancelScope(shield=True):
                await anyio.Event().wait()

    with pytest.raises(Deadlock, match="every task is waiting"):
        run_once(shielded, backend=backend)
    assert suspended() == []
    assert told == ["one"]


def test_what_is_kept_of_it_says_nothing_later(backend: Backend) -> None:
    """Let go in the middle of another run, a task group of the stopped one is only memory. Warnings are errors here."""
    with pytest.raises(Livelock):
        run_once(stubborn, backend=backend, k=1, step_limit=500)
    told.clear()

    async def healthy(probe: Probe) -> int:
        with probe.victim():
            await anyio.sleep(1)
            kept.clear()
            gc.collect()
            await anyio.sleep(1)
        return len(told)

    complaints: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, complaints.append
    try:
        assert run_once(healthy, backend=backend).result == 0
    finally:
        sys.unraisablehook = hook
    assert complaints == []


def test_one_that_will_not_end_is_given_up() -> None:
    async def immortal(own: list[Any]) -> None:
        while True:
            try:
                await Wait()
            except GeneratorExit:
                told.append(f"{len(own)} waits again")

    def begun() -> list[Any]:
        own: list[Any] = []
        own.append(immortal(own))  # only the garbage collector frees it
        own[0].send(None)
        return own

    own = begun()
    end(own)
    assert told
    assert suspended() == own
    del own
    collect()
    assert suspended() == []


def test_a_generator_ends_that_waits_on_its_way_out() -> None:
    async def patient() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            for number in range(3):
                try:
                    await Wait()
                finally:
                    told.append(str(number))

    generator = patient()
    with pytest.raises(StopIteration):
        generator.__anext__().__await__().__next__()
    end([], [generator])
    assert told == ["0"]
    assert suspended() == []


def test_a_violation_keeps_words_and_not_the_run(backend: Backend) -> None:
    hook = sys.unraisablehook
    report = sweep(broken, backend=backend, stop_after=1)
    assert told == ["freed"], "a violation keeps what its run was made of"
    assert sys.unraisablehook is hook
    error = report.violations[0].error
    assert error.__traceback__ is None
    assert [note for note in error.__notes__ if __file__ in note and "in broken" in note and "assert not" in note]
    with pytest.raises(SweepFailed) as caught:
        report.raise_for_violations()
    assert caught.value.__cause__ is error


def test_what_was_being_handled_before_keeps_its_traceback(backend: Backend) -> None:
    before = LookupError("before")
    traceback = None
    with pytest.raises(ValueError, match="after"):
        try:
            raise before
        except LookupError:
            assert sweep(broken, backend=backend, stop_after=1).violations
            traceback = before.__traceback__
            raise ValueError("after") from None
    assert traceback is not None
