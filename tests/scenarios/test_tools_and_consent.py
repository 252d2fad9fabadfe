"""Tool policies, consent and hanging up, seen from a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from kernl_rt import ToolContext, tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    ActivityStarted,
    Interrupted,
    ResponseCreate,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolApprovalRequired,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import CommandRejected
from tests.scenarios.calls import Call, audio, audio_done, calling, created, done, quiet, tool_call

pytestmark = pytest.mark.anyio


def outputs(call: Call) -> list[str]:
    return [result.output for result in call.sent(ToolResult)]


def outcomes(call: Call) -> list[str]:
    return [event.outcome for event in call.seen(ToolFinished)]


# -- 17: approval -----------------------------------------------------------------------------------------------------


def payment(**options: Any) -> tuple[Any, list[int]]:
    paid: list[int] = []

    @tool(needs_approval=True, **options)
    async def pay(amount: int = 1) -> str:
        paid.append(amount)
        return "paid"

    return pay, paid


async def test_17_approved() -> None:
    pay, paid = payment()
    async with calling(pay) as call:
        await call.says(created(), tool_call("pay"), done())
        assert [event.call_id for event in call.seen(ToolApprovalRequired)] == ["c1"]
        assert not paid
        assert not call.sent(ToolResult)
        await call.says(tool_call("pay"))  # the same call again, while it waits
        await call.session.approve("c1").settled()
        await quiet()
        assert outputs(call) == ["paid"]
        assert len(paid) == 1
        assert len(call.sent(ResponseCreate)) == 1
        with pytest.raises(CommandRejected, match="does not wait"):
            await call.session.approve("c1").settled()


async def test_17_rejected() -> None:
    pay, paid = payment()
    async with calling(pay) as call:
        await call.says(created(), tool_call("pay"), done())
        call.session.reject("c1", "no")
        await quiet()
        assert outputs(call) == ["no"]
        assert outcomes(call) == ["denied"]
        assert not paid
        assert len(call.sent(ResponseCreate)) == 1
        await call.says(tool_call("pay"))
        assert len(call.sent(ToolResult)) == 1


async def test_no_answer_is_a_no() -> None:
    pay, paid = payment(approval_timeout=5.0)
    async with calling(pay) as call:
        await call.says(created(), tool_call("pay"), done())
        await anyio.sleep(4.9)
        assert outcomes(call) == []
        await anyio.sleep(0.2)
        assert outcomes(call) == ["denied"]
        assert not paid


async def test_the_conversation_goes_on_meanwhile() -> None:
    pay, _ = payment()

    @tool
    async def look() -> str:
        return "seen"

    async with calling(pay, look) as call:
        await call.says(created(), tool_call("pay", "c1"), tool_call("look", "c2"), done())
        assert outputs(call) == ["seen"]
        call.session.send_message("still there?")
        await quiet()
        await call.says(created("r2"), audio("r2"), done("r2"))
        call.session.approve("c1")
        await quiet()
        assert outputs(call) == ["seen", "paid"]


async def test_approval_once_and_for_all() -> None:
    pay, paid = payment()
    async with calling(pay) as call:
        await call.says(created(), tool_call("pay", "c1"), tool_call("pay", "c2", '{"amount": 2}'), done())
        call.session.approve("c1", always=True)
        await quiet()
        await call.says(created("r2"), tool_call("pay", "c3", '{"amount": 3}', "r2"), done("r2"))
        assert sorted(paid) == [1, 2, 3]
        assert len(call.seen(ToolApprovalRequired)) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_predicate_decides(asynchronous: bool) -> None:
    async def later(context: ToolContext[Any], arguments: Mapping[str, Any]) -> bool:
        await anyio.sleep(0.1)
        return bool(arguments["amount"] > 100)

    def now(context: ToolContext[Any], arguments: Mapping[str, Any]) -> bool:
        return bool(arguments["amount"] > 100)

    paid: list[int] = []

    @tool(needs_approval=later if asynchronous else now)
    async def pay(amount: int) -> str:
        paid.append(amount)
        return "paid"

    async with calling(pay) as call:
        small, large = tool_call("pay", "c1", '{"amount": 5}'), tool_call("pay", "c2", '{"amount": 500}')
        await call.says(created(), small, large, done())
        await anyio.sleep(0.2)
        assert paid == [5]
        assert [event.call_id for event in call.seen(ToolApprovalRequired)] == ["c2"]


async def test_a_predicate_that_fails_asks() -> None:
    def broken(context: Any, arguments: Any) -> bool:
        raise ValueError("oops")

    paid: list[int] = []

    @tool(needs_approval=broken)
    async def pay() -> str:
        paid.append(1)
        return "paid"

    async with calling(pay) as call:
        await call.says(created(), tool_call("pay"), done())
        assert len(call.seen(ToolApprovalRequired)) == 1
        assert ["oops" in error.message for error in call.seen(SessionError)] == [True]
        assert not paid


async def test_a_tool_may_be_approved_through_the_context() -> None:
    pay, paid = payment()

    @tool
    async def nod(context: ToolContext[None]) -> str:
        context.approve("c1")
        return "nodded"

    async with calling(pay, nod) as call:
        await call.says(created(), tool_call("pay", "c1"), tool_call("nod", "c2"), done())
        assert paid == [1]


# -- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["keep", "cancel"])
async def test_barge_in_policy(policy: Any) -> None:
    stopped: list[str] = []

    @tool(on_interrupt=policy)
    async def search() -> str:
        try:
            await anyio.sleep(1)
        except anyio.get_cancelled_exc_class():
            stopped.append("search")
            raise
        return "found"

    async with calling(search) as call:
        await call.says(created(), audio(), tool_call("search"))
        await call.says(SpeechStarted("u1", 0), done("r1", "cancelled"))
        await anyio.sleep(2)
        if policy == "cancel":
            assert outcomes(call) == ["cancelled"]
            assert stopped == ["search"]
            assert "interrupted" in outputs(call)[0]
            assert not call.sent(ResponseCreate)
        else:
            assert outputs(call) == ["found"]
            assert len(call.sent(ResponseCreate)) == 1


async def test_a_call_cancelled_before_it_started_never_starts() -> None:
    ran: list[str] = []

    @tool(on_interrupt="cancel")
    async def search() -> str:
        ran.append("search")
        return "found"

    async with calling(search) as call:
        await call.says(created(), audio(), tool_call("search"), SpeechStarted("u1", 0), done("r1", "cancelled"))
        await anyio.sleep(1)
        assert not ran
        assert outcomes(call) == ["cancelled"]


async def test_silent_tools_bring_no_reply() -> None:
    @tool(on_done="silent")
    async def note() -> str:
        return "noted"

    async with calling(note) as call:
        await call.says(created(), tool_call("note"), done())
        assert outputs(call) == ["noted"]
        assert not call.sent(ResponseCreate)


async def test_when_idle_waits_for_quiet() -> None:
    @tool(on_done="when_idle")
    async def note() -> str:
        return "noted"

    async with calling(note) as call:
        await call.says(created(), audio(ms=1000), tool_call("note"), done())
        assert outputs(call) == ["noted"]
        await anyio.sleep(0.9)
        assert not call.sent(ResponseCreate), "the reply still sounds"
        await anyio.sleep(0.2)
        assert len(call.sent(ResponseCreate)) == 1


async def test_after_heard() -> None:
    ran: list[float] = []

    @tool(commit="after_heard")
    async def order() -> str:
        ran.append(anyio.current_time())
        return "ordered"

    async with calling(order) as call:
        start = anyio.current_time()
        await call.says(created(), audio(ms=1000), tool_call("order"), done())
        assert not ran
        await anyio.sleep(2)
        assert ran[0] - start == pytest.approx(1, abs=0.05)


async def test_after_heard_by_the_channels_marks() -> None:
    ran: list[str] = []

    @tool(commit="after_heard")
    async def order() -> str:
        ran.append("order")
        return "ordered"

    channel = MemoryChannel(playback="manual")
    async with calling(order, channel=channel) as call:
        await call.says(created(), audio(ms=100), tool_call("order"), done())
        await anyio.sleep(60)
        assert not ran, "only what was heard counts"
        channel.human.played(100)
        await quiet()
        assert ran == ["order"]


async def test_a_terminal_tool_never_runs_for_words_nobody_heard() -> None:
    ran: list[str] = []

    @tool(terminal=True)
    async def goodbye() -> str:
        ran.append("goodbye")
        return ""

    async with calling(goodbye) as call:
        await call.says(created(), audio(ms=1000), tool_call("goodbye"), done())
        await anyio.sleep(0.5)
        await call.says(SpeechStarted("u1", 0))
        await anyio.sleep(5)
        assert not ran
        assert outcomes(call) == ["cancelled"]
        assert "did not run" in outputs(call)[0]


async def test_at_most_eight_at_once() -> None:
    running = peak = 0

    @tool
    async def work(n: int) -> str:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await anyio.sleep(1)
        running -= 1
        return str(n)

    async with calling(work) as call:
        calls = [tool_call("work", f"c{n}", f'{{"n": {n}}}') for n in range(20)]
        await call.says(created(), *calls, done())
        await anyio.sleep(5)
        assert peak == 8
        assert sorted(outputs(call), key=int) == [str(n) for n in range(20)]
        assert len(call.sent(ResponseCreate)) == 1


async def test_timeout_and_result_cap() -> None:
    @tool(timeout=2.0)
    async def hang() -> str:
        await anyio.sleep_forever()
        return ""

    @tool(max_output=1_000)
    async def flood() -> str:
        return "x" * 1_000_000

    async with calling(hang, flood) as call:
        await call.says(created(), tool_call("hang", "c1"), tool_call("flood", "c2"), done())
        await anyio.sleep(3)
        assert sorted(outcomes(call)) == ["result", "timeout"]
        flooded, hung = outputs(call)
        assert len(flooded) <= 1_000
        assert "timed out after 2 seconds" in hung
        assert len(call.sent(ResponseCreate)) == 1


async def test_a_loop_is_broken() -> None:
    runs: list[int] = []

    @tool
    async def poll() -> str:
        runs.append(1)
        return "not yet"

    async with calling(poll) as call:
        for number in range(8):
            response = f"r{number}"
            await call.says(created(response), tool_call("poll", f"c{number}", "{}", response), done(response))
        assert len(runs) == 5
        assert "repeated too often" in outputs(call)[-1]
        await anyio.sleep(11)
        await call.says(created("later"), tool_call("poll", "c99", "{}", "later"), done("later"))
        assert len(runs) == 6


# -- hanging up -------------------------------------------------------------------------------------------------------


async def test_the_goodbye_is_heard() -> None:
    channel = MemoryChannel()
    async with calling(channel=channel) as call:
        start = anyio.current_time()
        await call.says(created(), audio(ms=1500), audio_done(), done())
        command = call.session.hang_up()
        await call.session.wait_closed()
        assert await command.settled() is True
        assert anyio.current_time() - start == pytest.approx(1.5, abs=0.1)
    assert call.seen(StatusChanged)[-1].reason == "hung up"


async def test_barge_in_revokes_the_goodbye() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1500), done())
        command = call.session.hang_up()
        await anyio.sleep(0.5)
        await call.says(SpeechStarted("u1", 0))
        assert await command.settled() is False
        await anyio.sleep(5)
        assert call.session.status == "connected"


async def test_the_goodbye_is_bounded() -> None:
    channel = MemoryChannel(playback="manual")  # nothing is ever heard
    async with calling(channel=channel) as call:
        start = anyio.current_time()
        await call.says(created(), audio(ms=100), done())
        call.session.hang_up(timeout=7)
        await call.session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(7, abs=0.2)


async def test_hanging_up_at_once() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1500))
        call.session.hang_up(after_playout=False)
        assert call.session.status == "closing"


async def test_a_tool_hangs_up_after_the_reply_to_it() -> None:
    @tool
    async def end_call(context: ToolContext[None]) -> str:
        context.session.hang_up()
        return "say goodbye"

    async with calling(end_call) as call:
        await call.says(created(), tool_call("end_call"), done())
        assert call.session.status == "connected", "the goodbye is still owed"
        await call.says(created("bye"), audio("bye", ms=500), done("bye"))
        assert call.session.status == "connected", "and then it must be heard"
        await call.session.wait_closed()


# -- barge-in by a channel --------------------------------------------------------------------------------------------


async def test_local_and_remote_detection_cut_at_the_same_place() -> None:
    numbers = []
    for local in (False, True):
        channel = MemoryChannel()
        async with calling(channel=channel) as call:
            await call.says(created(), audio(ms=1000))
            await anyio.sleep(0.4)
            await call.says(SpeechStarted("u1", 0)) if not local else call.session.activity_started()
            await quiet()
            numbers.append(call.seen(Interrupted)[0].heard_ms)
            assert bool(call.seen(ActivityStarted)) == local
    assert numbers[0] == numbers[1]
    assert numbers[0] == pytest.approx(400, abs=25)


async def test_none_of_several_calls_runs_for_words_nobody_heard() -> None:
    ran: list[str] = []

    @tool(commit="after_heard")
    async def order(n: int) -> str:
        ran.append(str(n))
        return "ordered"

    async with calling(order) as call:
        calls = [tool_call("order", f"c{n}", f'{{"n": {n}}}') for n in range(3)]
        await call.says(created(), audio(ms=1000), *calls, done())
        await anyio.sleep(0.3)
        await call.says(SpeechStarted("u1", 0))
        await anyio.sleep(5)
        assert not ran
        assert outcomes(call) == ["cancelled"] * 3
