"""What a scenario is given: it says whom to cancel, the run loop counts where that could happen, and does it once.

A *point* is a step of any task of the program, seen from outside of it. It comes in two flavours:

``"parked"``
    after the step: the task waits, and what it waits for is given up. Finds missing shields and leaks.
``"resumed"``
    before the step: what the task waited for has happened, and its code has not run yet. The cancellation meets it at
    the next checkpoint. Finds what is received and then lost.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TypeAlias

import anyio

__all__ = ["Flavour", "Livelock", "Probe", "Victim"]

Flavour: TypeAlias = Literal["parked", "resumed"]


class Livelock(RuntimeError):
    """Tasks run and time stands still: somebody swallows a cancellation and goes on.

    The run loop raises it, in no task, so that no task can swallow it too.
    """


class Probe:
    """One run's view of a scenario. Made by :func:`~kernl_rt.testing.sweep` and :func:`~kernl_rt.testing.run_once`.

    ::

        async def scenario(probe):
            with probe.victim():                     # this scope is cancelled, at another point in each run
                async with RealtimeSession(agent) as session:
                    ...
            assert ...                               # whatever must hold then
    """

    def __init__(self, k: int | None = None, flavour: Flavour = "parked", *, step_limit: int = 10_000) -> None:
        self.k = k
        self.flavour: Flavour = flavour
        #: Points met so far, of this flavour.
        self.points: int = 0
        #: When the cancellation happened, by the run's clock; ``None`` where it has not.
        self.injected_at: float | None = None
        #: The longest that a victim took to end once it was cancelled, in (virtual) seconds.
        self.leaving: float = 0.0
        self._cancel: Callable[[], object] | None = None
        self._failure: BaseException | None = None
        self._hash = hashlib.sha256()
        self._step_limit = step_limit
        self._steps = 0
        self._now = -math.inf

    # -- the scenario's side ------------------------------------------------------------------------------------------

    def target(self, victim: anyio.CancelScope | Callable[[], object]) -> None:
        """From now on points count, and this is what is cancelled: a scope, or a function to call.

        The function is called between two steps, in no task: it may only do what never waits, such as
        ``scope.cancel`` or ``session.close``.
        """
        self._cancel = victim.cancel if isinstance(victim, anyio.CancelScope) else victim

    def release(self) -> None:
        """From now on nothing is cancelled and no point counts."""
        self._cancel = None

    def victim(self, *, bound: float | None = 5.0) -> Victim:
        """A cancel scope whose body is the target: ``with probe.victim() as scope``.

        Once cancelled, the body must be left within ``bound`` seconds (``None``: whenever), else ``with`` raises
        ``AssertionError``.
        """
        return Victim(self, bound)

    @property
    def injected(self) -> bool:
        """Whether the cancellation has happened."""
        return self.injected_at is not None

    # -- the run loop's side ------------------------------------------------------------------------------------------

    def step(self, flavour: Flavour, task: str, now: float) -> None:
        """A task is about to run (``"resumed"``), or has run (``"parked"``)."""
        if flavour == "resumed":
            self._steps += 1
            self._hash.update(f"{task}@{now!r}\n".encode())
        if self._cancel is None or flavour != self.flavour:
            return
        self.points += 1
        if self.points == self.k:
            self.injected_at = now
            try:
                self._cancel()
            except BaseException as exc:  # the run ends with it: see raise_failure
                self._failure = exc

    def look(self, now: float) -> None:
        """Called between two rounds of the loop.

        Raises:
            Livelock: too many steps since time moved.
        """
        if now != self._now:
            self._now, self._steps = now, 0
        elif self._steps > self._step_limit:
            raise Livelock(f"{self._steps} steps of tasks, and the clock still stands at {now:g} s")

    def raise_failure(self) -> None:
        """What the victim's own function raised when it was called to cancel."""
        if self._failure is not None:
            raise self._failure

    @property
    def trace(self) -> str:
        """A hash of all steps so far, with their tasks and times: equal for equal schedules."""
        return self._hash.hexdigest()[:16]


class Victim:
    """The scope that :meth:`Probe.victim` gives. Counts from entering to leaving."""

    def __init__(self, probe: Probe, bound: float | None) -> None:
        self._probe = probe
        self._bound = bound
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        scope = self._scope.__enter__()
        self._probe.target(scope)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        probe = self._probe
        probe.release()
        swallowed = bool(self._scope.__exit__(kind, error, traceback))
        if probe.injected_at is not None:
            took = anyio.current_time() - probe.injected_at
            probe.leaving = max(probe.leaving, took)
            if self._bound is not None and took > self._bound and (error is None or swallowed):
                raise AssertionError(
                    f"it was cancelled, and ended only {took:g} s later; {self._bound:g} s are allowed"
                )
        return swallowed
