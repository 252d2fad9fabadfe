"""The twenty scenarios that the strongest peer passes, by their numbers in the acceptance list."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    HistoryChanged,
    InputTranscript,
    Interrupted,
    ItemCreate,
    ItemCreated,
    ItemDeleted,
    ItemTruncate,
    ResponseCreate,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolFinished,
    ToolResult,
    UsageUpdated,
)
from kernl_rt.exceptions import CommandRejected, ConnectError, ConnectionClosed
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import (
    Call,
    audio,
    audio_done,
    calling,
    created,
    done,
    make_session,
    quiet,
    refusal,
    tool_call,
    transcript,
)

pytestmark = pytest.mark.anyio


def statuses(call: Call) -> list[str]:
    return [event.status for event in call.seen(StatusChanged)]


async def test_01_clean_server_close() -> None:
    async with calling() as call:
        events = call.session.events()
        call.peer.say(ItemCreated(Message("user", id="u1")))
        call.peer.hang_up(1000)
        seen = [event async for event in events]
        assert call.session.status == "closed"
    assert any(isinstance(event, HistoryChanged) for event in seen)
    assert [e.status for e in seen if isinstance(e, StatusChanged)] == ["closing", "closed"]
    assert isinstance(seen[-1], StatusChanged)


async def test_02_abnormal_close() -> None:
    start = anyio.current_time()
    with pytest.raises(ConnectionClosed) as caught:
        async with calling(reconnect=None) as call:
            call.peer.hang_up(1011, "boom")
            await anyio.sleep(60)
    assert (caught.value.code, caught.value.reason) == (1011, "boom")
    assert anyio.current_time() - start <= 1
    assert statuses(call)[-1] == "closed"


async def test_03_own_close_invents_no_disconnect() -> None:
    async with calling() as call:
        call.session.close()
        await call.session.wait_closed()
    assert statuses(call) == ["connecting", "connected", "closing", "closed"]
    assert not call.seen(SessionError)
    assert call.seen(StatusChanged)[-1].reason == "close requested"


async def test_04_close_with_two_parked_readers() -> None:
    ended: list[float] = []

    async def read(call: Call) -> None:
        async for _ in call.session:
            pass
        ended.append(anyio.current_time())

    async with calling() as call, anyio.create_task_group() as group:
        group.start_soon(read, call)
        group.start_soon(read, call)
        await quiet()
        asked = anyio.current_time()
        call.session.close()
        call.session.close()
    assert len(ended) == 2
    assert max(ended) - asked <= 0.1


async def test_05_finalisers_before_the_socket() -> None:
    order: list[str] = []

    @tool
    async def slow() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            order.append("tool")
        return ""

    async with calling(slow) as call:
        await call.says(created(), tool_call("slow"), done())

        async def watch() -> None:
            await call.peer.closed.wait()
            order.append("transport")

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            call.session.close()
            await call.session.wait_closed()
            await call.peer.closed.wait()
    assert order == ["tool", "transport"]
    assert call.seen(ToolFinished)[0].outcome == "cancelled"


async def test_07_tool_closes_the_session() -> None:
    outcome: list[str] = []
    session_of: dict[str, Any] = {}

    @tool
    async def bye() -> str:
        try:
            session_of["session"].close()
            await anyio.sleep(10)
        except anyio.get_cancelled_exc_class():
            outcome.append("cancelled")
            raise
        return "unheard"

    start = anyio.current_time()
    async with calling(bye) as call:
        session_of["session"] = call.session
        call.peer.say(created(), tool_call("bye"))
        await call.session.wait_closed()
    assert anyio.current_time() - start < 0.5
    assert outcome == ["cancelled"]
    assert call.peer.closed.is_set()
    assert [event.outcome for event in call.seen(ToolFinished)] == ["cancelled"]


async def test_08_setup_fails() -> None:
    class Refusing(ScriptedModel):
        def connect(self, *args: Any, **options: Any) -> Any:
            raise ConnectError("no such host", status=None)

    session = make_session()
    session._model = Refusing()
    with pytest.raises(ConnectError, match="no such host"):
        async with session:
            pytest.fail("connected")
    assert session.status == "closed"


async def test_08_setup_is_cancelled() -> None:
    session = make_session(acknowledge=False)
    with anyio.move_on_after(1) as scope:
        async with session:
            pytest.fail("connected")
    assert scope.cancelled_caught
    assert session.status == "closed"
    assert isinstance(session.model, ScriptedModel)
    assert session.model.peer.closed.is_set()


async def test_09_late_events_after_close() -> None:
    ran: list[str] = []

    @tool
    async def late() -> str:
        ran.append("late")
        return ""

    async with calling(late) as call:
        call.peer.say(tool_call("late"), transcript("too late"), ItemCreated(Message("user", id="u9")))
        call.session.close()
        before = len(call.log)
        await call.session.wait_closed()
        assert [type(event) for event in call.log[before:]] == [StatusChanged]
    assert not ran
    assert call.session.history == ()


async def test_10_audio_mapping() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000))
        call.session.interrupt()
        await call.says(audio_done())
    kinds = [type(e) for e in call.log if isinstance(e, (AudioDelta, AudioDone, Interrupted))]
    assert kinds == [AudioDelta, Interrupted, AudioDone]
    delta = call.seen(AudioDelta)[0]
    assert (len(delta.audio), delta.item_id, delta.content_index, delta.response_id) == (48_000, "i1", 0, "r1")


async def test_11_message_during_a_response() -> None:
    async with calling() as call:
        await call.says(created())
        call.session.send_message("hi")
        await quiet()
        assert len(call.sent(ItemCreate)) == 1
        assert not call.sent(ResponseCreate)
        await call.says(done())
        assert len(call.sent(ResponseCreate)) == 1


async def test_12_coalescing() -> None:
    async with calling() as call:
        await call.says(created())
        call.session.send_message("one")
        call.session.send_message("two")
        await call.says(done())
        assert len(call.sent(ItemCreate)) == 2
        assert len(call.sent(ResponseCreate)) == 1
        call.session.send_message("three")  # after the request went out, before its reply is over
        await call.says(created("r2"), done("r2"))
        assert len(call.sent(ResponseCreate)) == 2


async def test_13_rejected_create() -> None:
    async with calling() as call:
        call.session.send_message("one")
        await quiet()
        [create] = call.sent(ResponseCreate)
        await call.says(refusal("something_else"))
        call.session.send_message("two")
        await quiet()
        assert len(call.sent(ResponseCreate)) == 1, "an unrelated error must not release the slot at once"
        await call.says(refusal("invalid_value", event_id=create.event_id))
        assert len(call.sent(ResponseCreate)) == 2


async def test_13_the_one_who_asked_is_told() -> None:
    async with calling() as call:
        command = call.session.request_reply()
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(CommandRejected, match="refused") as caught:
                    await command.settled()
                assert caught.value.code == "invalid_value"

            group.start_soon(wait)
            await quiet()
            call.peer.say(refusal("invalid_value", event_id=call.sent(ResponseCreate)[0].event_id))
        assert command.state == "rejected"
        assert not call.seen(SessionError), "a rejection that somebody awaits is nobody else's"


def truncations(call: Call) -> list[tuple[str, int, int]]:
    return [(e.item_id, e.content_index, e.audio_end_ms) for e in call.sent(ItemTruncate)]


@pytest.mark.parametrize("by", ["speech", "interrupt"])
async def test_16_truncation(by: str) -> None:
    """(a), (d) and (e): the clock is the playback tracker of a session without a channel."""
    async with calling() as call:
        await call.says(created(), audio("r1", "i1", 1000, content_index=1))
        await anyio.sleep(0.5)
        if by == "speech":
            await call.says(SpeechStarted("u1", 0))
        else:
            call.session.interrupt()
        await quiet()
        assert truncations(call) == [("i1", 1, 500)]
        assert call.seen(Interrupted)[0].heard_ms == 500


async def test_16_b_nothing_played() -> None:
    async with calling() as call:
        await call.says(created(), SpeechStarted("u1", 0))
        assert truncations(call) == []


async def test_16_c_all_played_and_finished() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000), done())
        await anyio.sleep(2)
        call.session.interrupt()
        await quiet()
        assert truncations(call) == []


async def test_16_d_all_played_still_generating() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000))
        await anyio.sleep(2)
        call.session.interrupt()
        await quiet()
        assert truncations(call) == [("i1", 0, 1000)]


async def test_16_f_tail_under_an_audio_less_response() -> None:
    async with calling() as call:
        await call.says(created(), audio(ms=1000), done(), created("r2"), tool_call("none", response_id="r2"))
        await anyio.sleep(0.3)
        call.session.interrupt()
        await quiet()
        assert truncations(call) == [("i1", 0, 300)]


async def test_18_duplicate_call_runs_once() -> None:
    runs: list[int] = []

    @tool
    async def count() -> str:
        runs.append(1)
        return "one"

    async with calling(count) as call:
        await call.says(created(), tool_call("count"), tool_call("count"), done())
        await call.says(tool_call("count"))
    assert len(runs) == 1
    assert len(call.sent(ToolResult)) == 1
    assert len(call.seen(ToolFinished)) == 1


async def test_19_unknown_tool() -> None:
    async with calling() as call:
        await call.says(created(), tool_call("teleport"), done())
        assert [result.output for result in call.sent(ToolResult)] == ["Tool teleport not found"]
        assert [error.code for error in call.seen(SessionError)] == ["unknown_tool"]
        assert not call.sent(ResponseCreate)


async def test_20_history_and_usage() -> None:
    async with calling() as call:
        user = Message("user", [ContentPart("input_audio")], id="u1", status="completed")
        await call.says(ItemCreated(user), ItemCreated(Message("assistant", id="a1"), "u1"))
        await call.says(ItemCreated(Message("user", id="u0"), "u1"))
        assert [item.id for item in call.session.history] == ["u1", "u0", "a1"]
        await call.says(ItemCreated(Message("user", id="u5"), "nobody"))
        assert call.session.history[-1].id == "u5"
        await call.says(InputTranscript("u1", "hello there", 0))
        first = call.session.history[0]
        assert isinstance(first, Message)
        assert first.text == "hello there"
        await call.says(ItemDeleted("u0"))
        assert [item.id for item in call.session.history] == ["u1", "a1", "u5"]
        await call.says(created(), done(tokens=14), created("r2"), done("r2", tokens=10))
        assert [event.total.total_tokens for event in call.seen(UsageUpdated)] == [14, 24]
        assert call.session.usage.total_tokens == 24


async def test_06_failing_close_of_the_transport() -> None:
    """Closing is leaving a context here: it fails once, for everybody, and the readers have ended all the same."""
    closes: list[int] = []

    class Stubborn(ScriptedModel):
        @asynccontextmanager
        async def _connect(self, *given: Any) -> Any:
            async with super()._connect(*given) as connection:
                yield connection
            closes.append(1)
            raise OSError("close failed")

    session = make_session()
    session._model = Stubborn()
    ended: list[str] = []

    async def read() -> None:
        async for _ in session:
            pass
        ended.append("reader")

    async def close() -> None:
        assert await session.aclose()
        ended.append("closer")

    with pytest.raises(OSError, match="close failed"):
        async with session, anyio.create_task_group() as group:
            group.start_soon(read)
            await quiet()
            group.start_soon(close)
            group.start_soon(close)
            await session.wait_closed()
    assert closes == [1]
    assert session.status == "closed"
    assert ended.count("reader") <= 1
    assert await session.aclose(), "a further close has nothing left to do"


async def test_18_a_refused_output_is_said_again() -> None:
    runs: list[int] = []

    @tool
    async def count(n: int = 0) -> str:
        runs.append(n)
        return "one"

    async with calling(count) as call:
        await call.says(created(), tool_call("count"), done())
        [result] = call.sent(ToolResult)
        await call.says(refusal("server_error", event_id=result.event_id))
        await call.says(tool_call("count"), tool_call("count"))
        assert [result.output for result in call.sent(ToolResult)] == ["one"] * len(call.sent(ToolResult))
        assert runs == [0], "the tool ran once"


async def test_18_the_id_of_another_call() -> None:
    @tool
    async def count(n: int = 0) -> str:
        return "one"

    async with calling(count) as call:
        await call.says(created(), tool_call("count"), tool_call("count", arguments='{"n": 2}'), done())
        assert [error.code for error in call.seen(SessionError)] == ["call_id_reused"]
        assert len(call.sent(ToolResult)) == 1
