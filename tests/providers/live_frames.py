"""Frames of the Live API for the tests: one of every kind that the protocol knows."""

from __future__ import annotations

import base64
import json
import math
from array import array
from typing import Any

from kernl_rt import events as ev
from kernl_rt.config import PCM16_24K, SessionConfig, ToolDefinition
from kernl_rt.items import ContentPart, Message
from kernl_rt.providers.openai import LiveCodec
from kernl_rt.providers.openai._live_config import Delegation

Frame = dict[str, Any]

TONE = array("h", [int(6_000 * math.sin(i / 8)) for i in range(4_800)]).tobytes()
SILENCE = bytes(9_600)
SESSION: Frame = {
    "id": "live_1",
    "expires_at": 1_795_000_000,
    "model": "gpt-live-1",
    "status": "active",
    "audio": {"format": {"type": "audio/pcm", "rate": 24_000}, "output": {"voice": "marin"}},
    "delegation": {"type": "client"},
    "instructions": "Be brief.",
}


def sound(audio: bytes) -> Frame:
    return {"type": "session.output_audio.delta", "delta": base64.b64encode(audio).decode()}


def words(text: str, start: int, end: int, side: str = "output") -> Frame:
    kind = f"session.{side}_transcript.delta"
    return {"type": kind, "event_id": "event_w", "delta": text, "start_ms": start, "end_ms": end}


def nested(delegation_id: str | None = "del_1", **event: Any) -> Frame:
    about = {} if delegation_id is None else {"delegation_id": delegation_id}
    return {"type": "response.event", "event_id": "event_n", **about, "event": {"sequence_number": 7, **event}}


def call(id: str = "call_1", name: str = "weather", arguments: str = '{"city":"Paris"}', item: str = "fc_1") -> Frame:
    return {"type": "function_call", "id": item, "call_id": id, "name": name, "arguments": arguments}


def backend(*items: Frame, id: str = "resp_b", status: str = "completed", usage: Frame | None = None) -> list[Frame]:
    """A whole response of the model behind."""
    shown = {"id": id, "status": "in_progress", "output": []}
    ended = {**shown, "status": status, "usage": usage}
    out = [nested(type="response.created", response=shown)]
    for index, item in enumerate(items):
        begun = {**item, "arguments": ""}
        out.append(nested(type="response.output_item.added", item=begun, output_index=index))
        place = {"item_id": item["id"], "output_index": index}
        out.append(nested(type="response.function_call_arguments.delta", delta=item["arguments"], **place))
        out.append(nested(type="response.function_call_arguments.done", arguments=item["arguments"], **place))
        out.append(nested(type="response.output_item.done", item=item, output_index=index))
    return [*out, nested(type=f"response.{status}", response=ended)]


def delegated(target: str = "client", id: str = "del_1") -> Frame:
    inner = {"id": id, "target": target, "type": "delegation"}
    return {"type": "session.delegation.created", "event_id": "event_d", "offset_ms": 400, "delegation": inner}


def appended(channel: str, answers: str | None = None, at: int = 0) -> Frame:
    named = {} if answers is None else {"client_event_id": answers}
    return {"type": f"session.{channel}.appended", "event_id": "event_a", "start_ms": at, "end_ms": at, **named}


def closed(reason: str = "close_requested", seconds: float = 12.5) -> Frame:
    usage = {"seconds": seconds}
    return {"type": "session.closed", "event_id": "event_c", "reason": reason, "session": SESSION, "usage": usage}


def error(code: str = "invalid_value", **more: Any) -> Frame:
    inner = {"type": "invalid_request_error", "code": code, "message": "No.", **more}
    return {"type": "error", "event_id": "event_e", "error": inner}


def started(**more: Any) -> Frame:
    return {"type": "session.started", "event_id": "event_s", "session": {**SESSION, **more}}


FRAMES: list[Frame] = [
    started(),
    {**started(), "type": "session.updated", "client_event_id": "event_1"},
    sound(TONE),
    {**sound(SILENCE), "start_ms": 0, "end_ms": 200},
    words("Hello", 0, 200),
    words("Hi", 0, 200, "input"),
    appended("commentary", "event_9"),
    appended("thinking"),
    appended("instructions"),
    {"type": "session.input_audio.muted", "event_id": "event_m"},
    {"type": "session.input_audio.unmuted", "event_id": "event_m", "client_event_id": "event_2"},
    delegated(),
    delegated("responses"),
    *backend(call(), usage={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}),
    nested(type="response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta="Sun"),
    nested(type="response.output_text.done", item_id="msg_1", output_index=0, content_index=0, text="Sunny"),
    nested(type="response.failed", response={"id": "resp_f", "error": {"code": "server_error", "message": "Oh."}}),
    nested(None, type="response.reasoning_summary_text.delta", delta="Hm"),
    {
        "type": "session.usage.updated",
        "event_id": "event_u",
        "usage": {"seconds": 9.5},
        "context_window": {"usage_ratio": 0.01},
    },
    closed(),
    error(client_event_id="event_3", param="session"),
    {"type": "info", "event_id": "event_i", "code": "note", "message": "Hm."},
    {"type": "session.output_audio.fixture.played", "event_id": "event_f"},
]

WEATHER = ToolDefinition("weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
DELEGATE = ToolDefinition("delegate", "Does it.", {"type": "object", "properties": {"request": {"type": "string"}}})
BACKEND = Delegation({"model": "gpt-6"})


def codec_of(config: SessionConfig | None = None, *, live: bool = True, **options: Any) -> LiveCodec:
    """A codec whose session has been configured and, with ``live``, has begun."""
    codec = LiveCodec("gpt-live-1", **options)
    formats = SessionConfig(input_format=PCM16_24K, output_format=PCM16_24K)
    codec.encode(ev.SessionUpdate(formats.merged(config or SessionConfig()), event_id="event_1"))
    if live:
        decode(codec, started())
    return codec


def decode(codec: LiveCodec, *frames: Frame) -> list[Any]:
    return [event for frame in frames for event in codec.decode(json.dumps(frame))]


def said(codec: LiveCodec, event: Any) -> list[Frame]:
    return [json.loads(frame) for frame in codec.encode(event)]


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events]


def only(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def typed(text: str, id: str | None = "item_1") -> Message:
    return Message("user", [ContentPart("input_text", text=text)], id=id)
