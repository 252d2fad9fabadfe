"""The campaign can fail: faults that are planted in the real session are found within few calls."""

from __future__ import annotations

import re

import pytest
from campaign.plants import PLANTS, Plant

from kernl_rt.testing import run_call
from kernl_rt.testing._sweep import Backend

#: The rule that tells each fault, and the troubles in which it shows soonest. ``python -m tests.campaign.plants`` counts
#: in how many ordinary seeds each is found.
FOUND: dict[str, tuple[str, list[str]]] = {
    "no_fence": ("silent after", ["interrupts", "lateness"]),
    "heard_beyond_received": ("truncated at what was heard", ["interrupts"]),
    "lost_wish": ("every handle settles|nothing waits|is answered|no wish", ["drops", "lateness"]),
    "call_run_twice": ("a call runs once|one outcome", ["drops"]),
    "handle_never_settles": ("every handle settles", ["drops", "changes"]),
    "swallowed_close": ("a lost link is noticed", ["drops"]),
    "unbounded_lane": ("bounded lanes", ["consumers"]),
    "two_requests_in_flight": ("one reply at a time", ["lateness"]),
    "said_twice": ("nothing is said twice", ["drops", "refusals"]),
    "turn_told_twice": ("a turn is told once", ["drops"]),
    "history_forgotten": ("the provider knows", ["drops"]),
    "doubled_items": ("history has each item once", []),
    "slow_farewell": ("closed in time", []),
}
MOST = 60


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
def test_it_is_found(plant: Plant, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, troubles = FOUND[plant.__name__]
    plant(monkeypatch)
    told: list[str] = []
    for seed in range(MOST):
        told += run_call(seed, backend, troubles=troubles).violations
        if any(re.search(rule, violation) for violation in told):
            return
    pytest.fail(f"{plant.__name__} is not found in {MOST} calls: {told}")
