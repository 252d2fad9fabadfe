"""Tools that work, wait or end while the link is lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import Interrupted, ToolApprovalRequired, ToolCalled, ToolFinished, ToolResult
from tests.scenarios.calls import Call, audio, created, done, quiet, tool_call
from tests.session.links import back, gap, lose, redialling, told

pytestmark = pytest.mark.anyio


class Work:
    """A tool that ends when it is told to."""

    def __init__(self, **options: Any) -> None:
        self.started, self.cancelled = 0, 0
        self.go = anyio.Event()

        @tool(**options)
        async def lookup() -> str:
            self.started += 1
            try:
                await self.go.wait()
            except anyio.get_cancelled_exc_class():
                self.cancelled += 1
                raise
            return "found"

        self.tool: Any = lookup


async def calls(call: Call, *, over: bool = True) -> None:
    await call.says(created(), tool_call("lookup"), *([done()] if over else []))


async def test_one_that_works_on_is_told_without_an_output_which_follows() -> None:
    work = Work()
    async with redialling(work.tool) as call:
        await calls(call)
        peer = await lose(call)
        assert told(peer) == ["configuration", "call c1"]
        work.go.set()
        await quiet()
        assert told(peer) == ["configuration", "call c1", "result of c1: found", "reply?"]
        assert work.started == 1
        assert len(call.session.history) == 2


async def test_one_that_ends_in_the_gap_is_told_with_its_output() -> None:
    work = Work()
    async with redialling(work.tool) as call:
        await calls(call)
        await gap(call)
        work.go.set()
        await quiet()
        assert [event.outcome for event in call.seen(ToolFinished)] == ["result"]
        peer = await back(call)
        assert told(peer) == ["configuration", "call c1", "output of c1: found", "reply?"]
        assert peer.heard(ToolResult) == []
        assert len(call.session.history) == 2


async def test_one_whose_result_was_not_acknowledged_is_told_with_its_output() -> None:
    work = Work()
    work.go.set()
    async with redialling(work.tool) as call:
        call.peer._acknowledge = False
        await calls(call)
        assert len(call.sent(ToolResult)) == 1
        peer = await lose(call)
        assert told(peer) == ["configuration", "call c1", "output of c1: found", "reply?"]
        assert len(call.session.history) == 2


async def test_a_call_never_runs_twice_although_the_next_link_repeats_it() -> None:
    work = Work()
    async with redialling(work.tool) as call:
        await calls(call)
        await lose(call)
        await call.says(created("r2"), tool_call("lookup", response_id="r2"), done("r2"))
        work.go.set()
        await quiet()
        assert work.started == 1
        assert len(call.seen(ToolCalled)) == len(call.seen(ToolFinished)) == 1


async def test_a_reply_that_is_cut_after_its_call_is_answered_by_the_calls_own() -> None:
    work = Work()
    async with redialling(work.tool) as call, anyio.create_task_group() as group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await call.session.ask("what is it?"))

        group.start_soon(ask)
        await quiet()
        await calls(call, over=False)
        peer = await lose(call)
        assert "reply?" not in told(peer)
        work.go.set()
        await quiet()
        assert told(peer)[-2:] == ["result of c1: found", "reply?"]
        assert answers == []
        await call.says(created("r2"), done("r2"))
        assert [answer.id for answer in answers] == ["r2"]


async def test_a_tool_that_gives_way_to_the_human_does_not_give_way_to_a_lost_link() -> None:
    work = Work(on_interrupt="cancel")
    async with redialling(work.tool, channel=MemoryChannel()) as call:
        await call.says(created(), audio(ms=2_000), tool_call("lookup"))
        peer = await lose(call)
        assert [event.reason for event in call.seen(Interrupted)] == ["connection_lost"]
        work.go.set()
        await quiet()
        assert (work.started, work.cancelled) == (1, 0)
        assert told(peer)[-1] == "reply?"


@pytest.mark.parametrize("heard", ["all so far", "a part"])
@pytest.mark.parametrize("options", [{"commit": "after_heard"}, {"terminal": True}], ids=str)
async def test_a_call_that_waits_to_be_heard_is_cancelled_with_its_reply(options: Any, heard: str) -> None:
    work = Work(**options)
    async with redialling(work.tool, channel=MemoryChannel()) as call:
        await call.says(created(), audio(ms=500), tool_call("lookup"))
        await anyio.sleep(2.0 if heard == "all so far" else 0.2)
        peer = await lose(call)
        assert [event.outcome for event in call.seen(ToolFinished)] == ["cancelled"]
        assert work.started == 0
        assert told(peer).count("reply?") == 1  # the model says it again
        assert told(peer)[1:3] == ["call c1", f"output of c1: {call.seen(ToolFinished)[0].output}"]


@pytest.mark.parametrize("runs", [True, False])
async def test_a_silent_tool_does_not_stand_for_the_reply_that_was_cut(runs: bool) -> None:
    work = Work(on_done="silent")
    if not runs:
        work.go.set()
    async with redialling(work.tool, channel=MemoryChannel()) as call:
        await call.says(created(), tool_call("lookup"), audio(ms=500))
        peer = await lose(call)
        assert told(peer)[-1] == "reply?"


async def test_consent_that_was_asked_before_the_loss_may_be_given_in_the_gap() -> None:
    work = Work(needs_approval=True)
    work.go.set()
    async with redialling(work.tool) as call:
        await calls(call)
        assert len(call.seen(ToolApprovalRequired)) == 1
        await gap(call)
        await call.session.approve("c1").settled()
        await quiet()
        assert work.started == 1
        peer = await back(call)
        assert told(peer) == ["configuration", "call c1", "output of c1: found", "reply?"]


async def test_consent_may_be_given_on_the_next_link() -> None:
    work = Work(needs_approval=True)
    work.go.set()
    async with redialling(work.tool) as call:
        await calls(call)
        peer = await lose(call)
        assert told(peer) == ["configuration", "call c1"]
        call.session.approve("c1")
        await quiet()
        assert told(peer)[-2:] == ["result of c1: found", "reply?"]
        assert len(call.seen(ToolApprovalRequired)) == 1
