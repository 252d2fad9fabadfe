"""What happens to a whole process: signals, exits, forks, too few files. Real clock, one interpreter for each test."""

from __future__ import annotations

import gc
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._session.watch import unclosed
from kernl_rt.testing import ScriptedModel

ROOT = Path(__file__).resolve().parents[2]

if os.name != "posix":
    pytest.skip("signals, forks and limits are POSIX", allow_module_level=True)

#: Real seconds in which a process must end; a busy machine is slow.
SOON = 5.0
#: Real seconds by which a process on a busy machine may be late to look at the clock.
LATE = 0.3

PRELUDE = """
import os, signal, sys, warnings
from functools import partial
from typing import Any
import anyio
from kernl_rt import Drain, RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.events import *
from kernl_rt.exceptions import *
from kernl_rt.providers import openai
from kernl_rt.testing import ScriptedModel

backend, arguments = sys.argv[1], sys.argv[2:]
say = partial(print, flush=True)

def session_of(model, *tools):
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=model, toolkits=[Toolkit(id="t", tools=tools)])
    session = RealtimeSession(agent)
    session.on("status", lambda event: say(event.status))
    session.on("tool.finished", lambda event: say(event.outcome))
    return session
"""


class Child:
    """A program in an interpreter of its own, which says on its output how far it is."""

    def __init__(self, code: str, backend: str, *arguments: str) -> None:
        command = [sys.executable, "-W", "error", "-W", "always::ResourceWarning", "-c", PRELUDE + code, backend]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self.lines: list[str] = []

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.communicate()

    def until(self, line: str) -> None:
        assert self._process.stdout is not None
        for each in self._process.stdout:
            self.lines.append(each.rstrip("\n"))
            if self.lines[-1] == line:
                return
        _, errors = self._process.communicate(timeout=20)
        raise AssertionError(f"it never said {line!r}, but {self.lines} and {errors}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str], str, float]:
        """Exit code, what it said since, its errors, and how many seconds it took."""
        start = time.monotonic()
        out, errors = self._process.communicate(timeout=40)
        return self._process.returncode, out.splitlines(), errors, time.monotonic() - start


CALL_OF_WORK = {
    "type": "response.function_call_arguments.done",
    "response_id": "r1",
    "item_id": "f1",
    "output_index": 0,
    "call_id": "c1",
    "name": "work",
    "arguments": "{}",
}


@define
class Provider:
    """A provider on a real socket, in a thread: it accepts any configuration, and a message makes it call ``work``."""

    url: str = ""
    heard: list[str] = field(factory=list)
    closes: list[int | None] = field(factory=list)
    gone: threading.Event = field(factory=threading.Event)
    _said: int = 0

    def talk(self, link: ServerConnection) -> None:
        try:
            for frame in link:
                event = json.loads(frame)
                self.heard.append(event["type"])
                if event["type"] == "session.update":
                    config = {"type": "realtime", "object": "realtime.session", "id": "sess_1", **event["session"]}
                    self._say(link, {"type": "session.created", "session": config})
                    self._say(link, {"type": "session.updated", "session": config})
                elif event["type"] == "conversation.item.create" and event["item"]["type"] == "message":
                    response = {"object": "realtime.response", "id": "r1", "status": "in_progress", "output": []}
                    self._say(link, {"type": "response.created", "response": response})
                    self._say(link, CALL_OF_WORK)
        except ConnectionClosed:
            pass
        finally:
            self.closes.append(link.protocol.close_rcvd.code if link.protocol.close_rcvd else None)
            self.gone.set()

    def _say(self, link: ServerConnection, event: dict[str, Any]) -> None:
        self._said += 1
        link.send(json.dumps({"event_id": f"event_{self._said}", **event}))


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with serve(made.talk, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


# -- row 47: signals --------------------------------------------------------------------------------------------------

CALL = """
@tool
async def work() -> str:
    try:
        say("up")
        await anyio.sleep(60)
    finally:
        say("tool's finally")
    return "never"

async def main():
    model = openai.realtime("gpt-realtime-2.1", api_key="key", base_url=arguments[0])
    try:
        async with session_of(model, work) as session:
            session.send_message("go")
            await anyio.sleep(60)
    except KeyboardInterrupt:
        say("caught around the session")
        raise

try:
    anyio.run(main, backend=backend)
except KeyboardInterrupt:
    say("caught around the program")
    sys.exit(130)
"""


def test_fault_47_ctrl_c_in_the_middle_of_a_call(provider: Provider, backend: str) -> None:
    with Child(CALL, backend, provider.url) as child:
        child.until("up")
        child.signal(signal.SIGINT)
        code, said, errors, seconds = child.end()
    assert (code, errors) == (130, "")
    assert seconds < SOON
    # On asyncio Ctrl-C cancels the main task, and is raised where that was started.
    around = ["caught around the session"] if backend == "trio" else []
    assert [line for line in said if line != "closing"] == [
        "tool's finally",
        "cancelled",
        "closed",
        *around,
        "caught around the program",
    ]
    assert provider.gone.wait(SOON)
    assert provider.closes == [1000], "the wire ends in a close frame"


def test_fault_47_without_a_handler_the_exit_code_is_the_signals(provider: Provider, backend: str) -> None:
    code = CALL.replace("sys.exit(130)", "raise")
    with Child(code, backend, provider.url) as child:
        child.until("up")
        child.signal(signal.SIGINT)
        exit_code, said, errors, _ = child.end()
    assert exit_code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Exception Group" not in errors, "it came out bare"
    assert "closed" in said


EXITS = """
@tool(needs_approval=arguments[1] == "listener, by the clock", approval_timeout=0.1)
async def work() -> str:
    if arguments[1] == "tool":
        raise kind
    await anyio.sleep(60)
    return "never"

kind = {"exit": SystemExit(7), "ctrl-c": KeyboardInterrupt()}[arguments[2]]

def listener(event):
    if arguments[1] == "listener":
        raise kind

def late_listener(event):
    if arguments[1] == "listener, by the clock":
        raise kind

async def async_listener(event):
    if arguments[1] == "async listener":
        await anyio.sleep(0.05)  # asyncio's loop stops on the spot: whatever was about to start never does
        raise kind

async def main():
    session = session_of(openai.realtime("gpt-realtime-2.1", api_key="key", base_url=arguments[0]), work)
    session.on("tool.call", listener).on("tool.call", async_listener).on("tool.finished", late_listener)
    async with session:
        session.send_message("go")
        if arguments[1] == "body":
            raise kind
        await anyio.sleep(60)

try:
    anyio.run(main, backend=backend)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("kind", ["exit", "ctrl-c"])
@pytest.mark.parametrize("where", ["body", "listener", "listener, by the clock", "async listener", "tool"])
def test_fault_29_exit_and_ctrl_c_raised_inside(provider: Provider, backend: str, where: str, kind: str) -> None:
    """The program ends as it was told to, and the session is closed on the way."""
    with Child(EXITS, backend, provider.url, where, kind) as child:
        code, said, errors, seconds = child.end()
    assert (code, errors) == ({"exit": 7, "ctrl-c": 130}[kind], "")
    assert said.count("closed") == 1
    assert seconds < SOON * 2
    assert provider.gone.wait(SOON)


# -- promise 27: draining ---------------------------------------------------------------------------------------------

DRAIN = """
import random

timeout, longest = map(float, arguments)
chance = random.Random(5)

async def call(drain, seconds, results):
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    told = []
    session = RealtimeSession(agent)
    session.on("draining", told.append)
    async with drain.session(session):
        with anyio.move_on_after(seconds) as talk:
            await session.wait_closed()
        # Cut by the end of the session, or over by itself?
        results.append((seconds, talk.cancelled_caught, anyio.current_time(), len(told)))

async def main():
    results, refused = [], []
    start = anyio.current_time()
    async with Drain(timeout) as drain, anyio.create_task_group() as calls:
        for _ in range(50):
            calls.start_soon(call, drain, chance.uniform(0.2, longest), results)
        await anyio.sleep(0.1)
        say("up")
        await drain.wait_started()
        stop = anyio.current_time()
        say("stopping")
        try:
            await call(drain, 1, results)
        except SessionStateError as error:
            say("refused")
    for seconds, whole, at, told in results:
        say("call", f"{seconds:.3f}", whole, f"{at - stop:.3f}", told)
    say("end")

anyio.run(main, backend=backend)
"""


def calls_of(said: list[str]) -> list[tuple[float, bool, float, int]]:
    rows = [line.split()[1:] for line in said if line.startswith("call ")]
    return [(float(row[0]), row[1] == "True", float(row[2]), int(row[3])) for row in rows]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_promise_27_no_call_is_cut_before_the_timeout(backend: str, number: signal.Signals) -> None:
    timeout = 1.0
    with Child(DRAIN, backend, str(timeout), "2.0") as child:
        child.until("up")
        child.signal(number)
        code, said, errors, seconds = child.end()
    assert (code, errors) == (0, "")
    assert (said[0], said[1], said[-1]) == ("stopping", "refused", "end")
    calls = calls_of(said)
    assert len(calls) == 50
    cut = [call for call in calls if not call[1]]
    assert len(cut) not in (0, 50), "some were short enough, some were not"
    for length, whole, at, told in calls:
        # What the signal woke looks at the clock later than the drain did, on a busy machine.
        assert whole or at >= timeout - LATE, f"a call of {length} s was cut {at} s after the signal"
        assert told == 1
        assert at < timeout + SOON
    assert seconds < timeout + SOON


def test_promise_27_the_second_signal_forces(backend: str) -> None:
    with Child(DRAIN, backend, "60", "60") as child:
        child.until("up")
        child.signal(signal.SIGTERM)
        child.until("refused")
        child.signal(signal.SIGTERM)
        code, said, errors, seconds = child.end()
    assert (code, errors) == (0, "")
    assert len([call for call in calls_of(said) if not call[1]]) > 40
    assert seconds < SOON


def test_promise_27_the_third_signal_has_its_usual_effect(backend: str) -> None:
    code = """
async def main():
    async with Drain(60) as drain:
        say("up")
        await drain.wait_started()
        say("first")
        while True:
            await anyio.sleep(0.05)
            if drain._over:
                break
        say("second")
        await anyio.sleep(60)

anyio.run(main, backend=backend)
"""
    with Child(code, backend) as child:
        for line in ("up", "first", "second"):
            child.until(line)
            child.signal(signal.SIGTERM)
        exit_code, *_ = child.end()
    assert exit_code == -signal.SIGTERM


# -- row 46: forks (the verbs, one by one: tests/lifecycle/test_elsewhere.py) -----------------------------------------

FORK = """
import multiprocessing

def in_child(session):
    try:
        session.send_message("hello")
    except SessionStateError as error:
        say("child", "forked" in str(error))

async def main():
    @tool
    async def work() -> str:
        say("up")
        child = multiprocessing.get_context("fork").Process(target=in_child, args=(session,))
        child.start()
        await anyio.to_thread.run_sync(child.join)
        say("exit", child.exitcode)
        session.close()
        return "done"

    session = session_of(openai.realtime("gpt-realtime-2.1", api_key="key", base_url=arguments[0]), work)
    async with session:
        session.send_message("go")
        await session.wait_closed()

warnings.filterwarnings("ignore", category=DeprecationWarning)  # that threads run: the parent does not care
anyio.run(main, backend=backend)
say("parent")
"""


def test_fault_46_a_forked_child_is_refused_and_the_parent_unharmed(provider: Provider, backend: str) -> None:
    with Child(FORK, backend, provider.url) as child:
        code, said, errors, _ = child.end()
    assert (code, errors) == (0, "")
    assert "child True" in said
    assert said[-2:] == ["closed", "parent"]
    assert "exit 0" in said
    assert provider.gone.wait(SOON)
    assert provider.closes == [1000], "the child has not touched the wire"


# -- row 48: no more files --------------------------------------------------------------------------------------------

FILES = """
import resource

def files():
    return sorted(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))

async def main():
    def fresh():
        return session_of(openai.realtime("gpt-realtime-2.1", api_key="key", base_url=arguments[0]))

    async with fresh():  # whatever is made once is made now
        pass
    await anyio.sleep(0.1)
    before = files()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    for room in range(12):
        session = fresh()
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + room, hard))
        try:
            async with session:
                pass
        except ConnectRefusedError as error:
            failures += 1
            assert "Too many open files" in str(error), error
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await anyio.sleep(0.05)
        assert files() == before, (files(), before)
        assert session.status == "closed"
    say("failures", failures > 0, failures < 12)
    async with fresh():
        say("works again")

anyio.run(main, backend=backend)
"""


def test_fault_48_no_more_files(provider: Provider, backend: str) -> None:
    """The error may be retried, nothing is left open, and once there is room it works again."""
    with Child(FILES, backend, provider.url) as child:
        code, said, errors, _ = child.end()
    assert (code, errors) == (0, "")
    assert "failures True True" in said
    assert "works again" in said


# -- row 49: never closed ---------------------------------------------------------------------------------------------

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
