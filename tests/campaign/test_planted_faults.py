"""The campaign can fail: faults that are planted in the real session are found, by a seed that is known to."""

from __future__ import annotations

import pytest
from campaign.plants import PLANTS, Plant

from kernl_rt.testing import run_call
from kernl_rt.testing._sweep import Backend

#: Where each fault shows soonest: the rule that tells it, and a seed. ``python -m tests.campaign.plants`` finds others.
FOUND: dict[str, tuple[str, int]] = {}


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
def test_it_is_found(plant: Plant, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, seed = FOUND[plant.__name__]
    assert not run_call(seed, backend).violations, "the seed is no witness: it finds something by itself"
    plant(monkeypatch)
    told = run_call(seed, backend).violations
    assert any(rule in violation for violation in told), f"{plant.__name__}: {told}"
