"""Opening, closing, verbs and failures of a session."""

from __future__ import annotations

import base64
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kernl_rt import ConnectOptions, RealtimeAgent, RealtimeSession, SessionConfig, TurnDetection, tool
from kernl_rt.config import G711_ULAW, PCM16_24K, Capabilities, ResponseConfig
from kernl_rt.events import (
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
    SessionError,
    SessionUpdate,
    StatusChanged,
    ToolFinished,
    ToolResult,
)
from kernl_rt.exceptions import (
    AuthenticationError,
    CommandAborted,
    CommandLost,
    CommandRejected,
    ConfigurationRejected,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    LaneFull,
    MisconfiguredError,
    ProviderError,
    SessionStateError,
)
from kernl_rt.testing import ModelPeer, ScriptedModel
from tests.scenarios.calls import audio, calling, created, done, make_session, quiet, refusal, tool_call

pytestmark = pytest.mark.anyio


def peer_of(session: RealtimeSession[Any]) -> ModelPeer:
    assert isinstance(session.model, ScriptedModel)
    return session.model.peer


# -- opening ----------------------------------------------------------------------------------------------------------


async def test_connected_means_configured() -> None:
    session = make_session(config=SessionConfig(turn_detection=TurnDetection.off()))
    assert (session.id, session.status) == (None, "idle")
    async with session:
        assert (session.id, session.status) == ("sess_scripted", "connected")
        [update] = peer_of(session).heard(SessionUpdate)
        assert update.config.instructions == "Be brief."
        assert update.config.turn_detection == TurnDetection.off()
        assert update.config.input_format == PCM16_24K
    assert session.status == "closed"


async def test_connect_into_a_task_group_of_the_caller() -> None:
    session = make_session()
    async with anyio.create_task_group() as group:
        await session.connect(group)
        assert session.id == "sess_scripted"
        assert await session.aclose()
    assert session.status == "closed"


@pytest.mark.parametrize(
    ("code", "kind"), [("unknown_parameter", ConfigurationRejected), ("invalid_api_key", AuthenticationError)]
)
async def test_the_provider_refuses_the_configuration(code: str, kind: type[ConnectError]) -> None:
    session = make_session(acknowledge=False)

    async def refuse() -> None:
        assert isinstance(session.model, ScriptedModel)
        peer = await session.model.accept()
        update = await peer.hear(SessionUpdate)
        peer.say(refusal(code, event_id=update.event_id, message="not that"))

    async with anyio.create_task_group() as group:
        group.start_soon(refuse)
        with pytest.raises(kind, match="not that"):
            await session.__aenter__()
    assert session.status == "closed"


async def test_a_silent_provider_times_out() -> None:
    model = ScriptedModel(acknowledge=False)
    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=model)
    session = RealtimeSession(agent, connect_options=ConnectOptions(timeout=3))
    start = anyio.current_time()
    with pytest.raises(ConnectTimeout, match="3 seconds"):
        await session.__aenter__()
    assert anyio.current_time() - start == pytest.approx(3)
    assert model.peer.closed.is_set()


async def test_the_link_ends_before_the_configuration_is_accepted() -> None:
    session = make_session(acknowledge=False)

    async def hang_up() -> None:
        assert isinstance(session.model, ScriptedModel)
        (await session.model.accept()).hang_up(1000)

    async with anyio.create_task_group() as group:
        group.start_soon(hang_up)
        with pytest.raises(ConnectError, match="before it accepted"):
            await session.__aenter__()


async def test_close_while_connecting() -> None:
    session = make_session(acknowledge=False)

    async def close() -> None:
        await quiet()
        session.close("changed my mind")

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        with pytest.raises(SessionStateError, match="changed my mind"):
            await session.__aenter__()
    assert peer_of(session).closed.is_set()


