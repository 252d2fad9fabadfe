"""Frames of ElevenLabs Agents for the tests, and a codec that has begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pybase64

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.items import ContentPart, Message
from kernl_rt.providers.elevenlabs import AgentsCodec
from kernl_rt.providers.elevenlabs._config import Options

METADATA = {
    "type": "conversation_initiation_metadata",
    "conversation_initiation_metadata_event": {
        "conversation_id": "conv_ab",
        "agent_output_audio_format": "pcm_16000",
        "user_input_audio_format": "pcm_16000",
    },
}


def audio(number: int | str | None, sound: bytes = b"\1\0", **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"audio_base_64": pybase64.b64encode_as_string(sound), **more}
    return {"type": "audio", "audio_event": content if number is None else {**content, "event_id": number}}


def words(text: str, number: int = 1) -> dict[str, Any]:
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": number}}


def part(kind: str, text: str = "", number: int = 1) -> dict[str, Any]:
    return {"type": "agent_chat_response_part", "text_response_part": {"text": text, "type": kind, "event_id": number}}


def complete(number: int = 1) -> dict[str, Any]:
    return {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": number}}


def ping(number: int = 1) -> dict[str, Any]:
    return {"type": "ping", "ping_event": {"event_id": number, "ping_ms": None}}


def heard(text: str, number: int = 1, *, final: bool = True) -> dict[str, Any]:
    content = {"user_transcript": text, "event_id": number}
    if final:
        return {"type": "user_transcript", "user_transcription_event": content}
    return {"type": "tentative_user_transcript", "tentative_user_transcription_event": content}


def interruption(number: int) -> dict[str, Any]:
    return {"type": "interruption", "interruption_event": {"event_id": number}}


def call(name: str = "weather", call_id: str = "c1", number: int = 1, **more: Any) -> dict[str, Any]:
    content = {"tool_name": name, "tool_call_id": call_id, "parameters": {"city": "Oslo"}, "event_id": number, **more}
    return {"type": "client_tool_call", "client_tool_call": content}


def usage(tokens: int, number: int = 1) -> dict[str, Any]:
    content = {"event_id": number, "model": "m", "context_tokens": tokens, "context_limit_tokens": 1000}
    return {"type": "context_usage", "context_usage_event": content}


def open_codec(config: SessionConfig | None = None, options: Options | None = None) -> AgentsCodec:
    codec = AgentsCodec(options)
    codec.encode(ev.SessionUpdate(config or SessionConfig()))
    [created] = codec.decode(json.dumps(METADATA))
    assert isinstance(created, ev.SessionCreated)
    return codec


def told(codec: AgentsCodec, *frames: dict[str, Any]) -> list[Any]:
    return [event for frame in frames for event in codec.decode(json.dumps(frame))]


def said(codec: AgentsCodec, event: Any) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in codec.encode(event)]


def shape(events: list[Any]) -> list[str]:
    """Beginnings, ends and contents, in short."""
    short: dict[type[Any], Callable[[Any], str]] = {
        ev.ResponseCreated: lambda e: f"({e.response.id[-1]}",
        ev.ResponseDone: lambda e: f"{e.response.id[-1]}:{e.response.status})",
        ev.AudioDelta: lambda e: f"sound{e.response_id[-1]}",
        ev.OutputTranscript: lambda e: f"{e.text}{e.response_id[-1]}",
        ev.TextDone: lambda e: f"{e.text}{e.response_id[-1]}",
        ev.ToolCalled: lambda e: f"call{e.response_id[-1]}",
        ev.SpeechStarted: lambda e: "speech",
        ev.SpeechStopped: lambda e: "silence",
    }
    return [short[type(event)](event) for event in events if type(event) in short]


def message(text: str, **more: Any) -> Message:
    return Message("user", [ContentPart("input_text", text=text)], **{"id": "item_1", **more})
