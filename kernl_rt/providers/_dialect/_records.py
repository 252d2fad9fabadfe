"""What OpenAI's server events are made of: sessions, responses, usage, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from kernl_rt import events as ev
from kernl_rt.items import NOTHING
from kernl_rt.providers._dialect._config import GA, Layout
from kernl_rt.providers._dialect._items import ITEM
from kernl_rt.providers._dialect._options import MAX_TOKENS
from kernl_rt.providers._fields import COUNT, INTEGER, NUMBER, TEXT, TEXTS, Field, Kind, ListOf, OneOf, Struct

__all__ = [
    "ERROR",
    "RATE_LIMIT",
    "RESPONSE",
    "SESSION",
    "SESSION_ERROR",
    "STATUS_DETAILS",
    "TRANSCRIPT_USAGE",
    "USAGE",
    "Session",
    "response_of",
]


class Session(Kind):
    """The session as the server tells it: read for what we know, kept whole."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def decode(self, value: Any) -> ev.SessionInfo:
        facts: ev.SessionInfo = _SESSION_FACTS.decode(value)
        config = self._layout.parse_session(value)
        return attrs.evolve(facts, config=attrs.evolve(config, extra={}), raw=value)

    def encode(self, value: ev.SessionInfo) -> dict[str, Any]:
        if value.raw is not NOTHING:
            return dict(value.raw)
        config = self._layout.encode_session(value.config)
        return {"object": "realtime.session", **_SESSION_FACTS.encode(value), **config}


class _TranscriptUsage(Struct):
    """Usage that says by what it is billed; what was read says only what it said then."""

    def decode(self, value: Any) -> ev.Usage:
        usage: ev.Usage = super().decode(value)
        return usage if usage.extra else attrs.evolve(usage, extra={})

    def encode(self, value: ev.Usage) -> dict[str, Any]:
        said = super().encode(value)
        if value.extra is NOTHING:
            said["type"] = "tokens" if value.seconds is None else "duration"
        return said


_TOKENS = (
    Field("text_tokens", "text", COUNT),
    Field("audio_tokens", "audio", COUNT),
    Field("image_tokens", "image", COUNT),
    Field("reasoning_tokens", "reasoning", COUNT),
    Field("cached_tokens", "cached", COUNT),
)
_TOKEN_DETAILS = Struct(
    ev.TokenDetails,
    *_TOKENS,
    Field("cached_tokens_details", "cached_details", Struct(ev.TokenDetails, *_TOKENS)),
)
_USAGE = (
    Field("input_tokens", kind=COUNT),
    Field("output_tokens", kind=COUNT),
    Field("total_tokens", kind=COUNT),
    Field("input_token_details", "input", _TOKEN_DETAILS),
    Field("output_token_details", "output", _TOKEN_DETAILS),
    Field("seconds", kind=NUMBER),
)
ERROR = Struct(ev.ResponseError, Field("type"), Field("code"), Field("message"))
STATUS_DETAILS = Struct(ev.StatusDetails, Field("type"), Field("reason"), Field("error", kind=ERROR))
USAGE = Struct(ev.Usage, *_USAGE)


def response_of(item: Kind, status_details: Kind = STATUS_DETAILS) -> Struct:
    """A reply that is made of such items."""
    return Struct(
        ev.Response,
        Field("id"),
        Field("status", kind=OneOf("in_progress", "completed", "cancelled", "failed", "incomplete")),
        Field("status_details", kind=status_details),
        Field("output", kind=ListOf(item)),
        Field("usage", kind=USAGE),
        Field("conversation_id"),
        Field("output_modalities", kind=ListOf(TEXT)),
        Field("max_output_tokens", kind=MAX_TOKENS),
        Field("metadata", kind=TEXTS),
    )


RESPONSE = response_of(ITEM)
RATE_LIMIT = Struct(
    ev.RateLimit,
    Field("name"),
    Field("limit", kind=INTEGER),
    Field("remaining", kind=INTEGER),
    Field("reset_seconds", kind=NUMBER),
)
_SESSION_FACTS = Struct(ev.SessionInfo, Field("id"), Field("model"), Field("expires_at", kind=NUMBER))


@frozen(kw_only=True)
class _Complaint:
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    client_event_id: str | None = None
    extra: Mapping[str, Any] = field(default=NOTHING)


_COMPLAINT = Struct(
    _Complaint,
    Field("message"),
    Field("type"),
    Field("code"),
    Field("param"),
    Field("event_id", "client_event_id"),
)


@frozen(kw_only=True)
class _ErrorFrame:
    error: _Complaint
    event_id: str | None = None
    extra: Mapping[str, Any] = field(default=NOTHING)


class _SessionError(Struct):
    """``error``: the wire nests what the event says flat. The nested ``extra`` is kept under ``extra["error"]``."""

    def __init__(self) -> None:
        super().__init__(_ErrorFrame, Field("event_id"), Field("error", kind=_COMPLAINT), type="error")

    def decode(self, value: Any) -> ev.SessionError:
        frame: _ErrorFrame = super().decode(value)
        extra = {**frame.extra, "error": frame.error.extra} if frame.error.extra else frame.extra
        said = attrs.asdict(frame.error, recurse=False)
        del said["extra"]
        return ev.SessionError(**said, event_id=frame.event_id, extra=extra)

    def encode(self, value: ev.SessionError) -> dict[str, Any]:
        extra = dict(value.extra)
        complaint = _Complaint(
            message=value.message,
            type=value.type,
            code=value.code,
            param=value.param,
            client_event_id=value.client_event_id,
            extra=extra.pop("error", NOTHING),
        )
        return super().encode(_ErrorFrame(error=complaint, event_id=value.event_id, extra=extra))


SESSION: Kind = Session(GA)
TRANSCRIPT_USAGE: Kind = _TranscriptUsage(ev.Usage, *_USAGE)
SESSION_ERROR = _SessionError()
