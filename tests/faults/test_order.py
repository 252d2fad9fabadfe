"""What comes twice, in the wrong order or too late: rows 19 to 22 and 28 of the fault list, in live sessions.

Row 28 is about MCP servers. Those that the provider calls are here; a client for servers of one's own does not exist.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    Interrupted,
    ItemDone,
    McpCallProgress,
    McpListToolsProgress,
    OutputTranscriptDelta,
    ResponseCancel,
    ResponseCreate,
    ResponseDone,
    SessionError,
    SpeechStarted,
    ToolCalled,
    ToolFinished,
    ToolResult,
)
from kernl_rt.items import McpCall
from kernl_rt.testing import TraceGrammar
from tests.faults.calls import FaultyCall, under_fault
from tests.property.gaps import GAPS, Gap
from tests.scenarios.calls import audio, audio_done, created, done, quiet, refusal, tool_call, word

pytestmark = pytest.mark.anyio


# -- 19: what comes twice ---------------------------------------------------------------------------------------------


@tool
async def count() -> str:
    """Count."""
    return "one"


async def test_fault_19_a_call_that_comes_twice_runs_once() -> None:
    runs: list[int] = []

    @tool
    async def once() -> str:
        runs.append(1)
        await anyio.sleep(1)
        return "done"

    async with under_fault(once) as call:
        await call.says(created(), tool_call("once"), tool_call("once"))
        await anyio.sleep(2)
        await call.says(tool_call("once"), done(), created("r2"), tool_call("once", response_id="r2"), done("r2"))
        await anyio.sleep(2)
        assert runs == [1]
        assert len(call.seen(ToolCalled)) == 1
        assert len(call.sent(ToolResult)) == 1
        assert call.session.statistics().discarded["duplicate_calls"] == 3


async def test_fault_19_replies_begin_and_end_once() -> None:
    async with under_fault() as call:
        await call.says(created(), created(), audio(), done(tokens=7), done(tokens=7), created(), done(tokens=7))
        assert len(call.seen(ResponseDone)) == 1
        assert call.session.usage.total_tokens == 7, "what it cost is counted once"
        assert call.session.statistics().discarded["duplicates"] == 4


async def test_fault_19_an_event_with_a_known_id_is_dropped() -> None:
    """The same event again, as after a retransmission: its sound would be heard twice."""
    first, second = (AudioDelta(b"\1\0" * 480, event_id=f"e{n}", response_id="r1", item_id="i1") for n in (1, 2))
    channel = MemoryChannel(playback="instant")
    async with under_fault(channel=channel) as call:
        await call.says(created(), first, first, second)
        assert len(call.seen(AudioDelta)) == 2
        assert channel.statistics().sent == 1_920
        assert call.session.statistics().discarded["duplicates"] == 1


# -- 20: what comes in the wrong order --------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: gap.name)
async def test_fault_20_disorder_is_told_in_order(gap: Gap) -> None:
    channel = MemoryChannel()
    async with under_fault(channel=channel) as call:
        for event in gap.example:
            if event == "interrupt":
                call.session.interrupt()
            else:
                await call.says(event)
        await anyio.sleep(1)
        assert call.session.status == "connected"
    TraceGrammar().check(call.log)


async def test_fault_20_a_whole_reply_backwards() -> None:
    async with under_fault() as call:
        trace = [created(), word("a "), audio(), audio_done(), tool_call("nobody"), done()]
        await call.says(*reversed(trace))
        await call.says(created("r2"), audio("r2", "i2"), done("r2"))
        assert [event.response.id for event in call.seen(ResponseDone)][-1] == "r2"
    TraceGrammar().check(call.log)


# -- 21: what comes too late ------------------------------------------------------------------------------------------


async def test_fault_21_sound_after_our_cancel_reaches_nobody() -> None:
    channel = MemoryChannel()
    async with under_fault(channel=channel) as call:
        await call.says(created(), audio(ms=1_000))
        await anyio.sleep(0.3)
        call.session.interrupt()
        await quiet()
        sent, told = channel.statistics().sent, len(call.seen(AudioDelta))
        await call.says(audio(ms=500), word("late "), audio(item_id="i2", ms=500), done("r1", "cancelled"), audio())
        await anyio.sleep(2)
        assert channel.statistics().sent == sent
        assert len(call.seen(AudioDelta)) == told
        assert not call.seen(OutputTranscriptDelta)
        assert call.session.statistics().discarded["late_audio"] == 3
        assert len(call.seen(Interrupted)) == len(call.sent(ResponseCancel)) == 1


async def test_fault_21_the_next_reply_is_heard_although_the_old_one_goes_on() -> None:
    channel = MemoryChannel(playback="instant")
    async with under_fault(channel=channel) as call:
        await call.says(created(), audio())
        await call.says(SpeechStarted("u1", 0), audio(), done("r1", "cancelled"))
        await call.says(created("r2"), audio(), audio("r2", "i2", 50), audio(), audio_done("r2", "i2"))
        [last] = [event for event in call.seen(AudioDelta) if event.response_id == "r2"]
        assert channel.statistics().sent == 48 * 100 + len(last.audio)
        assert [event.response_id for event in call.seen(AudioDone)] == ["r2"]


# -- 22: what is a race and no fault ----------------------------------------------------------------------------------


async def no_trouble(call: FaultyCall) -> None:
    await quiet()
    assert not call.seen(SessionError)
    assert not call.watch.logged(logging.INFO)
    assert call.session.status == "connected"


async def test_fault_22_a_reply_was_active_already() -> None:
    async with under_fault() as call:
        call.session.send_message("hello")
        await quiet()
        [create] = call.sent(ResponseCreate)
        await call.says(created(), refusal("conversation_already_has_active_response", event_id=create.event_id))
        await no_trouble(call)
        await call.says(done())
        assert len(call.sent(ResponseCreate)) == 2, "the wish is not lost"
        await call.says(created("r2"), done("r2"))
        await no_trouble(call)
        assert len(call.sent(ResponseCreate)) == 2, "nor doubled"


@pytest.mark.parametrize("named", [True, False])
async def test_fault_22_nothing_was_active_to_cancel(named: bool) -> None:
    async with under_fault() as call:
        await call.says(created(), audio())
        call.session.interrupt()
        await quiet()
        [cancel] = call.sent(ResponseCancel)
        await call.says(done(), refusal("response_cancel_not_active", event_id=cancel.event_id if named else None))
        await no_trouble(call)


# -- 28: the provider's own MCP servers -------------------------------------------------------------------------------


async def test_fault_28_an_mcp_server_that_dies_harms_only_its_own_calls() -> None:
    """Servers that the provider calls; a local client does not exist yet."""
    failed = McpCall("shop", "buy", "{}", id="m1", error={"type": "http_error", "code": 502, "message": "gone"})
    async with under_fault(count) as call:
        await call.says(McpListToolsProgress("l1", "in_progress"), McpListToolsProgress("l1", "failed"))
        await call.says(created(), McpCallProgress("m1", "in_progress", response_id="r1"), tool_call("count"))
        await call.says(McpCallProgress("m1", "failed", response_id="r1"), ItemDone(failed), done())
        assert [event.status for event in call.seen(McpListToolsProgress)] == ["in_progress", "failed"]
        assert [event.status for event in call.seen(McpCallProgress)] == ["in_progress", "failed"]
        assert failed in call.session.history, "what became of it is on record"
        assert [event.outcome for event in call.seen(ToolFinished)] == ["result"]
        assert len(call.sent(ResponseCreate)) == 1, "our own tool owes its reply"
        assert not call.seen(SessionError)
        assert call.session.status == "connected"


async def test_fault_28_an_mcp_server_that_hangs_does_not_hold_up_the_close() -> None:
    async with under_fault(within=0.1) as call:
        await call.says(McpListToolsProgress("l1", "in_progress"), created())
        await call.says(McpCallProgress("m1", "in_progress", response_id="r1"))
        await anyio.sleep(10)
        await call.says(SpeechStarted("u1", 0))
        assert len(call.seen(Interrupted)) == 1, "the human may still interrupt"


async def test_fault_28_a_changed_tool_list_runs_nothing_here() -> None:
    """The provider's list is the provider's: a call of a tool that only it knows is not ours to run."""
    runs: list[Any] = []

    @tool
    async def buy() -> str:
        runs.append(1)
        return "bought"

    async with under_fault(buy) as call:
        changed = McpCall("shop", "buy", "{}", id="m1")
        await call.says(created(), McpCallProgress("m1", "in_progress", response_id="r1"), ItemDone(changed), done())
        assert not runs
        assert not call.sent(ToolResult)
