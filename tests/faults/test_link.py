"""A link that ends: rows 3, 7 and 42 of the fault list, in live sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    ItemCreate,
    ResponseCreate,
    ResponseDone,
    SessionError,
    StatusChanged,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import FunctionCall, FunctionCallOutput
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.testing import ModelPeer
from tests.faults.calls import CANARY, FaultyCall, under_fault, wired
from tests.scenarios.calls import audio, audio_done, created, done, item_added, quiet, refusal, tool_call, transcript

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def redialling(*tools: Any, **options: Any) -> AsyncIterator[FaultyCall]:
    async with under_fault(*tools, **{"reconnect": ReconnectPolicy(), **options}) as call:
        yield call


async def back(call: FaultyCall) -> ModelPeer:
    """Wait until the session is connected again; the other end of its new link."""
    model: Any = call.session.model
    with anyio.fail_after(30):
        while call.peer is model.peer or call.session.status != "connected":
            await anyio.sleep(0.01)
    await quiet()
    call.peer = model.peer
    return call.peer


def statuses(call: FaultyCall) -> list[str]:
    return [event.status for event in call.seen(StatusChanged)]


# -- 3: a goodbye that nobody asked for -------------------------------------------------------------------------------


async def test_fault_03_a_goodbye_in_the_middle_of_a_reply_is_no_goodbye() -> None:
    channel = MemoryChannel()
    async with redialling(channel=channel) as call:
        old = call.peer
        command = call.session.request_reply()
        await call.says(created(), item_added(), audio(ms=2_000))
        await anyio.sleep(0.5)
        old.hang_up(1000)
        new = await back(call)
        assert statuses(call) == ["connecting", "connected", "reconnecting", "connected"]
        assert [(event.response_id, event.reason) for event in call.seen(Interrupted)] == [("r1", "connection_lost")]
        assert call.seen(Interrupted)[0].heard_ms == pytest.approx(500, abs=25)
        assert channel.statistics().unheard == 0
        assert old.closed.is_set()
        assert len(new.heard(ResponseCreate)) == 1, "whoever asked gets the reply after all"
        await call.says(created("r2"), audio("r2", "i2"), done("r2"))
        assert (await command.settled()).id == "r2"
        assert not call.seen(SessionError)


async def test_fault_03_what_was_heard_whole_is_not_said_again() -> None:
    """All its sound had come: only the word that it is over is missing."""
    async with redialling() as call:
        call.session.request_reply()
        await call.says(created(), item_added(), audio(ms=100), transcript("Hello."), audio_done())
        call.peer.hang_up(1000)
        new = await back(call)
        await anyio.sleep(5)
        assert not new.heard(ResponseCreate)
        assert [event.response.id for event in call.seen(ResponseDone)] == ["r1"]
        assert not call.seen(Interrupted)


async def test_fault_03_our_own_close_is_not_taken_for_a_loss() -> None:
    async with redialling() as call:
        await call.says(created(), audio())
        call.session.close()
        call.peer.hang_up(1000)
        await call.session.wait_closed()
    assert len(call.session.model.peers) == 1  # type: ignore[attr-defined]
    assert statuses(call) == ["connecting", "connected", "closing", "closed"]


# -- 7: a code of the provider's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [4000, 4001, 4408, 4999])
async def test_fault_07_a_code_of_the_providers_own_is_the_end(code: int) -> None:
    """They blame us: it would come again. The reason is the provider's, word for word."""
    with pytest.raises(ConnectionClosed, match="no such voice: Ünique") as caught:
        async with redialling() as call:
            await call.says(created(), audio())
            call.peer.hang_up(code, "no such voice: Ünique")
            await anyio.sleep(60)
    assert caught.value.code == code
    assert len(call.session.model.peers) == 1, "not dialled again"  # type: ignore[attr-defined]
    assert "no such voice: Ünique" in (call.seen(StatusChanged)[-1].reason or "")


async def test_fault_07_a_reason_that_repeats_the_key_is_shown_without_it() -> None:
    """Some services say which key they refuse."""
    with pytest.raises(ConnectionClosed) as caught:
        async with wired() as wire:
            await wire.says({"type": "response.created", "response": {"id": "r1"}})
            await wire.closes(4001, f"invalid key {CANARY} for this project")
            await anyio.sleep(60)
    assert CANARY not in str(caught.value)
    assert "for this project" in str(caught.value)


async def test_promise_25_an_error_of_the_program_shows_no_key_among_its_locals() -> None:
    """What reporters such as Sentry send home: the local variables of every frame, ours too."""
    with pytest.raises(ZeroDivisionError):
        async with wired():
            raise ZeroDivisionError


# -- 42: the session is too old, in the middle of a tool --------------------------------------------------------------

EXPIRED = "Your session hit the maximum duration of 60 minutes."


@pytest.mark.parametrize("returns", ["before", "between", "after"])
async def test_fault_42_the_session_expires_while_a_tool_runs(returns: str) -> None:
    """The call goes on; the next link is told the call with its output, once, and asked for the reply to it."""
    runs: list[str] = []
    finish = anyio.Event()

    @tool
    async def slow() -> str:
        runs.append("slow")
        await finish.wait()
        return "found"

    async with redialling(slow) as call:
        await anyio.sleep(3_600)
        old = call.peer
        await call.says(created(), tool_call("slow"), done())
        if returns == "before":
            old._acknowledge = False  # the provider has no time left to answer
            finish.set()
            await quiet()
        await call.says(refusal("session_expired", message=EXPIRED))
        old.hang_up(1001, EXPIRED)
        if returns == "between":
            await quiet()
            assert call.session.status == "reconnecting"
            finish.set()
        new = await back(call)
        if returns == "after":
            assert not [item for item in said(new) if isinstance(item, FunctionCallOutput)]
            finish.set()
        await anyio.sleep(1)
        assert runs == ["slow"]
        assert [(event.call_id, event.outcome) for event in call.seen(ToolFinished)] == [("c1", "result")]
        told = said(new)
        [made] = [item for item in told if isinstance(item, FunctionCall)]
        [output] = [item for item in told if isinstance(item, FunctionCallOutput)]
        assert (made.call_id, output.call_id, output.output) == ("c1", "c1", "found")
        assert told.index(made) < told.index(output)
        assert len(new.heard(ResponseCreate)) == 1
        await call.says(created("r2"), audio("r2", "i2"), done("r2"))
        assert [event.response_id for event in call.seen(AudioDelta)] == ["r2"]
        assert not [event for event in call.seen(SessionError) if event.code != "session_expired"]


def said(peer: ModelPeer) -> list[Any]:
    """The items of the conversation that this link was told, a tool's result as the item that it becomes."""
    items: list[Any] = []
    for event in peer.sent:
        if isinstance(event, ItemCreate):
            items.append(event.item)
        elif isinstance(event, ToolResult):
            items.append(FunctionCallOutput(event.call_id, event.output))
    return items


async def test_fault_42_without_reconnecting_it_is_told_as_what_it_is() -> None:
    with pytest.raises(SessionExpired):
        async with under_fault() as call:
            await call.says(refusal("session_expired", message=EXPIRED))
            call.peer.hang_up(1001, EXPIRED)
            await anyio.sleep(60)
