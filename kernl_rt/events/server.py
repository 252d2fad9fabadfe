"""What the model says to us. Kinds are kernl's, with the gaps closed; deltas are partial, their finals follow.

Ids are the provider's. ``content_index`` and ``output_index`` count from 0 within the item and the response.

It is a long page, and one page: nothing but declarations, in the order in which a session meets them, that whoever
writes a codec or a ``match`` looks up together. What they are made of stands in :mod:`kernl_rt.events.records`, what
only full-duplex models say in :mod:`kernl_rt.events.duplex`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from attrs import field, frozen

from kernl_rt.events._base import WireEvent
from kernl_rt.events.duplex import ContextAppended, DelegationCreated, DelegationEvent, InputMuted, TimelineAdvanced
from kernl_rt.events.records import RateLimit, Response, ResponseError, SessionInfo, Usage
from kernl_rt.exceptions import ProtocolError, ProviderError, RealtimeError
from kernl_rt.items import NOTHING, ContentPart, ConversationItem, FunctionCall, as_tuple

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
    "RateLimitsUpdated",
    "RawServerEvent",
    "ResponseCreated",
    "ResponseDone",
    "ServerEvent",
    "SessionCreated",
    "SessionError",
    "SessionExpiring",
    "SessionResumable",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "TextDelta",
    "TextDone",
    "ToolCalled",
    "ToolCancelled",
    "ToolDelta",
    "ToolStarted",
    "UsageReported",
]


# -- session ----------------------------------------------------------------------------------------------------------


@frozen(eq=False, repr=False)
class SessionCreated(WireEvent):
    kind: ClassVar[str] = "session.created"
    session: SessionInfo


@frozen(eq=False, repr=False)
class SessionUpdated(WireEvent):
    """The provider has taken a configuration; ``session`` is the whole of what now holds."""

    kind: ClassVar[str] = "session.updated"
    session: SessionInfo


@frozen(eq=False, repr=False)
class SessionError(WireEvent):
    """Something went wrong and the session lives.

    ``source`` says where: the ``provider`` reported it, a frame broke the ``protocol``, a ``listener`` raised, the
    session's own ``playback`` lane overflowed, the model called a ``tool`` that cannot run, a ``recording`` could not
    be written … ``code``, ``type`` and ``param`` are the provider's words. ``client_event_id`` names the client event
    that the provider blames. ``cause`` is the exception, where there is one.
    """

    kind: ClassVar[str] = "session.error"
    topic: ClassVar[str | None] = "error"
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    client_event_id: str | None = None
    source: Literal["provider", "protocol", "listener", "tool", "channel", "playback", "recording", "session"] = field(
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


@frozen(eq=False, repr=False)
class SessionExpiring(WireEvent):
    """The provider will end this connection in ``time_left`` seconds."""

    kind: ClassVar[str] = "session.expiring"
    time_left: float | None = None


@frozen(eq=False, repr=False)
class SessionResumable(WireEvent):
    """A handle with which a later session can continue this one."""

    kind: ClassVar[str] = "session.resumable"
    handle: str | None = None
    resumable: bool = True


@frozen(eq=False, repr=False)
class Ping(WireEvent):
    """The link lives; nothing is expected of us. It is no sign that the model works: what it owes it still owes.

    ``timestamp`` is the provider's clock, in milliseconds since 1970.
    """

    kind: ClassVar[str] = "ping"
    timestamp: float | None = None


@frozen(eq=False, repr=False)
class UsageReported(WireEvent):
    """What the session has cost since the last such report, where the provider tells of it outside of replies."""

    kind: ClassVar[str] = "usage.reported"
    usage: Usage


@frozen(eq=False, repr=False)
class ConversationCreated(WireEvent):
    kind: ClassVar[str] = "conversation.created"
    conversation: Mapping[str, Any] = field(default=NOTHING)


@frozen(eq=False, repr=False)
class RateLimitsUpdated(WireEvent):
    kind: ClassVar[str] = "rate_limits.updated"
    rate_limits: Sequence[RateLimit] = field(default=(), converter=as_tuple)


# -- items ------------------------------------------------------------------------------------------------------------


@frozen(eq=False, repr=False)
class ItemCreated(WireEvent):
    """An item joined the conversation after ``previous_item_id``; it may still be growing."""

    kind: ClassVar[str] = "item.created"
    item: ConversationItem
    previous_item_id: str | None = None


@frozen(eq=False, repr=False)
class ItemDone(WireEvent):
    """An item is final. ``previous_item_id`` is not to be trusted here (OpenAI sends null although there is one)."""

    kind: ClassVar[str] = "item.done"
    item: ConversationItem
    previous_item_id: str | None = None


@frozen(eq=False, repr=False)
class ItemRetrieved(WireEvent):
    kind: ClassVar[str] = "item.retrieved"
    item: ConversationItem


@frozen(eq=False, repr=False)
class ItemDeleted(WireEvent):
    kind: ClassVar[str] = "item.deleted"
    item_id: str


@frozen(eq=False, repr=False)
class ItemTruncated(WireEvent):
    kind: ClassVar[str] = "item.truncated"
    item_id: str
    audio_end_ms: int
    content_index: int = 0


# -- the human's side as the model hears it ---------------------------------------------------------------------------


@frozen(eq=False, repr=False)
class AudioInputCommitted(WireEvent):
    """The buffered sound became the user item ``item_id``."""

    kind: ClassVar[str] = "audio.input.committed"
    item_id: str
    previous_item_id: str | None = None


@frozen(eq=False, repr=False)
class AudioInputCleared(WireEvent):
    kind: ClassVar[str] = "audio.input.cleared"


@frozen(eq=False, repr=False)
class AudioInputTimedOut(WireEvent):
    """Nobody spoke for the configured idle time; the model will speak."""

    kind: ClassVar[str] = "audio.input.timeout"
    item_id: str
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None


@frozen(eq=False, repr=False)
class DtmfReceived(WireEvent):
    """A phone key, on the provider's own phone link; ``received_at`` seconds since 1970."""

    kind: ClassVar[str] = "audio.input.dtmf"
    topic: ClassVar[str | None] = "dtmf"
    key: str
    received_at: float | None = None


