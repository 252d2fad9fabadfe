"""A session over xAI's protocol, with the simulator as its far end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, TurnDetection, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import G711_ULAW, PCM16_8K, AudioFormat, InputTranscription
from kernl_rt.exceptions import CommandRejected, MisconfiguredError
from kernl_rt.items import FunctionCallOutput, Message
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.providers import xai
from kernl_rt.simulator import Faults, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall

pytestmark = pytest.mark.anyio

#: A tenth of a second at 24 kHz.
LOUD = b"\x00\x40\x00\xc0" * 1_200
QUIET = bytes(4_800)
LONG = Reply("One two three four five six seven eight.", audio=bytes(24_000 * 2 * 8))


@define
class Talk:
    session: RealtimeSession[Any]
    simulator: Simulator
    log: list[Any] = field(factory=list)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]

    async def until(self, done: Callable[[], Any], seconds: float = 30.0) -> None:
        with anyio.fail_after(seconds):
            while not done():
                await anyio.sleep(0.01)

    async def speak(self, *, quiet: int = 8) -> None:
        for piece in [LOUD] * 5 + [QUIET] * quiet:
            self.session.send_audio(piece)
            await anyio.sleep(0.1)


@asynccontextmanager
async def talking(
    *lines: Any, config: SessionConfig | None = None, ears: list[str] | None = None, **options: Any
) -> AsyncIterator[Talk]:
    faults = options.pop("faults", None) or Faults()
    simulator = Simulator(
        ScriptedBrain(lines), ears=ScriptedEars(ears or []), protocol="xai", faults=faults, **options.pop("sim", {})
    )
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="A",
        instructions="Be brief.",
        model=xai.realtime("grok-voice-latest", api_key="k", **options.pop("model", {})),
        toolkits=[Toolkit(id="t", tools=options.pop("tools", []))],
        config=config,
    )
    session = RealtimeSession(agent, transport=simulator.transport(), **options)
    talk = Talk(session, simulator)
    session.on("event", talk.log.append)
    with anyio.fail_after(5_000):
        async with session:
            yield talk


async def test_a_written_message_is_answered_aloud() -> None:
    async with talking("Good day.") as talk:
        message = talk.session.send_message("hello")
        item = await message.settled()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        assert [each.text for each in talk.session.history] == ["hello", "Good day."]
        assert talk.session.history[0].id == item.id
        assert [each.status for each in talk.session.history] == ["completed", "completed"]
        assert talk.session.usage.total_tokens
        assert talk.seen(ev.AudioDelta)
        assert not talk.seen(ev.SessionError)


async def test_a_turn_is_found_transcribed_and_answered() -> None:
    config = SessionConfig(transcription=InputTranscription("grok-transcribe"))
    async with talking("Good day.", config=config, ears=["hello out there"]) as talk:
        await talk.speak()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        assert [event.text for event in talk.seen(ev.InputTranscript)] == ["hello out there"]
        partial = talk.seen(ev.InputTranscriptDelta)
        assert partial
        assert all(event.cumulative for event in partial)
        assert partial[-1].text == "hello out there"
        assert [(item.role, item.text, item.status) for item in talk.session.history if isinstance(item, Message)] == [
            ("user", "hello out there", "completed"),
            ("assistant", "Good day.", "completed"),
        ]


@pytest.mark.parametrize("format", [PCM16_8K, AudioFormat("pcm16", 48_000), G711_ULAW], ids=str)
async def test_the_channel_speaks_its_own_format(format: AudioFormat) -> None:
    channel = MemoryChannel(input_formats=[format], output_formats=[format])
    second = bytes(8_000 if format == G711_ULAW else 48_000)  # as the simulator speaks inside
    async with talking(Reply("Good day.", audio=second), channel=channel) as talk:
        talk.session.send_message("hello")
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        size = sum(len(event.audio) for event in talk.seen(ev.AudioDelta))
        assert size / format.bytes_per_second == pytest.approx(1.0, abs=0.05)


async def test_an_interruption_leaves_what_was_heard_in_the_history() -> None:
    """The service cannot be told: only our history knows."""
    async with talking(LONG, "Yes?", channel=MemoryChannel()) as talk:
        talk.session.send_message("a story")
        await talk.until(lambda: talk.seen(ev.AudioDelta))
        await anyio.sleep(2)
        talk.session.interrupt()
        await talk.until(lambda: talk.seen(ev.Interrupted))
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        (_, heard) = talk.session.history
        assert heard.text == "One two"
        assert heard.status == "incomplete"
        assert not talk.seen(ev.ItemTruncated)
        assert not talk.seen(ev.SessionError)
        assert (await talk.session.ask("go on")).text == "Yes?"


async def test_speech_interrupts() -> None:
    async with talking(LONG, "Yes?", channel=MemoryChannel()) as talk:
        talk.session.send_message("a story")
        await talk.until(lambda: talk.seen(ev.AudioDelta))
        await anyio.sleep(1)
        await talk.speak()
        await talk.until(lambda: len(talk.seen(ev.ResponseDone)) == 2)
        assert [event.reason for event in talk.seen(ev.Interrupted)] == ["speech"]
        assert talk.seen(ev.ResponseDone)[0].response.status == "cancelled"
        assert [event.text for event in talk.seen(ev.OutputTranscript)][-1] == "Yes?"


async def test_a_tool_is_called_and_its_result_spoken() -> None:
    @tool
    async def weather(city: str) -> str:
        """The weather."""
        return f"sunny in {city}"

    async with talking(
        Reply("One moment.", tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.", tools=[weather]
    ) as talk:
        reply = await talk.session.ask("weather in Paris?")
        assert reply.text == "It is sunny."
        (output,) = (item for item in talk.session.history if isinstance(item, FunctionCallOutput))
        assert output.output == "sunny in Paris"
        assert not talk.seen(ev.SessionError)


async def test_push_to_talk_is_answered_without_being_asked_for() -> None:
    async with talking("Good day.", config=SessionConfig(turn_detection=TurnDetection.off())) as talk:
        for _ in range(5):
            talk.session.send_audio(LOUD)
        await talk.session.commit().settled()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        await anyio.sleep(20)
        assert len(talk.seen(ev.ResponseCreated)) == 1
        assert not talk.seen(ev.SessionError)


async def test_what_the_service_ignores_is_refused_here() -> None:
    async with talking("Good day.") as talk:
        await talk.session.ask("hello")
        item = talk.session.history[-1]
        with pytest.raises(CommandRejected, match="can_truncate"):
            await talk.session.send(ev.ItemTruncate(item.id, 10)).settled()


async def test_an_item_of_ours_is_deleted_under_its_own_name() -> None:
    async with talking("Good day.") as talk:
        item = await talk.session.send_message("forget this", reply=False).settled()
        await talk.session.send(ev.ItemDelete(item.id)).settled()
        assert talk.session.history == ()


async def test_text_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(MisconfiguredError, match="always speak"):
        async with talking(config=SessionConfig(output_modality="text")):
            raise AssertionError("connected")


@pytest.mark.parametrize("resumption", [True, False])
async def test_a_lost_link_goes_on_where_it_stopped(resumption: bool) -> None:
    policy = ReconnectPolicy(first_delay=0, base=0)
    faults = Faults()
    async with talking(
        "Good day.", "Still here.", reconnect=policy, faults=faults, model={"resumption": resumption}
    ) as talk:
        assert (await talk.session.ask("hello")).text == "Good day."
        faults.drop(at="input_audio_buffer.cleared")
        talk.session.send(ev.AudioInputClear())
        await talk.until(lambda: len(talk.seen(ev.SessionUpdated)) == 2)
        assert (await talk.session.ask("are you there?")).text == "Still here."
        texts = [item.text for item in talk.session.history if isinstance(item, Message)]
        assert texts == ["hello", "Good day.", "are you there?", "Still here."]
        assert "reconnecting" in [event.status for event in talk.seen(ev.StatusChanged)]
        assert len(talk.seen(ev.SessionResumable)) == (2 if resumption else 0)
        brain = talk.simulator.brain
        assert isinstance(brain, ScriptedBrain)
        # What the model knows of the conversation: everything, its own words from its own memory.
        known = sorted("".join(part["text"] for part in item["content"]) for item in brain.turns[-1].items)
        assert known == sorted(["hello", "Good day.", "are you there?"])


async def test_an_hour_is_all_there_is() -> None:
    async with talking("Good day.", "Still here.", sim={"duration": 600.0}, reconnect=ReconnectPolicy()) as talk:
        await talk.session.ask("hello")
        await talk.until(lambda: "reconnecting" in [e.status for e in talk.seen(ev.StatusChanged)], 700)
        await talk.until(lambda: talk.session.status == "connected")
        assert (await talk.session.ask("are you there?")).text == "Still here."


async def test_a_stop_that_is_taken_back() -> None:
    """The service begins a reply, hears that the human goes on, and begins another without ending the first."""

    def frame(type: str, **fields: Any) -> str:
        return json.dumps({"type": type, "event_id": f"e{next(numbers)}", "previous_item_id": None, **fields})

    def response(name: str, status: str, output: list[Any]) -> dict[str, Any]:
        return {"id": name, "status": status, "status_details": "unimplemented", "output": output, "usage": {}}

    numbers = iter(range(1_000))
    message = {"id": "a", "type": "message", "role": "assistant", "status": "completed"}
    spoken = {**message, "content": [{"type": "audio", "transcript": "Yes."}]}

    async def serve(stream: MessageStream, request: Any) -> None:
        await stream.receive()
        for said in (
            frame("session.created", session={"id": "s"}),
            frame("conversation.created", conversation={"id": "c"}),
            frame("session.updated", session={"turn_detection": {"type": "server_vad"}}),
            frame("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1),
            frame("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2),
            frame("input_audio_buffer.committed", item_id="u"),
            frame("response.created", response=response("r1", "in_progress", [])),
            frame("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1),
            frame("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=3),
            frame("input_audio_buffer.committed", item_id="u"),
            frame("response.created", response=response("r2", "in_progress", [])),
            frame("response.output_item.added", response_id="r2", item=message),
            frame("response.output_audio_transcript.done", response_id="r2", item_id="a", transcript="Yes."),
            frame("response.done", response_id="r2", response=response("r2", "completed", [spoken]), usage={}),
        ):
            await stream.send(said)
        while True:
            await stream.receive()

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a", name="A", instructions="-", model=xai.realtime("grok-voice-latest", api_key="k")
    )
    log: list[Any] = []
    session = RealtimeSession(agent, transport=MemoryTransport(serve))
    session.on("event", log.append)
    with anyio.fail_after(100):
        async with session:
            await anyio.sleep(30)  # nothing is owed: the session does not wait for the end of the first
            assert session.status == "connected"
    assert [event.response.id for event in log if isinstance(event, ev.ResponseDone)] == ["r2"]
    assert "reconnecting" not in [event.status for event in log if isinstance(event, ev.StatusChanged)]
    assert [item.text for item in session.history if isinstance(item, Message)][-1] == "Yes."
