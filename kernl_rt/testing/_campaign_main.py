"""``python -m kernl_rt.testing._campaign_main``: many seeds from a terminal. ``nox -s campaign`` runs it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from kernl_rt.testing._campaign import CallRun, CampaignReport, campaign, summary
from kernl_rt.testing._sweep import Backend

__all__ = ["main"]

_BACKENDS: dict[str, tuple[Backend, ...]] = {
    "trio": ("trio",),
    "asyncio": ("asyncio",),
    "both": ("trio", "asyncio"),
}
_TAIL = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the seeds and say what broke, with the command that repeats it. Returns 1 where anything did."""
    parser = argparse.ArgumentParser(prog="nox -s campaign --", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many (default: %(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--backend", choices=list(_BACKENDS), default="both")
    parser.add_argument("--troubles", nargs="*", help="only these; see kernl_rt.testing.TROUBLES")
    parser.add_argument("--stop-after", type=int, metavar="N", help="end once N calls have failed")
    parser.add_argument("--log", action="store_true", help="print the whole log of each call")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)  # what is drawn to fail would be told a thousand times
    failed = 0
    for backend in _BACKENDS[options.backend]:
        report = _run(backend, options)
        print(summary(report, backend), flush=True)
        failed += len(report.failed)
    return 1 if failed else 0


def _run(backend: Backend, options: argparse.Namespace) -> CampaignReport:
    def told(run: CallRun) -> None:
        if run.violations:
            _tell(run)
        if options.log:
            print("\n".join(run.log))

    seeds = range(options.start, options.start + options.seeds)
    return campaign(seeds, backend, troubles=options.troubles, stop_after=options.stop_after, after=told)


def _tell(run: CallRun) -> None:
    print(f"{run}\n    troubles: {', '.join(sorted(run.plan.troubles))}\n    {run.repeat} --log")
    print("\n".join(f"    | {line}" for line in run.log[-_TAIL:]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
