"""What a client may say: every client event of the OpenAI Realtime GA protocol, as a table.

Sources: the provider's published event reference and types; the refusals it is known to give. What it does not accept
over a WebSocket (``output_audio_buffer.clear``) is known here too, so that it is refused for the right reason.
"""

from __future__ import annotations

from typing import Any

from kernl_rt.simulator._schema import (
    ANY,
    BOOL,
    MAPPING,
    TEXT,
    Check,
    Refusal,
    choice,
    either,
    integer,
    is_text,
    list_of,
    missing,
    nullable,
    number,
    record,
    string,
    string_map,
    tagged,
)

__all__ = ["VOICES", "check_request", "check_session"]

VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")

_ID = string(longest=32)
_CALL_ID = string(longest=32, pattern="[a-zA-Z0-9_-]+")
_NAME = string(longest=64, pattern="[a-zA-Z0-9_-]+")


_format = tagged(
    "type",
    {
        # A PCM format without its rate is refused, and 24 kHz is the only one there is.
        "audio/pcm": record({"type": TEXT, "rate": integer(24_000, 24_000)}, ("type", "rate")),
        "audio/pcmu": record({"type": TEXT}),
        "audio/pcma": record({"type": TEXT}),
    },
)

_turn_detection = tagged(
    "type",
    {
        "server_vad": record(
            {
                "type": TEXT,
                "threshold": nullable(number(0.0, 1.0)),
                "prefix_padding_ms": nullable(integer(0, 5_000)),
                "silence_duration_ms": nullable(integer(0, 15_000)),
                "idle_timeout_ms": nullable(integer(5_000, 30_000)),
                "create_response": nullable(BOOL),
                "interrupt_response": nullable(BOOL),
            }
        ),
        "semantic_vad": record(
            {
                "type": TEXT,
                "eagerness": nullable(choice("low", "medium", "high", "auto")),
                "create_response": nullable(BOOL),
                "interrupt_response": nullable(BOOL),
            }
        ),
    },
)

_transcription = record(
    {
        "model": nullable(TEXT),
        "language": nullable(TEXT),
        "languages": nullable(list_of(TEXT)),
        "prompt": nullable(TEXT),
        "keywords": nullable(list_of(TEXT)),
        "delay": nullable(choice("minimal", "low", "medium", "high", "xhigh")),
    }
)

_noise_reduction = record({"type": choice("near_field", "far_field"), "strength": nullable(number(0.0, 1.0))})

_input = record(
    {
        "format": nullable(_format),
        "transcription": nullable(_transcription),
        "noise_reduction": nullable(_noise_reduction),
        "turn_detection": nullable(_turn_detection),
    }
)

_voice = either(is_text, choice(*VOICES), record({"id": TEXT}, ("id",)))
_output = record({"format": nullable(_format), "voice": nullable(_voice), "speed": nullable(number(0.25, 1.5))})


_function = record(
    {"type": TEXT, "name": _NAME, "description": nullable(TEXT), "parameters": nullable(MAPPING)}, ("name",)
)
_mcp = record(
    {
        "type": TEXT,
        "server_label": TEXT,
        "server_url": nullable(TEXT),
        "connector_id": nullable(TEXT),
        "tunnel_id": nullable(TEXT),
        "server_description": nullable(TEXT),
        "authorization": nullable(TEXT),
        "headers": nullable(ANY),
        "allowed_tools": nullable(ANY),
        "allowed_callers": nullable(list_of(TEXT)),
        "require_approval": nullable(ANY),
        "defer_loading": nullable(BOOL),
    },
    ("server_label",),
)
_tools = list_of(tagged("type", {"function": _function, "mcp": _mcp}), longest=128)

_tool_choice = either(
    is_text,
    choice("auto", "none", "required"),
    tagged(
        "type",
        {
            "function": record({"type": TEXT, "name": TEXT}, ("name",)),
            "mcp": record({"type": TEXT, "server_label": TEXT, "name": nullable(TEXT)}, ("server_label",)),
        },
    ),
)


def _modalities(value: Any, path: str) -> None:
    list_of(choice("text", "audio"))(value, path)
    if value not in (["text"], ["audio"]):
        raise Refusal(
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and ['audio'].", "invalid_value", path
        )


_max_tokens = either(is_text, choice("inf"), integer(1, 4_096))
_prompt = record({"id": TEXT, "version": nullable(TEXT), "variables": nullable(ANY)}, ("id",))
_reasoning = record({"effort": nullable(choice("none", "minimal", "low", "medium", "high", "xhigh"))})
_truncation = either(
    is_text,
    choice("auto", "disabled"),
    record(
        {
            "type": choice("retention_ratio"),
            "retention_ratio": number(0.0, 1.0),
            "token_limits": nullable(record({"post_instructions": nullable(integer(0))})),
        },
        ("type", "retention_ratio"),
    ),
)
_tracing = either(
    is_text,
    choice("auto"),
    record({"workflow_name": nullable(TEXT), "group_id": nullable(TEXT), "metadata": nullable(ANY)}),
)
_include = list_of(choice("item.input_audio_transcription.logprobs"))

