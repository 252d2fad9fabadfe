"""What a client of OpenAI's Live API may send, read independently of kernl_rt's own codec."""

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
    is_text,
    list_of,
    nullable,
    record,
    string,
    tagged,
)

__all__ = ["check_event", "check_fork"]


def _object(value: Any, path: str) -> None:
    record(dict.fromkeys(value, ANY) if isinstance(value, dict) else {})(value, path)


_format = tagged(
    "type",
    {
        "audio/pcm": either(
            lambda value: value.get("rate") == 16_000,
            record({"type": TEXT, "rate": ANY}, ("rate",)),
            record({"type": TEXT, "rate": integer(24_000, 24_000)}, ("rate",)),
        ),
        "audio/pcmu": record({"type": TEXT, "rate": integer(8_000, 8_000)}, ("rate",)),
        "audio/pcma": record({"type": TEXT, "rate": integer(8_000, 8_000)}, ("rate",)),
    },
)
_voice = either(is_text, TEXT, record({"id": TEXT}, ("id",)))
_audio = record({"format": nullable(_format), "output": nullable(record({"voice": nullable(_voice)}))})
_delay = nullable(integer(0))
_backend: dict[str, Check] = {
    "model": TEXT,
    "instructions": nullable(TEXT),
    "max_output_tokens": nullable(integer(1)),
    "parallel_tool_calls": nullable(BOOL),
    "reasoning": nullable(
        record({"effort": nullable(choice("none", "minimal", "low", "medium", "high", "xhigh")), "summary": ANY})
    ),
    "service_tier": ANY,
    "text": ANY,
    "tool_choice": ANY,
    "tools": nullable(
        list_of(
            either(
                lambda tool: isinstance(tool, dict) and tool.get("type") == "function",
                record(
                    {"type": TEXT, "name": TEXT, "description": nullable(TEXT), "parameters": ANY, "strict": ANY},
                    ("name",),
                ),
                _object,
            )
        )
    ),
}
_client = record({"type": TEXT, "acknowledgement_delay_ms": _delay})


def _delegation(*, update: bool) -> Check:
    responses = record(_backend, () if update else ("model",))
    fields: dict[str, Check] = {"type": TEXT, "responses": responses, "acknowledgement_delay_ms": _delay}
    return tagged("type", {"client": _client, "responses": record(fields, () if update else ("responses",))})


_part = record({"type": TEXT, "text": TEXT}, ("text",))
_message = record(
    {
        "type": choice("message"),
        "role": choice("developer", "user", "assistant"),
        "content": list_of(_part, 1),
        "id": nullable(TEXT),
        "status": ANY,
    },
    ("role", "content"),
)
_start = record(
    {
        "model": TEXT,
        "audio": nullable(_audio),
        "client": ANY,
        "delegation": nullable(_delegation(update=False)),
        "input": nullable(list_of(_message, 128)),
        "instructions": nullable(TEXT),
        "safety_identifier": nullable(TEXT),
        "store": nullable(BOOL),
        "triggers": nullable(list_of(_object)),
    },
    ("model",),
)
_fork = record(
    {
        "audio": nullable(record({"format": nullable(_format)})),
        "delegation": nullable(_delegation(update=True)),
        "store": nullable(BOOL),
    }
)
_update = record({"delegation": nullable(_delegation(update=True)), "triggers": nullable(list_of(_object))})
#: 500 tokens at most; the simulator takes a token for four characters.
_content = string(longest=2_000)
_ITEM = either(
    lambda item: isinstance(item, dict) and item.get("type") == "function_call_output",
    record({"type": TEXT, "call_id": TEXT, "output": ANY, "id": ANY, "status": ANY}, ("call_id", "output")),
    _object,
)


def _event(*required: str, **fields: Check) -> Check:
    return record({"type": TEXT, "event_id": nullable(string(longest=512)), **fields}, required)


def _append() -> Check:
    return _event("content", content=_content, delegation_id=nullable(TEXT))


_EVENTS: dict[str, Check] = {
    "session.start": _event("session", session=_start),
    "session.update": _event("session", session=_update),
    "session.input_audio.append": _event("audio", audio=TEXT),
    "session.input_audio.mute": _event(),
    "session.input_audio.unmute": _event(),
    "session.output_audio.fixture.play": _event("audio", audio=TEXT),
    "session.instructions.append": _append(),
    "session.thinking.append": _append(),
    "session.commentary.append": _append(),
    "decision.create": _event(),
    "decision.item.create": _event("item", item=_object),
    "decision.item.delete": _event("item_id", item_id=TEXT),
    "response.item.create": _event("item", item=_ITEM),
    "response.create": _event(),
    "session.close": _event(),
}
_forked = _event("session", session=_fork)
_any_event = tagged("type", _EVENTS)


def check_event(frame: Any) -> None:
    """
    Raises:
        Refusal: the frame may not be sent.
    """
    _any_event(frame, "")


def check_fork(frame: Any) -> None:
    """The ``session.start`` of a fork.

    Raises:
        Refusal: it may not be sent.
    """
    tagged("type", {**_EVENTS, "session.start": _forked})(frame, "")
