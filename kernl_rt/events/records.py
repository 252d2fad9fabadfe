"""What the model's events are made of: replies, sessions, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import field, frozen

from kernl_rt._values import Value
from kernl_rt.config import SessionConfig
from kernl_rt.items import NOTHING, ConversationItem, Message, as_tuple

__all__ = [
    "RateLimit",
    "Response",
    "ResponseError",
    "SessionInfo",
    "StatusDetails",
    "TokenDetails",
    "Usage",
]


@frozen(kw_only=True, eq=False, repr=False)
class TokenDetails(Value):
    """Tokens by what they carried; ``cached`` is how many of them were read from the cache."""

    text: int | None = None
    audio: int | None = None
    image: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    cached_details: TokenDetails | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True, eq=False, repr=False)
class Usage(Value):
    """What something cost, in tokens, or in ``seconds`` of audio where the provider bills by time."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input: TokenDetails | None = None
    output: TokenDetails | None = None
    seconds: float | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)

    def __add__(self, other: Usage) -> Usage:
        """The sum, part by part; ``extra`` is not added."""
        return Usage(
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            total_tokens=_sum(self.total_tokens, other.total_tokens),
            input=_sum_details(self.input, other.input),
            output=_sum_details(self.output, other.output),
            seconds=self.seconds if other.seconds is None else (self.seconds or 0.0) + other.seconds,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other


def _sum_details(one: TokenDetails | None, other: TokenDetails | None) -> TokenDetails | None:
    if one is None or other is None:
        return one or other
    return TokenDetails(
        text=_sum(one.text, other.text),
        audio=_sum(one.audio, other.audio),
        image=_sum(one.image, other.image),
        reasoning=_sum(one.reasoning, other.reasoning),
        cached=_sum(one.cached, other.cached),
        cached_details=_sum_details(one.cached_details, other.cached_details),
    )


@frozen(kw_only=True, eq=False, repr=False)
class ResponseError(Value):
    """Why a response failed, in the provider's words."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True, eq=False, repr=False)
class StatusDetails(Value):
    """Why a response ended as it did.

    ``reason`` is ``turn_detected`` or ``client_cancelled`` (cancelled), ``max_output_tokens`` or ``content_filter``
    (incomplete); failures hold ``error``.
    """

    type: str | None = None
    reason: str | None = None
    error: ResponseError | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True, eq=False, repr=False)
class Response(Value):
    """One reply of the model."""

    id: str | None = None
    status: Literal["in_progress", "completed", "cancelled", "failed", "incomplete"] | None = None
    status_details: StatusDetails | None = None
    output: Sequence[ConversationItem] = field(default=(), converter=as_tuple)
    usage: Usage | None = None
    conversation_id: str | None = None
    output_modalities: Sequence[str] | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    metadata: Mapping[str, str] | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)

    @property
    def text(self) -> str:
        """All words of the reply, spoken or written."""
        return "".join(item.text for item in self.output if isinstance(item, Message))


@frozen(kw_only=True, eq=False, repr=False)
class SessionInfo(Value):
    """The session as the provider describes it. ``raw`` is its whole description; ``expires_at`` seconds since 1970."""

    id: str | None = None
    model: str | None = None
    expires_at: float | None = None
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    raw: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True, eq=False, repr=False)
class RateLimit(Value):
    """``name`` is ``requests`` or ``tokens``; ``reset_seconds`` until ``remaining`` is ``limit`` again."""

    name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)
