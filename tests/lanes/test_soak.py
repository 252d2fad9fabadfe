"""The short version of ``nox -s soak``: a hundred sessions leave nothing behind, and the program would notice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "_soak.py"


@pytest.fixture(scope="module")
def soak() -> Any:
    if not PROGRAM.is_file():
        pytest.skip("benchmarks/ is not here: the suite runs against an installed package")
    spec = importlib.util.spec_from_file_location("kernl_rt_soak", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def figures(result: Any) -> dict[str, float]:
    return {what: value for what, value, _ in result.figures}


@pytest.mark.parametrize(("part", "cycles"), [("memory", 150), ("sockets", 60)])
def test_promise_26_a_hundred_sessions_leave_nothing(soak: Any, backend: str, part: str, cycles: int) -> None:
    result = soak.run_here(part, backend, cycles)
    found = figures(result)
    # So few sessions say nothing about memory: their slope is that of the allocator's warming up.
    assert {name: count for name, count in result.grown.items() if name.startswith("kernl_rt")} == {}
    assert found["tasks left"] == 0
    assert found["file descriptors left"] == 0
    assert found["types that grow"] == 0, result.grown


def test_a_leak_is_noticed(soak: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    class Leaky(soak.RealtimeSession):  # type: ignore[misc, name-defined]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            kept.append(self)

    monkeypatch.setattr(soak, "RealtimeSession", Leaky)
    result = soak.run_here("memory", backend, 150)
    assert result.grown["kernl_rt._session.driver.Driver"] == 100
    assert not result.kept
    assert len(kept) == 150


def test_an_unbounded_consumer_is_noticed(soak: Any, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = soak.RealtimeSession.events
    monkeypatch.setattr(soak.RealtimeSession, "events", lambda self: ordinary(self, buffer=1_000_000))
    result = soak.run_here("slow", backend, 5_000)
    assert figures(result)["events that wait"] > 4_000
    assert not result.kept


def test_a_slow_consumer_keeps_its_bound(soak: Any, backend: str) -> None:
    result = soak.run_here("slow", backend, 5_000)
    assert figures(result)["events that wait"] <= 1_024
