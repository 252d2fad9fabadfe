"""Sessions over Voice Live and over Azure's preview, with the simulator as their far end, and against scripted frames.

What we say to Voice Live is held against the official types.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from attrs import define, field

from kernl_rt import (
    RealtimeAgent,
    RealtimeSession,
    ReconnectPolicy,
    ResponseConfig,
    SessionConfig,
    Toolkit,
    TurnDetection,
    Voice,
    events as ev,
    tool,
)
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream, RealtimeModel, RealtimeTransport
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import G711_ULAW, PCM16_16K, AudioFormat, InputTranscription, Secret
from kernl_rt.exceptions import AuthenticationError, ConfigurationRejected, SessionExpired
from kernl_rt.items import FunctionCallOutput, Message
from kernl_rt.providers import azure
from kernl_rt.simulator import Faults, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from tests.providers.voice_live_frames import RESPONSE, SESSION

pytestmark = pytest.mark.anyio

ENDPOINT = "https://my-resource.services.ai.azure.com"
LIVE = azure.voice_live("gpt-realtime", endpoint=ENDPOINT, api_key="k-3cr3t")
PREVIEW = azure.realtime("old", endpoint=ENDPOINT, api_key="k-3cr3t", api_version="2025-04-01-preview")
GA = azure.realtime("new", endpoint=ENDPOINT, api_key="k-3cr3t")
both = pytest.mark.parametrize(
    ("model", "protocol"), [(LIVE, "voice-live"), (PREVIEW, "azure"), (GA, "azure")], ids=["live", "preview", "ga"]
)
#: A tenth of a second, at 24 kHz and at 16 kHz.
LOUD, QUIET = b"\x00\x40\x00\xc0" * 1_200, bytes(4_800)
LOUD_16K, QUIET_16K = b"\x00\x40\x00\xc0" * 800, bytes(3_200)


@tool
async def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


class Spying(MessageStream):
    def __init__(self, inner: MessageStream, said: list[dict[str, Any]], strict: Callable[[Any], None]) -> None:
        self.inner, self.said, self.strict = inner, said, strict

    async def receive(self) -> Sequence[str | bytes]:
        return await self.inner.receive()

    async def send(self, message: str | bytes) -> None:
        frame = json.loads(message)
        self.strict(frame)
        self.said.append(frame)
        await self.inner.send(message)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.inner.aclose(code, reason)


def strictly(frame: Any) -> None:
    pytest.importorskip("azure.ai.voicelive.models", reason="azure-ai-voicelive is not installed")
    from tests.providers.test_voice_live_oracle import assert_valid, without_nulls

    assert_valid(without_nulls(frame))


@define
class Spy(RealtimeTransport):
    """Keeps what we say."""

    inner: RealtimeTransport
    strict: Callable[[Any], None]
    said: list[dict[str, Any]] = field(factory=list)
    dialled: list[str] = field(factory=list)

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AsyncIterator[MessageStream]:
        self.dialled.append(url)
        async with self.inner.connect(url, headers=headers, max_message_size=max_message_size) as stream:
            yield Spying(stream, self.said, self.strict)

    def of(self, type: str) -> list[dict[str, Any]]:
        return [frame for frame in self.said if frame["type"] == type]


@define
class Talk:
    session: RealtimeSession[Any]
    spy: Spy
    log: list[Any] = field(factory=list)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]

    async def until(self, found: Callable[[], Any]) -> Any:
        with anyio.fail_after(60):
            while not (value := found()):
                await anyio.sleep(0.01)
        return value


@asynccontextmanager
async def talking(
    model: RealtimeModel, far: Simulator | RealtimeTransport, *, instructions: str = "Be brief.", **options: Any
) -> AsyncIterator[Talk]:
    transport = far.transport() if isinstance(far, Simulator) else far
    spy = Spy(transport, strictly if isinstance(model, azure.VoiceLiveModel) else lambda frame: None)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="A",
        instructions=instructions,
        model=model,
        toolkits=options.pop("toolkits", []),
        config=options.pop("config", SessionConfig()),
    )
    session = RealtimeSession(agent, transport=spy, **options)
    talk = Talk(session, spy)
    session.on("event", talk.log.append)
    with anyio.fail_after(600):
        async with session:
            yield talk


def simulator(protocol: str, *replies: str | Reply, ears: ScriptedEars | None = None, **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(list(replies)), ears=ears, protocol=protocol, **options)


@both
async def test_a_conversation_with_a_tool(model: RealtimeModel, protocol: str) -> None:
    far = simulator(protocol, Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})]), "It is sunny.", "Yes.")
    async with talking(model, far, toolkits=[Toolkit(id="home", tools=[weather])]) as talk:
        assert (await talk.session.ask("And in Paris?")).text == "It is sunny."
        assert (await talk.session.ask("Really?")).text == "Yes."
        await talk.until(lambda: len([i for i in talk.session.history if isinstance(i, Message)]) == 4)
    assert [event.name for event in talk.seen(ev.ToolFinished)] == ["weather"]
    (output,) = [item for item in talk.session.history if isinstance(item, FunctionCallOutput)]
    assert output.output == "Sunny in Paris"
    messages = [item for item in talk.session.history if isinstance(item, Message)]
    assert [(item.role, item.text) for item in messages] == [
        ("user", "And in Paris?"),
        ("assistant", "It is sunny."),
        ("user", "Really?"),
        ("assistant", "Yes."),
    ]
    assert len(talk.spy.of("response.create")) == 3
    assert talk.session.usage.total_tokens
    assert not talk.seen(ev.SessionError)


@both
async def test_barge_in_truncates_at_what_was_heard(model: RealtimeModel, protocol: str) -> None:
    channel = MemoryChannel()
    story = Reply("A long story about a fox.", audio=bytes(960_000))
    far = simulator(protocol, story, "Yes?", ears=ScriptedEars(["stop"]))
    transcription = InputTranscription("whisper-1")
    async with talking(model, far, channel=channel, config=SessionConfig(transcription=transcription)) as talk:
        talk.session.send_message("Tell me a story")
        await talk.until(lambda: talk.seen(ev.AudioDelta))
        await anyio.sleep(1.0)
        for sound in [LOUD] * 6 + [QUIET] * 8:
            channel.human.speak_nowait(sound)
            await anyio.sleep(0.1)
        await talk.until(lambda: len(talk.seen(ev.ResponseDone)) == 2)
        await talk.until(lambda: talk.seen(ev.ItemTruncated))
        (interrupted,) = talk.seen(ev.Interrupted)
        (cut,) = talk.spy.of("conversation.item.truncate")
        assert cut["audio_end_ms"] == round(interrupted.heard_ms)
        assert 900 < cut["audio_end_ms"] < 2_500
        assert [event.text for event in talk.seen(ev.InputTranscript)] == ["stop"]
        heard = next(item for item in talk.session.history if isinstance(item, Message) and item.role == "assistant")
        assert len(heard.text) < len("A long story about a fox.")


@pytest.mark.parametrize("format", [PCM16_16K, G711_ULAW], ids=str)
async def test_the_channels_own_rate_is_asked_for(format: AudioFormat) -> None:
    """Nothing is resampled on our side; the far end is told the rate both ways."""
    channel = MemoryChannel(input_formats=[format], output_formats=[format], playback="instant")
    far = simulator("voice-live", Reply("Hm.", audio=None), ears=ScriptedEars(["hello"]))
    async with talking(LIVE, far, channel=channel) as talk:
        (update,) = talk.spy.of("session.update")
        assert update["session"]["input_audio_sampling_rate"] == format.rate
        loud, quiet = (LOUD_16K, QUIET_16K) if format is PCM16_16K else (b"\x10\x90" * 400, b"\xff" * 800)
        for sound in [loud] * 6 + [quiet] * 10:
            channel.human.speak_nowait(sound)
            await anyio.sleep(0.1)
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        started, stopped = talk.seen(ev.SpeechStarted)[0], talk.seen(ev.SpeechStopped)[0]
        assert started.audio_start_ms < 200
        # 600 ms of speech and 200 of silence, on the far end's clock of all that it was sent.
        assert stopped.audio_end_ms == pytest.approx(800, abs=40)
        spoken = sum(len(event.audio) for event in talk.seen(ev.AudioDelta))
    # Two words take the humming voice about half a second, whatever the rate.
    assert 100 < format.ms(spoken) < 3_000


@both
async def test_push_to_talk(model: RealtimeModel, protocol: str) -> None:
    far = simulator(protocol, "Heard.", ears=ScriptedEars(["hello"]))
    async with talking(model, far, config=SessionConfig(turn_detection=TurnDetection.off())) as talk:
        (update,) = talk.spy.of("session.update")
        assert "null" in json.dumps(update)
        for _ in range(5):
            talk.session.send_audio(LOUD)
        talk.session.commit()
        await talk.until(lambda: talk.seen(ev.ResponseDone))
        assert [event.text for event in talk.seen(ev.OutputTranscript)] == ["Heard."]


@both
async def test_a_reply_beside_the_conversation(model: RealtimeModel, protocol: str) -> None:
    far = simulator(protocol, "One.", "Beside.", "Two.")
    async with talking(model, far) as talk:
        await talk.session.ask("first")
        before = talk.session.history
        wish = ResponseConfig(conversation="none", instructions="Sum up.", output_modality="text")
        beside = await talk.session.request_reply(wish).settled()
        assert (beside.text, beside.status) == ("Beside.", "completed")
        assert talk.session.history == before
        assert (await talk.session.ask("second")).text == "Two."
    assert not talk.seen(ev.SessionError)


@both
async def test_a_lost_link_is_dialled_again_with_the_conversation(model: RealtimeModel, protocol: str) -> None:
    faults = Faults().drop(at="response.created", nth=2)
    far = simulator(protocol, "It is Tuesday.", "Lost.", "Still Tuesday.", faults=faults)
    async with talking(model, far, reconnect=ReconnectPolicy(), config=SessionConfig(output_modality="text")) as talk:
        assert (await talk.session.ask("What day is it?")).text == "It is Tuesday."
        talk.session.send_message("Really?")
        await talk.until(lambda: len(talk.spy.dialled) == 2 and talk.seen(ev.TextDone)[1:])
    assert not talk.seen(ev.SessionError)
    roles = [frame["item"].get("role") for frame in talk.spy.of("conversation.item.create")]
    assert roles[1:4] == ["user", "user", "assistant"]
    told = talk.spy.of("conversation.item.create")[3]["item"]["content"]
    word = "output_text" if model is GA else "text"
    assert told == [{"type": word, "text": "It is Tuesday."}]


async def test_an_agent_speaks_with_what_it_has() -> None:
    async def token() -> str:
        return "right"

    model = azure.voice_live(endpoint=ENDPOINT, agent="watson", project="home", token=token)
    far = simulator("voice-live", "Elementary.", api_key="right")
    async with talking(model, far, instructions="", config=SessionConfig(voice=Voice("en-US-AvaNeural"))) as talk:
        assert (await talk.session.ask("Who did it?")).text == "Elementary."
        (update,) = talk.spy.of("session.update")
        assert not {"instructions", "tools", "tool_choice"} & update["session"].keys()
        (created,) = talk.seen(ev.SessionCreated)
        assert created.session.raw["agent"]["name"] == "watson"
    assert not talk.seen(ev.SessionError)


async def test_options_of_its_own_go_through_extra() -> None:
    own = {
        "turn_detection": {"type": "azure_semantic_vad_multilingual", "remove_filler_words": True, "languages": ["en"]},
        "input_audio_echo_cancellation": {"type": "server_echo_cancellation"},
        "voice": {"type": "azure-custom", "name": "Mine", "endpoint_id": "e"},
        "temperature": 0.5,
    }
    config = SessionConfig(turn_detection=TurnDetection.semantic_vad(interrupt_response=False), extra=own)
    async with talking(LIVE, simulator("voice-live", "Hm."), config=config) as talk:
        (update,) = talk.spy.of("session.update")
        said = {"interrupt_response": False, **own["turn_detection"]}  # type: ignore[dict-item]
        assert update["session"]["turn_detection"] == said
        shown = talk.seen(ev.SessionUpdated)[0].session
        assert shown.config.turn_detection.mode == "semantic_vad"
        assert shown.raw["input_audio_echo_cancellation"] == {"type": "server_echo_cancellation"}
        assert (await talk.session.ask("hello")).status == "completed"


async def test_a_configuration_that_is_refused() -> None:
    with pytest.raises(ConfigurationRejected, match="Supported values"):
        spoilt = SessionConfig(extra={"turn_detection": {"type": "telepathy"}})
        far = Simulator(protocol="voice-live")
        agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="-", model=LIVE, config=spoilt)
        with anyio.fail_after(60):
            async with RealtimeSession(agent, transport=far.transport()):
                pass


@both
async def test_a_wrong_key(model: RealtimeModel, protocol: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        async with talking(model, Simulator(protocol=protocol, api_key="other")):
            pass
    assert "k-3cr3t" not in str(caught.value)


@both
async def test_the_end_of_a_session(model: RealtimeModel, protocol: str) -> None:
    with pytest.raises(SessionExpired):
        async with talking(model, Simulator(protocol=protocol, duration=5.0), reconnect=None):
            await anyio.sleep(30)


# -- frames that the simulator does not send --------------------------------------------------------------------------

_FAILED = {
    "type": "conversation.item.input_audio_transcription.failed",
    "event_id": "e3",
    "item_id": "item_1",
    "content_index": 0,
    "error": {
        "type": "invalid_request_error",
        "code": "DeploymentNotFound",
        "message": "The API deployment for this resource does not exist.",
        "param": None,
    },
}
_GA_SESSION = {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "new"}


@pytest.mark.parametrize("model", [GA, LIVE], ids=["ga", "live"])
async def test_a_transcriber_that_is_not_deployed_costs_the_words_alone(model: RealtimeModel) -> None:
    """Azure transcribes with a deployment of one's own: a model's name that is none fails turn by turn."""
    session = _GA_SESSION if model is GA else {**SESSION, "tools": []}
    spoken = {
        "type": "message",
        "id": "item_1",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    added = "conversation.item.added" if model is GA else "conversation.item.created"
    response = {**RESPONSE, "id": "r", "output": []}

    async def serve(stream: MessageStream, request: object) -> None:
        await stream.send(json.dumps({"type": "session.created", "event_id": "e1", "session": session}))
        await stream.receive()
        await stream.send(json.dumps({"type": "session.updated", "event_id": "e2", "session": session}))
        await stream.send(json.dumps({"type": "warning", "event_id": "w", "warning": {"message": "odd", "code": "c"}}))
        await stream.send(json.dumps({"type": added, "event_id": "e9", "item": spoken, "previous_item_id": None}))
        await stream.send(json.dumps(_FAILED))
        for name, status in (("response.created", "in_progress"), ("response.done", "completed")):
            await stream.send(json.dumps({"type": name, "event_id": name, "response": {**response, "status": status}}))
        await anyio.sleep_forever()

    async with talking(model, MemoryTransport(serve)) as talk:
        await talk.until(lambda: talk.seen(ev.ResponseDone))
    (failed,) = talk.seen(ev.InputTranscriptFailed)
    assert (failed.item_id, failed.error.code) == ("item_1", "DeploymentNotFound")
    assert [event.type for event in talk.seen(ev.RawServerEvent)] == ["warning"]
    assert not talk.seen(ev.SessionError)
    assert [item.id for item in talk.session.history] == ["item_1"]
