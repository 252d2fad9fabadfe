"""What the session notices of code that is not its own: tools that will not die, and sessions that nobody closed.

A tool that shields itself from cancellation, or catches it and goes on, cannot be killed by anybody: no Python runtime
can. The session then waits, as structured concurrency demands, but says for whom: see :class:`Watchdog`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Awaitable, Callable
from types import FrameType, TracebackType
from typing import Any, Literal, TypeVar

import anyio
from anyio.abc import TaskGroup
from attrs import frozen

from kernl_rt.events import SessionStuck

__all__ = ["EVERY", "Watchdog", "created_at", "stack_of", "stall_clock", "unclosed"]

logger = logging.getLogger("kernl_rt")

#: Seconds from the beginning of the close to the first report, and between reports.
EVERY = 5.0
#: What listeners are timed by: real time, since a listener that blocks blocks real time. A test in virtual time puts
#: one here that stands still.
stall_clock: Callable[[], float] = time.perf_counter
#: Frames that a report shows at most.
_DEPTH = 64

T = TypeVar("T")
What = Literal["tool", "guardrail", "listener"]


@frozen(eq=False)
class _Guest:
    """Something of the user's that runs in the session."""

    what: What
    name: str
    call_id: str | None
    awaitable: object


class Watchdog:
    """Around everything that runs in a session; every 5 seconds from :meth:`begin` on, what is still there is reported.

    ``report`` is given the events; a listener is only logged, because by then the ``closed`` event may be out. Its task
    is shielded: a cancelled session is watched, too.
    """

    def __init__(self, report: Callable[[SessionStuck], None]) -> None:
        self._report = report
        self._guests: list[_Guest] = []
        self._began: float | None = None
        self._group: TaskGroup | None = None
        self._scope: anyio.CancelScope | None = None

    async def watched(self, what: What, name: str, awaitable: Awaitable[T], *, call_id: str | None = None) -> T:
        """Await it; until it is over, it may be what is stuck."""
        guest = _Guest(what, name, call_id, awaitable)
        self._guests.append(guest)
        try:
            return await awaitable
        finally:
            self._guests.remove(guest)

    def begin(self) -> None:
        """The session ends, for whatever reason. Again is nothing."""
        if self._began is None:
            self._began = anyio.current_time()

    def watch(self) -> None:
        """Start to report, if nothing else has. For the session's own task, before it waits for the user's functions:
        as long as nothing ends, there is no task.
        """
        self.begin()
        if self._group is not None and self._scope is None:
            self._scope = anyio.CancelScope(shield=True)
            self._group.start_soon(self._watch, self._scope, name="kernl_rt watchdog")

    async def __aenter__(self) -> Watchdog:
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        group, self._group = self._group, None
        if self._scope is not None:
            self._scope.cancel()
        return await group.__aexit__(kind, error, traceback)

    async def _watch(self, scope: anyio.CancelScope) -> None:
        assert self._began is not None
        due = self._began
        with scope:
            while True:
                due += EVERY
                await anyio.sleep_until(due)
                for guest in tuple(self._guests):
                    self._tell(guest)

    def _tell(self, guest: _Guest) -> None:
        assert self._began is not None
        seconds = anyio.current_time() - self._began
        stack = stack_of(guest.awaitable)
        logger.warning(
            "%s %s still runs %.0f seconds after its session began to end; it waits here:\n%s",
            guest.what,
            guest.name,
            seconds,
            stack,
        )
        if guest.what != "listener":
            self._report(SessionStuck(guest.what, guest.name, guest.call_id, seconds, stack))


# -- where a coroutine waits ------------------------------------------------------------------------------------------


def stack_of(awaited: object) -> str:
    """Where it waits, outermost call first, as text. Sees through coroutines and generators, not into C."""
    entries: list[tuple[FrameType, int]] = []
    while awaited is not None and len(entries) < _DEPTH:
        frame = _attribute(awaited, "cr_frame", "gi_frame", "ag_frame")
        if isinstance(frame, FrameType):
            entries.append((frame, frame.f_lineno))
        awaited = _attribute(awaited, "cr_await", "gi_yieldfrom", "ag_await")
    if not entries:
        return "(it does not wait in a coroutine)\n"
    return "".join(traceback.StackSummary.extract(iter(entries)).format())


def _attribute(of: object, *names: str) -> object:
    return next((getattr(of, name) for name in names if hasattr(of, name)), None)


# -- sessions that nobody closed --------------------------------------------------------------------------------------


def created_at() -> str:
    """``file:line`` of the nearest caller outside this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != "typing" and not module.startswith("kernl_rt."):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown place"


def unclosed(session: object, where: str) -> weakref.finalize[[str, int], Any]:
    """Warn when the session is collected, or the interpreter exits, unless ``detach`` was called before."""
    return weakref.finalize(session, _warn_unclosed, where, os.getpid())


def _warn_unclosed(where: str, pid: int) -> None:
    if os.getpid() == pid:  # a forked child drops what is its parent's
        message = f"a RealtimeSession was connected and never closed; it was created at {where}"
        warnings.warn(message, ResourceWarning, stacklevel=2)
