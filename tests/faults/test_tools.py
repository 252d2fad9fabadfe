"""Tools that fail: rows 23, 24, 27 and 35 of the fault list, in live sessions."""

from __future__ import annotations

import logging

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioDelta,
    AudioInputAppend,
    ResponseCreate,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolCalled,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import ToolError
from tests.faults.calls import CANARY, FaultyCall, under_fault
from tests.scenarios.calls import TENTH, audio, created, done, quiet, tool_call

pytestmark = pytest.mark.anyio


async def one_answer(call: FaultyCall, outcome: str, *words: str) -> str:
    """The call ended once, the model was told once, and asked once for its reply; the session lives."""
    await quiet()
    [finished] = call.seen(ToolFinished)
    [result] = call.sent(ToolResult)
    assert finished.outcome == outcome
    assert result.output == finished.output
    assert result.is_error == (outcome != "result")
    for word in words:
        assert word in result.output
    assert len(call.sent(ResponseCreate)) == 1
    assert call.session.status == "connected"
    await call.says(created("r2"), audio("r2", "i2"), done("r2"))
    assert [event.response_id for event in call.seen(AudioDelta)] == ["r2"]
    output: str = result.output
    return output


# -- 23: it raises ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
async def test_fault_23_what_a_tool_raises_goes_to_the_model(plain: bool) -> None:
    if plain:

        @tool
        async def bad() -> str:
            raise LookupError("no such city")
    else:

        @tool
        async def bad() -> str:
            return str(list[str]()[1])

    async with under_fault(bad) as call:
        await call.says(created(), tool_call("bad"), done())
        output = await one_answer(call, "error", "LookupError: no such city" if plain else "IndexError")
        assert "Traceback" not in output
        assert not call.watch.logged(logging.WARNING)


async def test_fault_23_a_group_of_errors_is_one_answer() -> None:
    @tool
    async def bad() -> str:
        raise ExceptionGroup("several", [KeyError("a"), ToolError("closed on Sundays")])

    async with under_fault(bad) as call:
        await call.says(created(), tool_call("bad"), done())
        await one_answer(call, "error", "KeyError", "closed on Sundays")


async def test_fault_23_an_error_whose_text_raises_is_still_an_answer() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @tool
    async def bad() -> str:
        raise Unspeakable

    async with under_fault(bad) as call:
        await call.says(created(), tool_call("bad"), done())
        await one_answer(call, "error", "Unspeakable")


async def test_fault_23_the_tools_next_to_it_go_on() -> None:
    @tool
    async def bad() -> str:
        raise ValueError("no")

    @tool
    async def good() -> str:
        await anyio.sleep(1)
        return "fine"

    async with under_fault(bad, good) as call:
        await call.says(created(), tool_call("good", "c1"), tool_call("bad", "c2"), done())
        await anyio.sleep(2)
        assert {event.call_id: event.outcome for event in call.seen(ToolFinished)} == {"c1": "result", "c2": "error"}
        assert len(call.sent(ResponseCreate)) == 1, "one reply to both"


async def test_fault_23_what_a_tool_knows_is_not_told() -> None:
    """A traceback would show the local variables of the tool: its message alone is sent."""

    @tool
    async def bad() -> str:
        password = "".join(reversed(CANARY))[::-1]
        raise ValueError(f"login failed after {len(password)} characters")

    async with under_fault(bad) as call:
        await call.says(created(), tool_call("bad"), done())
        [finished] = call.seen(ToolFinished)
        assert finished.output == f"ValueError: login failed after {len(CANARY)} characters"


# -- 24: it hangs -----------------------------------------------------------------------------------------------------


async def test_fault_24_a_tool_that_hangs_is_given_up_after_thirty_seconds() -> None:
    ended: list[float] = []

    @tool
    async def hangs() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time())
        return ""

    async with under_fault(hangs) as call:
        start = anyio.current_time()
        await call.says(created(), tool_call("hangs"), done())
        await anyio.sleep(29.9)
        assert not call.seen(ToolFinished)
        await anyio.sleep(0.2)
        await one_answer(call, "timeout", "timed out", "30")
        assert [at - start for at in ended] == [pytest.approx(30)], "its task was cancelled"


