"""The Live model: what it refuses before connecting, where it dials, and what it can do."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from kernl_rt._transport.memory import MemoryTransport
from kernl_rt._transport.serve import Reply
from kernl_rt.config import (
    G711_ALAW,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    ConnectOptions,
    InputTranscription,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.events import AudioInputAppend, InputMute, InputUnmute, SessionUpdate
from kernl_rt.exceptions import ConnectError, ConnectionClosed, MisconfiguredError, ModelNotFoundError
from kernl_rt.providers import openai
from tests.providers.live_frames import DELEGATE, SESSION, WEATHER, closed, started

pytestmark = pytest.mark.anyio


def test_what_it_can_do() -> None:
    able = openai.live(api_key="k").capabilities
    assert (able.full_duplex, able.mutes_on_wire, able.synthesises_turns, able.continues_after_tools) == (True,) * 4
    cannot = (
        able.can_cancel,
        able.can_truncate,
        able.can_delete,
        able.manual_turns,
        able.text_output,
        able.image_input,
    )
    assert cannot == (False,) * 6
    assert (able.can_resume, able.max_duration) == (False, 7_200.0)
    assert openai.live(store=True).capabilities.can_resume
    assert openai.live(config=SessionConfig(extra={"store": True})).capabilities.can_resume
    assert able.input_formats == able.output_formats
    assert PCM16_8K not in able.input_formats


def test_where_it_dials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    model = openai.live()
    assert model.url() == "wss://api.openai.com/v1/live/sessions"
    assert model.url("live_1/../x?") == "wss://api.openai.com/v1/live/sessions/live_1%2F..%2Fx%3F/fork"
    assert openai.live(base_url="http://127.0.0.1:9/v1").url() == "ws://127.0.0.1:9/v1/live/sessions"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (SessionConfig(turn_detection=TurnDetection.off()), "turn_detection"),
        (SessionConfig(turn_detection=TurnDetection.server_vad()), "nobody takes turns"),
        (SessionConfig(output_modality="text"), "output_modality"),
        (SessionConfig(transcription="off"), "transcription"),
        (SessionConfig(transcription=InputTranscription("whisper-1")), "transcription"),
        (SessionConfig(noise_reduction=NoiseReduction("near_field")), "noise_reduction"),
        (SessionConfig(truncation=Truncation()), "truncation"),
        (SessionConfig(voice=Voice("marin", speed=1.5)), "voice.speed"),
        (SessionConfig(input_format=PCM16_8K, output_format=PCM16_8K), "input_format"),
        (SessionConfig(input_format=PCM16_16K, output_format=PCM16_24K), "one format for both directions"),
        (SessionConfig(tool_choice=ToolChoice("auto")), "tool_choice"),
        (SessionConfig(reasoning=Reasoning("low")), "reasoning"),
        (SessionConfig(max_output_tokens=9), "max_output_tokens"),
    ],
)
def test_what_it_cannot_do_is_refused_before_connecting(config: SessionConfig, says: str) -> None:
    with pytest.raises(MisconfiguredError, match=says):
        openai.live(api_key="k").check(config)


def test_tools_have_a_backend_without_being_asked() -> None:
    model = openai.live(api_key="k")
    model.check(SessionConfig(tools=[WEATHER], reasoning=Reasoning("low")))
    assert model.delegation.chosen(SessionConfig(tools=[WEATHER])).type == "responses"
    assert model.delegation.chosen(SessionConfig(tools=[DELEGATE])).type == "client"
    assert model.delegation.chosen(SessionConfig()).type == "client"
    named = openai.live(api_key="k", backend="gpt-6").delegation
    assert named.chosen(SessionConfig(tools=[WEATHER])).backend == {"model": "gpt-6"}


def test_what_a_backend_can_do() -> None:
    model = openai.live(api_key="k", backend={"model": "gpt-6", "instructions": "Think."})
    model.check(SessionConfig(tools=[WEATHER], reasoning=Reasoning("low"), max_output_tokens=9))
    model.check(SessionConfig(transcription=InputTranscription(), input_format=G711_ALAW, output_format=G711_ALAW))
    with pytest.raises(MisconfiguredError, match="max_output_tokens"):
        model.check(SessionConfig(max_output_tokens="inf"))
    openai.live(delegate="work").check(SessionConfig(tools=[ToolDefinition("work", "", {"type": "object"})]))


@pytest.mark.parametrize(
    "wrong",
    [{"model": ""}, {"backend": ""}, {"backend": {"instructions": "x"}}, {"pause": 0}, {"pause": True}, {"pause": "1"}],
    ids=str,
)
def test_what_cannot_be_a_model(wrong: dict[str, Any]) -> None:
    with pytest.raises(MisconfiguredError):
        openai.live(**wrong)


async def test_what_a_reply_can_be_asked() -> None:
    model = openai.live()
    model.check_response(ResponseConfig(instructions="Say goodbye."))
    for config in (ResponseConfig(voice=Voice("sage")), ResponseConfig(conversation="none")):
        with pytest.raises(MisconfiguredError, match="no options but instructions"):
            model.check_response(config)
    with pytest.raises(MisconfiguredError, match="no short-lived credentials"):
        await model.authenticate()


def test_a_missing_key_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MisconfiguredError, match="live"):
        openai.live()._headers(None, {})
    assert "sk-1" not in repr(openai.live(api_key="sk-1"))


# -- the connection ---------------------------------------------------------------------------------------------------

FORMATS = SessionConfig(input_format=PCM16_24K, output_format=PCM16_24K)


class Far:
    """The far end, by hand: says what it is told to and keeps what it hears, with the time."""

    def __init__(self, *, says_goodbye: bool = True) -> None:
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.says_goodbye = says_goodbye
        self.paths: list[str] = []
        self.codes: list[int] = []

    async def serve(self, stream: Any, request: Any) -> None:
        self.paths.append(request.path)
        try:
            while True:
                for message in await stream.receive():
                    frame = json.loads(message)
                    self.heard.append((anyio.current_time(), frame))
                    if frame["type"] == "session.start":
                        await stream.send(json.dumps(started()))
                    elif frame["type"] == "session.close" and self.says_goodbye:
                        await stream.send(json.dumps(closed()))
        except ConnectionClosed as error:
            self.codes.append(error.code)

    def types(self) -> list[str]:
        return [frame["type"] for _, frame in self.heard]


async def test_silence_is_sent_while_nothing_is_heard_of_the_human() -> None:
    far = Far()
    model = openai.live(api_key="k")
    with anyio.fail_after(60):
        async with model.connect(FORMATS, ConnectOptions(), transport=MemoryTransport(far.serve)) as connection:
            await connection.send(SessionUpdate(FORMATS, event_id="e1"))
            await connection.receive()
            await anyio.sleep(2.05)
            quiet = [frame for _, frame in far.heard if frame["type"] == "session.input_audio.append"]
            assert 9 <= len(quiet) <= 11, "in real time: the timeline goes on without a microphone"
            for _ in range(20):
                await connection.send(AudioInputAppend(b"\1\0" * 480))
                await anyio.sleep(0.5)
            sound = [frame for _, frame in far.heard if frame["type"] == "session.input_audio.append"]
            assert len(sound) == len(quiet) + 20, "jitter is not filled"
            await connection.send(InputMute())
            start = len(far.heard)
            await anyio.sleep(1.0)
            assert len(far.heard) - start >= 4, "muted, silence follows at once"
            await connection.send(InputUnmute())
            await connection.send(AudioInputAppend(b"\1\0" * 480))
            await anyio.sleep(0.05)
            start = len(far.heard)
            await anyio.sleep(0.9)
            assert len(far.heard) == start


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_leaving_lets_the_provider_finish_within_a_bound(says_goodbye: bool) -> None:
    far = Far(says_goodbye=says_goodbye)
    with anyio.fail_after(60):
        async with openai.live(api_key="k").connect(
            FORMATS, ConnectOptions(), transport=MemoryTransport(far.serve)
        ) as connection:
            await connection.send(SessionUpdate(FORMATS, event_id="e1"))
            await connection.receive()
            left = anyio.current_time()
        assert anyio.current_time() - left <= 0.6
    assert far.types()[-1] == "session.close"
    assert far.codes == [1000]


async def test_leaving_before_the_start_says_nothing() -> None:
    far = Far()
    async with openai.live(api_key="k").connect(FORMATS, ConnectOptions(), transport=MemoryTransport(far.serve)):
        pass
    assert far.types() == []


async def test_cancelling_still_says_goodbye() -> None:
    far = Far()
    with anyio.CancelScope() as scope:
        async with openai.live(api_key="k").connect(
            FORMATS, ConnectOptions(), transport=MemoryTransport(far.serve)
        ) as connection:
            await connection.send(SessionUpdate(FORMATS, event_id="e1"))
            await connection.receive()
            scope.cancel()
            await anyio.sleep(1)
    assert scope.cancelled_caught
    assert far.types()[-1] == "session.close"


async def test_the_end_of_the_session_is_the_end_of_the_connection() -> None:
    """Also where the socket stays open."""

    async def serve(stream: Any, request: Any) -> None:
        await stream.receive()
        await stream.send(json.dumps(started()))
        await stream.send(json.dumps(closed("expired")))
        await anyio.sleep(1_000)

    with anyio.fail_after(60):
        async with openai.live(api_key="k").connect(
            FORMATS, ConnectOptions(), transport=MemoryTransport(serve)
        ) as connection:
            await connection.send(SessionUpdate(FORMATS, event_id="e1"))
            events: list[Any] = []
            with pytest.raises(ConnectionClosed, match="maximum duration"):
                while True:
                    events += await connection.receive()
            assert [event.kind for event in events][:2] == ["session.created", "session.updated"]
            with pytest.raises(ConnectionClosed):
                await connection.send(AudioInputAppend(b"\0\0"))


async def test_a_fork_that_is_gone_is_no_missing_model() -> None:
    far = Far()
    refusal = Reply(404, {}, b'{"error": {"message": "no such session"}}')
    transport = MemoryTransport(far.serve, process_request=lambda request: refusal)
    model = openai.live(api_key="k", store=True)
    with pytest.raises(ConnectError, match="cannot be forked") as caught:
        async with model.connect(FORMATS, ConnectOptions(resume="live_1"), transport=transport):
            pass
    assert not isinstance(caught.value, ModelNotFoundError), "another attempt, without the handle, may do"
    with pytest.raises(ModelNotFoundError):
        async with model.connect(FORMATS, ConnectOptions(), transport=transport):
            pass


def test_the_session_of_the_tests_is_the_sdks() -> None:
    types = pytest.importorskip("openai.types.live")
    assert set(SESSION) <= set(types.SessionResource.model_fields)
