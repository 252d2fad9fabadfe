"""The nine kinds of conversation item on OpenAI's wire, and their parts."""

from __future__ import annotations

from typing import Any

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.items import (
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListTools,
    Message,
    UnknownItem,
)
from kernl_rt.providers._fields import BASE64, BOOLEAN, OBJECT, Field, Foreign, Kind, ListOf, OneOf, Struct, Tagged

__all__ = ["ITEM", "PART", "items_with", "message_of"]


_STATUS: Any = OneOf("in_progress", "completed", "incomplete")


def _known_status(value: Any) -> Any:
    return value if isinstance(value, str) and value in _STATUS.words else None


class _Unknown(Kind):
    """An item of another kind (``item_reference`` is one), or of a role that we do not know: whole in ``extra``."""

    def decode(self, value: Any) -> UnknownItem:
        name = value.get("id")
        return UnknownItem(
            id=name if isinstance(name, str) else None,
            status=_known_status(value.get("status")),
            extra=value,
        )

    def encode(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, UnknownItem):
            raise MisconfiguredError(f"a conversation holds items, not a {type(value).__name__}")
        said = {"id": value.id, "status": value.status}
        return {**{key: item for key, item in said.items() if item is not None}, **value.extra}


PART = Struct(
    ContentPart,
    Field("type"),
    Field("text"),
    Field("transcript"),
    Field("audio", kind=BASE64),
    Field("image_url"),
    Field("detail", kind=OneOf("auto", "low", "high")),
)
_ANY_ITEM = (Field("id"), Field("status", kind=_STATUS))


def message_of(content: Field) -> Struct:
    """A message, whose parts are read by ``content``."""
    role = Field("role", kind=OneOf("user", "assistant", "system"))
    return Struct(Message, *_ANY_ITEM, role, content, type="message")


class _Items(Tagged):
    def decode(self, value: Any) -> Any:
        try:
            return super().decode(value)
        except Foreign:
            return _UNKNOWN.decode(value)


_UNKNOWN = _Unknown()
_OTHERS = (
    Struct(
        FunctionCall,
        *_ANY_ITEM,
        Field("call_id"),
        Field("name"),
        Field("arguments", required=True),
        type="function_call",
    ),
    Struct(FunctionCallOutput, *_ANY_ITEM, Field("call_id"), Field("output"), type="function_call_output"),
    Struct(
        McpListTools,
        *_ANY_ITEM,
        Field("server_label"),
        Field("tools", kind=ListOf(OBJECT), required=True),
        type="mcp_list_tools",
    ),
    Struct(
        McpCall,
        *_ANY_ITEM,
        Field("server_label"),
        Field("name"),
        Field("arguments"),
        Field("output"),
        Field("error", kind=OBJECT),
        Field("approval_request_id"),
        type="mcp_call",
    ),
    Struct(
        McpApprovalRequest,
        *_ANY_ITEM,
        Field("server_label"),
        Field("name"),
        Field("arguments"),
        type="mcp_approval_request",
    ),
    Struct(
        McpApprovalResponse,
        *_ANY_ITEM,
        Field("approval_request_id"),
        Field("approve", kind=BOOLEAN),
        Field("reason"),
        type="mcp_approval_response",
    ),
)


def items_with(message: Struct) -> Kind:
    """The items of a dialect whose messages are read by ``message``."""
    return _Items([message, *_OTHERS], _UNKNOWN)


ITEM = items_with(message_of(Field("content", kind=ListOf(PART), required=True)))
