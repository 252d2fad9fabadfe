"""Closing, and failing: what is raised, what settles, what is told."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.events import ItemCreate, ResponseCreate, SessionError, SessionUpdate, StatusChanged
from kernl_rt.exceptions import CommandAborted, CommandLost, CommandRejected, ConnectionClosed, ProviderError
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import audio, calling, created, done, make_session, peer_of, quiet, refusal, tool_call

pytestmark = pytest.mark.anyio


async def test_closed_is_the_last_event_and_comes_once() -> None:
    async with calling() as call:
        call.session.on("status", lambda event: call.session.close())
        call.peer.say(created(), audio())
        call.session.close()
        call.session.close()
    closed = [event for event in call.log if isinstance(event, StatusChanged) and event.status == "closed"]
    assert closed == [call.log[-1]]


async def test_close_from_a_listener() -> None:
    async with calling() as call:
        call.session.on("response.created", lambda event: call.session.close("enough"))
        call.peer.say(created())
        await call.session.wait_closed()
    assert call.log[-1].reason == "enough"


async def test_the_bodys_own_error_comes_out_bare() -> None:
    with pytest.raises(ZeroDivisionError):
        async with calling() as call:
            raise ZeroDivisionError
    assert call.session.status == "closed"


async def test_an_error_that_nobody_listens_for_is_raised() -> None:
    async with make_session() as session:
        errors: list[Any] = []
        session.on("error", errors.append)
        peer_of(session).say(refusal("odd"))
        await quiet()
        session.off("error", errors.append)
        assert len(errors) == 1
    with pytest.raises(ProviderError, match="refused") as caught:
        async with make_session() as session:
            peer_of(session).say(refusal("odd"))
            await anyio.sleep_forever()
    assert caught.value.code == "odd"


async def test_a_listeners_error_that_nobody_listens_for_is_raised() -> None:
    def bad(event: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        async with make_session() as session:
            session.on("audio", bad)
            peer_of(session).say(created(), audio())
            await anyio.sleep_forever()


@pytest.mark.parametrize(("end", "kind"), [("lost", CommandLost), ("closed", CommandAborted)])
async def test_what_is_unanswered_settles_at_the_end(end: str, kind: type[Exception]) -> None:
    session = make_session(acknowledge=False, reconnect=None)

    async def confirm() -> None:
        assert isinstance(session.model, ScriptedModel)
        peer = await session.model.accept()
        peer._answer(await peer.hear(SessionUpdate))

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(confirm)
            async with session:
                said = session.send_message("hi")
                asked = session.request_reply()
                raw = session.send({"type": "x"})
                await quiet()
                if end == "closed":
                    session.close()
                else:
                    peer_of(session).hang_up(1011)
                    await anyio.sleep_forever()
    except* ConnectionClosed:
        assert end == "lost"
    for command in (said, asked):
        with pytest.raises(kind):
            await command.settled()
    assert raw.state == "acknowledged", "nothing answers a raw event: it settles when it is taken"


async def test_a_rejection_that_nobody_awaits_is_an_error_event() -> None:
    async with calling() as call:
        command = call.session.send(ItemCreate(make_message()))
        await quiet()
        assert command.state == "acknowledged"
        command = call.session.request_reply()
        await quiet()
        await call.says(refusal("nope", event_id=call.sent(ResponseCreate)[-1].event_id))
        assert command.state == "rejected"
        assert [error.code for error in call.seen(SessionError)] == ["nope"]


def make_message() -> Any:
    return Message("user", [ContentPart("input_text", text="hi")], id="mine")


async def test_cancelling_leaves_nothing() -> None:
    with anyio.move_on_after(1) as scope:
        async with calling() as call:
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert call.log[-1].status == "closed"
    assert call.peer.closed.is_set()


async def test_aclose_says_when_a_tool_refuses_to_die() -> None:
    @tool
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(60)
        return "late"

    async with calling(stubborn) as call:
        await call.says(created(), tool_call("stubborn"))
        start = anyio.current_time()
        assert not await call.session.aclose(deadline=2)
        assert anyio.current_time() - start == pytest.approx(2, abs=0.2)


async def test_a_failed_reply_is_told_to_the_one_who_asked_and_to_nobody_else() -> None:
    async with make_session() as session, anyio.create_task_group() as group:  # nobody listens for errors

        async def ask() -> None:
            with pytest.raises(CommandRejected, match="overloaded"):
                await session.ask("hello?")

        group.start_soon(ask)
        await quiet()
        peer_of(session).say(created(), done(status="failed", error="overloaded"))
        await quiet()
        assert session.status == "connected"


async def test_the_failure_itself_is_raised_and_not_what_it_did_to_a_command() -> None:
    with pytest.raises(ConnectionClosed, match="1011"):
        async with make_session(reconnect=None) as session:
            peer_of(session).say(created())
            await quiet()
            peer_of(session).hang_up(1011)
            await session.ask("hello?")


async def test_an_invented_tool_is_no_reason_to_end() -> None:
    async with make_session() as session:  # nobody listens for errors
        peer_of(session).say(created(), tool_call("teleport"), done())
        await quiet()
        assert session.status == "connected"


async def test_a_terminal_tool_ends_the_session_once_the_goodbye_is_heard() -> None:
    @tool(terminal=True)
    async def end_call() -> str:
        return "bye"

    start = anyio.current_time()
    async with calling(end_call) as call:
        await call.says(created(), audio(ms=333), tool_call("end_call"), done())
        await call.session.wait_closed()
    assert anyio.current_time() - start == pytest.approx(0.333, abs=0.01)
    assert call.log[-1].reason == "hung up"


@pytest.mark.parametrize("ms", [1, 7, 33, 333, 1001])
async def test_the_end_of_playback_is_reached_whatever_its_length(ms: int) -> None:
    """A deadline that lies a rounding error before its own event would come again for ever."""
    async with calling() as call:
        await anyio.sleep(0.1 + ms / 7)
        await call.says(created(), audio(ms=ms), done())
        call.session.hang_up()
        await call.session.wait_closed()
