"""What an OpenAI Live server says, as tables: one row of fields for each type of frame.

The rows follow the official SDK's types (``openai.types.live``). Only what nothing can be made of without is demanded;
what no row claims stays in ``extra``. Work that a model behind the Live model does comes as streaming events of the
Responses API, each inside a ``response.event``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kernl_rt.items import NOTHING
from kernl_rt.providers._fields import BASE64, COUNT, NUMBER, OBJECT, STAMP, TEXT, Field, Struct

__all__ = [
    "INNER",
    "SERVER",
    "Appended",
    "Call",
    "Closed",
    "Delegated",
    "Fault",
    "Fragment",
    "Inner",
    "Item",
    "Muted",
    "Nested",
    "Session",
    "Sound",
    "Usage",
    "Written",
]

_EXTRA: Any = field(default=NOTHING)


@frozen(kw_only=True)
class _Said:
    event_id: str | None = None
    client_event_id: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Session(_Said):
    """``session.started`` and ``session.updated``."""

    session: Mapping[str, Any]


@frozen(kw_only=True)
class Sound(_Said):
    """The times are left out on the link that carries the sound: it follows what came before."""

    audio: bytes
    start_ms: float | None = None
    end_ms: float | None = None


@frozen(kw_only=True)
class Fragment(_Said):
    """Some words of a transcript, of either side."""

    text: str
    start_ms: float | None = None
    end_ms: float | None = None


@frozen(kw_only=True)
class Appended(_Said):
    start_ms: float | None = None
    end_ms: float | None = None


@frozen(kw_only=True)
class Muted(_Said):
    pass


@frozen(kw_only=True)
class _Delegation:
    id: str
    target: str
    response_id: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Delegated(_Said):
    delegation: _Delegation
    offset_ms: float | None = None


@frozen(kw_only=True)
class Nested(_Said):
    event: Mapping[str, Any]
    delegation_id: str | None = None


@frozen(kw_only=True)
class _Seconds:
    seconds: float | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Usage(_Said):
    """What the session has cost from its start."""

    usage: _Seconds
    context_window: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class Closed(_Said):
    reason: str
    usage: _Seconds | None = None
    session: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class _Error:
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    client_event_id: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Fault(_Said):
    error: _Error


_IDS = (Field("event_id"), Field("client_event_id"))
_TIMES = (Field("start_ms", kind=STAMP), Field("end_ms", kind=STAMP))
_SECONDS = Struct(_Seconds, Field("seconds", kind=NUMBER))
_DELEGATION = Struct(_Delegation, Field("id"), Field("target"), Field("response_id"))
_ERROR = Struct(_Error, Field("message"), Field("code"), Field("type"), Field("param"), Field("client_event_id"))


def _session(type: str) -> Struct:
    return Struct(Session, Field("session", kind=OBJECT), *_IDS, type=type)


def _fragment(type: str) -> Struct:
    return Struct(Fragment, Field("delta", "text"), *_TIMES, *_IDS, type=type)


def _appended(type: str) -> Struct:
    return Struct(Appended, *_TIMES, *_IDS, type=type)


SERVER: dict[str, Struct] = {
    struct.type or "": struct
    for struct in (
        _session("session.started"),
        _session("session.updated"),
        Struct(Sound, Field("delta", "audio", BASE64), *_TIMES, *_IDS, type="session.output_audio.delta"),
        _fragment("session.output_transcript.delta"),
        _fragment("session.input_transcript.delta"),
        _appended("session.commentary.appended"),
        _appended("session.thinking.appended"),
        _appended("session.instructions.appended"),
        Struct(Muted, *_IDS, type="session.input_audio.muted"),
        Struct(Muted, *_IDS, type="session.input_audio.unmuted"),
        Struct(
            Delegated,
            Field("delegation", kind=_DELEGATION),
            Field("offset_ms", kind=NUMBER),
            *_IDS,
            type="session.delegation.created",
        ),
        Struct(Nested, Field("event", kind=OBJECT), Field("delegation_id"), *_IDS, type="response.event"),
        Struct(
            Usage,
            Field("usage", kind=_SECONDS),
            Field("context_window", kind=OBJECT),
            *_IDS,
            type="session.usage.updated",
        ),
        Struct(
            Closed,
            Field("reason"),
            Field("usage", kind=_SECONDS),
            Field("session", kind=OBJECT),
            *_IDS,
            type="session.closed",
        ),
        Struct(Fault, Field("error", kind=_ERROR), *_IDS, type="error"),
    )
}


# -- events of the Responses API --------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _Inside:
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Inner(_Inside):
    """The life of a response: created, completed, failed, incomplete."""

    response: Mapping[str, Any]


@frozen(kw_only=True)
class Item(_Inside):
    item: Mapping[str, Any]
    output_index: int | None = None


@frozen(kw_only=True)
class Call(_Inside):
    """More of a call's arguments."""

    item_id: str
    delta: str
    output_index: int | None = None


@frozen(kw_only=True)
class Written(_Inside):
    """Some words, or all, of a written part."""

    item_id: str
    text: str
    output_index: int | None = None
    content_index: int | None = None


_PLACE = (Field("item_id"), Field("output_index", kind=COUNT), Field("content_index", kind=COUNT))


def _life(type: str) -> Struct:
    return Struct(Inner, Field("response", kind=OBJECT), type=type)


def _item(type: str) -> Struct:
    return Struct(Item, Field("item", kind=OBJECT), Field("output_index", kind=COUNT), type=type)


INNER: dict[str, Struct] = {
    struct.type or "": struct
    for struct in (
        _life("response.created"),
        _life("response.completed"),
        _life("response.failed"),
        _life("response.incomplete"),
        _item("response.output_item.added"),
        _item("response.output_item.done"),
        Struct(
            Call,
            Field("item_id"),
            Field("delta", kind=TEXT),
            Field("output_index", kind=COUNT),
            type="response.function_call_arguments.delta",
        ),
        Struct(Written, *_PLACE, Field("delta", "text"), type="response.output_text.delta"),
        Struct(Written, *_PLACE, Field("text"), type="response.output_text.done"),
    )
}
