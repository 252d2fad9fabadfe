"""Closing: from everywhere, any number of times, in every way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kernl_rt import Guardrail, RealtimeSession, ToolContext, tool
from kernl_rt.events import SessionStuck, StatusChanged, ToolResult
from kernl_rt.exceptions import ConnectionClosed
from tests.faults.closing import BOUND, watched
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import TENTH, audio, calling, created, done, make_session, peer_of, tool_call, transcript

pytestmark = pytest.mark.anyio


# -- row 37: from everywhere ------------------------------------------------------------------------------------------


async def test_fault_37_close_twice_and_after_the_end() -> None:
    async with watched() as (session, log):
        async with session:
            session.close("first")
            session.close("second")
            assert await session.aclose()
            assert await session.aclose()
            session.close("third")
        session.close("fourth")
        assert await session.aclose()
        await session.wait_closed()
    assert {event.reason for event in log if isinstance(event, StatusChanged) and event.status == "closing"} == {
        "first"
    }


async def test_fault_37_close_from_three_tasks_at_once() -> None:
    ended: list[bool] = []

    async def close(session: RealtimeSession[Any]) -> None:
        ended.append(await session.aclose())

    async with watched() as (session, _):
        async with session, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(close, session)
        assert ended == [True, True, True]


async def test_fault_37_close_from_a_plain_listener() -> None:
    async with watched() as (session, _):
        start = anyio.current_time()
        session.on("audio", lambda event: session.close("enough"))
        async with session:
            peer_of(session).say(created(), audio(), audio())
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("verb", ["close", "aclose", "wait_closed"])
async def test_fault_37_close_from_an_awaited_listener(verb: str) -> None:
    """It must not wait for its own end."""
    result: list[Any] = []

    async with watched() as (session, _):

        async def stop(event: Any) -> None:
            if verb == "close":
                session.close()
                result.append(True)
            elif verb == "aclose":
                result.append(await session.aclose())
            else:
                session.close()
                await session.wait_closed()
                result.append(session.status == "closed")

        session.once("audio", stop)
        start = anyio.current_time()
        async with session:
            peer_of(session).say(created(), audio())
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)
    assert result == [True]


@pytest.mark.parametrize("verb", ["close", "aclose", "context"])
async def test_fault_37_close_from_inside_a_tool(verb: str) -> None:
    """``aclose`` in a tool is cancelled with the tool; its ``finally`` runs."""
    steps: list[str] = []

    @tool
    async def leave(context: ToolContext[Any]) -> str:
        try:
            if verb == "aclose":
                await session.aclose()
                steps.append("unreachable")
            elif verb == "close":
                session.close()
            else:
                context.session.close()
            await anyio.lowlevel.checkpoint()
        finally:
            steps.append("finally")
        return "bye"

    async with watched(leave) as (session, log):
        start = anyio.current_time()
        async with session:
            peer_of(session).say(tool_call("leave"))
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)
    assert steps == ["finally"]
    assert [event.outcome for event in log if event.kind == "tool.finished"] == ["cancelled"]


async def test_fault_37_close_from_a_guardrail() -> None:
    checked: list[str] = []

    async def check(text: str, context: Any) -> None:
        checked.append(text)
        await context.session.aclose()
        checked.append("unreachable")

    guardrail: Guardrail[Any] = Guardrail("leaving", check)
    async with watched(guardrails=[guardrail]) as (session, _), session:
        peer_of(session).say(created(), audio(), transcript("Hello."), done())
        await session.wait_closed()
    assert checked == ["Hello."]


async def by_scope(session: RealtimeSession[Any]) -> None:
    with anyio.CancelScope() as scope:
        async with session:
            scope.cancel()
            await anyio.sleep(60)
    assert scope.cancelled_caught


async def by_fail_after(session: RealtimeSession[Any]) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1):
            async with session:
                await anyio.sleep(60)


async def by_sibling(session: RealtimeSession[Any]) -> None:
    async def fail() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            async with session:
                await anyio.sleep(60)


async def by_sibling_in_the_callers_group(session: RealtimeSession[Any]) -> None:
    """The same with ``connect``: the session is a sibling itself."""

    async def fail() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with anyio.create_task_group() as group:
            await session.connect(group)
            group.start_soon(fail)


async def by_body(session: RealtimeSession[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session:
            raise ZeroDivisionError


async def by_hang_up(session: RealtimeSession[Any]) -> None:
    """In the middle of a reply even a goodbye is a loss, and raised; else it is none."""
    with suppress(ConnectionClosed):
        async with session:
            peer_of(session).hang_up(1000)
            await session.wait_closed()


@pytest.mark.parametrize(
    "end", [by_scope, by_fail_after, by_sibling, by_sibling_in_the_callers_group, by_body, by_hang_up]
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_promise_03_every_way_to_end_leaves_nothing(
    end: Callable[[RealtimeSession[Any]], Awaitable[None]], busy: bool
) -> None:
    steps: list[str] = []

    @tool
    async def work() -> str:
        try:
            await anyio.sleep(3_600)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            steps.append("finally")
        return "never"

    async def awaited(event: Any) -> None:
        await anyio.sleep(3_600)

    session = make_session(work, **WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("event", log.append)
    if busy:
        session.on("status", awaited)
        session.on("tool", lambda event: session.send_audio(TENTH) if event.kind == "tool.call" else None)

        def begin(event: Any) -> None:
            peer_of(session).say(created(), tool_call("work"))

        session.once("session.updated", begin)
    with anyio.fail_after(1_000), nothing_left(session, log):
        start = anyio.current_time()
        await end(session)
        assert anyio.current_time() - start <= BOUND
    if busy and end is not by_body:
        later = (by_fail_after, by_sibling, by_sibling_in_the_callers_group)
        assert steps in ([["finally"]] if end in later else [["finally"], []]), "whatever began has ended"
        outcomes = [event.outcome for event in log if event.kind == "tool.finished"]
        assert len(outcomes) == sum(event.kind == "tool.call" for event in log), "one outcome for each call"
        assert set(outcomes) <= {"cancelled"}


async def test_promise_03_a_tool_that_will_not_die_makes_aclose_say_so() -> None:
    @tool
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)
        return "late"

    async with calling(stubborn) as call:
        await call.says(tool_call("stubborn"))
        start = anyio.current_time()
        assert not await call.session.aclose()
        assert anyio.current_time() - start == pytest.approx(5)
        assert not await call.session.aclose(2.5)
        assert anyio.current_time() - start == pytest.approx(7.5)
        assert not await call.session.aclose(0)
        assert call.session.status == "closing"
        assert await call.session.aclose(30)
        assert anyio.current_time() - start == pytest.approx(30, abs=0.1)


async def test_fault_25_a_tool_that_ignores_cancellation() -> None:
    @tool
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(6)
        return "late"

    async with calling(stubborn) as call:
        await call.says(tool_call("stubborn"))
    [stuck] = call.seen(SessionStuck)
    assert (stuck.name, stuck.call_id, round(stuck.seconds)) == ("stubborn", "c1", 5)
    assert "stubborn" in stuck.stack
    assert [event.outcome for event in call.log if event.kind == "tool.finished"] == ["cancelled"]
    assert call.sent(ToolResult) == [], "what it gives too late is not said"