async def test_fault_24_sound_flows_both_ways_meanwhile() -> None:
    @tool
    async def hangs() -> str:
        await anyio.sleep_forever()
        return ""

    channel = MemoryChannel()
    async with under_fault(hangs, channel=channel) as call:
        await call.says(created(), tool_call("hangs"), done())
        start = anyio.current_time()
        for number in range(20):
            await call.says(created(f"a{number}"), audio(f"a{number}", f"i{number}", 500), done(f"a{number}"))
            channel.human.speak_nowait(TENTH)
            await quiet()
            assert len(call.sent(AudioInputAppend)) == number + 1, "the microphone never waits for a tool"
            await anyio.sleep(1)
        assert anyio.current_time() - start == pytest.approx(20, abs=0.1)
        assert call.session.statistics().heard_ms == pytest.approx(10_000)
        assert not call.seen(ToolFinished)


async def test_fault_24_the_human_is_heard_while_a_tool_hangs() -> None:
    @tool
    async def hangs() -> str:
        await anyio.sleep_forever()
        return ""

    channel = MemoryChannel()
    async with under_fault(hangs, channel=channel) as call:
        await call.says(created(), audio(ms=5_000), tool_call("hangs"), done())
        await anyio.sleep(1)
        before = anyio.current_time()
        await call.says(SpeechStarted("u1", 0))
        assert anyio.current_time() == before
        assert channel.statistics().unheard == 0


# -- 27: it cannot run ------------------------------------------------------------------------------------------------

ARGUMENTS = {
    "not JSON": "{city: Bern",
    "empty": "",
    "a list": "[1]",
    "null": "null",
    "missing": "{}",
    "of the wrong type": '{"city": 17}',
    "one too many": '{"city": "Bern", "sudo": true}',
    "NaN": '{"city": NaN}',
    "nested too deep": "[" * 100_000,
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_fault_27_arguments_that_do_not_fit_run_no_code(arguments: str) -> None:
    runs: list[str] = []

    @tool
    async def weather(city: str) -> str:
        runs.append(city)
        return "sunny"

    async with under_fault(weather) as call:
        await call.says(created(), tool_call("weather", arguments=arguments), done())
        output = await one_answer(call, "error")
        assert not runs
        assert len(output) < 3_000


@pytest.mark.parametrize("name", ["nobody", "", "__class__", "count\n", "x" * 10_000])
async def test_fault_27_a_tool_that_does_not_exist(name: str) -> None:
    runs: list[int] = []

    @tool
    async def count() -> str:
        runs.append(1)
        return "one"

    async with under_fault(count) as call:
        await call.says(created(), tool_call(name), done())
        [finished] = call.seen(ToolFinished)
        [result] = call.sent(ToolResult)
        [error] = call.seen(SessionError)
        assert (finished.outcome, error.code, error.source) == ("error", "unknown_tool", "tool")
        assert result.is_error
        assert not runs
        await call.says(created("r2"), tool_call("count", "c2", response_id="r2"), done("r2"))
        assert runs == [1], "the tools that exist go on working"


# -- 35: the human leaves meanwhile -----------------------------------------------------------------------------------


async def test_fault_35_the_human_hangs_up_while_a_tool_runs() -> None:
    cleaned: list[str] = []

    @tool
    async def slow() -> str:
        try:
            await anyio.sleep(600)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            cleaned.append("slow")
        return "done"

    channel = MemoryChannel()
    async with under_fault(slow, channel=channel) as call:
        await call.says(created(), tool_call("slow", "c1"), tool_call("slow", "c2", "{} "), done())
        left_at = anyio.current_time()
        channel.human.hang_up()
        await call.session.wait_closed()
        assert anyio.current_time() - left_at <= 2
        assert call.peer.closed.is_set(), "the model is left: nothing more is billed"
        sent = len(call.peer.sent)
    assert cleaned == ["slow", "slow"], "each tool's finally has run"
    assert [event.outcome for event in call.seen(ToolFinished)] == ["cancelled", "cancelled"]
    assert len(call.peer.sent) == sent
    assert not call.sent(ToolResult)
    assert not call.sent(ResponseCreate)
    assert call.seen(StatusChanged)[-1].reason == "the human has left"


async def test_fault_35_the_human_hangs_up_while_the_model_speaks() -> None:
    channel = MemoryChannel()
    async with under_fault(channel=channel, within=0.1) as call:
        await call.says(created(), audio(ms=60_000))
        await anyio.sleep(1)
        left_at = anyio.current_time()
        channel.human.hang_up()
        await call.session.wait_closed()
        assert anyio.current_time() == pytest.approx(left_at, abs=0.1)
        assert call.peer.closed.is_set()
    assert not call.seen(ToolCalled)
