"""Every asynchronous test runs under trio and under asyncio, in virtual time.

A test, or a module, that touches sockets, threads or subprocesses takes the fixture ``real_clock`` (or is marked
``pytestmark = pytest.mark.usefixtures("real_clock")``) and then runs in real time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kernl_rt.testing import virtual_backend

# A failing example is printed so that it can be run again; in CI the examples are the same in every run.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("dev", print_blob=True, deadline=None)
# For hours, not for every change: ``nox -s traces``. The variable scales it.
_CAMPAIGN = max(int(100_000 * float(os.environ.get("KERNL_RT_CAMPAIGN", "1"))), 1)
settings.register_profile(
    "campaign", max_examples=_CAMPAIGN, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(params=["trio", "asyncio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(backend: str, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if "real_clock" in request.fixturenames:
        return backend, {}
    return virtual_backend(backend)


@pytest.fixture
def real_clock() -> None:
    """Run in real time."""


@pytest.fixture(autouse=True)
def no_stalls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener is timed by the real clock: a busy machine must not put ``stall`` events into a virtual call."""
    if "real_clock" not in request.fixturenames:
        monkeypatch.setattr("kernl_rt._session.watch.stall_clock", lambda: 0.0)


def recordings(provider: str) -> list[Path]:
    """The recorded conversations of a provider, or a skip that says they are absent."""
    folder = SHARED / "recordings" / provider
    return sorted(folder.glob("*.yaml")) if folder.is_dir() else []
