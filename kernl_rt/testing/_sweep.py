"""Cancel a program at each of its steps, one run for each, in virtual time, on trio and on asyncio.

Only programs that live in memory can be swept: sockets, threads and subprocesses bring their own order and their own
time.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import anyio
from attrs import field, frozen

from kernl_rt._session import watch
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing._clock import Deadlock
from kernl_rt.testing._probe import Flavour, Livelock, Probe
from kernl_rt.testing._remains import collect, without_frames

__all__ = ["Backend", "Run", "Scenario", "SweepFailed", "SweepReport", "Violation", "run_once", "sweep"]

Backend: TypeAlias = Literal["trio", "asyncio"]
Scenario: TypeAlias = Callable[[Probe], Awaitable[Any]]

#: Virtual seconds after which a run is a deadlock.
_PATIENCE = 300.0
#: Violations that a failure spells out.
_SHOWN = 5


@frozen
class Run:
    """One run that kept its promises. ``seconds`` and ``leaving`` (how long the victim took to end) are virtual."""

    points: int
    trace: str
    seconds: float
    leaving: float
    result: Any = field(repr=False)


@frozen
class Violation:
    """A run that did not. ``k`` is the point that was cancelled, ``None`` where none was.

    Nothing else of the run is kept: where ``error`` was raised stands in its notes, and it has no traceback.
    """

    scenario: str
    backend: Backend
    flavour: Flavour
    k: int | None
    seed: int | None
    error: BaseException

    @property
    def repeat(self) -> str:
        """The call that does it again."""
        return (
            f"run_once({self.scenario}, backend={self.backend!r}, k={self.k!r}, "
            f"flavour={self.flavour!r}, seed={self.seed!r})"
        )

    def __str__(self) -> str:
        error = _leaf(self.error)
        return f"{self.repeat}\n    {type(error).__name__}: {error}"


class SweepFailed(AssertionError):
    """Some runs of a sweep broke promises; the message says how to repeat each. ``report`` is the whole of it."""

    def __init__(self, message: str, report: SweepReport) -> None:
        super().__init__(message)
        self.report = report


@frozen
class SweepReport:
    """What a sweep saw.

    ``points`` are the places at which the scenario can be cancelled, summed over flavours and seeds; ``runs`` how often
    it was run. ``longest`` is the longest run and ``leaving`` the longest that a cancelled victim took to end, in
    virtual seconds; ``elapsed`` is what it all took, in real ones.
    """

    points: int
    runs: int
    violations: Sequence[Violation]
    longest: float
    leaving: float
    elapsed: float

    def raise_for_violations(self) -> None:
        """
        Raises:
            SweepFailed: there are violations. The first is its cause.
        """
        if not self.violations:
            return
        shown = [str(violation) for violation in self.violations[:_SHOWN]]
        if len(self.violations) > _SHOWN:
            shown.append(f"and {len(self.violations) - _SHOWN} more")
        headline = f"{len(self.violations)} of {self.runs} runs broke a promise; to repeat one:"
        raise SweepFailed("\n  ".join([headline, *shown]), self) from self.violations[0].error


def run_once(
    scenario: Scenario,
    *,
    backend: Backend,
    k: int | None = None,
    flavour: Flavour = "parked",
    seed: int | None = None,
    step_limit: int = 10_000,
) -> Run:
    """Run ``scenario(probe)`` once, in virtual time, and cancel its target at its ``k``-th point (``None``: never).

    The same arguments give the same schedule, also in another process; :mod:`random` is seeded, too. Without a ``seed``
    tasks run in the backend's plain order: on asyncio the order in which they became ready, on trio that in which they
    were made.

    What the scenario raises is raised here; a group of one is unwrapped. It runs its own event loop: call it from a
    plain function.

    Raises:
        Livelock: tasks took ``step_limit`` steps while time stood still.
        Deadlock: it did not end within 300 virtual seconds.
    """
    probe = Probe(k, flavour, step_limit=step_limit)
    if backend == "trio":
        from kernl_rt.testing._chaos_trio import run
    elif backend == "asyncio":
        from kernl_rt.testing._chaos_asyncio import run
    else:
        raise MisconfiguredError(f"unknown backend {backend!r}: use 'trio' or 'asyncio'")

    async def main() -> tuple[float, Any]:
        start = anyio.current_time()
        result = None
        with anyio.move_on_after(_PATIENCE) as patience:
            result = await scenario(probe)
        probe.release()
        if patience.cancelled_caught:
            raise Deadlock(f"the scenario did not end within {_PATIENCE:g} virtual seconds")
        return anyio.current_time() - start, result

    failure: BaseException
    try:
        with _drawn(seed):
            seconds, result = run(main, probe, seed)
    except (Livelock, Deadlock, BaseExceptionGroup) as exc:
        failure = _leaf(exc)
    else:
        probe.raise_failure()
        return Run(probe.points, probe.trace, seconds, probe.leaving, result)
    finally:
        probe.release()  # whom it was to cancel holds the loop
    # Outside of the except block, in which the interpreter itself holds the frames.
    if isinstance(failure, (Livelock, Deadlock)):
        failure.__traceback__ = failure.__context__ = None  # these frames, too; and of the loop's code only
        collect()  # here, where complaints are expected, and not in the middle of another test
    raise failure


def sweep(
    scenario: Scenario,
    *,
    backend: Backend,
    seeds: Iterable[int | None] = (None,),
    flavours: Sequence[Flavour] = ("parked", "resumed"),
    every: int = 1,
    limit: int | None = None,
    stop_after: int | None = None,
    step_limit: int = 10_000,
) -> SweepReport:
    """Run ``scenario`` without a cancellation, then once for each point at which it can be cancelled.

    Args:
        scenario: an async function of a :class:`Probe`. It says whom to cancel (:meth:`Probe.victim`,
            :meth:`Probe.target`) and raises where a promise is broken. It makes everything anew in each run.
        backend: ``"trio"`` or ``"asyncio"``.
        seeds: a schedule each; ``None`` is the plain one.
        flavours: see :mod:`kernl_rt.testing`; both find what the other does not.
        every: take each so many-th point only; which of them differs from seed to seed.
        limit: take at most so many points of each seed and flavour, evenly spread.
        stop_after: end once so many violations were found.
        step_limit: steps of tasks without a move of the clock that count as a livelock.

    Returns the report; call :meth:`SweepReport.raise_for_violations` on it. A plain function: it runs an event loop for
    each run. ``KeyboardInterrupt``, ``SystemExit`` and what pytest raises to stop or skip a test pass through.
    """
    if every < 1 or (limit is not None and limit < 1):
        raise MisconfiguredError(f"every={every!r} and limit={limit!r} must be at least 1")
    tally = _Tally(scenario, backend, step_limit, stop_after)
    start = time.perf_counter()
    for number, seed in enumerate(seeds):
        for flavour in flavours:
            dry = tally.run(None, flavour, seed)
            if dry is None:
                continue  # broken without a cancellation: that is told, and there is nothing to count
            if not dry.points:
                raise MisconfiguredError(
                    "the scenario has no point to cancel at: it must await within 'with probe.victim():', or after "
                    "probe.target(scope)"
                )
            tally.points += dry.points
            for k in _chosen(dry.points, every, limit, number):
                if tally.full:
                    break
                tally.run(k, flavour, seed)
    return tally.report(time.perf_counter() - start)


class _Tally:
    def __init__(self, scenario: Scenario, backend: Backend, step_limit: int, stop_after: int | None) -> None:
        self._scenario = scenario
        self._backend: Backend = backend
        self._step_limit = step_limit
        self._stop_after = stop_after
        self._violations: list[Violation] = []
        self.points = self._runs = 0
        self._longest = self._leaving = 0.0

    @property
    def full(self) -> bool:
        return self._stop_after is not None and len(self._violations) >= self._stop_after

    def run(self, k: int | None, flavour: Flavour, seed: int | None) -> Run | None:
        self._runs += 1
        error: BaseException
        try:
            run = run_once(
                self._scenario, backend=self._backend, k=k, flavour=flavour, seed=seed, step_limit=self._step_limit
            )
        except BaseException as exc:  # pytest's failures, too: a finding, but for what is to stop the sweep
            if isinstance(exc, _stops()):
                raise
            error = exc
        else:
            self._longest = max(self._longest, run.seconds)
            self._leaving = max(self._leaving, run.leaving)
            return run
        without_frames(error)
        collect()
        name = getattr(self._scenario, "__qualname__", repr(self._scenario))
        self._violations.append(Violation(name, self._backend, flavour, k, seed, error))
        return None

    def report(self, elapsed: float) -> SweepReport:
        violations = tuple(self._violations)
        return SweepReport(self.points, self._runs, violations, self._longest, self._leaving, elapsed)


def _chosen(points: int, every: int, limit: int | None, number: int) -> Iterator[int]:
    """The points to take, from 1. Each seed begins at another, so that more seeds also mean more points."""
    chosen = range(1 + number % every, points + 1, every)
    if limit is None or len(chosen) <= limit:
        yield from chosen
    else:
        yield from (chosen[index * len(chosen) // limit] for index in range(limit))


@contextmanager
def _drawn(seed: int | None) -> Iterator[None]:
    """What the program itself draws from :mod:`random` is the same each time. No listener is slow: that is judged by
    the real clock, so it would tell of the machine and not of the program.
    """
    before, clock = random.getstate(), watch.stall_clock
    random.seed(seed or 0)
    watch.stall_clock = lambda: 0.0
    try:
        yield
    finally:
        watch.stall_clock = clock
        random.setstate(before)


def _stops() -> tuple[type[BaseException], ...]:
    """What is no finding, but ends the whole sweep: Ctrl-C, and how pytest fails, skips and times out a test."""
    pytest = sys.modules.get("pytest")
    return (KeyboardInterrupt, SystemExit, *([] if pytest is None else [pytest.skip.Exception, pytest.fail.Exception]))


def _leaf(error: BaseException) -> BaseException:
    """The one exception in groups of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
