"""The twelve scenarios that the strongest peer fails, by their letters in the acceptance list."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    ItemCreate,
    ResponseCancel,
    ResponseCreate,
    SessionError,
    SpeechStarted,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import ConnectionClosed
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, refusal, tool_call

pytestmark = pytest.mark.anyio


async def test_a_1011_while_the_body_sleeps() -> None:
    start = anyio.current_time()
    with pytest.raises(ConnectionClosed, match="1011"):
        async with make_session(reconnect=None) as session:
            session.model.peer.hang_up(1011)  # type: ignore[attr-defined]
            await anyio.sleep(100)
    assert anyio.current_time() - start <= 1


async def test_b_cancel_scope_around_the_session() -> None:
    finished: list[str] = []

    @tool
    async def slow() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            finished.append("slow")
        return ""

    with anyio.move_on_after(5) as scope:
        async with calling(slow) as call:
            await call.says(created(), tool_call("slow"))
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert call.peer.closed.is_set()
    assert finished == ["slow"]
    assert call.session.status == "closed"


async def test_d_create_loses_to_a_vad_response() -> None:
    async with calling() as call:
        call.session.send_message("hello?")
        await quiet()
        [create] = call.sent(ResponseCreate)
        active = "conversation_already_has_active_response"
        await call.says(created("vad"), refusal(active, event_id=create.event_id), done("vad"))
        assert len(call.sent(ResponseCreate)) == 2
        await call.says(created("ours"), done("ours"))
        assert len(call.sent(ResponseCreate)) == 2
        assert not call.seen(SessionError), "a race is no error"


@pytest.mark.parametrize("named", [True, False])
async def test_d_error_before_the_other_reply_is_seen(named: bool) -> None:
    async with calling() as call:
        call.session.send_message("hello?")
        await quiet()
        [create] = call.sent(ResponseCreate)
        event_id = create.event_id if named else None
        await call.says(refusal("conversation_already_has_active_response", event_id=event_id))
        assert len(call.sent(ResponseCreate)) == 1
        await call.says(created("vad"), done("vad"))
        assert len(call.sent(ResponseCreate)) == 2


async def test_e_anonymous_rejection() -> None:
    async with calling() as call:
        call.session.send_message("one")
        await quiet()
        await call.says(refusal("server_error"))
        call.session.send_message("two")
        await anyio.sleep(15)
        assert len(call.sent(ItemCreate)) == 2
        assert len(call.sent(ResponseCreate)) == 2


async def test_e_no_answer_at_all() -> None:
    async with calling() as call:
        call.session.send_message("one")
        await anyio.sleep(30)
        call.session.send_message("two")
        await quiet()
        assert len(call.sent(ResponseCreate)) == 2
        assert len(call.seen(SessionError)) == 1


async def test_f_slow_reader() -> None:
    async with calling() as call:
        events = call.session.events(buffer=64)
        await call.says(created(), *[audio(ms=10) for _ in range(300)])
        await anyio.sleep(1)
        await call.says(SpeechStarted("u1", 0))
        assert len(events) <= 64
        seen: list[Any] = []
        async for event in events:
            seen.append(event)
            if isinstance(event, Interrupted):
                break
        assert not [event for event in seen if isinstance(event, AudioDelta)], "stale audio was delivered"


async def test_g_interrupt_cancels_and_fences() -> None:
    async with calling() as call:
        await call.says(created(), audio())
        call.session.interrupt()
        await quiet()
        assert [cancel.response_id for cancel in call.sent(ResponseCancel)] == ["r1"]
        await call.says(audio(), audio(), done("r1", "cancelled", reason="client_cancelled"), audio())
        interrupted = call.log.index(call.seen(Interrupted)[0])
        assert not [event for event in call.log[interrupted:] if isinstance(event, AudioDelta)]
        assert call.session.statistics().discarded["late_audio"] == 3


async def test_h_two_tools_one_reply() -> None:
    @tool
    async def quick() -> str:
        await anyio.sleep(0.1)
        return "quick"

    @tool
    async def slow() -> str:
        await anyio.sleep(0.6)
        return "slow"

    async with calling(quick, slow) as call:
        await call.says(created(), tool_call("quick", "c1"), tool_call("slow", "c2"), done())
        await anyio.sleep(0.3)
        assert [result.output for result in call.sent(ToolResult)] == ["quick"]
        assert not call.sent(ResponseCreate)
        await anyio.sleep(1)
        assert [result.output for result in call.sent(ToolResult)] == ["quick", "slow"]
        assert len(call.sent(ResponseCreate)) == 1
        assert isinstance(call.peer.sent[-1], ResponseCreate)


@pytest.mark.parametrize("how", ["raises", "cancels itself"])
async def test_i_tool_fails(how: str, backend: str) -> None:
    @tool
    async def bad() -> str:
        if how == "raises":
            raise ZeroDivisionError("no")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep(1)
        raise TimeoutError("gave up")

    @tool
    async def good() -> str:
        await anyio.sleep(0.2)
        return "fine"

    async with calling(bad, good) as call:
        await call.says(created(), tool_call("bad", "c1"), tool_call("good", "c2"), done())
        await anyio.sleep(1)
        outputs = {result.call_id: result.output for result in call.sent(ToolResult)}
        assert len(call.sent(ToolResult)) == 2
        assert ("no" if how == "raises" else "gave up") in outputs["c1"]
        assert outputs["c2"] == "fine"
        assert sorted(event.call_id for event in call.seen(ToolFinished)) == ["c1", "c2"]
        assert call.session.status == "connected"


async def test_j_malformed_frame() -> None:
    async with calling() as call:
        events = call.session.events()
        bad = SessionError("not JSON", source="protocol")
        await call.says(created(), audio(), bad, audio(), done())
        seen = [await anext(events) for _ in range(5)]
        assert [event.kind for event in seen] == [
            "response.created",
            "audio.output.delta",
            "session.error",
            "audio.output.delta",
            "response.done",
        ]
        assert call.session.status == "connected"


async def test_k_every_consumer_sees_everything() -> None:
    counts = [0, 0, 0]

    async with calling() as call:

        async def read(index: int) -> None:
            async for event in call.session:
                counts[index] += isinstance(event, AudioDelta)

        async with anyio.create_task_group() as group:
            group.start_soon(read, 0)
            group.start_soon(read, 1)
            call.session.on("audio", lambda event: counts.__setitem__(2, counts[2] + 1))
            await quiet()
            await call.says(created(), *[audio(ms=20) for _ in range(20)])
            call.session.close()
    assert counts == [20, 20, 20]


async def test_l_raising_callback() -> None:
    heard: list[Any] = []

    def bad(event: Any) -> None:
        raise ValueError("my fault")

    async with calling() as call:
        call.session.on("audio", bad).on("audio", heard.append)
        events = call.session.events("audio")
        await call.says(created(), audio(), audio())
        assert len(heard) == 2
        assert len(events) == 2
        errors = call.seen(SessionError)
        assert [error.source for error in errors] == ["listener", "listener"]
        assert "my fault" in errors[0].message
        assert call.session.status == "connected"


async def test_c_peer_ignores_the_close() -> None:
    import json

    from kernl_rt import RealtimeAgent, RealtimeSession
    from kernl_rt.providers import openai
    from kernl_rt.transports import MemoryTransport

    async def deaf(stream: Any, request: Any) -> None:
        await stream.receive()
        info = {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "m"}
        await stream.send(json.dumps({"type": "session.updated", "event_id": "e1", "session": info}))
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)  # and not a word more

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a", name="A", instructions="-", model=openai.realtime("gpt-realtime", api_key="test")
    )
    async with RealtimeSession(agent, transport=MemoryTransport(deaf)) as session:
        start = anyio.current_time()
        assert await session.aclose(deadline=2.5)
        assert anyio.current_time() - start <= 2.5


async def test_g_a_reply_that_was_stopped_before_its_first_sound_stays_silent() -> None:
    async with calling() as call:
        await call.says(created())
        call.session.interrupt()
        await call.says(audio(), audio(), done("r1", "cancelled", reason="client_cancelled"))
        assert not call.seen(AudioDelta)
        assert len(call.seen(Interrupted)) == 1
