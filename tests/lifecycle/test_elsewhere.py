"""A session is for one thread, one event loop, one process: a verb from elsewhere is refused, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from kernl_rt import RealtimeSession
from kernl_rt._session.home import Home
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.exceptions import SessionStateError
from tests.lifecycle.test_state_table import CALLS
from tests.scenarios.calls import calling, make_session

ROOT = Path(__file__).resolve().parents[2]
ABLE = Capabilities(input_formats=(PCM16_24K,), output_formats=(PCM16_24K,), image_input=True)
#: What only reads, or only concerns the session's own bookkeeping, is not refused.
HARMLESS = {"on", "once", "off", "events", "__aiter__", "statistics", "__aenter__"}
#: What awaits: its first step is taken by hand, since no loop of its own runs where it is refused.
AWAITED = {"aclose", "ask", "handoff", "wait_closed"}
VERBS = sorted(CALLS.keys() - HARMLESS)


def first_step(name: str, session: RealtimeSession[Any]) -> str:
    """What comes of calling a verb here: the refusal, or ``""``."""
    try:
        result = CALLS[name](session)
        if name in AWAITED:
            try:
                result.send(None)
            finally:
                result.close()
    except SessionStateError as error:
        return str(error)
    return ""


@pytest.mark.anyio
@pytest.mark.usefixtures("real_clock")
async def test_every_verb_is_refused_in_another_thread() -> None:
    async with calling(capabilities=ABLE) as call:
        before = list(call.log)
        found = await anyio.to_thread.run_sync(lambda: {name: first_step(name, call.session) for name in VERBS})
        assert {name for name, said in found.items() if "another thread" not in said} == set()
        assert call.session.status == "connected"
        assert call.log == before
        assert len(call.peer.sent) == 1, "only the configuration"


@pytest.mark.parametrize("name", ["close", "send_message", "aclose", "wait_closed", "mute"])
def test_another_event_loop_in_the_same_thread(name: str) -> None:
    """asyncio allows loops to be entered and left; the session knows its own."""
    session = make_session()
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def enter() -> None:
        await session.__aenter__()

    async def leave() -> None:
        await session.__aexit__(None, None, None)

    async def use() -> str:
        return first_step(name, session)

    async def whole() -> None:
        """Enter and leave in one task, as the rules want; in between the other loop has its turn."""
        await enter()
        parked.set_result(None)
        await resume
        await leave()

    parked, resume = first.create_future(), first.create_future()
    try:
        task = first.create_task(whole())
        first.run_until_complete(parked)
        said = second.run_until_complete(use())
        outside = first_step(name, session)
        resume.set_result(None)
        first.run_until_complete(task)
    finally:
        first.close()
        second.close()
    assert "another event loop" in said
    assert "outside of the session's event loop" in outside
    assert session.status == "closed"


async def connect_and_leave(session: RealtimeSession[Any]) -> None:
    async with session:
        pass


@pytest.mark.parametrize("run", [trio.run, lambda f, s: asyncio.run(f(s))], ids=["trio", "asyncio"])
def test_what_is_over_may_be_looked_at_anywhere(run: Callable[..., Any]) -> None:
    session = make_session()
    run(connect_and_leave, session)
    session.close()
    assert session.status == "closed"
    assert session.statistics().open_commands == 0
    with pytest.raises(SessionStateError, match="while the session is closed"):
        session.send_message("hello")

    async def in_a_new_loop() -> None:
        session.close()
        assert await session.aclose()
        await session.wait_closed()

    anyio.run(in_a_new_loop, backend="trio")
    anyio.run(in_a_new_loop, backend="asyncio")


FORK = """
import os, sys
import anyio
from tests.lifecycle.test_elsewhere import ABLE, VERBS, first_step
from tests.scenarios.calls import make_session

async def main():
    session = make_session(capabilities=ABLE)
    closed = []
    session.on("status", lambda event: closed.append(event.status))
    async with session:
        child = os.fork()
        if child == 0:
            found = {name: first_step(name, session) for name in VERBS}
            wrong = [name for name, said in found.items() if "forked" not in said]
            print("child", wrong, session.status, closed[-1], flush=True)
            os._exit(len(wrong))
        _, code = os.waitpid(child, 0)
        print("code", code, flush=True)
        await session.send_message("hello", reply=False).settled()
        print("parent", session.status, flush=True)
    print("end", closed, flush=True)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fault_46_every_verb_is_refused_in_a_forked_child(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, backend], capture_output=True, text=True, timeout=40, cwd=ROOT, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "child [] connected connected",
        "code 0",
        "parent connected",
        "end ['connecting', 'connected', 'closing', 'closed']",
    ]


@pytest.mark.anyio
async def test_home_lets_its_own_in() -> None:
    Home.here().check("verb")
