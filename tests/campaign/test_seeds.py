"""Whole calls from fixed seeds, and the seeds that once found something. ``nox -s campaign`` runs thousands."""

from __future__ import annotations

import pytest

from kernl_rt import RealtimeAgent, Toolkit, tool
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing import TROUBLES, CallFailed, campaign, run_call
from kernl_rt.testing._campaign_plan import plan_call
from kernl_rt.testing._sweep import Backend

pytestmark = pytest.mark.timeout(60)

#: Seeds that have a test of their own below.
NAMED = {30, 58, 85}
SEEDS = [seed for seed in range(20, 44) if seed not in NAMED]


@pytest.mark.parametrize("tenth", range(4))
def test_every_promise_is_kept(tenth: int, backend: Backend) -> None:
    report = campaign(SEEDS[tenth::4], backend)
    report.raise_for_violations()
    assert report.calls >= 5
    assert report.answered >= 2, "hardly any call comes to its question: the end is not looked at any more"
    assert report.slowest < 60


# -- seeds that found something ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [30, 58])
def test_seeds_30_58_a_failed_listener_keeps_an_abandoned_iterator_alive(seed: int, backend: Backend) -> None:
    """The error of a listener held the frame in which the session had walked over its iterators, and so the last of
    them: one with the policy ``block`` that nobody read any more stopped the session for ever.
    """
    run_call(seed, backend).raise_for_violations()


def test_seed_85_one_request_at_a_time(backend: Backend) -> None:
    """A batch of frames ends one reply and begins another: the request that the end brought is still in the outbox
    when the beginning is taken for its answer. So the next request goes out beside it, and is refused.
    """
    run_call(85, backend).raise_for_violations()


# -- the harness ------------------------------------------------------------------------------------------------------


def test_the_seeds_draw_every_trouble() -> None:
    drawn = set[str]().union(*(plan_call(seed).troubles for seed in SEEDS))
    assert drawn == set(TROUBLES)


def test_a_calm_call(backend: Backend) -> None:
    """Without troubles the answer comes at once."""
    report = campaign(range(5), backend, troubles=())
    report.raise_for_violations()
    assert report.answered == 5
    assert report.slowest < 3


def test_the_users_own_agent(backend: Backend) -> None:
    """Its tools are called, with arguments that fit."""
    tables: list[int] = []

    @tool
    async def book(table: int, name: str, outside: bool = False) -> str:
        tables.append(table)
        assert isinstance(name, str)
        return f"table {table}"

    def agent() -> RealtimeAgent[None]:
        return RealtimeAgent(id="waiter", name="Waiter", instructions="", toolkits=[Toolkit(id="t", tools=[book])])

    report = campaign(range(3, 15), backend, agent=agent, troubles=("drops", "interrupts"))
    report.raise_for_violations()
    assert tables


def test_a_broken_tool_is_told(backend: Backend) -> None:
    """What breaks a promise is told with the command that repeats it. Here: a tool that takes the loop's time."""

    @tool
    async def greedy() -> str:
        raise KeyboardInterrupt

    def agent() -> RealtimeAgent[None]:
        return RealtimeAgent(id="greedy", name="Greedy", instructions="", toolkits=[Toolkit(id="t", tools=[greedy])])

    with pytest.raises(KeyboardInterrupt):
        campaign(range(10), backend, agent=agent, troubles=())


def test_unknown_troubles_are_refused() -> None:
    with pytest.raises(MisconfiguredError, match="unknown troubles"):
        run_call(1, "trio", troubles=["rain"])


def test_a_failure_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from campaign.plants import unbounded_lane

    unbounded_lane(monkeypatch)
    report = campaign(range(40), "trio", troubles=("consumers",), stop_after=1)
    with pytest.raises(CallFailed, match=r"run_call\(\d+, 'trio'\)") as caught:
        report.raise_for_violations()
    assert "bounded lanes" in str(caught.value)
    run = report.failed[0]
    assert run.repeat == f"nox -s campaign -- --seeds 1 --start {run.seed} --backend trio"
