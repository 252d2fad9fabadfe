"""What must not end a session: listeners that raise, and listeners that block."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kernl_rt.events import AudioInputAppend, Interrupted, LoopStalled, SessionError, StatusChanged
from tests.lifecycle.calls import nothing_left
from tests.scenarios.calls import TENTH, audio, calling, created, done, make_session, peer_of, quiet

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("topic", ["status", "audio", "response", "event"])
async def test_fault_29_a_listener_that_raises_harms_nobody(topic: str) -> None:
    async def trace(*bad: Callable[[Any], Any]) -> tuple[list[Any], int]:
        session = make_session()
        heard: list[Any] = []
        errors: list[SessionError] = []
        for listener in bad:
            session.on(topic, listener)
        session.on("event", lambda event: (errors if isinstance(event, SessionError) else heard).append(event))
        async with session:
            peer_of(session).say(created(), audio(), done())
            await quiet()
        assert {error.source for error in errors} <= {"listener"}
        return heard, len(errors)

    def bad(event: Any) -> None:
        if not isinstance(event, SessionError):
            raise ValueError("bad listener")

    good, none = await trace()
    same, failures = await trace(bad)
    assert none == 0
    assert same == good
    heard = [e for e in good if topic in (e.topic, "event")]
    # What the last event's listener raises cannot be told any more: that event is the last.
    assert failures == len(heard) - (topic in ("status", "event"))


@pytest.mark.parametrize("backend", ["trio"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("status", ["connecting", "connected", "closing", "closed"])
async def test_fault_29_what_is_no_ordinary_exception_passes_through(kind: type[BaseException], status: str) -> None:
    """And the session closes cleanly. asyncio's own loop stops at such an exception: see the tests with processes."""
    session = make_session()
    log: list[Any] = []
    session.on("event", log.append)
    ended: list[Any] = []

    def bad(event: StatusChanged) -> None:
        if event.status == status:
            raise kind("out")

    async def iterate() -> None:
        ended.extend([event async for event in session.events("status")])
        ended.append("end")

    session.on("status", bad)
    with anyio.fail_after(100), nothing_left(session, log):
        async with anyio.create_task_group() as group:
            group.start_soon(iterate)
            await quiet()
            with pytest.raises(kind, match="out"):
                async with session:
                    pass
    assert ended[-1] == "end", "iterators end, too"
    assert ended[-2].status == "closed"


@pytest.mark.usefixtures("real_clock")
@pytest.mark.parametrize("seconds", [0.2, 1.0])
async def test_fault_30_a_listener_that_blocks(seconds: float) -> None:
    """It is named; what waited meanwhile is dealt with; the session lives and can be interrupted."""
    async with calling() as call:

        def block(event: Any) -> None:
            time.sleep(seconds)

        call.session.once("audio", block)
        with anyio.fail_after(20):
            call.peer.say(created(), audio(), audio())
            while not call.seen(LoopStalled):
                await anyio.sleep(0.005)
            start = anyio.current_time()
            call.session.send_audio(TENTH)
            await call.session.interrupt().settled()
            assert anyio.current_time() - start < 1
            while not call.sent(AudioInputAppend):
                await anyio.sleep(0.005)
    # A busy machine may have more to say, of listeners that took long.
    [stall] = [event for event in call.seen(LoopStalled) if event.listener.endswith("block")]
    assert stall.during == "audio.output.delta"
    assert stall.milliseconds >= seconds * 1_000
    assert len(call.seen(Interrupted)) == 1
    assert len(call.sent(AudioInputAppend)) == 1
    assert call.seen(SessionError) == []
