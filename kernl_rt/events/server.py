"""What the model says to us. Kinds are kernl's, with the gaps closed; deltas are partial, their finals follow.

Ids are the provider's. ``content_index`` and ``output_index`` count from 0 within the item and the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from attrs import field, frozen

from kernl_rt.config import SessionConfig
from kernl_rt.events._base import WireEvent
from kernl_rt.events.duplex import ContextAppended, DelegationCreated, DelegationEvent, InputMuted, TimelineAdvanced
from kernl_rt.exceptions import ProtocolError, ProviderError, RealtimeError
from kernl_rt.items import NOTHING, ContentPart, ConversationItem, FunctionCall, Message, as_tuple

__all__ = [
    "AudioDelta",
    "AudioDone",
    "AudioInputCleared",
    "AudioInputCommitted",
    "AudioInputTimedOut",
    "ContentPartAdded",
    "ContentPartDone",
    "ConversationCreated",
    "DtmfReceived",
    "InputTranscript",
    "InputTranscriptDelta",
    "InputTranscriptFailed",
    "InputTranscriptSegment",
    "ItemCreated",
    "ItemDeleted",
    "ItemDone",
    "ItemRetrieved",
    "ItemTruncated",
    "McpArguments",
    "McpArgumentsDelta",
    "McpCallProgress",
    "McpListToolsProgress",
    "OutputBufferCleared",
    "OutputBufferStarted",
    "OutputBufferStopped",
    "OutputItemAdded",
    "OutputItemDone",
    "OutputTranscript",
    "OutputTranscriptDelta",
    "Ping",
    "RateLimit",
    "RateLimitsUpdated",
    "RawServerEvent",
    "Response",
    "ResponseCreated",
    "ResponseDone",
    "ResponseError",
    "ServerEvent",
    "SessionCreated",
    "SessionError",
    "SessionExpiring",
    "SessionInfo",
    "SessionResumable",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "StatusDetails",
    "TextDelta",
    "TextDone",
    "TokenDetails",
    "ToolCalled",
    "ToolCancelled",
    "ToolDelta",
    "ToolStarted",
    "Usage",
    "UsageReported",
]


# -- what events are made of ------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class TokenDetails:
    """Tokens by what they carried; ``cached`` is how many of them were read from the cache."""

    text: int | None = None
    audio: int | None = None
    image: int | None = None
    reasoning: int | None = None
    cached: int | None = None
    cached_details: TokenDetails | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True)
class Usage:
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


@frozen(kw_only=True)
class ResponseError:
    """Why a response failed, in the provider's words."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True)
class StatusDetails:
    """Why a response ended as it did.

    ``reason`` is ``turn_detected`` or ``client_cancelled`` (cancelled), ``max_output_tokens`` or ``content_filter``
    (incomplete); failures hold ``error``.
    """

    type: str | None = None
    reason: str | None = None
    error: ResponseError | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True)
class Response:
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


@frozen(kw_only=True)
class SessionInfo:
    """The session as the provider describes it. ``raw`` is its whole description; ``expires_at`` seconds since 1970."""

    id: str | None = None
    model: str | None = None
    expires_at: float | None = None
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    raw: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen(kw_only=True)
class RateLimit:
    """``name`` is ``requests`` or ``tokens``; ``reset_seconds`` until ``remaining`` is ``limit`` again."""

    name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_seconds: float | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


# -- session ----------------------------------------------------------------------------------------------------------


@frozen
class SessionCreated(WireEvent):
    kind: ClassVar[str] = "session.created"
    session: SessionInfo


@frozen
class SessionUpdated(WireEvent):
    """The provider has taken a configuration; ``session`` is the whole of what now holds."""

    kind: ClassVar[str] = "session.updated"
    session: SessionInfo


