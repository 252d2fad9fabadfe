"""A live session with an agent of ElevenLabs, the simulated one, and how it is let in."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from kernl_rt import ConnectOptions, Credential, RealtimeSession, SessionConfig, events as ev
from kernl_rt._transport.serve import Reply as HttpReply, Request, serve_websocket
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import G711_ULAW, Secret
from kernl_rt.exceptions import (
    AuthenticationError,
    CommandRejected,
    ConfigurationRejected,
    MisconfiguredError,
    SessionExpired,
)
from kernl_rt.items import ContentPart, FunctionCallOutput, Message
from kernl_rt.providers import elevenlabs
from kernl_rt.simulator import Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.providers.elevenlabs_sessions import agent_of, asked, seen, talking, weather
from tests.providers.test_elevenlabs_conformance import WEATHER, make
from tests.simulator.driver import silence, tone

pytestmark = pytest.mark.anyio


# -- with the simulated agent -----------------------------------------------------------------------------------------


async def test_ask_and_call_a_tool() -> None:
    asked.clear()
    lines: list[str | Reply | Exception] = [
        Reply("One moment.", tool_calls=[ToolCall("weather", {"city": "Oslo"})]),
        "Sunny in Oslo, it seems.",
    ]
    brain = ScriptedBrain(lines)
    async with talking(Simulator(brain, protocol="elevenlabs"), weather) as (session, log):
        reply = await session.ask("what is the weather in Oslo")
        assert reply.text == "Sunny in Oslo, it seems."
        assert asked == ["Oslo"]
        assert [item.text for item in session.history if isinstance(item, Message)] == [
            "what is the weather in Oslo",
            "One moment.",
            "Sunny in Oslo, it seems.",
        ]
        outputs = [item for item in session.history if isinstance(item, FunctionCallOutput)]
        assert [output.output for output in outputs] == ["Sunny in Oslo"]
        assert [done.response.status for done in seen(log, ev.ResponseDone)] == ["completed"] * 2
        assert not seen(log, ev.SessionError)
        assert session.id == "conv_1"
    assert brain.turns[1].tool_results[0].output == "Sunny in Oslo"


async def test_a_tool_that_the_agent_does_not_wait_for() -> None:
    """No result goes out, and who asked is answered with what there is."""
    lines: list[str | Reply | Exception] = [Reply(tool_calls=[ToolCall("weather", {"city": "Rome"})]), "Next."]
    extra = {"tools": [{**WEATHER, "expects_response": False}]}
    model = elevenlabs.agent("agent_1", public=True, base_url="ws://sim", custom_llm_extra_body=extra)
    brain = ScriptedBrain(lines)
    async with talking(Simulator(brain, protocol="elevenlabs"), weather, model=model) as (session, log):
        reply = await session.ask("what is the weather in Rome")
        assert (reply.status, reply.text) == ("completed", "")
        assert [event.outcome for event in seen(log, ev.ToolFinished)] == ["result"]
        assert (await session.ask("and now")).text == "Next."
    assert not brain.turns[1].tool_results


async def test_a_spoken_turn_and_an_interruption() -> None:
    story = Reply("A long story that never ends at all.", audio=bytes(480_000))
    simulator = Simulator(
        ScriptedBrain([story, "Yes?"]), ears=ScriptedEars(["tell me", "stop it"]), protocol="elevenlabs"
    )
    channel = MemoryChannel()
    async with talking(simulator, channel=channel) as (session, log):
        await channel.human.speak(tone(0.5, 16_000) + silence(0.8, 16_000))
        while not seen(log, ev.AudioDelta):
            await anyio.sleep(0.1)
        await anyio.sleep(2)
        await channel.human.speak(tone(0.5, 16_000) + silence(0.8, 16_000))
        while len(seen(log, ev.ResponseDone)) < 2:
            await anyio.sleep(0.1)
        [cut] = seen(log, ev.Interrupted)
        assert cut.reason == "speech"
        assert 1_000 < cut.heard_ms < 5_000
        heard = next(item for item in session.history if isinstance(item, Message) and item.role == "assistant")
        assert heard.status == "incomplete"
        assert 0 < len(heard.text) < len("A long story that never ends at all.")
        assert [event.text for event in seen(log, ev.InputTranscript)] == ["tell me", "stop it"]
        assert seen(log, ev.InputTranscriptDelta)[0].cumulative


async def test_interrupt_silences_the_reply_here() -> None:
    """The agent cannot be stopped: it goes on to its end, unheard, and answers what comes then."""
    simulator = Simulator(ScriptedBrain([Reply("A long story.", audio=bytes(480_000)), "Yes?"]), protocol="elevenlabs")
    channel = MemoryChannel()
    async with talking(simulator, channel=channel) as (session, log):
        session.send_message("a story")
        while not seen(log, ev.AudioDelta):
            await anyio.sleep(0.1)
        await anyio.sleep(0.5)
        await session.interrupt().settled()
        heard = len(seen(log, ev.AudioDelta))
        assert (await session.ask("hello")).text == "Yes?"
        first, second = (done.response.id for done in seen(log, ev.ResponseDone))
        sounds = [sound.response_id for sound in seen(log, ev.AudioDelta)]
        assert sounds.count(first) == heard
        assert second in sounds
        assert seen(log, ev.Interrupted)[0].reason == "requested"


async def test_in_writing() -> None:
    config = ConnectOptions(session_config=SessionConfig(output_modality="text"))
    async with talking(Simulator(protocol="elevenlabs"), connect_options=config) as (session, log):
        reply = await session.ask("hello")
        assert reply.text
        assert seen(log, ev.TextDone)[0].text == reply.text
        assert not seen(log, ev.AudioDelta)
        session.send_audio(bytes(3_200))  # which such a conversation does not take, and nobody minds


async def test_a_message_without_a_reply_is_context() -> None:
    brain = ScriptedBrain(["You see page five."])
    async with talking(Simulator(brain, protocol="elevenlabs")) as (session, log):
        await session.send_message("I look at page five", reply=False).settled()
        await anyio.sleep(3)
        assert not seen(log, ev.ResponseCreated)
        assert (await session.ask("what do I see")).text == "You see page five."
    [turn] = brain.turns
    assert turn.user_text == "what do I see"
    assert any("page five" in json.dumps(item) for item in turn.items)


async def test_an_earlier_conversation_is_told_as_context() -> None:
    brain = ScriptedBrain(["Ada."])
    history = [
        Message("user", [ContentPart("input_text", text="My name is Ada.")]),
        Message("assistant", [ContentPart("output_audio", transcript="Hello Ada.")]),
    ]
    async with talking(Simulator(brain, protocol="elevenlabs"), history=history) as (session, log):
        await anyio.sleep(1)
        assert not seen(log, ev.ResponseCreated)
        assert (await session.ask("who am I")).text == "Ada."
    told = json.dumps(brain.turns[0].items)
    assert "Earlier the user said: My name is Ada." in told
    assert "Earlier you said: Hello Ada." in told


async def test_the_first_message_begins_a_reply_that_nobody_asked_for() -> None:
    model = make(first_message="Good day.")
    async with talking(Simulator(protocol="elevenlabs"), model=model) as (session, log):
        while not seen(log, ev.ResponseDone):
            await anyio.sleep(0.1)
        assert [item.text for item in session.history if isinstance(item, Message)] == ["Good day."]
        assert (await session.ask("hello")).text


async def test_what_an_agent_cannot_do_is_rejected_where_it_was_asked_for() -> None:
    async with talking(Simulator(protocol="elevenlabs")) as (session, log):
        session.send_audio(bytes(3_200))
        for verb in (session.commit, session.request_reply, lambda: session.send(ev.ItemDelete("item_1"))):
            with pytest.raises(CommandRejected, match=r"agent|cannot do that"):
                await verb().settled()
        session.send({"type": "session.update"})  # which would end the link
        with pytest.raises(MisconfiguredError):
            session.update(instructions="Be brief.")
        assert (await session.ask("hello")).status == "completed"
        session.send({"type": "feedback", "event_id": 1, "score": "like"})
        session.send({"type": "user_activity"})
        await anyio.sleep(1)
        errors = [error.message for error in seen(log, ev.SessionError)]
        assert any("'session.update' is not a message that ElevenLabs knows" in message for message in errors)
        assert session.status == "connected"


async def test_pings_are_answered_although_nobody_looks() -> None:
    """The simulator hangs up on a client that does not answer for 30 seconds; dead air is none while it pings."""
    async with talking(Simulator(protocol="elevenlabs"), dead_air=15.0) as (session, log):
        await anyio.sleep(300)
        assert session.status == "connected"
        assert len([event for event in seen(log, ev.RawServerEvent) if event.type == "ping"]) >= 149


async def test_the_end_of_its_time() -> None:
    with pytest.raises(SessionExpired):
        async with talking(Simulator(duration=30.0, protocol="elevenlabs")) as (session, _):
            session.send_message("what is the weather", reply=True)
            await anyio.sleep(29.99)
            session.send_message("tell me a story")
            await anyio.sleep(60)


@pytest.mark.parametrize(
    ("config", "named", "left_out"),
    [
        (SessionConfig(instructions="Be rude."), "agent.prompt.prompt", "instructions"),
        (SessionConfig(voice="some_voice"), "tts.voice_id", "voice"),
    ],
)
async def test_an_override_that_is_not_allowed(config: SessionConfig, named: str, left_out: str) -> None:
    options = ConnectOptions(session_config=config)
    with pytest.raises(ConfigurationRejected) as caught:
        async with talking(Simulator(protocol="elevenlabs"), model=make("agent_locked"), connect_options=options):
            pytest.fail("it opened")
    assert caught.value.code == "override_error"
    assert caught.value.param == named
    assert named in str(caught.value)
    assert f"leave {left_out} out" in str(caught.value)
    assert "security settings" in str(caught.value)


async def test_nothing_is_overridden_that_was_not_said() -> None:
    async with talking(Simulator(protocol="elevenlabs"), weather, model=make("agent_locked")) as (session, _):
        assert (await session.ask("hello")).status == "completed"


@pytest.mark.parametrize("agent_id", ["agent_pcm_24000", "agent_ulaw_8000"])
async def test_an_agent_that_speaks_another_format(agent_id: str) -> None:
    with pytest.raises(
        ConfigurationRejected, match=r"set the agent's user input format to pcm_16000 .* or say agent\("
    ):
        async with talking(Simulator(protocol="elevenlabs"), model=make(agent_id)):
            pytest.fail("it opened")
    async with talking(
        Simulator(protocol="elevenlabs"), model=make("agent_ulaw_8000", input_format=G711_ULAW, output_format=G711_ULAW)
    ) as (session, _):
        assert (await session.ask("hello")).status == "completed"


async def test_a_lost_link_is_dialled_again_and_told_what_was_said() -> None:
    brain = ScriptedBrain(["One.", "Two."])
    simulator = Simulator(brain, protocol="elevenlabs")
    simulator.faults.close(1012, at="response.output_audio.delta", nth=2)
    session: RealtimeSession[Any] = RealtimeSession(agent_of(make()), transport=simulator.transport())
    with anyio.fail_after(1_000):
        async with session:
            reply = await session.ask("count")
            assert reply.text == "Two."
            assert session.id == "conv_2"
    assert "count" in json.dumps(brain.turns[1].items)


# -- credentials ------------------------------------------------------------------------------------------------------


async def test_a_private_agent(real_clock: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed URL is asked for with the key, by each session, by ``authenticate``, and handed on as a credential."""
    simulator = Simulator(ScriptedBrain(["In.", "In.", "In."]), api_key="signature", speed=50.0, protocol="elevenlabs")
    keys: list[str | None] = []
    port = 0

    def answer(request: Request) -> HttpReply | None:
        if request.path != "/v1/convai/conversation/get-signed-url":
            return simulator.admit(request)
        keys.append(request.headers.get("xi-api-key"))
        if keys[-1] != "the-right-key":
            return HttpReply(401, {"content-type": "application/json"}, b'{"detail": {"message": "Invalid API key"}}')
        url = f"ws://127.0.0.1:{port}/v1/convai/conversation?agent_id=agent_1&conversation_signature=signature"
        return HttpReply(200, {"content-type": "application/json"}, json.dumps({"signed_url": url}).encode())

    async def serve(*, task_status: Any) -> None:
        await serve_websocket(simulator.handle, process_request=answer, task_status=task_status)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(serve)
            base = f"http://127.0.0.1:{port}"
            monkeypatch.setenv("ELEVENLABS_API_KEY", "the-right-key")
            model = elevenlabs.agent("agent_1", base_url=base)
            async with RealtimeSession(agent_of(model)) as session:
                assert (await session.ask("hello")).text == "In."
            credential = await model.authenticate()
            monkeypatch.delenv("ELEVENLABS_API_KEY")
            assert "signature" not in repr(credential)
            async with RealtimeSession(agent_of(model), credential=credential) as session:
                assert (await session.ask("hello")).text == "In."
            with pytest.raises(AuthenticationError) as caught:
                async with RealtimeSession(agent_of(elevenlabs.agent("agent_1", base_url=base, api_key="wrong-key"))):
                    pytest.fail("it opened")
            assert "wrong-key" not in str(caught.value)
            with pytest.raises(AuthenticationError):  # by its id alone
                async with RealtimeSession(agent_of(model), reconnect=None):
                    pytest.fail("it opened")
            with pytest.raises(MisconfiguredError, match="ELEVENLABS_API_KEY"):
                await model.authenticate()
            tasks.cancel_scope.cancel()
    assert keys == ["the-right-key", "the-right-key", "wrong-key"]


async def test_a_credential_that_is_no_url() -> None:
    from datetime import UTC, datetime

    credential = Credential(Secret("ek_something"), datetime.now(tz=UTC))
    with pytest.raises(MisconfiguredError, match="signed URL"):
        async with RealtimeSession(agent_of(make()), credential=credential):
            pytest.fail("it opened")
