"""Frames for the tests: those that the real services have sent, and one of every kind that the protocol knows."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import pytest
import yaml
from conftest import recordings

Frame = dict[str, Any]


@cache
def _recorded() -> list[tuple[str, str, Frame]]:
    found = []
    for provider in ("openai", "azure"):
        for path in recordings(provider):
            said = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            found += [
                (f"{provider}/{path.stem}", entry["direction"], entry["data"])
                for entry in said["interactions"]
                if entry["kind"] == "message"
            ]
    return found


def recorded(direction: str) -> list[tuple[str, Frame]]:
    """Every recorded frame of one direction, ``sent`` or ``received``; skips the test where there are none."""
    found = [(name, frame) for name, way, frame in _recorded() if way == direction]
    if not found:
        pytest.skip("the recordings (../shared/recordings) are not there")
    return found


#: Without padding, so that a test can add to it.
PCM = (bytes(range(256)) * 4)[:1020]
SOUND = base64.b64encode(PCM).decode()

_PLACE = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
_OUTPUT = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0}

#: One of each of the nine kinds of item, and one of a kind that nobody knows.
ITEMS: list[Frame] = [
    {"type": "message", "id": "i", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
    {
        "type": "message",
        "id": "i",
        "object": "realtime.item",
        "status": "completed",
        "role": "user",
        "content": [
            {"type": "input_text", "text": "Look."},
            {"type": "input_audio", "audio": SOUND, "transcript": None},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        ],
    },
    {
        "type": "message",
        "id": "i",
        "role": "assistant",
        "phase": "commentary",
        "content": [{"type": "output_audio", "transcript": "Hm.", "annotations": []}],
    },
    {"type": "function_call", "id": "i", "call_id": "c", "name": "weather", "arguments": "{}", "status": None},
    {"type": "function_call_output", "id": "i", "call_id": "c", "output": "Sunny"},
    {"type": "mcp_list_tools", "id": "i", "server_label": "s", "tools": [{"name": "t", "input_schema": {}}]},
    {
        "type": "mcp_call",
        "id": "i",
        "server_label": "s",
        "name": "t",
        "arguments": "{}",
        "output": None,
        "error": {"type": "http_error", "code": 500, "message": "no"},
        "approval_request_id": None,
    },
    {"type": "mcp_approval_request", "id": "i", "server_label": "s", "name": "t", "arguments": "{}"},
    {"type": "mcp_approval_response", "id": "i", "approval_request_id": "a", "approve": False, "reason": None},
    {"type": "hologram", "id": "i", "status": {"odd": True}, "beams": [1, 2]},
]

_TOKENS = {"text_tokens": 1, "audio_tokens": 2, "image_tokens": 0, "cached_tokens": 3}
RESPONSE: Frame = {
    "object": "realtime.response",
    "id": "resp_1",
    "status": "failed",
    "status_details": {
        "type": "failed",
        "reason": None,
        "error": {"type": "server_error", "code": None, "message": "oops", "more": [1]},
    },
    "output": ITEMS,
    "conversation_id": None,
    "output_modalities": ["audio"],
    "max_output_tokens": 4096,
    "audio": {"output": {"voice": "marin"}},
    "metadata": {"k": "v"},
    "usage": {
        "total_tokens": 10,
        "input_tokens": 4,
        "output_tokens": 6,
        "input_token_details": {**_TOKENS, "cached_tokens_details": {"text_tokens": 3, "new": None}},
        "output_token_details": {"text_tokens": 1, "reasoning_tokens": 5},
        "new": {"deep": None},
    },
}
SESSION: Frame = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_1",
    "model": "gpt-realtime-2.1",
    "expires_at": 1785217650,
    "output_modalities": ["audio"],
    "tools": [{"type": "function", "name": "f", "description": "", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "token_limits": {"post_instructions": 9}},
    "tracing": None,
    "prompt": {"id": "p", "version": None},
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "turn_detection": {"type": "semantic_vad", "eagerness": "low", "patience": 3},
            "transcription": None,
        },
        "output": {"voice": {"id": "voice_1"}, "speed": 1.25, "format": {"type": "audio/pcm", "rate": 24000}},
    },
}

#: One of each of the 46 server events, in the order of the API reference.
SERVER_FRAMES: list[Frame] = [
    {"type": "error", "error": {"type": "t", "code": None, "message": "m", "param": "p", "event_id": "e", "new": 1}},
    {"type": "session.created", "session": SESSION},
    {"type": "session.updated", "session": SESSION},
    {"type": "conversation.created", "conversation": {"id": "conv_1", "object": "realtime.conversation"}},
    *({"type": "conversation.item.added", "previous_item_id": None, "item": item} for item in ITEMS),
    {"type": "conversation.item.created", "previous_item_id": "i0", "item": ITEMS[0]},
    {"type": "conversation.item.done", "previous_item_id": "i0", "item": ITEMS[1]},
    {"type": "conversation.item.retrieved", "item": ITEMS[2]},
    {"type": "conversation.item.deleted", "item_id": "i"},
    {"type": "conversation.item.truncated", "item_id": "i", "content_index": 0, "audio_end_ms": 1500},
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i",
        "content_index": 0,
        "transcript": "hi",
        "usage": {"type": "tokens", "input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        "logprobs": [{"token": "hi", "logprob": -0.5, "bytes": [104]}],
        "languages": None,
    },
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i",
        "content_index": 0,
        "transcript": "",
        "usage": {"type": "duration", "seconds": 1.5},
    },
    {"type": "conversation.item.input_audio_transcription.delta", "item_id": "i", "delta": "", "logprobs": None},
    {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": "i",
        "content_index": 0,
        "error": {"type": "x", "code": "audio_unintelligible", "message": "?", "param": None},
    },
    {
        "type": "conversation.item.input_audio_transcription.segment",
        "id": "seg",
        "item_id": "i",
        "content_index": 0,
        "text": "hi",
        "speaker": "A",
        "start": 0,
        "end": 1.25,
    },
    {"type": "input_audio_buffer.cleared"},
    {"type": "input_audio_buffer.committed", "item_id": "i", "previous_item_id": None},
    {"type": "input_audio_buffer.dtmf_event_received", "event": "9", "received_at": 1763605109},
    {"type": "input_audio_buffer.speech_started", "item_id": "i", "audio_start_ms": 0},
    {"type": "input_audio_buffer.speech_stopped", "item_id": "i", "audio_end_ms": 2},
    {"type": "input_audio_buffer.timeout_triggered", "item_id": "i", "audio_start_ms": 1, "audio_end_ms": 2},
    *({"type": f"mcp_list_tools.{word}", "item_id": "i"} for word in ("in_progress", "completed", "failed")),
    *({"type": f"output_audio_buffer.{word}", "response_id": "r"} for word in ("started", "stopped", "cleared")),
    {
        "type": "rate_limits.updated",
        "rate_limits": [{"name": "tokens", "limit": 9, "remaining": 8, "reset_seconds": 0}],
    },
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.done", "response": RESPONSE},
    *(
        {"type": "response.output_item.added", "response_id": "r", "output_index": 0, "item": item}
        for item in (ITEMS[2], ITEMS[3])
    ),
    {"type": "response.output_item.done", "response_id": "r", "output_index": 0, "item": ITEMS[3]},
    *(
        {"type": f"response.content_part.{word}", **_PLACE, "part": {"type": "audio", "transcript": ""}, "content": {}}
        for word in ("added", "done")
    ),
    {"type": "response.output_audio.delta", **_PLACE, "delta": SOUND},
    {"type": "response.output_audio.done", **_PLACE},
    {"type": "response.output_audio_transcript.delta", **_PLACE, "delta": "Hi", "obfuscation": "x"},
    {"type": "response.output_audio_transcript.done", **_PLACE, "transcript": "Hi"},
    {"type": "response.output_text.delta", **_PLACE, "delta": "Hi"},
    {"type": "response.output_text.done", **_PLACE, "text": "Hi"},
    {"type": "response.function_call_arguments.delta", **_OUTPUT, "call_id": "c", "delta": "{"},
    {"type": "response.function_call_arguments.done", **_OUTPUT, "call_id": "c", "name": "f", "arguments": "{}"},
    *(
        {"type": f"response.mcp_call.{word}", "item_id": "i", "output_index": 0}
        for word in ("in_progress", "completed", "failed")
    ),
    {"type": "response.mcp_call_arguments.delta", **_OUTPUT, "delta": "{", "obfuscation": None},
    {"type": "response.mcp_call_arguments.done", **_OUTPUT, "arguments": "{}"},
]
for _index, _frame in enumerate(SERVER_FRAMES):
    _frame["event_id"] = f"event_{_index}"

_INPUT_SESSION = {key: value for key, value in SESSION.items() if key not in ("id", "object", "expires_at")}
#: One of each of the 11 client events, and more of those that hold much.
CLIENT_FRAMES: list[Frame] = [
    {"type": "session.update", "event_id": "e", "session": _INPUT_SESSION},
    {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "instructions": "",
            "output_modalities": ["text"],
            "max_output_tokens": "inf",
            "parallel_tool_calls": False,
            "reasoning": {"effort": "low"},
            "tool_choice": "required",
            "tracing": {"workflow_name": "w", "group_id": None, "metadata": {"a": 1}},
            "truncation": "disabled",
            "include": ["item.input_audio_transcription.logprobs"],
            "tools": [{"type": "mcp", "server_label": "s", "server_url": "https://s", "authorization": "tok", "x": 1}],
            "audio": {
                "input": {
                    "turn_detection": None,
                    "noise_reduction": {"type": "near_field", "strength": 0.5},
                    "transcription": {"model": "gpt-transcribe", "languages": ["en"], "keywords": ["a"]},
                }
            },
        },
    },
    {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "tools": [{"type": "web_search"}],
            "tool_choice": {"type": "mcp", "server_label": "s", "name": "t"},
            "audio": {
                "input": {"turn_detection": {"type": "azure_vad"}, "format": {"type": "audio/opus"}},
                "output": {"speed": 1.0},
            },
        },
    },
    *({"type": "conversation.item.create", "item": item, "previous_item_id": "root"} for item in ITEMS),
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "conversation.item.retrieve", "item_id": "i"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 0},
    {"type": "input_audio_buffer.append", "audio": SOUND},
    {"type": "input_audio_buffer.append", "audio": "", "event_id": 'a "quoted" id'},
    {"type": "input_audio_buffer.clear"},
    {"type": "input_audio_buffer.commit", "event_id": "e"},
    {"type": "output_audio_buffer.clear"},
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": "r"},
    {"type": "response.create"},
    {
        "type": "response.create",
        "response": {
            "conversation": "none",
            "input": [*ITEMS, {"type": "item_reference", "id": "i"}],
            "metadata": {"k": "v"},
            "output_modalities": ["text"],
            "audio": {"output": {"voice": "cedar"}},
            "temperature": 0.8,
            "instructions": None,
        },
    },
]