@frozen
class SessionError(WireEvent):
    """Something went wrong and the session lives.

    ``source`` says where: the ``provider`` reported it, a frame broke the ``protocol``, a ``listener`` raised, the
    session's own ``playback`` lane overflowed, the model called a ``tool`` that cannot run … ``code``, ``type`` and
    ``param`` are the provider's words.
    ``client_event_id`` names the client event that the provider blames. ``cause`` is the exception, where there is one.
    """

    kind: ClassVar[str] = "session.error"
    topic: ClassVar[str | None] = "error"
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    client_event_id: str | None = None
    source: Literal["provider", "protocol", "listener", "tool", "channel", "playback", "session"] = field(
        default="provider", kw_only=True
    )
    cause: Exception | None = field(default=None, kw_only=True, eq=False, repr=False)

    @property
    def error(self) -> Exception:
        """The same as an exception, to raise."""
        if self.cause is not None:
            return self.cause
        if self.source == "provider":
            return ProviderError(self.message, code=self.code, type=self.type, param=self.param)
        return ProtocolError(self.message) if self.source == "protocol" else RealtimeError(self.message)


@frozen
class SessionExpiring(WireEvent):
    """The provider will end this connection in ``time_left`` seconds."""

    kind: ClassVar[str] = "session.expiring"
    time_left: float | None = None


@frozen
class SessionResumable(WireEvent):
    """A handle with which a later session can continue this one."""

    kind: ClassVar[str] = "session.resumable"
    handle: str | None = None
    resumable: bool = True


@frozen
class Ping(WireEvent):
    """The link lives; nothing is expected of us. It is no sign that the model works: what it owes it still owes.

    ``timestamp`` is the provider's clock, in milliseconds since 1970.
    """

    kind: ClassVar[str] = "ping"
    timestamp: float | None = None


@frozen
class UsageReported(WireEvent):
    """What the session has cost since the last such report, where the provider tells of it outside of replies."""

    kind: ClassVar[str] = "usage.reported"
    usage: Usage


@frozen
class ConversationCreated(WireEvent):
    kind: ClassVar[str] = "conversation.created"
    conversation: Mapping[str, Any] = field(default=NOTHING)


@frozen
class RateLimitsUpdated(WireEvent):
    kind: ClassVar[str] = "rate_limits.updated"
    rate_limits: Sequence[RateLimit] = field(default=(), converter=as_tuple)


# -- items ------------------------------------------------------------------------------------------------------------


@frozen
class ItemCreated(WireEvent):
    """An item joined the conversation after ``previous_item_id``; it may still be growing."""

    kind: ClassVar[str] = "item.created"
    item: ConversationItem
    previous_item_id: str | None = None


@frozen
class ItemDone(WireEvent):
    """An item is final. ``previous_item_id`` is not to be trusted here (OpenAI sends null although there is one)."""

    kind: ClassVar[str] = "item.done"
    item: ConversationItem
    previous_item_id: str | None = None


@frozen
class ItemRetrieved(WireEvent):
    kind: ClassVar[str] = "item.retrieved"
    item: ConversationItem


@frozen
class ItemDeleted(WireEvent):
    kind: ClassVar[str] = "item.deleted"
    item_id: str


@frozen
class ItemTruncated(WireEvent):
    kind: ClassVar[str] = "item.truncated"
    item_id: str
    audio_end_ms: int
    content_index: int = 0


# -- the human's side as the model hears it ---------------------------------------------------------------------------


@frozen
class AudioInputCommitted(WireEvent):
    """The buffered sound became the user item ``item_id``."""

    kind: ClassVar[str] = "audio.input.committed"
    item_id: str
    previous_item_id: str | None = None


@frozen
class AudioInputCleared(WireEvent):
    kind: ClassVar[str] = "audio.input.cleared"


@frozen
class AudioInputTimedOut(WireEvent):
    """Nobody spoke for the configured idle time; the model will speak."""

    kind: ClassVar[str] = "audio.input.timeout"
    item_id: str
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None


@frozen
class DtmfReceived(WireEvent):
    """A phone key, on the provider's own phone link; ``received_at`` seconds since 1970."""

    kind: ClassVar[str] = "audio.input.dtmf"
    topic: ClassVar[str | None] = "dtmf"
    key: str
    received_at: float | None = None


