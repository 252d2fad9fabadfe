"""The session ends while there is no link: at once, and nothing is left."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt._session.link import DIALS_PER_SECOND
from kernl_rt.events import StatusChanged
from kernl_rt.exceptions import RateLimitedError
from kernl_rt.policy import ReconnectPolicy
from tests.scenarios.calls import created, done, make_session, quiet, tool_call
from tests.session.links import model_of, redialling, statuses

pytestmark = pytest.mark.anyio
STAGES = pytest.mark.parametrize("stage", ["waiting", "dialling", "configuring"])


async def reach(call: Any, stage: str) -> None:
    model = model_of(call)
    match stage:
        case "waiting":
            model.refuse(RateLimitedError("later", retry_after=1_000))
        case "dialling":
            model.hang(100)
        case "configuring":
            model.acknowledge = False
    call.peer.hang_up(1006)
    await anyio.sleep(0.1)
    assert call.session.status == "reconnecting"


@STAGES
@pytest.mark.parametrize("how", ["close", "aclose", "leave", "hang_up"])
async def test_closing_is_prompt(stage: str, how: str) -> None:
    async with redialling() as call:
        await reach(call, stage)
        waiting = call.session.send_message("hello", reply=False)
        asked = anyio.current_time()
        match how:
            case "close":
                call.session.close()
                await call.session.wait_closed()
            case "aclose":
                assert await call.session.aclose()
            case "hang_up":
                call.session.hang_up()
                await call.session.wait_closed()
            case _:
                pass
    assert anyio.current_time() - asked < 0.5
    assert waiting.state == "aborted"
    assert call.log[-1] == call.seen(StatusChanged)[-1]
    assert statuses(call)[-3:] == ["reconnecting", "closing", "closed"]
    assert all(peer.closed.is_set() for peer in model_of(call).peers)


@STAGES
async def test_cancelling_is_prompt(stage: str) -> None:
    before = {task.id for task in anyio.get_running_tasks()}
    with anyio.CancelScope() as scope:
        async with redialling() as call:
            await reach(call, stage)
            waiting = call.session.send_message("hello", reply=False)
            asked = anyio.current_time()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - asked < 0.5
    assert waiting.state == "aborted"
    assert call.session.status == "closed"
    assert all(peer.closed.is_set() for peer in model_of(call).peers)
    assert {task.id for task in anyio.get_running_tasks()} <= before


@STAGES
async def test_an_error_in_the_body_is_the_one_that_is_raised(stage: str) -> None:
    with pytest.raises(KeyError):
        async with redialling() as call:
            await reach(call, stage)
            raise KeyError("body")
    assert call.session.status == "closed"


@STAGES
async def test_a_tool_that_runs_is_cancelled_and_its_finally_runs(stage: str) -> None:
    ended = []

    @tool
    async def lookup() -> str:
        try:
            await anyio.sleep(10_000)
        finally:
            ended.append(True)
        return "never"

    async with redialling(lookup) as call:
        await call.says(created(), tool_call("lookup"), done())
        await reach(call, stage)
    assert ended == [True]


async def test_many_sessions_do_not_come_back_at_once() -> None:
    """A server dies under all of them: at most fifty dials in a second, so that a thousand are back in 20 seconds."""
    number = 300
    sessions = [make_session(reconnect=ReconnectPolicy()) for _ in range(number)]
    with anyio.fail_after(1_000):
        async with anyio.create_task_group() as group:
            for session in sessions:
                await session.connect(group)
            models: list[Any] = [session.model for session in sessions]
            lost_at = anyio.current_time()
            for model in models:
                model.peer.hang_up(1012)
            await quiet()
            assert {session.status for session in sessions} == {"reconnecting"}
            while any(session.status != "connected" for session in sessions):
                await anyio.sleep(0.1)
            assert anyio.current_time() - lost_at < number / DIALS_PER_SECOND + 1
            dials = sorted(model.dials[1].at for model in models)
            within = max(sum(start <= at < start + 0.999 for at in dials) for start in dials)
            assert within <= DIALS_PER_SECOND
            assert [len(model.dials) for model in models] == [2] * number
            for session in sessions:
                session.close()
