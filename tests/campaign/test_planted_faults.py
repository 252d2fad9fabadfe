"""The campaign can fail: faults that are planted in the real session are found within few calls."""

from __future__ import annotations

import re

import pytest
from campaign.plants import PLANTS

from kernl_rt.testing import run_call
from kernl_rt.testing._sweep import Backend

#: The rule that tells each fault, troubles in which it shows, and where to begin. The others of ``PLANTS`` take more
#: seeds: ``python -m tests.campaign.plants`` counts in how many ordinary ones each is found.
FOUND: dict[str, tuple[str, list[str], int]] = {
    "heard_beyond_received": ("truncated at what was heard", ["interrupts"], 1),
    "lost_wish": ("every handle settles|nothing waits|is answered|no wish", ["drops", "lateness"], 4),
    "call_run_twice": ("a call runs once|the session lives", ["drops"], 8),
    "handle_never_settles": ("every handle settles", ["drops", "changes"], 1),
    "unbounded_lane": ("bounded lanes", ["consumers"], 1),
    "two_requests_in_flight": ("one reply at a time", ["lateness"], 20),
    "said_twice": ("nothing is said twice", ["drops", "refusals"], 1),
    "turn_told_twice": ("a turn is told once", ["drops"], 25),
    "history_forgotten": ("the provider knows", ["drops"], 0),
    "doubled_items": ("history has each item once", [], 0),
    "slow_farewell": ("closed in time", [], 0),
}
MOST = 15


@pytest.mark.parametrize("name", FOUND)
def test_it_is_found(name: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, troubles, start = FOUND[name]
    plant = next(plant for plant in PLANTS if plant.__name__ == name)
    plant(monkeypatch)
    told: list[str] = []
    for seed in range(start, start + MOST):
        told += run_call(seed, backend, troubles=troubles).violations
        if any(re.search(rule, violation) for violation in told):
            return
    pytest.fail(f"{name} is not found in {MOST} calls: {told}")