async def test_formats_that_do_not_fit() -> None:
    from kernl_rt.channels import MemoryChannel

    channel = MemoryChannel()
    channel.input_formats = channel.output_formats = (G711_ULAW,)  # and nothing that it could be converted to
    session = make_session(channel=channel)
    with pytest.raises(MisconfiguredError, match="no common input format"):
        await session.__aenter__()


def test_an_agent_without_a_model() -> None:
    with pytest.raises(MisconfiguredError, match="has no model"):
        RealtimeSession(RealtimeAgent(id="a", name="A", instructions="-"))


def test_a_channel_beside_a_transport_that_handles_audio() -> None:
    from kernl_rt._transport.memory import MemoryTransport
    from kernl_rt.channels import MemoryChannel

    class WebRTC(MemoryTransport):
        handles_audio = True

    async def nobody(stream: Any, request: Any) -> None: ...

    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    with pytest.raises(MisconfiguredError, match="exclude each other"):
        RealtimeSession(agent, channel=MemoryChannel(), transport=WebRTC(nobody))


# -- states -----------------------------------------------------------------------------------------------------------

VERBS: dict[str, Any] = {
    "send_message": lambda s: s.send_message("hi"),
    "send_audio": lambda s: s.send_audio(b"\0\0"),
    "commit": lambda s: s.commit(),
    "interrupt": lambda s: s.interrupt(),
    "request_reply": lambda s: s.request_reply(),
    "mute": lambda s: s.mute(),
    "unmute": lambda s: s.unmute(),
    "emit": lambda s: s.emit("x"),
    "send": lambda s: s.send({"type": "x"}),
    "activity_started": lambda s: s.activity_started(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_verbs_need_a_connected_session(verb: str) -> None:
    session = make_session()
    with pytest.raises(SessionStateError, match=verb):
        VERBS[verb](session)
    async with session:
        VERBS[verb](session)
    with pytest.raises(SessionStateError, match="closed"):
        VERBS[verb](session)


async def test_a_session_is_used_once() -> None:
    async with calling() as call:
        with pytest.raises(SessionStateError, match="once"):
            await call.session.__aenter__()
    with pytest.raises(SessionStateError, match="once"):
        await call.session.__aenter__()


async def test_close_before_connecting() -> None:
    with pytest.raises(SessionStateError):
        make_session().close()


# -- closing and failing ----------------------------------------------------------------------------------------------


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
                commands = [session.send_message("hi"), session.request_reply(), session.send({"type": "x"})]
                await quiet()
                if end == "closed":
                    session.close()
                else:
                    peer_of(session).hang_up(1011)
                    await anyio.sleep_forever()
    except* ConnectionClosed:
        assert end == "lost"
    for command in commands[:2]:
        with pytest.raises(kind):
            await command.settled()
    assert commands[2].state == "acknowledged", "nothing answers a raw event: it settles when it is taken"


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
    from kernl_rt.items import ContentPart, Message

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


# -- verbs ------------------------------------------------------------------------------------------------------------


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
        from kernl_rt.events import Response, ResponseCreated, ResponseDone

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


async def test_what_is_public() -> None:
    async with calling(context={"user": 7}) as call:
        session = call.session
        assert session.context.context == {"user": 7}
        assert session.context.session is session
        assert session.agent.id == "test"
        assert session.channel is None
        assert session.usage.total_tokens is None
        assert repr(session) == "<RealtimeSession agent='test' model='scripted' connected id='sess_scripted'>"


# -- what a new user once stumbled over --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("port", ["model", "channel", "transport"])
def test_a_port_of_the_wrong_type(port: str) -> None:
    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    wrong: Any = {port: "gpt-realtime"}
    with pytest.raises(MisconfiguredError, match=f"{port}= takes a Realtime.*not a str"):
        RealtimeSession(agent, **wrong)


async def test_a_reply_that_was_asked_for_by_hand_beside_the_conversation_does_not_end_the_one_that_runs() -> None:
    from kernl_rt.events import AudioDelta, Response, ResponseCreated, ResponseDone

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
