"""The verbs of a connected session."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kernl_rt import SessionConfig, TurnDetection, tool
from kernl_rt.config import Capabilities, ResponseConfig
from kernl_rt.events import (
    AudioDelta,
    AudioInputAppend,
    AudioInputCommit,
    CustomEvent,
    ItemCreate,
    RawClientEvent,
    Response,
    ResponseCancel,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SessionUpdate,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import CommandRejected, LaneFull, MisconfiguredError, SessionStateError
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, tool_call

pytestmark = pytest.mark.anyio


async def test_send_audio_takes_bytes_and_base64_and_refuses_the_rest() -> None:
    async with calling() as call:
        for pcm in (b"\1\2", bytearray(b"\3\4"), memoryview(b"\5\6"), base64.b64encode(b"\7\x08").decode()):
            call.session.send_audio(pcm)
        with pytest.raises(MisconfiguredError, match="base64"):
            call.session.send_audio("not base64!")
        with pytest.raises(MisconfiguredError, match="int"):
            call.session.send_audio(7)  # type: ignore[arg-type]
        await quiet()
        assert b"".join(event.audio for event in call.sent(AudioInputAppend)) == bytes(range(1, 9))


async def test_muted_means_not_sent() -> None:
    async with calling() as call:
        call.session.mute()
        assert call.session.muted
        call.session.send_audio(b"\1\1")
        call.session.unmute()
        call.session.send_audio(b"\2\2")
        await quiet()
        assert [event.audio for event in call.sent(AudioInputAppend)] == [b"\2\2"]


async def test_push_to_talk() -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        call.session.send_audio(b"\0\0" * 4_800)
        await call.session.commit().settled()
        await quiet()
        kinds = [type(event) for event in call.peer.sent[1:]]
        assert kinds == [AudioInputAppend, AudioInputCommit, ResponseCreate]


async def test_an_empty_turn_is_refused_here() -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        with pytest.raises(CommandRejected, match="no audio"):
            await call.session.commit().settled()
        await quiet()
        assert not call.sent(AudioInputCommit)
        assert not call.sent(ResponseCreate)


async def test_audio_commit_and_request_never_reorder() -> None:
    """However much waits: append* → commit → create is the order on the wire."""
    async with calling(config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        for number in range(200):
            call.session.send_audio(bytes([number, 0]))
        call.session.commit()
        call.session.send_message("and this")
        await quiet()
        order = [type(event) for event in call.peer.sent if not isinstance(event, (SessionUpdate, ItemCreate))]
        assert order == [AudioInputAppend] * 200 + [AudioInputCommit, ResponseCreate]
        assert [event.audio[0] for event in call.sent(AudioInputAppend)] == list(range(200))


async def test_ask_waits_for_the_answer_after_the_tools() -> None:
    @tool
    async def look() -> str:
        return "blue"

    async with calling(look) as call:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await call.session.ask("what colour?"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await quiet()
            await call.says(created(), tool_call("look"), done())
            assert not answers
            await call.says(created("r2"), done("r2", text="It is blue."))
            assert answers[0].text == "It is blue."


async def test_ask_raises_what_the_provider_refused() -> None:
    async with calling() as call, anyio.create_task_group() as group:

        async def ask() -> None:
            with pytest.raises(CommandRejected, match="overloaded"):
                await call.session.ask("hello?")

        group.start_soon(ask)
        await quiet()
        await call.says(created(), done(status="failed", error="overloaded"))


async def test_a_reply_beside_the_conversation() -> None:
    async with calling() as call:
        await call.says(created())
        command = call.session.request_reply(ResponseConfig(conversation="none"))
        await quiet()
        [create] = call.sent(ResponseCreate)
        assert create.config is not None
        tag = create.config.metadata
        aside = Response(id="side", metadata=tag, status="completed")
        await call.says(ResponseCreated(aside), ResponseDone(aside))
        assert (await command.settled()).id == "side"
        call.session.interrupt()
        await quiet()
        assert [event.response_id for event in call.sent(ResponseCancel)] == ["r1"], "the main reply still ran"


async def test_raw_events_go_out_as_they_are() -> None:
    async with calling() as call:
        call.session.send({"type": "brand.new", "x": 1})
        await quiet()
        assert [event.data for event in call.sent(RawClientEvent)] == [{"type": "brand.new", "x": 1}]


async def test_commands_are_bounded() -> None:
    session = make_session(acknowledge=False)

    async def confirm() -> None:
        assert isinstance(session.model, ScriptedModel)
        peer = await session.model.accept()
        peer._answer(await peer.hear(SessionUpdate))

    async with anyio.create_task_group() as group:
        group.start_soon(confirm)
        async with session:
            with pytest.raises(LaneFull):
                for _ in range(1_000):
                    session.send_message("hi")
            assert session.statistics().open_commands == 256


async def test_verbs_belong_to_the_event_loops_thread(real_clock: None) -> None:
    async with calling() as call:
        with pytest.raises(SessionStateError, match=r"from_thread\.run_sync"):
            await anyio.to_thread.run_sync(call.session.send_message, "hi")


async def test_emit_puts_an_event_into_the_stream() -> None:
    heard: list[Any] = []
    async with calling() as call:
        call.session.on("lunch", heard.append)
        assert call.session.emit("lunch", {"at": 12}) is call.session
    assert heard == [CustomEvent("lunch", {"at": 12})]
    assert heard[0] in call.log


async def test_a_reply_that_was_asked_for_by_hand_beside_the_conversation_does_not_end_the_one_that_runs() -> None:
    async with calling() as call:
        main = Response(id="main", conversation_id="conv_1", status="in_progress")
        await call.says(ResponseCreated(main), ResponseCreated(Response(id="side")))
        await call.says(audio("main"), ResponseDone(Response(id="side", status="completed")), audio("main"))
        assert len(call.seen(AudioDelta)) == 2
        call.session.interrupt()
        await quiet()
        assert [event.response_id for event in call.sent(ResponseCancel)] == ["main"]


async def test_a_request_that_was_not_written_yet_is_taken_back_when_another_reply_begins() -> None:
    async with calling(capabilities=Capabilities(echoes_metadata=True)) as call:
        call.session.request_reply()
        await quiet()
        [first] = call.peer.heard(ResponseCreate)
        assert first.config is not None
        own = Response(id="r0", status="in_progress", metadata=first.config.metadata)
        await call.says(ResponseCreated(own), done("r0"), created("r1"))
        call.session.send_message("and then?")
        await quiet()
        call.peer.say(done("r1"), created("r2"))  # in one breath: its own turn detection was quicker
        await quiet()
        assert len(call.peer.heard(ResponseCreate)) == 1
        await call.says(done("r2"))
        assert len(call.peer.heard(ResponseCreate)) == 2


async def test_a_tool_called_beside_the_conversation_has_no_result_in_it() -> None:
    @tool
    async def look() -> str:
        return "seen"

    async with calling(look) as call:
        handle = call.session.request_reply(ResponseConfig(conversation="none"))
        await quiet()
        [asked] = call.peer.heard(ResponseCreate)
        assert asked.config is not None
        aside = Response(id="a1", status="in_progress", metadata=asked.config.metadata)
        await call.says(ResponseCreated(aside), tool_call("look", response_id="a1"))
        await call.says(ResponseDone(Response(id="a1", status="completed")))
        assert (await handle.settled()).id == "a1"
        assert [event.outcome for event in call.seen(ToolFinished)] == ["result"]
        assert not call.peer.heard(ToolResult)
        assert len(call.peer.heard(ResponseCreate)) == 1
