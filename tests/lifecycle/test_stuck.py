"""What will not die is named, with its stack, while the session waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kernl_rt import Guardrail, tool
from kernl_rt._session.watch import stack_of
from kernl_rt.events import SessionStuck, StatusChanged, ToolFinished
from tests.lifecycle.calls import WITHOUT_RECONNECT
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, tool_call, transcript

pytestmark = pytest.mark.anyio


def stubborn(seconds: float) -> Any:
    """A tool that ends when it likes."""

    async def innermost() -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(seconds)

    @tool
    async def stubborn() -> str:
        await innermost()
        return "late"

    return stubborn


async def test_a_stuck_tool_is_named_every_five_seconds_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kernl_rt"):
        async with calling(stubborn(12)) as call:
            await call.says(tool_call("stubborn"))
            start = anyio.current_time()
            call.session.close()
    stuck = call.seen(SessionStuck)
    assert [(e.what, e.name, e.call_id, round(e.seconds)) for e in stuck] == [
        ("tool", "stubborn", "c1", 5),
        ("tool", "stubborn", "c1", 10),
    ]
    assert anyio.current_time() - start == pytest.approx(12, abs=0.1)
    for event in stuck:
        assert "in stubborn" in event.stack
        assert "in innermost" in event.stack
        assert "await anyio.sleep(seconds)" in event.stack
        assert "stack" not in repr(event), "a stack is for reading, not for a log line"
    warnings = [record.getMessage() for record in caplog.records if "still runs" in record.getMessage()]
    assert len(warnings) == 2
    assert "innermost" in warnings[0]
    assert call.log[-1] == StatusChanged("closed", "closing", "close requested"), "closed is the last event of all"
    assert [finished.outcome for finished in call.seen(ToolFinished)] == ["cancelled"]


async def test_a_tool_that_dies_in_time_is_not_named() -> None:
    async with calling(stubborn(4.9)) as call:
        await call.says(tool_call("stubborn"))
    assert call.seen(SessionStuck) == []
    assert call.log[-1].status == "closed"


async def test_what_swallows_its_cancellation_is_named() -> None:
    woken = 0

    @tool
    async def deaf() -> str:
        nonlocal woken
        end = anyio.current_time() + 7
        while anyio.current_time() < end:
            try:
                with anyio.CancelScope(shield=woken > 0):
                    await anyio.sleep(1)
            except anyio.get_cancelled_exc_class():
                woken += 1
        return "late"

    async with calling(deaf) as call:
        await call.says(tool_call("deaf"))
    assert woken == 1
    assert [e.name for e in call.seen(SessionStuck)] == ["deaf"]


async def test_each_of_several_is_named() -> None:
    async def slow_check(text: str, context: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(6)

    guardrail: Guardrail[Any] = Guardrail("polite", slow_check, timeout=60)
    async with calling(stubborn(7), guardrails=[guardrail]) as call:
        await call.says(created(), audio(), transcript("Hello there, this is a long sentence."), done())
        await call.says(tool_call("stubborn", "c1"), tool_call("stubborn", "c2", item_id="f2"))
    stuck = call.seen(SessionStuck)
    assert sorted((e.name, e.what, e.call_id) for e in stuck) == [
        ("polite", "guardrail", None),
        ("stubborn", "tool", "c1"),
        ("stubborn", "tool", "c2"),
    ]
    assert ["slow_check" in e.stack for e in stuck] == [e.what == "guardrail" for e in stuck]


@pytest.mark.parametrize("how", ["scope", "sibling", "link", "body"])
async def test_it_is_watched_however_the_session_ends(how: str) -> None:
    """Closing by cancellation or by a failure is watched as closing by request is."""
    session = make_session(stubborn(6), **WITHOUT_RECONNECT)
    heard: list[Any] = []
    session.on("stuck", heard.append)

    async def fail() -> None:
        raise RuntimeError("sibling")

    with anyio.fail_after(100):
        try:
            async with anyio.create_task_group() as group, session:
                peer = session.model.peer  # type: ignore[attr-defined]
                peer.say(tool_call("stubborn"))
                await quiet()
                if how == "scope":
                    group.cancel_scope.cancel()
                elif how == "sibling":
                    group.start_soon(fail)
                elif how == "link":
                    peer.hang_up(1011)
                else:
                    raise RuntimeError("body")
                await anyio.sleep(50)
        except (Exception, BaseExceptionGroup):
            assert how != "scope"
        else:
            assert how == "scope"
    assert [e.name for e in heard] == ["stubborn"]
    assert session.status == "closed"


async def test_a_stuck_listener_is_logged_after_the_last_event(caplog: pytest.LogCaptureFixture) -> None:
    async def deaf(event: Any) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(8)

    with caplog.at_level(logging.WARNING, "kernl_rt"):
        async with calling() as call:
            call.session.on("response", deaf)
            await call.says(created())
            assert not await call.session.aclose(3), "it tells that something is left"
    # A busy machine may have more to say, of listeners that took long.
    stuck = [message.split(" still")[0] for message in caplog.messages if " still" in message]
    assert stuck == [f"listener {deaf.__qualname__}"]
    assert call.log[-1].status == "closed"
    assert call.seen(SessionStuck) == []


@pytest.mark.usefixtures("real_clock")
async def test_a_plain_tool_in_a_thread_is_not_waited_for() -> None:
    """A thread cannot be killed: it is abandoned, and what it gives too late is nobody's."""
    began, release, left = threading.Event(), threading.Event(), threading.Event()

    @tool
    def plain() -> str:
        began.set()
        release.wait(20)
        left.set()
        return "too late"

    try:
        with anyio.fail_after(10):
            async with calling(plain) as call:
                await call.says(tool_call("plain"))
                while not began.is_set():
                    await anyio.sleep(0.01)
                start = anyio.current_time()
                assert await call.session.aclose()
                assert anyio.current_time() - start < 1
        before = list(call.log)
        release.set()
        assert await anyio.to_thread.run_sync(left.wait, 10)
        await anyio.sleep(0.05)
        assert call.log == before
        assert [(e.outcome, e.output) for e in call.seen(ToolFinished)] == [("cancelled", "")]
    finally:
        release.set()


async def test_the_stack_of_what_waits_in_an_async_generator_stops_there() -> None:
    """What cannot be seen through is left out; the rest stands."""

    async def numbers() -> AsyncIterator[int]:
        await anyio.sleep(60)
        yield 1

    async def loops() -> None:
        async for _ in numbers():
            pass

    running = loops()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: running)
        await quiet()
        assert "in loops" in stack_of(running)
        group.cancel_scope.cancel()
    assert "does not wait" in stack_of(object())
