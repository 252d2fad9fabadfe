"""An agent of ElevenLabs as a factory: what it says of itself, where it dials, and what it refuses before that."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio
import pytest

from kernl_rt._transport.memory import memory_streams
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    ConnectOptions,
    InputTranscription,
    McpServer,
    NoiseReduction,
    PromptReference,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.events import SessionError
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError
from kernl_rt.providers import elevenlabs


def test_what_it_can_do() -> None:
    able = elevenlabs.agent("agent_1", max_duration=600).capabilities
    assert tuple(able.input_formats) == tuple(able.output_formats) == (PCM16_16K,)
    assert able.max_duration == 600
    assert not any(
        (able.can_cancel, able.can_truncate, able.can_delete, able.can_update, able.manual_turns, able.image_input)
    )
    assert able.answers_on_message
    assert able.synthesises_turns
    assert able.text_output
    phone = elevenlabs.agent("agent_1", input_format=G711_ULAW, output_format=PCM16_24K)
    assert tuple(phone.capabilities.input_formats) == (G711_ULAW,)
    assert tuple(phone.capabilities.output_formats) == (PCM16_24K,)


def test_its_repr_holds_no_secret() -> None:
    model = elevenlabs.agent(
        "agent_1",
        api_key="secret-key",
        headers={"x-token": "secret-token"},
        dynamic_variables={"password": "secret-word"},
        base_url="https://secret-user:secret-word@example.com/?token=secret-query",
    )
    assert "secret" not in repr(model)
    assert "agent_1" in repr(model)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=agent_1"),
        ("http://localhost:8080", "ws://localhost:8080/v1/convai/conversation?agent_id=agent_1"),
        ("wss://a.example/eu/", "wss://a.example/eu/v1/convai/conversation?agent_id=agent_1"),
        ("https://a.example?x=1", "wss://a.example/v1/convai/conversation?x=1&agent_id=agent_1"),
    ],
)
def test_where_it_dials(base: str | None, url: str) -> None:
    assert elevenlabs.agent("agent_1", base_url=base).url() == url


def test_an_environment_and_a_branch_are_part_of_the_address() -> None:
    url = elevenlabs.agent("agent 1", environment="staging", branch_id="b&1").url()
    assert url.endswith("?agent_id=agent+1&environment=staging&branch_id=b%261")


@pytest.mark.parametrize(
    "base", ["ftp://a.example", "https://", "https://a b", "https://a:b@c.example", "https://[", "a.example"]
)
def test_a_base_url_that_is_none(base: str) -> None:
    with pytest.raises(MisconfiguredError, match="base URL"):
        elevenlabs.agent("agent_1", base_url=base).url()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"agent_id": " "}, "agent_id"),
        ({"input_format": G711_ALAW}, "input_format"),
        ({"output_format": AudioFormat("pcm16", 12_000)}, "output_format"),
        ({"max_duration": 0}, "max_duration"),
        ({"config": SessionConfig(truncation=Truncation("disabled"))}, "truncation"),
    ],
)
def test_what_no_agent_is(options: dict[str, Any], named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named):
        elevenlabs.agent(**{"agent_id": "agent_1", **options})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (SessionConfig(turn_detection=TurnDetection.off()), "push-to-talk"),
        (SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.5)), "turn_detection"),
        (SessionConfig(turn_detection=TurnDetection.semantic_vad(interrupt_response=False)), "turn_detection"),
        (SessionConfig(input_format=PCM16_24K), r"agent\(…, input_format=…\)"),
        (SessionConfig(output_format=G711_ULAW), r"agent\(…, output_format=…\)"),
        (SessionConfig(voice=Voice(" ")), "voice"),
        (SessionConfig(voice=Voice("v", 0.5)), "voice.speed"),
        (SessionConfig(transcription="off"), "transcription"),
        (SessionConfig(transcription=InputTranscription(model="whisper-1")), "transcription.model"),
        (SessionConfig(noise_reduction=NoiseReduction("near_field")), "noise_reduction"),
        (SessionConfig(tools=[McpServer("a", "https://a.example")]), "tool servers"),
        (SessionConfig(tools=[ToolDefinition("a b")]), "tools"),
        (SessionConfig(tools=[ToolDefinition("a"), ToolDefinition("a")]), "two tools"),
        (SessionConfig(tool_choice=ToolChoice("required")), "tool_choice"),
        (SessionConfig(parallel_tool_calls=True), "parallel_tool_calls"),
        (SessionConfig(max_output_tokens=10), "max_output_tokens"),
        (SessionConfig(truncation=Truncation()), "truncation"),
        (SessionConfig(tracing=Tracing()), "tracing"),
        (SessionConfig(prompt=PromptReference("p")), "prompt"),
        (SessionConfig(include=["x"]), "include"),
    ],
)
def test_what_it_cannot_be_told_is_refused_before_connecting(config: SessionConfig, named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named):
        elevenlabs.agent("agent_1").check(config)


def test_what_it_can_be_told() -> None:
    elevenlabs.agent("agent_1").check(
        SessionConfig(
            instructions="Be brief.",
            output_modality="audio",
            voice=Voice("v", 1.2),
            turn_detection=TurnDetection.server_vad(),
            transcription=InputTranscription(language="de", keywords=["Kernl"]),
            tools=[ToolDefinition("weather")],
            tool_choice=ToolChoice("auto"),
            reasoning=Reasoning("low"),
            input_format=PCM16_16K,
            output_format=PCM16_16K,
            extra={"user_id": "u"},
        )
    )


def test_a_single_reply_takes_no_wishes() -> None:
    model = elevenlabs.agent("agent_1")
    model.check_response(ResponseConfig())
    with pytest.raises(MisconfiguredError, match="single reply"):
        model.check_response(ResponseConfig(output_modality="text"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("authenticate", "named"),
    [
        (lambda: elevenlabs.agent("a", api_key="k").authenticate(expires_after=60), "expires_after"),
        (lambda: elevenlabs.agent("a", api_key="").authenticate(), "ELEVENLABS_API_KEY"),
        (lambda: elevenlabs.agent("a", api_key="two words").authenticate(), "copy it again"),
        (lambda: elevenlabs.agent("a", api_key="k", base_url="http://a.example").authenticate(), "TLS"),
    ],
)
async def test_no_signed_url(authenticate: Callable[[], Any], named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named):
        await authenticate()


class Near(RealtimeTransport):
    """Leads to ``stream``."""

    def __init__(self, stream: MessageStream) -> None:
        self.stream = stream

    def connect(self, url: str, **options: Any) -> nullcontext[MessageStream]:
        return nullcontext(self.stream)


@pytest.mark.anyio
async def test_what_it_quotes_back_is_not_repeated() -> None:
    ours, theirs = memory_streams()
    model = elevenlabs.agent("agent_1", public=True, api_key="secret-key", headers={"x-token": "secret-token"})
    options = ConnectOptions(headers={"x-call": "secret-call"})
    quoted = "no: secret-key, secret-token, secret-call"
    with anyio.fail_after(5):
        async with model.connect(SessionConfig(), options, transport=Near(ours)) as connection:
            await theirs.send(json.dumps({"type": "client_error", "error_event": {"code": 1000, "message": quoted}}))
            (error,) = await connection.receive()
            await theirs.aclose(1008, quoted)
            (last,) = await connection.receive()
            with pytest.raises(ConnectionClosed) as caught:
                await connection.receive()
    assert isinstance(error, SessionError)
    assert isinstance(last, SessionError)
    for said in (error.message, last.message, caught.value.reason):
        assert "no: …, …, …" in said
