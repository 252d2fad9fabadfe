"""What xAI's Voice Agent API takes from a client, as far as it is published and recorded. Not the adapter's tables."""

from __future__ import annotations

from typing import Any

from kernl_rt.simulator._schema import (
    ANY,
    BOOL,
    TEXT,
    Check,
    choice,
    either,
    integer,
    list_of,
    nullable,
    number,
    record,
    tagged,
)

__all__ = ["CHECKS", "RATES", "check_session"]

RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def _rate(value: Any, path: str) -> None:
    integer(RATES[0], RATES[-1])(value, path)


_format = tagged(
    "type",
    {
        "audio/pcm": record({"type": TEXT, "rate": _rate}),
        "audio/pcmu": record({"type": TEXT, "rate": integer(8_000, 8_000)}),
        "audio/pcma": record({"type": TEXT, "rate": integer(8_000, 8_000)}),
    },
)
_turn_detection = record(
    {
        "type": nullable(choice("server_vad")),
        "threshold": nullable(number(0.1, 0.9)),
        "silence_duration_ms": nullable(integer(0)),
        "prefix_padding_ms": nullable(integer(0)),
        "idle_timeout_ms": nullable(integer(1)),
        "create_response": nullable(BOOL),
        "interrupt_response": nullable(BOOL),
    }
)
_transcription = record({"model": nullable(TEXT), "language_hint": nullable(TEXT), "keyterms": nullable(list_of(TEXT))})
_transport = choice("json", "binary")
_input = record({"format": nullable(_format), "transcription": nullable(_transcription), "transport": _transport})
_output = record({"format": nullable(_format), "speed": nullable(number(0.7, 1.5)), "transport": _transport})
_function = record({"type": TEXT, "name": TEXT, "description": nullable(TEXT), "parameters": nullable(ANY)}, ("name",))
_tools = list_of(
    tagged(
        "type",
        {"function": _function, "web_search": ANY, "x_search": ANY, "file_search": ANY, "mcp": ANY},
    )
)
_session = record(
    {
        "instructions": nullable(TEXT),
        "voice": nullable(TEXT),
        "turn_detection": nullable(_turn_detection),
        "audio": nullable(record({"input": nullable(_input), "output": nullable(_output)})),
        "tools": nullable(_tools),
        "tool_choice": nullable(either(lambda value: isinstance(value, str), TEXT, ANY)),
        "parallel_tool_calls": nullable(BOOL),
        "max_output_tokens": nullable(either(lambda value: isinstance(value, str), choice("inf"), integer(1))),
        "reasoning": nullable(record({"effort": choice("high", "none")})),
        "resumption": nullable(record({"enabled": BOOL}, ("enabled",))),
        "replace": nullable(ANY),
        "model": nullable(TEXT),
    }
)
_any_part = record({"type": TEXT, "text": nullable(TEXT), "audio": nullable(TEXT)}, ("type",))
_item = tagged(
    "type",
    {
        "message": record(
            {"id": TEXT, "type": TEXT, "role": choice("user", "assistant", "system"), "content": list_of(_any_part)}
            | {"object": TEXT, "status": TEXT},
            ("role", "content"),
        ),
        "function_call": record(
            {"id": TEXT, "type": TEXT, "name": TEXT, "arguments": TEXT, "call_id": TEXT}
            | {"object": TEXT, "status": TEXT},
            ("name", "arguments", "call_id"),
        ),
        "function_call_output": record(
            {"id": TEXT, "type": TEXT, "call_id": TEXT, "output": TEXT} | {"object": TEXT, "status": TEXT},
            ("call_id", "output"),
        ),
    },
)


def _event(required: tuple[str, ...] = (), **fields: Check) -> Check:
    return record({"type": TEXT, "event_id": TEXT, **fields}, required)


#: Each client event that is told by more than its type. Those that are not here are judged by whoever handles them.
CHECKS: dict[str, Check] = {
    "session.update": _event(("session",), session=_session),
    "conversation.item.create": _event(("item",), item=_item, previous_item_id=nullable(TEXT)),
    "response.create": _event(
        response=nullable(
            record({"modalities": list_of(choice("text", "audio")), "instructions": nullable(TEXT)}),
        )
    ),
}
check_session = _session
