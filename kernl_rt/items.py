"""What a conversation is made of: messages, tool calls and their outputs, and the provider's own MCP items.

Every class keeps in ``extra`` what the provider said beyond the attributes, explicit nulls included, so that decoding
loses nothing. The vocabulary is that of OpenAI's ``ConversationItem``, which most providers share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeAlias

from attrs import field, frozen

__all__ = [
    "ContentPart",
    "ConversationItem",
    "FunctionCall",
    "FunctionCallOutput",
    "ItemStatus",
    "McpApprovalRequest",
    "McpApprovalResponse",
    "McpCall",
    "McpListTools",
    "Message",
    "Role",
    "UnknownItem",
]

Role: TypeAlias = Literal["user", "assistant", "system"]
ItemStatus: TypeAlias = Literal["in_progress", "completed", "incomplete"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


def as_tuple(values: Iterable[Any]) -> tuple[Any, ...]:
    """A converter for attributes: any iterable becomes a tuple."""
    return tuple(values)


@frozen
class ContentPart:
    """One part of a message.

    ``type`` is the wire's word: ``input_text``, ``input_audio``, ``input_image`` from the human, ``output_text``,
    ``output_audio`` from the model (in ``content_part`` events plainly ``text`` or ``audio``). ``audio`` is decoded
    bytes; ``image_url`` may be a ``data:`` URL.
    """

    type: str
    text: str | None = None
    transcript: str | None = None
    audio: bytes | None = field(default=None, repr=False)
    image_url: str | None = field(default=None, repr=False)
    detail: Literal["auto", "low", "high"] | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, kw_only=True, repr=False)


@frozen(kw_only=True)
class _Item:
    type: ClassVar[str]
    id: str | None = None
    status: ItemStatus | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)


@frozen
class Message(_Item):
    """Words, sounds or pictures from one side."""

    type: ClassVar[str] = "message"
    role: Role
    content: Sequence[ContentPart] = field(default=(), converter=as_tuple)

    @property
    def text(self) -> str:
        """All words of the message: texts and transcripts, joined."""
        return "".join(part.text or part.transcript or "" for part in self.content)


@frozen
class FunctionCall(_Item):
    """The model asks for a tool. ``arguments`` is a JSON text, as the model wrote it."""

    type: ClassVar[str] = "function_call"
    name: str
    arguments: str = ""
    call_id: str | None = None


@frozen
class FunctionCallOutput(_Item):
    """What the tool answered."""

    type: ClassVar[str] = "function_call_output"
    call_id: str
    output: str


@frozen
class McpListTools(_Item):
    type: ClassVar[str] = "mcp_list_tools"
    server_label: str
    tools: Sequence[Mapping[str, Any]] = field(default=(), converter=as_tuple)


@frozen
class McpCall(_Item):
    type: ClassVar[str] = "mcp_call"
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: Mapping[str, Any] | None = None
    approval_request_id: str | None = None


@frozen
class McpApprovalRequest(_Item):
    type: ClassVar[str] = "mcp_approval_request"
    server_label: str
    name: str
    arguments: str


@frozen
class McpApprovalResponse(_Item):
    type: ClassVar[str] = "mcp_approval_response"
    approval_request_id: str
    approve: bool
    reason: str | None = None


@frozen
class UnknownItem(_Item):
    """An item of a kind that this vocabulary lacks, whole in ``extra``."""

    type: ClassVar[str] = "unknown"


ConversationItem: TypeAlias = (
    Message
    | FunctionCall
    | FunctionCallOutput
    | McpListTools
    | McpCall
    | McpApprovalRequest
    | McpApprovalResponse
    | UnknownItem
)
