"""The pytest plugin: ``kernl_rt_sweep`` and ``kernl_rt_seed``.

It is loaded by itself wherever kernl_rt is installed, and imports nothing until a test asks for a fixture.

=========================  ========================================================================================
``kernl_rt_sweep``         :func:`~kernl_rt.testing.sweep` on both backends (or ``backend=``), with the schedules that
                           the options ask for; it raises where a promise was broken, and gives the reports
``kernl_rt_seed``          a seed for what your test draws itself; the test runs once for each
``--kernl-rt-seeds N``     so many seeds (default: 1, which is 0; for a sweep: the plain schedule)
``--kernl-rt-seed S``      this seed only: to repeat a failure
=========================  ========================================================================================

A test that fails says which seed it had.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kernl_rt.testing import SweepReport

__all__ = ["kernl_rt_seed", "kernl_rt_sweep"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernl_rt", "kernl_rt: schedules and seeds")
    group.addoption(
        "--kernl-rt-seeds", type=int, default=1, metavar="N", help="run tests that draw, and sweeps, with N seeds"
    )
    group.addoption("--kernl-rt-seed", type=int, default=None, metavar="S", help="run them with this seed only")


def _seeds(config: pytest.Config) -> list[int]:
    only: int | None = config.getoption("--kernl-rt-seed")
    number: int = config.getoption("--kernl-rt-seeds")
    if number < 1:
        raise pytest.UsageError(f"--kernl-rt-seeds {number}: at least 1")
    return list(range(number)) if only is None else [only]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernl_rt_seed" in metafunc.fixturenames:
        metafunc.parametrize("kernl_rt_seed", _seeds(metafunc.config), indirect=True, ids=lambda seed: f"seed{seed}")


@pytest.fixture
def kernl_rt_seed(request: pytest.FixtureRequest) -> int:
    """A seed for what the test draws itself; it is told where the test fails."""
    seed: int = request.param
    request.node.user_properties.append(("kernl_rt_seed", seed))
    return seed


@pytest.fixture
def kernl_rt_sweep(request: pytest.FixtureRequest) -> Callable[..., Sequence[SweepReport]]:
    """``kernl_rt_sweep(scenario, **options)``: the options are those of :func:`~kernl_rt.testing.sweep`.

    Without ``backend`` it sweeps on trio and on asyncio. ``seeds`` come from the command line. Returns a report for
    each backend; raises :class:`~kernl_rt.testing.SweepFailed`, which says how to repeat a run.
    """
    config = request.config

    def run(scenario: Any, *, backend: str | None = None, **options: Any) -> Sequence[SweepReport]:
        from kernl_rt.testing import sweep

        if "seeds" not in options:
            # The first schedule is the plain one, unless a seed was asked for by its number.
            given = config.getoption("--kernl-rt-seed") is not None
            options["seeds"] = [seed if seed or given else None for seed in _seeds(config)]
        reports: list[SweepReport] = []
        for name in ("trio", "asyncio") if backend is None else (backend,):
            reports.append(sweep(scenario, backend=name, **options))
            reports[-1].raise_for_violations()
        return reports

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seeds = [value for name, value in item.user_properties if name == "kernl_rt_seed"]
    if report.failed and seeds:
        report.sections.append(("kernl_rt", f"repeat with: pytest --kernl-rt-seed {seeds[-1]} {item.nodeid!r}"))
    return report
