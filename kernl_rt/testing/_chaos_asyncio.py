"""asyncio under a probe: the virtual loop, which now sees each step of a task and may shuffle them by seed.

anyio's asyncio backend delivers a cancellation by iterating over sets of tasks and cancel scopes, so in the order of
their addresses. Here both count, and hash as their number: the order is the same in every process.

Private names used: ``loop._run_once``, ``loop._ready`` and ``loop._asyncgens``, ``Handle._callback``, and of
``anyio._backends._asyncio`` ``CancelScope``, which is replaced for the time of the run, and ``_task_states``, from
which a stopped run is taken.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVar

import anyio
from anyio._backends import _asyncio as backend

from kernl_rt.testing._clock import Deadlock, VirtualLoop
from kernl_rt.testing._probe import Livelock, Probe
from kernl_rt.testing._remains import end

__all__ = ["ChaosLoop", "run"]

T = TypeVar("T")


class _CountedTask(asyncio.Task[Any]):
    numbers: Iterator[int] = itertools.count(1)

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(_CountedTask.numbers)
        if options.get("name") is None:
            options["name"] = f"Task-{self._number}"  # asyncio's own count goes on from run to run
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


class _CountedScope(backend.CancelScope):
    __slots__ = ("_number",)
    _number: int
    numbers: Iterator[int] = itertools.count(1)

    def __new__(cls, *, deadline: float = float("inf"), shield: bool = False) -> _CountedScope:
        scope = super().__new__(cls, deadline=deadline, shield=shield)
        scope._number = next(_CountedScope.numbers)
        return scope

    def __hash__(self) -> int:
        return self._number


@contextmanager
def _counted() -> Iterator[None]:
    """Give every new cancel scope a number, and put anyio's own class back afterwards."""
    module: Any = backend
    if not isinstance(getattr(module, "CancelScope", None), type):
        raise RuntimeError(
            "anyio._backends._asyncio has no class CancelScope any more: without it runs cannot be repeated"
        )
    if not hasattr(module, "_task_states"):
        raise RuntimeError(
            "anyio._backends._asyncio has no _task_states any more: without it a stopped run cannot be let go"
        )
    before = module.CancelScope
    _CountedTask.numbers, _CountedScope.numbers = itertools.count(1), itertools.count(1)
    module.CancelScope = _CountedScope
    try:
        yield
    finally:
        module.CancelScope = before


class _Step:
    """A task's step, with the probe around it."""

    __slots__ = ("_inner", "_loop", "_task")

    def __init__(self, loop: ChaosLoop, task: asyncio.Task[Any], inner: Callable[..., object]) -> None:
        self._loop, self._task, self._inner = loop, task, inner

    def __call__(self, *args: Any) -> None:
        probe, name = self._loop.probe, self._task.get_name()
        probe.step("resumed", name, self._loop.time())
        self._inner(*args)
        probe.step("parked", name, self._loop.time())


class ChaosLoop(VirtualLoop):
    """A virtual loop that reports to a probe. With a seed, tasks that are ready together run in a drawn order."""

    _ready: deque[asyncio.Handle]
    _asyncgens: Collection[AsyncGenerator[Any, Any]]

    def __init__(self, probe: Probe, seed: int | None) -> None:
        self.probe = probe
        self._random = None if seed is None else random.Random(seed)
        super().__init__()
        if not (hasattr(self, "_ready") and hasattr(self, "_run_once")):
            raise RuntimeError(
                "asyncio's event loop has no _ready or no _run_once any more: without them runs cannot be repeated"
            )
        self.set_task_factory(_make_task)

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        task = getattr(callback, "__self__", None)
        if isinstance(task, asyncio.Task):
            callback = _Step(self, task, callback)
        return super().call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        self.probe.look(self.time())
        if self._random is not None and len(self._ready) > 1:
            self._shuffle(self._random)
        super()._run_once()  # type: ignore[misc]

    def _shuffle(self, chance: random.Random) -> None:
        """Only among steps of tasks that no plain callback separates: asyncio promises callbacks their order, and
        anyio relies on it.
        """
        order: list[asyncio.Handle] = []
        for of_tasks, run_of_handles in itertools.groupby(self._ready, _is_step):
            handles = list(run_of_handles)
            if of_tasks:
                chance.shuffle(handles)
            order += handles
        self._ready.clear()
        self._ready.extend(order)


def _is_step(handle: asyncio.Handle) -> bool:
    return type(handle._callback) is _Step  # type: ignore[attr-defined]


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    return _CountedTask(coroutine, loop=loop, **options)


def run(main: Callable[[], Awaitable[T]], probe: Probe, seed: int | None) -> T:
    """Run ``main`` in virtual time."""
    loops: list[ChaosLoop] = []

    def make_loop() -> ChaosLoop:
        loops.append(ChaosLoop(probe, seed))
        return loops[-1]

    with _counted():
        try:
            return anyio.run(main, backend="asyncio", backend_options={"loop_factory": make_loop})
        except (Livelock, Deadlock):
            for loop in loops:
                _abandon(loop)
            raise


def _abandon(loop: ChaosLoop) -> None:
    """Nothing will run in it any more: its tasks end here, and asyncio is not to complain when they are forgotten.

    anyio keeps a task's state as long as there is the task, and the state holds the task by its cancel scope: it is
    only ever let go by the code that ends a task group in a running loop.
    """
    loop.set_exception_handler(lambda loop, context: None)
    if not loop.is_closed():
        loop.close()
    tasks = sorted(asyncio.all_tasks(loop), key=hash, reverse=True)  # the youngest first
    coroutines = [task.get_coro() for task in tasks]
    end([coroutine for coroutine in coroutines if coroutine is not None], loop._asyncgens)
    states: Any = backend._task_states
    for task in [task for task in states if task.get_loop() is loop]:
        del states[task]
