"""``nox -s fuzz -- [target …] [--seed N] [--frames N]``: many frames, from a seed that is printed."""

from __future__ import annotations

import argparse
import secrets
import sys
import traceback
from pathlib import Path

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS

FOUND = Path(__file__).parent / "found"


def main() -> int:
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them unless told")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--frames", type=int, default=1_000_000, help="for each target (default: a million)")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    print(f"seed {asked.seed}", flush=True)
    failed = 0
    for name in asked.targets or TARGETS:
        outcome = fuzz(TARGETS[name], asked.seed, asked.frames, FOUND)
        rate = outcome.frames / outcome.seconds if outcome.seconds else 0.0
        print(
            f"{name:10} {outcome.frames:9,} frames in {outcome.seconds:6.1f} s ({rate:8,.0f}/s), "
            f"slowest of 64 KiB or less: {outcome.slowest * 1e3:6.1f} ms",
            flush=True,
        )
        if outcome.error is not None:
            failed += 1
            traceback.print_exception(outcome.error, file=sys.stdout)
            print(
                f"{name} broke at frame {outcome.frames + 1}: {outcome.failure}\n"
                f"again: nox -s fuzz -- {name} --seed {asked.seed}; name the file and move it to tests/fuzz/regressions"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
