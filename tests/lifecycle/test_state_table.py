"""Every state × every public name of a session: what it does there. A new name without a row is noticed.

===========  ==========================================================
``yes``      allowed: it returns
``waits``    allowed: it has not returned after a moment
``-``        refused at once with ``SessionStateError``
otherwise    a property's value, as ``repr`` shows it
===========  ==========================================================
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from kernl_rt import RealtimeAgent, RealtimeSession, tool
from kernl_rt._core.lifecycle import STATUS
from kernl_rt.config import PCM16_24K, Capabilities
from kernl_rt.events import AudioInputCommit
from kernl_rt.exceptions import SessionStateError
from kernl_rt.items import ContentPart, Message
from tests.scenarios.calls import TENTH, make_session, quiet, tool_call

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(16)

TABLE = """
                   idle        connecting    connected         reconnecting      closing           closed

__aenter__         yes         -             -                 -                 -                 -
connect            yes         -             -                 -                 -                 -
close              -           yes           yes               yes               yes               yes
aclose             -           yes           yes               yes               yes               yes
wait_closed        waits       waits         waits             waits             waits             yes

on                 yes         yes           yes               yes               yes               yes
once               yes         yes           yes               yes               yes               yes
off                yes         yes           yes               yes               yes               yes
events             yes         yes           yes               yes               yes               yes
__aiter__          yes         yes           yes               yes               yes               yes
emit               -           -             yes               yes               -                 -

send_message       -           -             yes               yes               -                 -
send_item          -           -             yes               yes               -                 -
send_image         -           -             yes               yes               -                 -
send_audio         -           -             yes               yes               -                 -
send               -           -             yes               yes               -                 -
ask                -           -             waits             waits             -                 -
commit             -           -             yes               yes               -                 -
request_reply      -           -             yes               yes               -                 -
interrupt          -           -             yes               yes               -                 -
hang_up            -           -             yes               yes               -                 -
approve            -           -             yes               yes               -                 -
reject             -           -             yes               yes               -                 -
update             -           -             yes               yes               -                 -
update_agent       -           -             yes               yes               -                 -
handoff            -           -             yes               waits             -                 -
mute               -           -             yes               yes               -                 -
unmute             -           -             yes               yes               -                 -
activity_started   -           -             yes               yes               -                 -
activity_ended     -           -             yes               yes               -                 -

record             yes         yes           yes               yes               -                 -

