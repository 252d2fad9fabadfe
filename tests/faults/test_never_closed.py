"""Row 49: a session that nobody closed is named when the interpreter ends, or when it is collected."""

from __future__ import annotations

import gc
import inspect
import os

import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._session.watch import unclosed
from kernl_rt.testing import ScriptedModel
from tests.faults.children import PRELUDE, Child

LEFT = """
import gc

def show(message, category, *where):
    if "RealtimeSession" in str(message):  # asyncio says something of its loop, too
        say(f"{category.__name__}: {message}")

warnings.showwarning = show

def fresh():
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    return RealtimeSession(agent)  # the place that must be named

def on_asyncio():
    import asyncio
    loop = asyncio.new_event_loop()
    session = fresh()
    loop.run_until_complete(session.__aenter__())
    return loop, session

def on_trio():
    import collections, trio
    queue = collections.deque()
    session = fresh()
    async def main():
        async with session:
            await trio.sleep_forever()
    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=queue.append, done_callback=lambda outcome: None,
        host_uses_signal_set_wakeup_fd=True,
    )
    import time
    end = time.monotonic() + 20
    while session.status != "connected":
        assert time.monotonic() < end
        while queue:
            queue.popleft()()
    return queue, session

kept = {"trio": on_trio, "asyncio": on_asyncio}[backend]()
say(kept[1].status)
if arguments[0] == "dropped":
    del kept  # the event loops themselves hold on to what runs in them
    gc.collect()
say("exit")
"""


@pytest.mark.parametrize("how", ["kept", "dropped"])
def test_fault_49_a_session_that_is_never_closed_is_named(backend: str, how: str) -> None:
    with Child(LEFT, backend, how) as child:
        _, said, _, _ = child.end()
    line = 1 + next(n for n, text in enumerate((PRELUDE + LEFT).splitlines()) if "the place that must be named" in text)
    warning = f"ResourceWarning: a RealtimeSession was connected and never closed; it was created at <string>:{line}"
    assert said == ["connected", "exit", warning]


class Session:
    """Something that can be collected."""


def test_fault_49_one_that_is_collected_is_named() -> None:
    sessions = [Session()]
    unclosed(sessions[0], "program.py:7")
    with pytest.warns(ResourceWarning, match=r"never closed; it was created at program\.py:7"):
        sessions.clear()


@pytest.mark.filterwarnings("error")
def test_fault_49_one_that_was_closed_or_is_a_parents_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, parents = Session(), Session()
    unclosed(closed, "program.py:7").detach()
    unclosed(parents, "program.py:8")
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    del closed, parents
    gc.collect()


def test_the_place_is_the_callers() -> None:
    frame = inspect.currentframe()
    assert frame is not None
    agent: RealtimeAgent[int] = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    sessions, line = [RealtimeSession[int](agent), RealtimeSession(agent)], frame.f_lineno
    assert [session._created_at for session in sessions] == [f"{__file__}:{line}"] * 2


def test_fault_49_one_that_was_closed_is_not_named(backend: str) -> None:
    code = """
async def main():
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    RealtimeSession(agent)  # never connected: nothing to close
    async with RealtimeSession(agent):
        pass
    async with anyio.create_task_group() as group:
        await RealtimeSession(agent).connect(group)
        group.cancel_scope.cancel()
    try:
        async with RealtimeSession(agent):
            raise ZeroDivisionError
    except ZeroDivisionError:
        say("end")

anyio.run(main, backend=backend)
"""
    with Child(code, backend) as child:
        exit_code, said, errors, _ = child.end()
    assert (exit_code, said, errors) == (0, ["end"], "")
