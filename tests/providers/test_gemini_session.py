"""A session over Gemini's protocol, with the simulator as its far end. Every frame that we say is judged strictly."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, TurnDetection, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.exceptions import (
    AuthenticationError,
    CommandRejected,
    ConfigurationRejected,
    ConnectError,
    MisconfiguredError,
    ModelNotFoundError,
    RateLimitedError,
    SessionExpired,
)
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers import gemini
from kernl_rt.simulator import Faults, Reply, ScriptedEars, ToolCall
from tests.providers.gemini_sessions import LOUD, NAME, QUIET, scripted, talking
from tests.providers.test_gemini_oracle import PNG

pytestmark = pytest.mark.anyio


async def test_a_written_turn() -> None:
    async with talking(scripted("Hello there.")) as talk:
        assert (await talk.session.ask("Hello")).text == "Hello there."
        assert [item.text for item in talk.session.history if isinstance(item, Message)] == ["Hello", "Hello there."]
        assert talk.session.usage.total_tokens
        assert len(talk.spy.each("setup")) == 1
        assert [each["turnComplete"] for each in talk.spy.each("clientContent")] == [False, True]


async def test_a_tool_and_the_answer_that_comes_by_itself() -> None:
    @tool
    async def weather(city: str) -> str:
        """The weather in a city."""
        return f"Sunny in {city}"

    brain = scripted(Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.")
    async with talking(brain, toolkits=[Toolkit(id="t", tools=[weather])]) as talk:
        assert (await talk.session.ask("Weather?")).text == "It is sunny."
        assert [each["turnComplete"] for each in talk.spy.each("clientContent")] == [False, True]
        (answers,) = talk.spy.each("toolResponse", "functionResponses")
        assert answers[0]["response"] == {"output": "Sunny in Paris"}
        kinds = [type(item) for item in talk.session.history]
        assert kinds == [Message, FunctionCall, FunctionCallOutput, Message]
        assert not talk.seen(ev.SessionError)


async def test_no_sound_is_sent_while_a_call_runs() -> None:
    """The simulator hangs up on it, as the service does."""
    go_on = anyio.Event()

    @tool
    async def slow() -> str:
        """Takes its time."""
        await go_on.wait()
        return "done"

    brain = scripted(Reply(tool_calls=[ToolCall("slow", {})]), "Done.", ears=ScriptedEars(["hi"]))
    async with talking(brain, toolkits=[Toolkit(id="t", tools=[slow])], reconnect=None) as talk:
        talk.session.send_message("Go")
        await talk.until(lambda: talk.seen(ev.ToolCalled))
        before = len(talk.spy.each("realtimeInput"))
        for _ in range(150):
            talk.session.send_audio(QUIET)
        await anyio.sleep(1)
        assert len(talk.spy.each("realtimeInput")) == before
        go_on.set()
        await talk.until(lambda: len(talk.seen(ev.ResponseDone)) == 2)
        # Ten seconds were kept, the newest.
        assert len(talk.spy.each("realtimeInput")) == 100
        assert talk.session.status == "connected"
        order = [next(iter(said)) for said in talk.spy.said]
        assert order.index("toolResponse") < order.index("realtimeInput")


async def test_a_spoken_turn_and_an_interruption() -> None:
    channel = MemoryChannel()
    brain = scripted(Reply("A long story about a fox.", audio=bytes(480_000)), "Yes?", ears=ScriptedEars(["stop"]))
    async with talking(brain, channel=channel) as talk:
        talk.session.send_message("Tell me a story")
        await talk.until(lambda: len(talk.seen(ev.AudioDelta)) > 5)
        for sound in [LOUD] * 6 + [QUIET] * 8:
            talk.session.send_audio(sound)
            await anyio.sleep(0.1)
        await talk.until(lambda: len(talk.seen(ev.ResponseDone)) == 2)
        first = talk.seen(ev.ResponseDone)[0].response
        assert (first.status, first.status_details.reason) == ("cancelled", "turn_detected")
        (interrupted,) = talk.seen(ev.Interrupted)
        assert interrupted.response_id == first.id
        await talk.until(lambda: talk.seen(ev.InputTranscript))
        told = [item for item in talk.session.history if isinstance(item, Message)]
        assert [item.role for item in told] == ["user", "assistant", "user", "assistant"]
        assert (told[1].status, told[2].text) == ("incomplete", "stop")
        assert len(talk.seen(ev.InputTranscript)) == 1
        assert talk.session.usage.total_tokens == sum(
            event.response.usage.total_tokens for event in talk.seen(ev.ResponseDone)
        )


async def test_interrupted_without_a_word_of_speech() -> None:
    """Not every model tells of voice activity: the service's word that it stopped is enough."""

    async def serve(stream: MessageStream, request: object) -> None:
        await stream.receive()
        await stream.send('{"setupComplete":{}}')
        blob = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "A" * 64_000}}
        await stream.send('{"serverContent":{"outputTranscription":{"text":"A long story"}}}')
        await stream.send(json.dumps({"serverContent": {"modelTurn": {"parts": [blob]}}}))
        await anyio.sleep(0.3)
        await stream.send('{"serverContent":{"interrupted":true}}')
        await anyio.sleep(0.1)
        await stream.send('{"serverContent":{"turnComplete":true},"usageMetadata":{"totalTokenCount":7}}')
        await anyio.sleep_forever()

    channel = MemoryChannel()
    async with talking(MemoryTransport(serve), channel=channel) as talk:
        await talk.until(lambda: talk.seen(ev.Interrupted))
        assert not talk.seen(ev.ResponseDone)  # at once, not with the end of the turn
        (interrupted,) = talk.seen(ev.Interrupted)
        assert interrupted.reason == "provider"
        assert 0 < interrupted.heard_ms < 500
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        assert talk.session.usage.total_tokens == 7
        (message,) = talk.session.history
        assert message.status == "incomplete"


