"""trio under a probe: an instrument that sees each step, a clock that can stop the loop, and a schedule by seed.

Two private names of trio's are used, and put back afterwards: ``trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING``,
which sorts each batch of runnable tasks before shuffling it, and ``trio._core._run._r``, which shuffles it. Two more
serve to clear up after a loop that was stopped: ``Task._runner.asyncgens.alive`` and ``Nursery._children``.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
import trio.testing
from trio._core import _run as run_module

from kernl_rt.testing._clock import Deadlock
from kernl_rt.testing._probe import Probe
from kernl_rt.testing._remains import end

__all__ = ["run"]

T = TypeVar("T")

#: Real seconds for which a loop may have nothing to do and no timer, before it is called a deadlock.
_IDLE_GRACE = 2.0


class _InOrder(random.Random):
    """The schedule without a seed: each batch in the order in which its tasks were made."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x.reverse()  # the loop takes from the end


@contextmanager
def _schedule(seed: int | None) -> Iterator[None]:
    for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r"):
        if not hasattr(run_module, name):
            raise RuntimeError(
                f"trio {trio.__version__} has no trio._core._run.{name} any more: without it runs cannot be repeated"
            )
    module: Any = run_module
    before = module._ALLOW_DETERMINISTIC_SCHEDULING, module._r
    module._ALLOW_DETERMINISTIC_SCHEDULING = True
    module._r = _InOrder(0) if seed is None else random.Random(seed)
    try:
        yield
    finally:
        module._ALLOW_DETERMINISTIC_SCHEDULING, module._r = before


class _Watch(trio.abc.Instrument):
    """Reports steps to the probe, and makes the loop itself raise when nothing moves.

    What an instrument raises is logged and forgotten. So the probe is asked from ``clock.current_time``, which the loop
    calls right after ``after_io_wait``, in no task.
    """

    def __init__(self, probe: Probe, clock: trio.testing.MockClock) -> None:
        self._probe = probe
        self._time = clock.current_time
        self._armed = False
        #: The loop's first task: all others descend from it.
        self.first: trio.lowlevel.Task | None = None
        #: The program's first task, once it runs.
        self.root: trio.lowlevel.Task | None = None
        self._idle_since: float | None = None
        self._stepped = False
        clock.current_time = self._current_time  # type: ignore[method-assign]

    def _current_time(self) -> float:
        now = self._time()
        if self._armed:
            self._armed = False
            self._probe.look(now)
            self._look_idle()
        return now

    def _look_idle(self) -> None:
        if self._stepped or trio.lowlevel.current_statistics().seconds_to_next_deadline != math.inf:
            self._stepped, self._idle_since = False, None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since > _IDLE_GRACE:
            raise Deadlock("every task is waiting, nothing is ready and no timer is set")

    def after_io_wait(self, timeout: float) -> None:
        self._armed = True

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if self.first is None:
            self.first = task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._stepped = True
        if self._is_of_the_program(task):
            self._probe.step("resumed", task.name, self._time())

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_of_the_program(task):
            self._probe.step("parked", task.name, self._time())

    def _is_of_the_program(self, task: trio.lowlevel.Task) -> bool:
        """Neither the loop's first task nor one of its servants, which are that one's children."""
        parent = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return task is self.root or (parent is not None and parent.parent_nursery is not None)


def run(main: Callable[[], Awaitable[T]], probe: Probe, seed: int | None) -> T:
    """Run ``main`` in virtual time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    watch = _Watch(probe, clock)

    async def root() -> T:
        watch.root = trio.lowlevel.current_task()
        return await main()

    with _schedule(seed):
        try:
            return trio.run(root, clock=clock, instruments=[watch])
        except trio.TrioInternalError as exc:
            _abandon(watch.first)
            cause = exc.__cause__
            if cause is None:
                raise
        # Outside of the except block: that trio calls it internal is of no interest.
        raise cause


def _abandon(first: trio.lowlevel.Task | None) -> None:
    """Nothing will run in the loop any more: its tasks end here, and nurseries are not to complain about them later."""
    if first is None:
        return
    tasks = [first]
    nurseries: list[trio.Nursery] = []
    for task in tasks:  # which grows
        nurseries += task.child_nurseries
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    end([task.coro for task in reversed(tasks)], first._runner.asyncgens.alive)
    for nursery in nurseries:
        nursery._children.clear()  # when a nursery is deleted it asserts that it has none
