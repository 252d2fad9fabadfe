"""What happens to a whole process with a live call: signals, exits, forks, too few files. Real clock."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.faults.children import SOON, Child

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
        say("up")
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
        child.until("up")  # what it took to begin is the machine's
        code, said, errors, seconds = child.end()
    assert (code, errors) == ({"exit": 7, "ctrl-c": 130}[kind], "")
    assert said.count("closed") == 1
    assert seconds < SOON * 2
    assert provider.gone.wait(SOON)


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