async def test_interrupt_is_a_fence_of_our_own() -> None:
    """Nothing can be said to the service; nothing more of the reply is heard here."""
    brain = scripted(Reply("A long story about a fox.", audio=bytes(480_000)), "Yes?")
    async with talking(brain) as talk:
        talk.session.send_message("Tell me a story")
        await talk.until(lambda: len(talk.seen(ev.AudioDelta)) > 3)
        said = len(talk.spy.said)
        talk.session.interrupt()
        await talk.until(lambda: talk.seen(ev.Interrupted))
        heard = len(talk.seen(ev.AudioDelta))
        assert (await talk.session.ask("And?")).text == "Yes?"
        late = [
            e for e in talk.seen(ev.AudioDelta)[heard:] if e.response_id == talk.seen(ev.Interrupted)[0].response_id
        ]
        assert not late
        assert [next(iter(each)) for each in talk.spy.said[said:]] == ["clientContent", "clientContent"]


async def test_push_to_talk() -> None:
    brain = scripted("Heard.", ears=ScriptedEars(["hello"]))
    async with talking(brain, config=SessionConfig(turn_detection=TurnDetection.off())) as talk:
        with pytest.raises(CommandRejected, match="nothing to commit"):
            await talk.session.commit().settled()
        for _ in range(5):
            talk.session.send_audio(LOUD)
        await talk.session.commit().settled()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        kinds = [next(iter(each)) for each in talk.spy.each("realtimeInput")]
        assert kinds == ["activityStart", *["audio"] * 5, "activityEnd"]
        # The transcription keeps no order: here it comes after the reply.
        await talk.until(lambda: talk.seen(ev.InputTranscript))
        assert [item.text for item in talk.session.history if isinstance(item, Message)] == ["hello", "Heard."]
        assert not talk.spy.each("clientContent")


async def test_updates() -> None:
    async with talking(scripted("One.", "Two.")) as talk:
        await talk.session.update(instructions="Be terse.").settled()
        (update,) = talk.spy.each("contextUpdate")
        assert update == {"systemInstruction": {"parts": [{"text": "Be terse."}], "role": "user"}}
        with pytest.raises(CommandRejected, match="voice cannot change"):
            await talk.session.update(voice="Puck").settled()
        assert (await talk.session.ask("Still there?")).text == "One."


async def test_older_models_take_no_updates() -> None:
    async with talking(scripted("One."), name="gemini-3.1-flash-live-preview") as talk:
        with pytest.raises(MisconfiguredError, match="cannot change a session that runs"):
            talk.session.update(instructions="Be terse.")


async def test_what_has_no_place_on_the_wire_is_refused() -> None:
    async with talking(scripted("One.")) as talk:
        for event in (
            ev.ResponseCancel(),
            ev.ItemTruncate("item", 10),
            ev.AudioInputClear(),
            ev.RawClientEvent({"type": "session.update"}),
        ):
            handle = talk.session.send(event)
            if isinstance(event, (ev.ItemTruncate, ev.AudioInputClear)):
                with pytest.raises(CommandRejected):
                    await handle.settled()
        with pytest.raises(CommandRejected):
            await talk.session.send(ev.ItemDelete("item")).settled()
        assert [next(iter(each)) for each in talk.spy.said] == ["setup"]
        assert (await talk.session.ask("Still there?")).text == "One."


async def test_a_picture() -> None:
    async with talking(scripted("A pixel.")) as talk:
        await talk.session.send_image(PNG, text="What is it?").settled()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        parts = talk.spy.each("clientContent", "turns")[0][0]["parts"]
        assert parts[0] == {"text": "What is it?"}
        assert parts[1]["inlineData"]["mimeType"] == "image/png"
        with pytest.raises(CommandRejected, match="fetches no pictures"):
            await talk.session.send_image("https://example.org/a.png", reply=False).settled()


