"""Virtual time on both backends: a wait costs nothing and a minute passes in a microsecond.

trio brings it (:class:`trio.testing.MockClock` with autojump). For asyncio this module has an event loop whose clock
jumps to the next timer as soon as nothing is ready, and which says so when there is no timer either: a deadlock fails
at once instead of hanging.

Only pure in-memory programs can be run so. Sockets, threads and subprocesses live in real time.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

__all__ = ["Deadlock", "VirtualLoop", "virtual_backend"]

#: How long a loop without timers waits for a worker thread, in real seconds, before it calls itself deadlocked.
_THREAD_GRACE = 2.0
#: A timer further away than this (seconds; thirty years) is "never": ``sleep_forever`` sets one.
_NEVER = 1e9


class Deadlock(RuntimeError):
    """Every task waits for something that cannot happen: nothing is ready and no timer is set."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: moves the loop's clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            ready = super().select(_THREAD_GRACE)
            if not ready:
                raise Deadlock("every task is waiting, nothing is ready and no timer is set")
            return ready
        self.now += max(timeout, 0.0)
        if self.now > _NEVER:
            raise Deadlock("every task is waiting, nothing is ready and the only timer is infinitely far away")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop under virtual time."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def virtual_backend(name: str) -> tuple[str, dict[str, Any]]:
    """The ``(backend, backend_options)`` that anyio's pytest plugin takes, under virtual time.

    ``name`` is ``"trio"`` or ``"asyncio"``. Each call gives a clock of its own.
    """
    if name == "trio":
        import trio.testing

        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    if name == "asyncio":
        return "asyncio", {"loop_factory": VirtualLoop}
    raise ValueError(f"unknown backend {name!r}: use 'trio' or 'asyncio'")