@frozen
class SpeechStarted(WireEvent):
    """The provider hears speech; milliseconds on its clock of all audio sent so far."""

    kind: ClassVar[str] = "speech.started"
    topic: ClassVar[str | None] = "speech"
    item_id: str | None = None
    audio_start_ms: int | None = None


@frozen
class SpeechStopped(WireEvent):
    kind: ClassVar[str] = "speech.stopped"
    topic: ClassVar[str | None] = "speech"
    item_id: str | None = None
    audio_end_ms: int | None = None


@frozen
class InputTranscriptDelta(WireEvent):
    """More of what the human said. ``cumulative`` means that ``text`` replaces all that came before."""

    kind: ClassVar[str] = "transcript.input.delta"
    sheddable: ClassVar[bool] = True
    item_id: str
    text: str = ""
    content_index: int | None = None
    cumulative: bool = field(default=False, kw_only=True)


@frozen
class InputTranscript(WireEvent):
    """What the human said, final for this item."""

    kind: ClassVar[str] = "transcript.input"
    topic: ClassVar[str | None] = "transcript"
    role: ClassVar[Literal["user"]] = "user"
    item_id: str
    text: str
    content_index: int | None = None
    usage: Usage | None = None


@frozen
class InputTranscriptFailed(WireEvent):
    kind: ClassVar[str] = "transcript.input.failed"
    item_id: str
    error: ResponseError
    content_index: int | None = None


@frozen
class InputTranscriptSegment(WireEvent):
    """A stretch of one speaker's words; ``start`` and ``end`` are seconds in the item."""

    kind: ClassVar[str] = "transcript.input.segment"
    item_id: str
    text: str
    id: str | None = None
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    content_index: int | None = None


# -- the reply --------------------------------------------------------------------------------------------------------


@frozen
class ResponseCreated(WireEvent):
    kind: ClassVar[str] = "response.created"
    topic: ClassVar[str | None] = "response"
    response: Response

    @property
    def response_id(self) -> str | None:
        return self.response.id


@frozen
class ResponseDone(WireEvent):
    """A reply is over: completed, cancelled, failed or incomplete. Its tail may still be playing."""

    kind: ClassVar[str] = "response.done"
    topic: ClassVar[str | None] = "response"
    response: Response

    @property
    def response_id(self) -> str | None:
        return self.response.id


@frozen(kw_only=True)
class _OfResponse(WireEvent):
    response_id: str | None = None
    output_index: int | None = None


@frozen(kw_only=True)
class _OfContent(_OfResponse):
    item_id: str
    content_index: int | None = None


@frozen
class OutputItemAdded(_OfResponse):
    kind: ClassVar[str] = "response.item.created"
    item: ConversationItem


@frozen
class OutputItemDone(_OfResponse):
    kind: ClassVar[str] = "response.item.done"
    item: ConversationItem


@frozen
class ContentPartAdded(_OfContent):
    kind: ClassVar[str] = "response.part.created"
    part: ContentPart | None = None


@frozen
class ContentPartDone(_OfContent):
    kind: ClassVar[str] = "response.part.done"
    part: ContentPart | None = None


@frozen
class AudioDelta(_OfContent):
    """Sound of the reply, decoded, in the session's output format."""

    kind: ClassVar[str] = "audio.output.delta"
    topic: ClassVar[str | None] = "audio"
    sheddable: ClassVar[bool] = True
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@frozen
class AudioDone(_OfContent):
    kind: ClassVar[str] = "audio.output.done"


@frozen
class TextDelta(_OfContent):
    kind: ClassVar[str] = "text.output.delta"
    sheddable: ClassVar[bool] = True
    text: str


@frozen
class TextDone(_OfContent):
    """The reply's text, final for this part."""

    kind: ClassVar[str] = "text.output"
    topic: ClassVar[str | None] = "text"
    role: ClassVar[Literal["assistant"]] = "assistant"
    text: str


@frozen
class OutputTranscriptDelta(_OfContent):
    kind: ClassVar[str] = "transcript.output.delta"
    sheddable: ClassVar[bool] = True
    text: str


