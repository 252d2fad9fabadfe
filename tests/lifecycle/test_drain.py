"""P27: no new sessions, a word to the live ones, a limit. With real signals: tests/faults/test_draining.py."""

from __future__ import annotations

import random
from typing import Any

import anyio
import pytest

from kernl_rt import Drain, RealtimeAgent, RealtimeSession
from kernl_rt.events import Draining, StatusChanged
from kernl_rt.exceptions import MisconfiguredError, SessionStateError
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import make_session, quiet

pytestmark = pytest.mark.anyio


class Line:
    """One call under a drain: how it went."""

    def __init__(self, **options: Any) -> None:
        self.session: RealtimeSession[Any] = make_session(**options)
        self.log: list[Any] = []
        self.session.on("event", self.log.append)
        self.ended_at = float("nan")
        self.whole = False

    async def talk(self, drain: Drain, seconds: float) -> None:
        """Until the human hangs up, or the session ends."""
        try:
            async with drain.session(self.session) as session:
                with anyio.move_on_after(seconds):
                    await session.wait_closed()
                    return
                self.whole = True
        finally:
            self.ended_at = anyio.current_time()

    @property
    def told(self) -> list[float]:
        return [round(event.seconds, 3) for event in self.log if isinstance(event, Draining)]

    @property
    def reason(self) -> str | None:
        [end] = [event.reason for event in self.log if isinstance(event, StatusChanged) and event.status == "closed"]
        return end


def drain_of(timeout: float = 30.0) -> Drain:
    return Drain(timeout, signals=())


async def test_live_sessions_are_told_and_may_end_by_themselves() -> None:
    lines = [Line(), Line(), Line()]
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with drain_of() as drain, anyio.create_task_group() as group:
            for line, seconds in zip(lines, (5, 20, 29), strict=True):
                group.start_soon(line.talk, drain, seconds)
            await anyio.sleep(1)
            assert (drain.live, drain.draining) == (3, False)
            drain.start()
            assert (drain.live, drain.draining) == (3, True)
            drain.start()
    assert [line.told for line in lines] == [[30.0]] * 3, "once each"
    assert all(line.whole for line in lines)
    assert [line.reason for line in lines] == ["close requested"] * 3
    assert anyio.current_time() - start == pytest.approx(29)


async def test_what_is_left_after_the_timeout_is_closed() -> None:
    short, long = Line(), Line()
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with drain_of(10) as drain, anyio.create_task_group() as group:
            group.start_soon(short.talk, drain, 9.9)
            group.start_soon(long.talk, drain, 3_600)
            await quiet()
            drain.start()
    assert (short.whole, long.whole) == (True, False)
    assert long.reason == "the program is stopping"
    assert anyio.current_time() - start == pytest.approx(10)


async def test_force_closes_at_once() -> None:
    lines = [Line() for _ in range(5)]
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with drain_of(3_600) as drain, anyio.create_task_group() as group:
            for line in lines:
                group.start_soon(line.talk, drain, 7_200)
            await quiet()
            drain.start()
            await anyio.sleep(2)
            drain.force()
    assert anyio.current_time() - start == pytest.approx(2)
    assert {line.reason for line in lines} == {"the program is stopping"}


async def test_new_sessions_are_refused() -> None:
    with anyio.fail_after(1_000):
        async with drain_of() as drain, anyio.create_task_group() as group:
            live, refused = Line(), Line()
            group.start_soon(live.talk, drain, 3)
            await quiet()
            drain.start()
            with pytest.raises(SessionStateError, match="the program is stopping, and waits for 1"):
                await refused.talk(drain, 1)
            assert refused.log == []
            assert refused.session.model.peers == []  # type: ignore[attr-defined]
            assert live.session.status == "connected"


async def test_a_session_that_connects_meanwhile_is_told_too() -> None:
    line = Line(acknowledge=False)
    model: Any = line.session.model
    with anyio.fail_after(1_000):
        async with drain_of(8) as drain, anyio.create_task_group() as group:
            group.start_soon(line.talk, drain, 60)
            await quiet()
            drain.start()
            await anyio.sleep(3)
            model._acknowledge = True
            model.peer._acknowledge = True
            model.peer._answer(model.peer.sent[0])
            await quiet()
            assert line.session.status == "connected"
    assert len(line.told) == 1
    assert line.reason == "the program is stopping"