@frozen(eq=False, repr=False)
class SpeechStarted(WireEvent):
    """The provider hears speech; milliseconds on its clock of all audio sent so far."""

    kind: ClassVar[str] = "speech.started"
    topic: ClassVar[str | None] = "speech"
    item_id: str | None = None
    audio_start_ms: int | None = None


@frozen(eq=False, repr=False)
class SpeechStopped(WireEvent):
    kind: ClassVar[str] = "speech.stopped"
    topic: ClassVar[str | None] = "speech"
    item_id: str | None = None
    audio_end_ms: int | None = None


@frozen(eq=False, repr=False)
class InputTranscriptDelta(WireEvent):
    """More of what the human said. ``cumulative`` means that ``text`` replaces all that came before."""

    kind: ClassVar[str] = "transcript.input.delta"
    sheddable: ClassVar[bool] = True
    item_id: str
    text: str = ""
    content_index: int | None = None
    cumulative: bool = field(default=False, kw_only=True)


@frozen(eq=False, repr=False)
class InputTranscript(WireEvent):
    """What the human said, final for this item."""

    kind: ClassVar[str] = "transcript.input"
    topic: ClassVar[str | None] = "transcript"
    role: ClassVar[Literal["user"]] = "user"
    item_id: str
    text: str
    content_index: int | None = None
    usage: Usage | None = None


@frozen(eq=False, repr=False)
class InputTranscriptFailed(WireEvent):
    kind: ClassVar[str] = "transcript.input.failed"
    item_id: str
    error: ResponseError
    content_index: int | None = None


@frozen(eq=False, repr=False)
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


@frozen(eq=False, repr=False)
class ResponseCreated(WireEvent):
    kind: ClassVar[str] = "response.created"
    topic: ClassVar[str | None] = "response"
    response: Response

    @property
    def response_id(self) -> str | None:
        return self.response.id


@frozen(eq=False, repr=False)
class ResponseDone(WireEvent):
    """A reply is over: completed, cancelled, failed or incomplete. Its tail may still be playing."""

    kind: ClassVar[str] = "response.done"
    topic: ClassVar[str | None] = "response"
    response: Response

    @property
    def response_id(self) -> str | None:
        return self.response.id


@frozen(kw_only=True, eq=False, repr=False)
class _OfResponse(WireEvent):
    response_id: str | None = None
    output_index: int | None = None


@frozen(kw_only=True, eq=False, repr=False)
class _OfContent(_OfResponse):
    item_id: str
    content_index: int | None = None


@frozen(eq=False, repr=False)
class OutputItemAdded(_OfResponse):
    kind: ClassVar[str] = "response.item.created"
    item: ConversationItem


