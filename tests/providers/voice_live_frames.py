"""Frames of Voice Live, one of every type that its official types declare, made by hand from those."""

from __future__ import annotations

import base64
from typing import Any

Frame = dict[str, Any]

PCM = (bytes(range(256)) * 4)[:1020]
SOUND = base64.b64encode(PCM).decode()
_OUTPUT = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0}
_PLACE = {**_OUTPUT, "content_index": 0}
_WORDS = {"text_tokens": 1, "audio_tokens": 2, "image_tokens": 0}

SESSION: Frame = {
    "id": "sess_1",
    "model": "gpt-realtime",
    "modalities": ["text", "audio"],
    "instructions": "Be brief.",
    "voice": {"type": "azure-standard", "name": "en-US-AvaNeural", "rate": "1.1", "temperature": 0.7},
    "input_audio_format": "pcm16",
    "input_audio_sampling_rate": 16000,
    "output_audio_format": "pcm16_8000hz",
    "turn_detection": {
        "type": "azure_semantic_vad_multilingual",
        "threshold": 0.4,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "languages": ["en", "fr"],
        "auto_truncate": True,
        "end_of_utterance_detection": {"model": "semantic_detection_v1", "timeout_ms": 1000},
    },
    "input_audio_noise_reduction": {"type": "azure_deep_noise_suppression"},
    "input_audio_echo_cancellation": {"type": "server_echo_cancellation"},
    "input_audio_transcription": {"model": "azure-speech", "language": "en-US", "phrase_list": ["Contoso"]},
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "temperature": 0.7,
    "max_response_output_tokens": "inf",
    "reasoning_effort": "low",
    "agent": {"type": "agent", "name": "watson", "agent_id": "a", "thread_id": "t", "description": None},
    "expires_at": 1785217650,
}
ITEMS: list[Frame] = [
    {
        "type": "message",
        "id": "i",
        "object": "realtime.item",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_audio", "audio": "", "transcript": None}],
    },
    {
        "type": "message",
        "id": "i",
        "role": "assistant",
        "status": "in_progress",
        "content": [{"type": "audio", "transcript": "Hm."}, {"type": "text", "text": "x"}],
    },
    {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
    {"type": "function_call_output", "id": "i", "call_id": "c", "output": "Sunny"},
    {"type": "mcp_list_tools", "id": "i", "server_label": "s", "tools": [{"name": "t", "input_schema": {}}]},
    {"type": "mcp_call", "id": "i", "server_label": "s", "name": "t", "arguments": "{}", "output": None},
    {"type": "mcp_approval_request", "id": "i", "server_label": "s", "name": "t", "arguments": "{}"},
    {"type": "mcp_approval_response", "id": "i", "approval_request_id": "a", "approve": True, "reason": None},
    {"type": "web_search_call", "id": "i", "status": "searching"},
    {"type": "file_search_call", "id": "i", "queries": ["q"], "status": "completed", "results": []},
]
RESPONSE: Frame = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "completed",
    "status_details": None,
    "output": ITEMS,
    "conversation_id": "conv_1",
    "voice": "alloy",
    "modalities": ["text", "audio"],
    "output_audio_format": "pcm16",
    "temperature": 0.7,
    "max_output_tokens": "inf",
    "metadata": {"k": "v"},
    "usage": {
        "total_tokens": 10,
        "input_tokens": 4,
        "output_tokens": 6,
        "input_token_details": {**_WORDS, "cached_tokens": 1, "cached_tokens_details": _WORDS},
        "output_token_details": {"text_tokens": 1, "audio_tokens": 5, "reasoning_tokens": 0},
    },
}
#: What our vocabulary has words for.
TYPED: list[Frame] = [
    {"type": "error", "error": {"type": "t", "code": None, "message": "m", "param": "p", "event_id": "e"}},
    {"type": "session.created", "session": SESSION},
    {"type": "session.updated", "session": {**SESSION, "turn_detection": None, "agent": None}},
    *({"type": "conversation.item.created", "previous_item_id": None, "item": item} for item in ITEMS),
    {"type": "conversation.item.retrieved", "item": ITEMS[1]},
    {"type": "conversation.item.deleted", "item_id": "i"},
    {"type": "conversation.item.truncated", "item_id": "i", "content_index": 0, "audio_end_ms": 1500},
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i",
        "content_index": 0,
        "transcript": "hi",
        "logprobs": None,
        "phrases": [{"offset_milliseconds": 0, "duration_milliseconds": 5, "text": "hi", "locale": "en-US"}],
    },
    {"type": "conversation.item.input_audio_transcription.delta", "item_id": "i", "content_index": 0, "delta": "h"},
    {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": "i",
        "content_index": 0,
        "error": {"code": "DeploymentNotFound", "message": "none", "param": None, "type": None, "event_id": None},
    },
    {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": "i"},
    {"type": "input_audio_buffer.cleared"},
    {"type": "input_audio_buffer.speech_started", "audio_start_ms": 5, "item_id": "i"},
    {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 9, "item_id": "i"},
    {"type": "output_audio_buffer.cleared"},
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.done", "response": RESPONSE},
    {
        "type": "response.done",
        "response": {
            **RESPONSE,
            "status": "cancelled",
            "status_details": {"type": "cancelled", "reason": "turn_detected"},
        },
    },
    *({"type": "response.output_item.added", "response_id": "r", "output_index": 0, "item": item} for item in ITEMS),
    {"type": "response.output_item.done", "response_id": "r", "output_index": 0, "item": ITEMS[1]},
    {"type": "response.content_part.added", **_PLACE, "part": {"type": "audio", "transcript": ""}},
    {"type": "response.content_part.done", **_PLACE, "part": {"type": "text", "text": "x"}},
    {"type": "response.text.delta", **_PLACE, "delta": "x"},
    {"type": "response.text.done", **_PLACE, "text": "x"},
    {"type": "response.audio_transcript.delta", **_PLACE, "delta": "x"},
    {"type": "response.audio_transcript.done", **_PLACE, "transcript": "x"},
    {"type": "response.audio.delta", **_PLACE, "delta": SOUND},
    {"type": "response.audio.done", **_PLACE},
    {"type": "response.function_call_arguments.delta", **_OUTPUT, "call_id": "c", "delta": "{"},
    {"type": "response.function_call_arguments.done", **_OUTPUT, "call_id": "c", "arguments": "{}", "name": "f"},
    *({"type": f"mcp_list_tools.{word}", "item_id": "i"} for word in ("in_progress", "completed", "failed")),
    *({"type": f"response.mcp_call.{word}", "item_id": "i", "output_index": 0} for word in ("in_progress", "failed")),
    {"type": "response.mcp_call.completed", "item_id": "i", "output_index": 0},
    {"type": "response.mcp_call_arguments.delta", **_OUTPUT, "delta": "{", "obfuscation": None},
    {"type": "response.mcp_call_arguments.done", **_OUTPUT, "arguments": "{}"},
]
#: What it has none for.
RAW: list[Frame] = [
    {"type": "warning", "warning": {"message": "slow", "code": "c", "param": None}},
    {"type": "session.avatar.connecting", "server_sdp": "v=0"},
    {"type": "session.avatar.switch_to_speaking", "turn_id": "t"},
    {"type": "session.avatar.switch_to_idle", "turn_id": None},
    {"type": "response.animation_blendshapes.delta", **_PLACE, "frames": [[0.1]], "frame_index": 0},
    {"type": "response.animation_blendshapes.done", **_OUTPUT},
    {"type": "response.animation_viseme.delta", **_PLACE, "audio_offset_ms": 5, "viseme_id": 3},
    {"type": "response.animation_viseme.done", **_PLACE},
    {
        "type": "response.audio_timestamp.delta",
        **_PLACE,
        "audio_offset_ms": 5,
        "audio_duration_ms": 9,
        "text": "hi",
        "timestamp_type": "word",
    },
    {"type": "response.audio_timestamp.done", **_PLACE},
    {"type": "response.video.delta", "output_index": 0, "codec": "h264", "delta": SOUND},
    *(
        {"type": f"response.{kind}_call.{word}", **_OUTPUT, "sequence_number": 1}
        for kind in ("web_search", "file_search")
        for word in ("searching", "in_progress", "completed")
    ),
    {"type": "response.audio_transcript.annotation.added", **_PLACE, "annotation_index": 0, "annotation": {"a": 1}},
    {"type": "response.invocation.delta", "delta": {"a": 1}},
]
for _number, _frame in enumerate([*TYPED, *RAW]):
    _frame["event_id"] = f"event_{_number}"