@pytest.mark.parametrize(("pause", "told"), [(3, [5.0]), (9, [0.0])])
async def test_a_session_that_was_not_even_dialling_is_told_and_closed_in_the_end(
    pause: float, told: list[float]
) -> None:
    """Its agent's instructions take their time: while they do, there is nobody who could hear."""

    async def instructions(context: Any) -> str:
        await anyio.sleep(pause)
        return "Be brief."

    line = Line()
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions=instructions, model=ScriptedModel())
    line.session = RealtimeSession(agent)
    line.session.on("event", line.log.append)
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with drain_of(8) as drain, anyio.create_task_group() as group:
            group.start_soon(line.talk, drain, 60)
            await quiet()
            drain.start()
    assert line.told == told
    assert line.reason == "the program is stopping"
    assert anyio.current_time() - start == pytest.approx(max(8, pause), abs=0.01)


async def test_one_that_is_still_connecting_at_the_end_is_given_up() -> None:
    line = Line(acknowledge=False)
    start = anyio.current_time()
    with anyio.fail_after(1_000), pytest.RaisesGroup(SessionStateError, flatten_subgroups=True):
        async with drain_of(2) as drain, anyio.create_task_group() as group:
            group.start_soon(line.talk, drain, 60)
            await quiet()
            drain.start()
    assert anyio.current_time() - start == pytest.approx(2)


async def test_leaving_the_block_drains() -> None:
    line = Line()
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with anyio.create_task_group() as group:
            async with drain_of(10) as drain:
                group.start_soon(line.talk, drain, 4)
                await quiet()
            assert (line.whole, drain.live) == (True, 0)
            assert anyio.current_time() - start == pytest.approx(4)


async def test_a_block_without_sessions_is_left_at_once() -> None:
    start = anyio.current_time()
    async with drain_of() as drain:
        pass
    assert anyio.current_time() == pytest.approx(start, abs=0.01)
    assert drain.draining
    with pytest.raises(SessionStateError, match="once"):
        async with drain:
            pass


async def test_what_the_block_raises_comes_out_bare_and_at_once() -> None:
    start = anyio.current_time()
    with pytest.raises(ZeroDivisionError):
        async with drain_of(60):
            raise ZeroDivisionError
    with anyio.move_on_after(1) as scope:
        async with drain_of(60):
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert anyio.current_time() - start == pytest.approx(1)


async def test_waiting_at_the_end_can_be_cancelled() -> None:
    line = Line()
    with anyio.fail_after(100):
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(1) as scope:
                async with drain_of(60) as drain:
                    group.start_soon(line.talk, drain, 50)
                    await quiet()
            assert scope.cancelled_caught
            assert line.session.status == "connected", "cancelling the wait closes nobody"
            group.cancel_scope.cancel()


async def test_wait_started() -> None:
    with anyio.fail_after(100):
        async with drain_of() as drain, anyio.create_task_group() as group:
            woken: list[float] = []

            async def wait() -> None:
                await drain.wait_started()
                woken.append(anyio.current_time())

            group.start_soon(wait)
            await anyio.sleep(2)
            assert woken == []
            drain.start()
            await quiet()
            assert len(woken) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_promise_27_none_is_cut_before_the_timeout(seed: int) -> None:
    """Fifty calls of random length, a stop at a random moment."""
    chance = random.Random(seed)
    calls = [(Line(), chance.uniform(1, 60)) for _ in range(50)]
    stop = chance.uniform(1, 30)
    start = anyio.current_time()
    with anyio.fail_after(1_000):
        async with drain_of(30) as drain, anyio.create_task_group() as group:
            for line, seconds in calls:
                group.start_soon(line.talk, drain, seconds)
            await anyio.sleep(stop)
            drain.start()
    for line, seconds in calls:
        assert line.whole == (seconds < stop + 30)
        assert line.ended_at - start == pytest.approx(min(seconds, stop + 30), abs=0.01)
        assert len(line.told) == (seconds > stop)
    assert any(not line.whole for line, _ in calls) or stop > 28


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan"), "30", None])
def test_a_bad_timeout(timeout: Any) -> None:
    with pytest.raises(MisconfiguredError, match="seconds"):
        Drain(timeout)
