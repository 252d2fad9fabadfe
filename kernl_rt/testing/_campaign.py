"""Whole calls from seeds: users, tools, interruptions, latencies and faults are drawn, promises are checked."""

from __future__ import annotations

import gc
import hashlib
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen

from kernl_rt.testing._campaign_call import Call, MakeAgent
from kernl_rt.testing._campaign_plan import TROUBLES, Plan, plan_call
from kernl_rt.testing._probe import Probe
from kernl_rt.testing._sweep import Backend, run_once

__all__ = ["TROUBLES", "CallFailed", "CallRun", "CampaignReport", "campaign", "run_call"]

#: Steps of tasks at one moment; with a slicer, bytes go one by one.
_STEPS = 30_000
_SHOWN = 5


class CallFailed(AssertionError):
    """Some simulated calls broke promises; the message says how to repeat each."""


@frozen
class CallRun:
    """What became of one call. ``log`` is what happened, line by line, with virtual times; ``digest`` a hash of it and
    of every task's every step: equal for equal runs. ``answered`` is how many seconds the closing question took,
    ``None`` where it was not asked. ``seconds`` is the call's length in virtual time.
    """

    seed: int
    backend: Backend
    plan: Plan = field(repr=False)
    violations: Sequence[str]
    log: Sequence[str] = field(repr=False)
    digest: str
    answered: float | None
    seconds: float

    @property
    def repeat(self) -> str:
        """The command that does it again."""
        return f"nox -s campaign -- --seeds 1 --start {self.seed} --backend {self.backend}"

    def raise_for_violations(self) -> None:
        """
        Raises:
            CallFailed: a promise was broken. Its notes hold the end of the log.
        """
        if self.violations:
            failed = CallFailed(str(self))
            failed.add_note("\n".join(self.log[-60:]))
            raise failed

    def __str__(self) -> str:
        found = "".join(f"\n    {violation}" for violation in self.violations) or " kept its promises"
        return f"run_call({self.seed}, {self.backend!r}){found}"


@frozen
class CampaignReport:
    """``answered`` calls came to their closing question; in the others the session was ended before. ``slowest`` is the
    longest that an answer took, in virtual seconds; ``seconds`` is the length of all calls, in virtual time,
    ``elapsed`` what they took, in real time.
    """

    calls: int
    failed: Sequence[CallRun]
    answered: int
    slowest: float
    seconds: float
    elapsed: float

    def raise_for_violations(self) -> None:
        """
        Raises:
            CallFailed: some calls broke promises.
        """
        if self.failed:
            shown = [str(run) for run in self.failed[:_SHOWN]]
            if len(self.failed) > _SHOWN:
                shown.append(f"and seeds {', '.join(str(run.seed) for run in self.failed[_SHOWN:])}")
            raise CallFailed(
                "\n  ".join([f"{len(self.failed)} of {self.calls} calls broke a promise; to repeat one:", *shown])
            )


@contextmanager
def _collected_after() -> Iterator[None]:
    """When garbage is found depends on what the process did before; what is freed by then may be waited for."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        gc.collect()


def run_call(
    seed: int, backend: Backend, *, agent: MakeAgent | None = None, troubles: Collection[str] | None = None
) -> CallRun:
    """Draw a whole call from ``seed`` and let it happen, in virtual time.

    The session is real, and so is the OpenAI adapter; the network, where the seed draws one, is a
    :class:`FaultyTransport`, the model a :class:`~kernl_rt.simulator.Simulator`, the human a memory channel's. A
    :class:`PromiseChecker` watches; so do rules of this module's own. The order of tasks is drawn, too.

    Args:
        seed: decides everything. The same seed gives the same call, in every process.
        backend: ``"trio"`` or ``"asyncio"``.
        agent: makes the agent, for each call anew; its tools are called with arguments that fit their schemas. Without
            it, an agent with tools of every kind.
        troubles: names of :data:`TROUBLES` that happen; without it, a subset that is drawn.

    A plain function: it runs an event loop of its own. It does not raise where promises are broken: see
    :meth:`CallRun.raise_for_violations`.

    Raises:
        MisconfiguredError: an unknown trouble or backend.
    """
    plan = plan_call(seed, troubles)
    call = Call(plan, agent)

    async def scenario(probe: Probe) -> None:
        await call.run()

    violations: list[str] = []
    trace, seconds = "", 0.0
    try:
        with _collected_after():
            run = run_once(scenario, backend=backend, seed=seed, step_limit=_STEPS)
        trace, seconds = run.trace, run.seconds
    except Exception as exc:
        where = "".join(traceback.format_exception(exc)[-3:])
        violations.append(f"{type(exc).__name__}: {exc}\n{where}")
    violations = [*dict.fromkeys(call.broken), *violations]
    digest = hashlib.sha256("\n".join([*call.log, trace]).encode()).hexdigest()[:16]
    return CallRun(seed, backend, plan, tuple(violations), tuple(call.log), digest, call.answered, seconds)


def campaign(
    seeds: Iterable[int],
    backend: Backend = "trio",
    *,
    agent: MakeAgent | None = None,
    troubles: Collection[str] | None = None,
    stop_after: int | None = None,
    after: Callable[[CallRun], object] | None = None,
) -> CampaignReport:
    """Run a call for each seed; ends early once ``stop_after`` of them have broken a promise. See :func:`run_call`.

    ``after`` is called with each run. Of the runs only those that failed are kept.
    """
    begin = time.perf_counter()
    calls = answered = 0
    slowest = seconds = 0.0
    failed: list[CallRun] = []
    for seed in seeds:
        run = run_call(seed, backend, agent=agent, troubles=troubles)
        calls += 1
        seconds += run.seconds
        if run.answered is not None:
            answered += 1
            slowest = max(slowest, run.answered)
        if run.violations:
            failed.append(run)
        if after is not None:
            after(run)
        if stop_after is not None and len(failed) >= stop_after:
            break
    return CampaignReport(calls, tuple(failed), answered, slowest, seconds, time.perf_counter() - begin)


def summary(report: CampaignReport, backend: Any) -> str:
    """One line for a terminal."""
    return (
        f"{backend}: {report.calls} calls, {len(report.failed)} broke a promise, {report.answered} answered "
        f"(slowest {report.slowest:.2f} s), {report.seconds:.0f} virtual seconds in {report.elapsed:.0f} s"
    )
