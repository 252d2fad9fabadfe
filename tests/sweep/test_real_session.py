"""The real session, cancelled at its steps: no promise is broken.

Here a part of the points, in two schedules; ``nox -s sweep`` takes all of them, in as many schedules as are asked for.
"""

from __future__ import annotations

import os

import pytest
from sweep.scenarios import SCENARIOS
from sweep.strokes import STROKES
from sweep.wires import over_a_wire

from kernl_rt.testing import sweep
from kernl_rt.testing._sweep import Backend, Scenario

#: Set by ``nox -s sweep``: so many schedules, and every point.
SEEDS = int(os.environ.get("KERNL_RT_SWEEP_SEEDS", "0"))

pytestmark = pytest.mark.timeout(7200 if SEEDS else 60)


@pytest.mark.parametrize("scenario", [*SCENARIOS, over_a_wire, *STROKES], ids=lambda scenario: scenario.__name__)
def test_cancelled_at_every_step(scenario: Scenario, backend: Backend) -> None:
    if SEEDS:
        report = sweep(scenario, backend=backend, seeds=[None, *range(1, SEEDS)])
        print(f"{scenario.__name__} {backend}: {report.points} points, {report.runs} runs, {report.elapsed:.0f} s")
    else:
        report = sweep(scenario, backend=backend, seeds=(None, 7), limit=12)
    report.raise_for_violations()
    # Here nothing has a reason to wait: whoever takes time has swallowed the cancellation, or part of it.
    assert report.leaving <= 0.01
