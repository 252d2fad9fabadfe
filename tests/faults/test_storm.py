"""Many links, and no time: rows 43 to 45 of the fault list, in live sessions."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import AudioDelta, Interrupted, ResponseCreate, SessionError, StatusChanged
from kernl_rt.exceptions import ConnectionClosed, ConnectRefusedError, SessionExpired
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.testing import ScriptedModel, TraceGrammar
from tests.faults.calls import under_fault
from tests.scenarios.calls import audio, created, done, item_added, quiet

pytestmark = pytest.mark.anyio


def session_with(model: ScriptedModel, **options: Any) -> RealtimeSession[Any]:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model)
    return RealtimeSession(agent, **options)


def dials_of(*models: ScriptedModel, since: float = float("-inf")) -> list[float]:
    """When they were dialled, also in vain."""
    return sorted(dial.at for model in models for dial in model.dials if dial.at >= since)


def busiest_second(dials: list[float]) -> int:
    """The most dials in any one second; two that are a second apart, but for rounding, are not in the same."""
    first, most = 0, 0
    for last, at in enumerate(dials):
        while dials[first] <= at - 1 + 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


# -- 43: all at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sessions_at_once", "refused"), [(1_000, 0), (200, 2)])
async def test_fault_43_a_thousand_sessions_come_back_without_a_stampede(sessions_at_once: int, refused: int) -> None:
    models = [ScriptedModel() for _ in range(sessions_at_once)]
    logs: list[list[Any]] = [[] for _ in models]
    back: list[float] = []
    sessions = [session_with(model) for model in models]
    before = len(anyio.get_running_tasks())
    with anyio.fail_after(1_000):
        async with anyio.create_task_group() as group:
            for session, log in zip(sessions, logs, strict=True):
                session.on("event", log.append)
                await session.connect(group)
            await anyio.sleep(60)
            start = anyio.current_time()

            def returned(event: StatusChanged) -> None:
                if event.status == "connected":
                    back.append(anyio.current_time() - start)

            for session, model in zip(sessions, models, strict=True):
                session.on("status", returned)
                model.refuse(*[ConnectRefusedError("nobody listens there")] * refused)
                model.peer.hang_up(1006)
            await anyio.sleep(120)
            assert busiest_second(dials_of(*models, since=start)) <= 50
            assert sum(at <= 30 for at in back) >= 0.99 * sessions_at_once
            assert {session.status for session in sessions} == {"connected"}
            for session in sessions:
                session.close()
    assert len(anyio.get_running_tasks()) == before
    for log in logs:
        TraceGrammar().check(log)


# -- 44: up and down --------------------------------------------------------------------------------------------------


async def test_fault_44_a_flapping_provider_is_given_up_after_five_dials() -> None:
    """Each link is ready, and gone a second later: that it was ready once does not fill the budget again."""
    model = ScriptedModel()
    log: list[Any] = []
    session = session_with(model)
    session.on("event", log.append)
    with anyio.fail_after(10_000), pytest.raises(ConnectionClosed):
        async with session:
            links = 0
            while True:
                await anyio.sleep(1)
                if session.status == "connected":
                    links += 1
                    model.peer.hang_up(1011, "upstream restarts")
    assert len(model.dials) == 1 + 5
    assert links == 6
    last = log[-1]
    assert last.status == "closed"
    assert "gave up after 5 attempts" in last.reason
    assert "upstream restarts" in last.reason
    TraceGrammar().check(log)


async def test_fault_44_a_link_that_held_half_a_minute_fills_the_budget() -> None:
    async with under_fault(reconnect=ReconnectPolicy()) as call:
        model: Any = call.session.model
        for _ in range(20):
            await anyio.sleep(31)
            assert call.session.status == "connected"
            model.peer.hang_up(1011)
            await anyio.sleep(1)


async def test_fault_44_a_provider_that_never_comes_back_is_given_up() -> None:
    model = ScriptedModel()
    with anyio.fail_after(10_000), pytest.raises(ConnectRefusedError):
        async with session_with(model) as session:
            start = anyio.current_time()
            model.refuse(*[ConnectRefusedError("nobody listens there")] * 100)
            model.peer.hang_up(1006)
            await anyio.sleep_forever()
    assert session.status == "closed"
    dials = dials_of(model)[1:]
    assert len(dials) == 5
    waits = [later - earlier for earlier, later in zip([start, *dials], dials, strict=False)]
    for wait, longest in zip(waits, (0.25, 0.5, 1, 2, 4), strict=True):
        assert 0 <= wait <= longest + 0.03, "full jitter; a place in the line of dials is a fiftieth of a second"


# -- 42: an expiry is no fault ----------------------------------------------------------------------------------------


async def test_fault_42_an_expiry_costs_no_attempt() -> None:
    """There is one attempt, and the first dial after the expiry fails: it is made after all."""
    model = ScriptedModel()
    with anyio.fail_after(100_000):
        async with session_with(model, reconnect=ReconnectPolicy(attempts=1, rotate_before=None)) as session:
            for _ in range(5):
                await anyio.sleep(3_600)
                before = len(model.dials)
                model.refuse(ConnectRefusedError("nobody listens there"))
                model.peer.hang_up()
                model.peer._closing = SessionExpired(1001, "Your session hit the maximum duration of 60 minutes.")
                await anyio.sleep(10)
                assert session.status == "connected"
                assert len(model.dials) == before + 2


# -- 45: clocks that jump ---------------------------------------------------------------------------------------------


def leap(seconds: float) -> None:
    """The machine was suspended: every task finds that much later what it was waiting for."""
    import trio

    try:
        clock: Any = trio.lowlevel.current_clock()
    except RuntimeError:
        import asyncio

        asyncio.get_running_loop()._virtual.now += seconds  # type: ignore[attr-defined]
    else:
        clock.jump(seconds)


async def test_fault_45_after_ten_minutes_of_sleep_there_is_one_new_link() -> None:
    """The provider has hung up long ago; the sound of the reply that played is not taken for heard twice over."""
    channel = MemoryChannel()
    async with under_fault(channel=channel, reconnect=ReconnectPolicy()) as call:
        model: Any = call.session.model
        call.session.request_reply()
        await call.says(created(), item_added(), audio(ms=3_000))
        await anyio.sleep(0.5)
        leap(600)
        call.peer.hang_up(1006)
        await anyio.sleep(5)
        assert call.session.status == "connected"
        assert len(model.peers) == 2, "one reconnect"
        assert len(model.peer.heard(ResponseCreate)) == 1
        assert call.session.statistics().heard_ms <= 3_000
        assert [event.reason for event in call.seen(Interrupted)] in ([], ["connection_lost"])
        assert not call.seen(SessionError)
        model.peer.say(created("r2"), audio("r2", "i2"), done("r2"))
        await quiet()
        assert [event.response_id for event in call.seen(AudioDelta)] == ["r1", "r2"]


async def test_fault_45_a_provider_that_is_silent_after_the_sleep_is_left() -> None:
    """As a half-open link: nobody says that it is gone. What is owed says so."""
    async with under_fault(reconnect=ReconnectPolicy()) as call:
        model: Any = call.session.model
        call.session.request_reply()
        await call.says(created())
        leap(600)
        await anyio.sleep(60)
        assert call.session.status == "connected"
        assert len(model.peers) >= 2
        assert len(model.peers[1].heard(ResponseCreate)) == 1


async def test_fault_45_a_sleeper_who_owes_nothing_changes_nothing() -> None:
    async with under_fault(reconnect=ReconnectPolicy()) as call:
        leap(600)
        await anyio.sleep(60)
        await call.says(created(), audio(), done())
        assert len(call.session.model.peers) == 1  # type: ignore[attr-defined]
        assert len(call.seen(AudioDelta)) == 1


async def test_promise_29_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour forth and back in the middle of everything: the same is told, at the same times."""

    async def told(jumps: list[float]) -> list[str]:
        offset = 0.0
        true_time, true_ns = time.time, time.time_ns
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: true_time() + offset)
            patch.setattr(time, "time_ns", lambda: true_ns() + int(offset * 1e9))
            start = anyio.current_time()
            log: list[str] = []
            channel = MemoryChannel(reports_playback=False)  # so that the session asks a clock
            async with under_fault(channel=channel, reconnect=ReconnectPolicy()) as call:

                def hear(event: Any) -> None:
                    log.append(f"{anyio.current_time() - start:.6f} {event!r}")

                call.session.on("event", hear)
                for number in range(6):
                    offset = jumps[number % len(jumps)]
                    await call.says(created(f"r{number}"), audio(f"r{number}", f"i{number}", 800))
                    await anyio.sleep(0.3)
                    if number % 2:
                        call.session.interrupt()
                    await call.says(done(f"r{number}"))
                    await anyio.sleep(0.4)
            return log

    assert abs(datetime.now().timestamp() - time.time()) < 60
    steady = await told([0.0])
    assert len(steady) > 20
    assert await told([3_600.0, -3_600.0]) == steady