@frozen(eq=False, repr=False)
class OutputItemDone(_OfResponse):
    kind: ClassVar[str] = "response.item.done"
    item: ConversationItem


@frozen(eq=False, repr=False)
class ContentPartAdded(_OfContent):
    kind: ClassVar[str] = "response.part.created"
    part: ContentPart | None = None


@frozen(eq=False, repr=False)
class ContentPartDone(_OfContent):
    kind: ClassVar[str] = "response.part.done"
    part: ContentPart | None = None


@frozen(eq=False, repr=False)
class AudioDelta(_OfContent):
    """Sound of the reply, decoded, in the session's output format."""

    kind: ClassVar[str] = "audio.output.delta"
    topic: ClassVar[str | None] = "audio"
    sheddable: ClassVar[bool] = True
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@frozen(eq=False, repr=False)
class AudioDone(_OfContent):
    kind: ClassVar[str] = "audio.output.done"


@frozen(eq=False, repr=False)
class TextDelta(_OfContent):
    kind: ClassVar[str] = "text.output.delta"
    sheddable: ClassVar[bool] = True
    text: str


@frozen(eq=False, repr=False)
class TextDone(_OfContent):
    """The reply's text, final for this part."""

    kind: ClassVar[str] = "text.output"
    topic: ClassVar[str | None] = "text"
    role: ClassVar[Literal["assistant"]] = "assistant"
    text: str


@frozen(eq=False, repr=False)
class OutputTranscriptDelta(_OfContent):
    kind: ClassVar[str] = "transcript.output.delta"
    sheddable: ClassVar[bool] = True
    text: str


@frozen(eq=False, repr=False)
class OutputTranscript(_OfContent):
    """What the reply says, final for this part: all that was generated, not only what was heard."""

    kind: ClassVar[str] = "transcript.output"
    topic: ClassVar[str | None] = "transcript"
    role: ClassVar[Literal["assistant"]] = "assistant"
    text: str


@frozen(eq=False, repr=False)
class OutputBufferStarted(WireEvent):
    """The provider began to play the reply on its own media link (WebRTC, SIP)."""

    kind: ClassVar[str] = "audio.output.buffer.started"
    response_id: str | None = None


@frozen(eq=False, repr=False)
class OutputBufferStopped(WireEvent):
    kind: ClassVar[str] = "audio.output.buffer.stopped"
    response_id: str | None = None


@frozen(eq=False, repr=False)
class OutputBufferCleared(WireEvent):
    kind: ClassVar[str] = "audio.output.buffer.cleared"
    response_id: str | None = None


# -- tools ------------------------------------------------------------------------------------------------------------


@frozen(eq=False, repr=False)
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


@frozen(eq=False, repr=False)
class ToolDelta(_OfResponse):
    """More of a call's arguments, a fragment of JSON."""

    kind: ClassVar[str] = "tool.delta"
    sheddable: ClassVar[bool] = True
    call_id: str
    arguments: str
    item_id: str | None = None


@frozen(eq=False, repr=False)
class ToolCalled(_OfResponse):
    """A call is complete: ``arguments`` is its whole JSON text."""

    kind: ClassVar[str] = "tool.call"
    topic: ClassVar[str | None] = "tool"
    call_id: str
    name: str
    arguments: str
    item_id: str | None = None


@frozen(eq=False, repr=False)
class ToolCancelled(WireEvent):
    """The provider no longer wants these calls."""

    kind: ClassVar[str] = "tool.cancelled"
    call_ids: Sequence[str] = field(converter=as_tuple)


@frozen(eq=False, repr=False)
class McpListToolsProgress(WireEvent):
    kind: ClassVar[str] = "mcp.tools"
    item_id: str
    status: Literal["in_progress", "completed", "failed"]


@frozen(eq=False, repr=False)
class McpCallProgress(_OfResponse):
    kind: ClassVar[str] = "mcp.call"
    item_id: str
    status: Literal["in_progress", "completed", "failed"]


@frozen(eq=False, repr=False)
class McpArgumentsDelta(_OfResponse):
    kind: ClassVar[str] = "mcp.arguments.delta"
    sheddable: ClassVar[bool] = True
    item_id: str
    arguments: str


@frozen(eq=False, repr=False)
class McpArguments(_OfResponse):
    kind: ClassVar[str] = "mcp.arguments"
    item_id: str
    arguments: str


@frozen(eq=False, repr=False)
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
