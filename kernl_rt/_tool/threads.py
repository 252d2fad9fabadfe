"""Plain functions in worker threads, bounded.

At most :data:`LIMIT` plain functions of tools run at once in one event loop; more wait their turn. A thread cannot be
killed: when a call is cancelled, its thread is *abandoned* and ends when the function does. While :data:`LIMIT`
abandoned threads still run (counted over the whole interpreter), no further one is started and the call is refused, so
that a function which hangs for ever costs a bounded number of threads. anyio's limiter alone does not do that: on
asyncio it takes an abandoned thread's place for free at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from kernl_rt.exceptions import ToolError

__all__ = ["LIMIT", "abandoned", "run_in_thread"]

#: Threads per event loop, and abandoned threads per Python process.
LIMIT = 40

R = TypeVar("R")

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("kernl_rt.tools")


class _Abandoned:
    """How many abandoned threads still run; touched from every thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0


_abandoned = _Abandoned()


def abandoned() -> int:
    """How many threads of cancelled calls still run, in this Python process."""
    return _abandoned.count


class _Run(Generic[R]):
    """One function in one thread, and whether somebody still waits for it.

    The result comes in a tuple, because trio refuses a coroutine that comes out of a thread, and a plain wrapper around
    an ``async def`` function gives one.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self._running = self._left = False

    def __call__(self) -> tuple[R]:
        with _abandoned.lock:
            if self._left:
                raise ToolError("cancelled before it started")  # nobody is there to see it
            self._running = True
        try:
            return (self._function(),)
        finally:
            with _abandoned.lock:
                self._running = False
                _abandoned.count -= self._left

    def leave(self) -> None:
        """The caller goes, with the result or without."""
        with _abandoned.lock:
            self._left = True
            _abandoned.count += self._running


async def run_in_thread(function: Callable[[], R]) -> R:
    """Call ``function`` in a worker thread and wait for it.

    Cancelling it returns at once and leaves the thread to finish alone; its result, or exception, is discarded. A call
    that has not begun when it is cancelled never begins.

    Raises:
        ToolError: too many abandoned threads are still running.
    """
    if _abandoned.count >= LIMIT:
        raise ToolError(f"not run: {LIMIT} earlier calls were cancelled and their threads have not ended yet")
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(LIMIT)
        _limiter.set(limiter)
    run = _Run(function)
    try:
        (result,) = await to_thread.run_sync(run, abandon_on_cancel=True, limiter=limiter)
        return result
    finally:
        run.leave()