async def test_a_lost_link_is_resumed() -> None:
    brain = scripted("One.", "Two.", faults=Faults().drop(at="response.output_audio.delta", nth=40))
    async with talking(brain) as talk:
        assert (await talk.session.ask("First")).text == "One."
        await talk.until(lambda: talk.seen(ev.SessionResumable))
        handle = talk.seen(ev.SessionResumable)[-1].handle
        brain.faults.drop(at="response.output_audio.delta", nth=1)
        talk.session.send_message("Second")
        await talk.until(lambda: len(talk.spy.each("setup")) == 2)
        assert talk.spy.each("setup")[1]["sessionResumption"] == {"handle": handle}
        await talk.until(lambda: talk.session.status == "connected")
        ids = [event.response.id for event in talk.seen(ev.ResponseCreated)]
        assert len(set(ids)) == len(ids)


async def test_a_handle_that_is_of_no_use_is_not_tried_twice() -> None:
    links = 0

    async def serve(stream: MessageStream, request: object) -> None:
        nonlocal links
        links += 1
        (setup,) = await stream.receive()
        if "handle" in json.loads(setup)["setup"]["sessionResumption"]:
            await stream.aclose(1008, "BidiGenerateContent session not found")
            return
        await stream.send('{"setupComplete":{}}')
        if links == 1:
            await stream.send('{"sessionResumptionUpdate":{"newHandle":"h1","resumable":true}}')
            await anyio.sleep(1)
            await stream.aclose(1011, "Internal error encountered.")
            return
        await anyio.sleep_forever()

    async with talking(MemoryTransport(serve)) as talk:
        await talk.until(lambda: links == 3)
        await talk.until(lambda: talk.session.status == "connected")
        assert [setup["sessionResumption"] for setup in talk.spy.each("setup")] == [{}, {"handle": "h1"}, {}]


async def test_the_link_is_changed_before_its_end() -> None:
    """The service says when it will end; the session has gone on by then."""
    async with talking(scripted("One.", "Two.", duration=300.0)) as talk:
        assert (await talk.session.ask("First")).text == "One."
        await anyio.sleep(400)
        assert len(talk.spy.dialled) >= 2
        assert talk.seen(ev.SessionExpiring) or talk.session.status == "connected"
        assert (await talk.session.ask("Second")).text == "Two."


async def test_the_history_of_an_earlier_session() -> None:
    history = [
        Message("user", [ContentPart("input_text", text="Weather?")], id="item_g1_1"),
        FunctionCall("weather", '{"city":"Paris"}', "c1", id="item_g1_2"),
        FunctionCallOutput("c1", "Sunny", id="item_g1_3"),
        Message("assistant", [ContentPart("output_audio", transcript="Sunny.")], id="item_g1_4"),
    ]
    async with talking(scripted("As I said."), history=history) as talk:
        assert (await talk.session.ask("Again?")).text == "As I said."
        ids = [item.id for item in talk.session.history]
        assert len(set(ids)) == len(ids) == 6  # ours do not meet those of the earlier session
        turns = [turns[0] for turns in talk.spy.each("clientContent", "turns")]
        assert [turn["role"] for turn in turns] == ["user", "user", "model", "user"]
        assert "returned: Sunny" in turns[1]["parts"][0]["text"]


def closing(code: int, reason: str) -> MemoryTransport:
    async def serve(stream: MessageStream, request: object) -> None:
        await stream.receive()
        await stream.aclose(code, reason)

    return MemoryTransport(serve)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (1007, "API key not valid. Please pass a valid API key.", AuthenticationError),
        (1008, "Method doesn't allow unregistered callers.", AuthenticationError),
        (1008, "models/nothing is not found for API version v1, or is not supported for bidi", ModelNotFoundError),
        (1011, "You exceeded your current quota.", RateLimitedError),
        (1007, "Request contains an invalid argument.", ConfigurationRejected),
        (1011, "Internal error encountered.", ConnectError),
        (1006, "", ConnectError),
    ],
)
async def test_why_a_session_could_not_be_opened(code: int, reason: str, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        async with talking(closing(code, reason)):
            pass
    assert type(raised.value) is error
    assert reason[:20] in str(raised.value)


async def test_no_key_is_told() -> None:
    with pytest.raises(ConnectError) as raised:
        async with talking(closing(1007, "the API key secretkey123 is not valid")) as _:
            pass
    assert "not valid" in str(raised.value)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a", name="A", instructions="-", model=gemini.live(NAME, api_key="secretkey123")
    )
    with pytest.raises(AuthenticationError) as raised:
        async with RealtimeSession(agent, transport=closing(1007, "the API key secretkey123 is not valid")):
            pass
    assert "secretkey123" not in repr(raised.value) + repr(agent.model)


async def test_the_end_of_a_session_s_time() -> None:
    async def serve(stream: MessageStream, request: object) -> None:
        await stream.receive()
        await stream.send('{"setupComplete":{}}')
        await stream.send('{"goAway":{"timeLeft":"0.5s"}}')
        await anyio.sleep(0.5)
        await stream.aclose(1000, "")

    with pytest.raises(SessionExpired):
        async with talking(MemoryTransport(serve), reconnect=None) as talk:
            talk.session.send_message("Anybody?")
            await anyio.sleep(60)
    (expiring,) = talk.seen(ev.SessionExpiring)
    assert expiring.time_left == 0.5
