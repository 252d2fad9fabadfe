"""What we say to the model. Kinds are kernl's; ``event_id`` is ours, and a provider's error may name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from attrs import field, frozen

from kernl_rt.config import ResponseConfig, SessionConfig
from kernl_rt.events._base import WireEvent
from kernl_rt.items import ConversationItem

__all__ = [
    "ActivityEnd",
    "ActivityStart",
    "AudioInputAppend",
    "AudioInputClear",
    "AudioInputCommit",
    "AudioOutputClear",
    "ClientEvent",
    "InputMute",
    "InputUnmute",
    "ItemCreate",
    "ItemDelete",
    "ItemRetrieve",
    "ItemTruncate",
    "RawClientEvent",
    "ResponseCancel",
    "ResponseCreate",
    "SessionUpdate",
    "ToolResult",
]


@frozen(eq=False, repr=False)
class SessionUpdate(WireEvent):
    """Configure the session; what the configuration leaves ``None`` stays as it is."""

    kind: ClassVar[str] = "session.update"
    config: SessionConfig


@frozen(eq=False, repr=False)
class ItemCreate(WireEvent):
    """Add an item to the conversation, after ``previous_item_id`` (``"root"`` for first, ``None`` for last).

    ``asks`` says whether a reply to it is wanted, to models that answer a message by itself; others are asked with a
    :class:`ResponseCreate`, and never see it.
    """

    kind: ClassVar[str] = "item.create"
    item: ConversationItem
    previous_item_id: str | None = None
    asks: bool | None = field(default=None, kw_only=True)


@frozen(eq=False, repr=False)
class ItemDelete(WireEvent):
    kind: ClassVar[str] = "item.delete"
    item_id: str


@frozen(eq=False, repr=False)
class ItemRetrieve(WireEvent):
    kind: ClassVar[str] = "item.retrieve"
    item_id: str


@frozen(eq=False, repr=False)
class ItemTruncate(WireEvent):
    """Tell the provider how much of an assistant's audio was heard, in whole milliseconds."""

    kind: ClassVar[str] = "item.truncate"
    item_id: str
    audio_end_ms: int
    content_index: int = 0


@frozen(eq=False, repr=False)
class AudioInputAppend(WireEvent):
    """Sound of the human, decoded, in the session's input format."""

    kind: ClassVar[str] = "audio.input.append"
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@frozen(eq=False, repr=False)
class AudioInputCommit(WireEvent):
    """The buffered sound is a user's turn. By itself this asks for no reply at OpenAI."""

    kind: ClassVar[str] = "audio.input.commit"


@frozen(eq=False, repr=False)
class AudioInputClear(WireEvent):
    kind: ClassVar[str] = "audio.input.clear"


@frozen(eq=False, repr=False)
class AudioOutputClear(WireEvent):
    """Drop what the provider has buffered for playback (WebRTC and SIP only)."""

    kind: ClassVar[str] = "audio.output.clear"


@frozen(eq=False, repr=False)
class ActivityStart(WireEvent):
    """The human began to speak, found by us (providers with manual activity signals)."""

    kind: ClassVar[str] = "activity.start"


@frozen(eq=False, repr=False)
class ActivityEnd(WireEvent):
    kind: ClassVar[str] = "activity.end"


@frozen(eq=False, repr=False)
class InputMute(WireEvent):
    """Mute at the provider, where it has a wire operation for it."""

    kind: ClassVar[str] = "audio.input.mute"


@frozen(eq=False, repr=False)
class InputUnmute(WireEvent):
    kind: ClassVar[str] = "audio.input.unmute"


@frozen(eq=False, repr=False)
class ResponseCreate(WireEvent):
    """Ask for a reply."""

    kind: ClassVar[str] = "response.create"
    config: ResponseConfig | None = None


@frozen(eq=False, repr=False)
class ResponseCancel(WireEvent):
    """Stop the running reply, or the one that is named."""

    kind: ClassVar[str] = "response.cancel"
    response_id: str | None = None


@frozen(eq=False, repr=False)
class ToolResult(WireEvent):
    """The output of a tool call. By itself this asks for no reply at OpenAI."""

    kind: ClassVar[str] = "tool.result"
    call_id: str
    output: str
    item_id: str | None = None
    name: str | None = None
    is_error: bool = False


@frozen(eq=False, repr=False)
class RawClientEvent(WireEvent):
    """Anything that the vocabulary lacks, sent as it is."""

    kind: ClassVar[str] = "raw"
    data: Mapping[str, Any]


ClientEvent: TypeAlias = (
    SessionUpdate
    | ItemCreate
    | ItemDelete
    | ItemRetrieve
    | ItemTruncate
    | AudioInputAppend
    | AudioInputCommit
    | AudioInputClear
    | AudioOutputClear
    | ActivityStart
    | ActivityEnd
    | InputMute
    | InputUnmute
    | ResponseCreate
    | ResponseCancel
    | ToolResult
    | RawClientEvent
)