recording          None        None          None              None              None              None
statistics         -           yes           yes               yes               yes               yes
status             'idle'      'connecting'  'connected'       'reconnecting'    'closing'         'closed'
id                 None        None          'sess_scripted'   'sess_scripted'   'sess_scripted'   'sess_scripted'
muted              False       False         False             False             False             False
history            ()          ()            ()                ()                yes               ()
config             yes         yes           yes               yes               yes               yes
usage              yes         yes           yes               yes               yes               yes
agent              yes         yes           yes               yes               yes               yes
model              yes         yes           yes               yes               yes               yes
channel            None        None          None              None              None              None
context            yes         yes           yes               yes               yes               yes
"""

HEAD, *LINES = [line.split() for line in TABLE.splitlines() if line.strip()]
CELLS: dict[str, dict[str, str]] = {name: dict(zip(HEAD, words, strict=True)) for name, *words in LINES}
#: The states that the session's own table knows.
STATES = [state for state in HEAD if state in {*STATUS.values(), "idle"}]

other: RealtimeAgent[Any] = RealtimeAgent(id="other", name="Other", instructions="Be long.")


def ignore(event: Any) -> None:
    """A listener."""


async def enter(session: RealtimeSession[Any]) -> None:
    async with session:
        pass


async def connect(session: RealtimeSession[Any], group: TaskGroup) -> None:
    await session.connect(group)


#: How a method is called; a property is only read.
CALLS: dict[str, Callable[[RealtimeSession[Any]], Any]] = {
    "__aenter__": enter,
    "close": lambda s: s.close(),
    "aclose": lambda s: s.aclose(0.001),
    "wait_closed": lambda s: s.wait_closed(),
    "on": lambda s: s.on("audio", ignore),
    "once": lambda s: s.once("audio", ignore),
    "off": lambda s: s.off("audio", ignore),
    "events": lambda s: s.events("audio"),
    "__aiter__": lambda s: s.__aiter__(),
    "emit": lambda s: s.emit("mine", 5),
    "send_message": lambda s: s.send_message("hello"),
    "send_item": lambda s: s.send_item(Message("user", [ContentPart("input_text", text="hello")])),
    "send_image": lambda s: s.send_image(PICTURE),
    "send_audio": lambda s: s.send_audio(TENTH),
    "send": lambda s: s.send(AudioInputCommit()),
    "ask": lambda s: s.ask("hello"),
    "commit": lambda s: s.commit(),
    "request_reply": lambda s: s.request_reply(),
    "interrupt": lambda s: s.interrupt(),
    "hang_up": lambda s: s.hang_up(),
    "approve": lambda s: s.approve("c9"),
    "reject": lambda s: s.reject("c9"),
    "update": lambda s: s.update(instructions="Be long."),
    "update_agent": lambda s: s.update_agent(other),
    "handoff": lambda s: s.handoff(other),
    "mute": lambda s: s.mute(),
    "unmute": lambda s: s.unmute(),
    "activity_started": lambda s: s.activity_started(),
    "activity_ended": lambda s: s.activity_ended(),
    "record": lambda s: s.record(Path(mkdtemp(prefix="kernl_rt-")) / "call"),
    "statistics": lambda s: s.statistics(),
}


@tool
async def stubborn() -> str:
    with anyio.CancelScope(shield=True):
        await anyio.sleep(1)
    return "late"


@asynccontextmanager
async def session_in(state: str) -> AsyncIterator[RealtimeSession[Any]]:
    """A session in ``state``, and stays there for the block unless that changes it."""
    able = Capabilities(input_formats=(PCM16_24K,), output_formats=(PCM16_24K,), image_input=True)
    session = make_session(stubborn, capabilities=able, acknowledge=state != "connecting")
    model: Any = session.model
    session.on("error", ignore)

    async def run() -> None:
        try:
            await enter_until_closed(session)
        except SessionStateError:
            assert state == "connecting", "closed while it was connecting"

    async with anyio.create_task_group() as group:
        if state != "idle":
            group.start_soon(run)
            await quiet()
        if state == "reconnecting":
            model.hang(attempts=100)  # no other link comes up, however soon it is dialled
            model.peer.hang_up(1011, "try again")
            await quiet()
        elif state == "closing":
            model.peer.say(tool_call("stubborn"))
            await quiet()
        if state in ("closing", "closed"):
            session.close()
            await quiet()
        assert session.status == state
        yield session
        group.cancel_scope.cancel()


async def enter_until_closed(session: RealtimeSession[Any]) -> None:
    async with session:
        await session.wait_closed()


async def tried(name: str, session: RealtimeSession[Any]) -> str:
    """What the name does in the state that the session is in, in the table's words."""
    static = inspect.getattr_static(RealtimeSession, name)
    if isinstance(static, property):
        state = session.status
        value = getattr(session, name)
        return "yes" if CELLS[name][state] == "yes" else repr(value)
    async with anyio.create_task_group() as group:
        word = "waits"
        with anyio.move_on_after(0.01):
            try:
                result = connect(session, group) if name == "connect" else CALLS[name](session)
                if inspect.isawaitable(result):
                    await result
                word = "yes"
            except SessionStateError:
                word = "-"
        group.cancel_scope.cancel()
    return word


@pytest.mark.parametrize("state", STATES)
async def test_every_cell(state: str) -> None:
    found: dict[str, str] = {}
    with anyio.fail_after(10_000):
        for name in CELLS:
            async with session_in(state) as session:
                found[name] = await tried(name, session)
    assert found == {name: row[state] for name, row in CELLS.items()}


def test_every_public_name_has_a_row() -> None:
    names = {name for name in dir(RealtimeSession) if not name.startswith("_")} | {"__aenter__", "__aiter__"}
    assert names == CELLS.keys()
    methods = {name for name in names if not isinstance(inspect.getattr_static(RealtimeSession, name), property)}
    assert methods == {*CALLS, "connect"}


def test_every_state_has_a_column() -> None:
    assert set(STATES) == {*STATUS.values(), "idle"}