_realtime_session = record(
    {
        "type": TEXT,
        "model": nullable(TEXT),
        "instructions": nullable(TEXT),
        "output_modalities": nullable(_modalities),
        "audio": nullable(record({"input": nullable(_input), "output": nullable(_output)})),
        "tools": nullable(_tools),
        "tool_choice": nullable(_tool_choice),
        "parallel_tool_calls": nullable(BOOL),
        "max_output_tokens": nullable(_max_tokens),
        "reasoning": nullable(_reasoning),
        "tracing": nullable(_tracing),
        "truncation": nullable(_truncation),
        "prompt": nullable(_prompt),
        "include": nullable(_include),
    }
)
_transcription_session = record(
    {
        "type": TEXT,
        "audio": nullable(record({"input": nullable(_input)})),
        "include": nullable(_include),
    }
)
#: A ``session`` object, of either kind.
check_session = tagged("type", {"realtime": _realtime_session, "transcription": _transcription_session})

_status = nullable(choice("completed", "incomplete", "in_progress"))


def _item_fields(**more: Check) -> dict[str, Check]:
    return {"id": nullable(_ID), "type": TEXT, "object": choice("realtime.item"), "status": _status, **more}


_input_text = record({"type": TEXT, "text": TEXT}, ("text",))
_user_part = tagged(
    "type",
    {
        "input_text": _input_text,
        "input_audio": record({"type": TEXT, "audio": TEXT, "transcript": nullable(TEXT)}, ("audio",)),
        "input_image": record(
            {"type": TEXT, "image_url": TEXT, "detail": nullable(choice("auto", "low", "high"))}, ("image_url",)
        ),
    },
)
# Spoken assistant messages cannot be put into a conversation: the provider asks for their text, whatever they hold.
_assistant_part = tagged(
    "type",
    {
        "output_text": record({"type": TEXT, "text": TEXT}, ("text",)),
        "output_audio": record(
            {"type": TEXT, "text": TEXT, "audio": nullable(TEXT), "transcript": nullable(TEXT)}, ("text",)
        ),
    },
)


def _message(part: Check) -> Check:
    return record(_item_fields(role=TEXT, content=list_of(part)), ("content",))


_message_item = tagged(
    "role",
    {
        "user": _message(_user_part),
        "assistant": _message(_assistant_part),
        "system": _message(tagged("type", {"input_text": _input_text})),
    },
)
_ITEMS: dict[str, Check] = {
    "message": _message_item,
    "function_call": record(_item_fields(name=TEXT, arguments=TEXT, call_id=nullable(_CALL_ID)), ("name", "arguments")),
    "function_call_output": record(_item_fields(call_id=_CALL_ID, output=TEXT), ("call_id", "output")),
    "mcp_approval_response": record(
        {
            "id": nullable(_ID),
            "type": TEXT,
            "approval_request_id": TEXT,
            "approve": BOOL,
            "reason": nullable(TEXT),
        },
        ("approval_request_id", "approve"),
    ),
}
_item = tagged("type", _ITEMS)
_input_item = tagged("type", {**_ITEMS, "item_reference": record({"type": TEXT, "id": TEXT}, ("id",))})

_response_output = record({"format": nullable(_format), "voice": nullable(_voice)})
_response = record(
    {
        "conversation": nullable(choice("auto", "none")),
        "input": nullable(list_of(_input_item)),
        "instructions": nullable(TEXT),
        "output_modalities": nullable(_modalities),
        "audio": nullable(record({"output": nullable(_response_output)})),
        "tools": nullable(_tools),
        "tool_choice": nullable(_tool_choice),
        "parallel_tool_calls": nullable(BOOL),
        "max_output_tokens": nullable(_max_tokens),
        "metadata": nullable(string_map()),
        "prompt": nullable(_prompt),
        "reasoning": nullable(_reasoning),
    }
)


def _event(required: tuple[str, ...] = (), **fields: Check) -> Check:
    return record({"type": TEXT, "event_id": nullable(string(longest=512)), **fields}, required)


_EVENTS: dict[str, Check] = {
    "session.update": _event(("session",), session=check_session),
    "input_audio_buffer.append": _event(("audio",), audio=TEXT),
    "input_audio_buffer.commit": _event(),
    "input_audio_buffer.clear": _event(),
    "conversation.item.create": _event(("item",), item=_item, previous_item_id=nullable(TEXT)),
    "conversation.item.retrieve": _event(("item_id",), item_id=TEXT),
    "conversation.item.truncate": _event(
        ("item_id", "content_index", "audio_end_ms"), item_id=TEXT, content_index=integer(0), audio_end_ms=integer(0)
    ),
    "conversation.item.delete": _event(("item_id",), item_id=TEXT),
    "response.create": _event(response=nullable(_response)),
    "response.cancel": _event(response_id=nullable(TEXT)),
    "output_audio_buffer.clear": _event(),
}
_check = tagged("type", _EVENTS)


def check_request(frame: Any) -> dict[str, Any]:
    """The frame, if it is a request that this protocol knows.

    Raises:
        Refusal: it is not; the message says where and why.
    """
    if not isinstance(frame, dict):
        raise Refusal("The message must be a JSON object with a 'type'.", "invalid_json")
    if "type" not in frame:
        raise missing("type")
    _check(frame, "")
    return frame