@frozen
class OutputTranscript(_OfContent):
    """What the reply says, final for this part: all that was generated, not only what was heard."""

    kind: ClassVar[str] = "transcript.output"
    topic: ClassVar[str | None] = "transcript"
    role: ClassVar[Literal["assistant"]] = "assistant"
    text: str


@frozen
class OutputBufferStarted(WireEvent):
    """The provider began to play the reply on its own media link (WebRTC, SIP)."""

    kind: ClassVar[str] = "audio.output.buffer.started"
    response_id: str | None = None


@frozen
class OutputBufferStopped(WireEvent):
    kind: ClassVar[str] = "audio.output.buffer.stopped"
    response_id: str | None = None


@frozen
class OutputBufferCleared(WireEvent):
    kind: ClassVar[str] = "audio.output.buffer.cleared"
    response_id: str | None = None


# -- tools ------------------------------------------------------------------------------------------------------------


@frozen
class ToolStarted(_OfResponse):
    """The model begins to write a tool call; its arguments follow."""

    kind: ClassVar[str] = "tool.start"
    item: FunctionCall

    @property
    def call_id(self) -> str | None:
        return self.item.call_id

    @property
    def name(self) -> str:
        return self.item.name


@frozen
class ToolDelta(_OfResponse):
    """More of a call's arguments, a fragment of JSON."""

    kind: ClassVar[str] = "tool.delta"
    sheddable: ClassVar[bool] = True
    call_id: str
    arguments: str
    item_id: str | None = None


@frozen
class ToolCalled(_OfResponse):
    """A call is complete: ``arguments`` is its whole JSON text."""

    kind: ClassVar[str] = "tool.call"
    topic: ClassVar[str | None] = "tool"
    call_id: str
    name: str
    arguments: str
    item_id: str | None = None


@frozen
class ToolCancelled(WireEvent):
    """The provider no longer wants these calls."""

    kind: ClassVar[str] = "tool.cancelled"
    call_ids: Sequence[str] = field(converter=as_tuple)


@frozen
class McpListToolsProgress(WireEvent):
    kind: ClassVar[str] = "mcp.tools"
    item_id: str
    status: Literal["in_progress", "completed", "failed"]


@frozen
class McpCallProgress(_OfResponse):
    kind: ClassVar[str] = "mcp.call"
    item_id: str
    status: Literal["in_progress", "completed", "failed"]


@frozen
class McpArgumentsDelta(_OfResponse):
    kind: ClassVar[str] = "mcp.arguments.delta"
    sheddable: ClassVar[bool] = True
    item_id: str
    arguments: str


@frozen
class McpArguments(_OfResponse):
    kind: ClassVar[str] = "mcp.arguments"
    item_id: str
    arguments: str


@frozen
class RawServerEvent(WireEvent):
    """A message of a type that this vocabulary lacks, whole."""

    kind: ClassVar[str] = "raw"
    type: str
    data: Mapping[str, Any]


ServerEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | SessionError
    | SessionExpiring
    | SessionResumable
    | Ping
    | ConversationCreated
    | RateLimitsUpdated
    | ItemCreated
    | ItemDone
    | ItemRetrieved
    | ItemDeleted
    | ItemTruncated
    | AudioInputCommitted
    | AudioInputCleared
    | AudioInputTimedOut
    | DtmfReceived
    | SpeechStarted
    | SpeechStopped
    | InputTranscriptDelta
    | InputTranscript
    | InputTranscriptFailed
    | InputTranscriptSegment
    | ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | AudioDelta
    | AudioDone
    | TextDelta
    | TextDone
    | OutputTranscriptDelta
    | OutputTranscript
    | OutputBufferStarted
    | OutputBufferStopped
    | OutputBufferCleared
    | ToolStarted
    | ToolDelta
    | ToolCalled
    | ToolCancelled
    | McpListToolsProgress
    | McpCallProgress
    | McpArgumentsDelta
    | McpArguments
    | UsageReported
    | TimelineAdvanced
    | InputMuted
    | ContextAppended
    | DelegationCreated
    | DelegationEvent
    | RawServerEvent
)
