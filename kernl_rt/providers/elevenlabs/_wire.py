"""The messages of ElevenLabs Agents as tables: what the service says, each with the key that its content stands under.

Sources: the service's own AsyncAPI document (``agent.asyncapi.yaml`` in its JavaScript SDK), the official Python SDK's
list of events, and what has been seen on the wire of fields that neither has (``is_final``, ``expects_response``,
``response_id``). What has no row here is passed on raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kernl_rt.items import NOTHING
from kernl_rt.providers._fields import (
    BASE64,
    BOOLEAN,
    COUNT,
    LIMIT,
    NUMBER,
    OBJECT,
    TEXT,
    Field,
    Kind,
    Misfit,
    OneOf,
    Struct,
)

__all__ = [
    "CLIENT_TYPES",
    "SERVER",
    "AgentWords",
    "ContextUsage",
    "Correction",
    "Failure",
    "Interruption",
    "Metadata",
    "Part",
    "Ping",
    "Sound",
    "ToolCall",
    "TurnComplete",
    "UserWords",
]


@frozen(kw_only=True)
class _Payload:
    #: The service's running number. All that belongs to one turn of the agent's has been seen to share it.
    event_id: int | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)

    @property
    def numbered(self) -> dict[str, Any]:
        """What an event made of this keeps beside its attributes."""
        return dict(self.extra) if self.event_id is None else {"event_id": self.event_id, **self.extra}


@frozen(kw_only=True)
class Metadata(_Payload):
    conversation_id: str
    agent_output_audio_format: str | None = None
    user_input_audio_format: str | None = None


@frozen(kw_only=True)
class Ping(_Payload):
    ping_ms: float | None = None


@frozen(kw_only=True)
class Sound(_Payload):
    audio: bytes = b""
    is_final: bool = False


@frozen(kw_only=True)
class Interruption(_Payload):
    """Sound numbered up to ``event_id`` is not to be played any more."""


@frozen(kw_only=True)
class UserWords(_Payload):
    text: str


@frozen(kw_only=True)
class AgentWords(_Payload):
    """The whole text of what the agent says."""

    text: str


@frozen(kw_only=True)
class Correction(_Payload):
    """What of an interrupted text was spoken, by the service's reckoning."""

    original: str | None = None
    corrected: str


@frozen(kw_only=True)
class Part(_Payload):
    text: str = ""
    type: str


@frozen(kw_only=True)
class TurnComplete(_Payload):
    pass


@frozen(kw_only=True)
class ContextUsage(_Payload):
    context_tokens: int


@frozen(kw_only=True)
class ToolCall(_Payload):
    tool_name: str
    tool_call_id: str
    parameters: Mapping[str, Any] = field(factory=dict)
    expects_response: bool = True


@frozen(kw_only=True)
class Failure(_Payload):
    """``code`` is the close code that follows; ``error_type`` says what is wrong."""

    code: int | None = None
    error_type: str | None = None
    message: str | None = None
    reason: str | None = None
    debug_message: str | None = None


class _Numbered(Kind):
    """A running number. The official client takes its text, too."""

    def decode(self, value: Any) -> int:
        if type(value) is str and value.isascii() and value.isdigit() and len(value) < 17:
            value = int(value)
        if type(value) is not int or not 0 <= value <= LIMIT:
            raise Misfit("expected a whole number")
        return value

    def faithful(self, value: Any) -> bool:
        return type(value) is int


_NUMBER = Field("event_id", kind=_Numbered())
_FAILURE = Struct(
    Failure,
    Field("code", kind=COUNT),
    Field("error_type"),
    Field("message"),
    Field("reason"),
    Field("debug_message"),
)

#: By type: the key, and what stands under it.
SERVER: Mapping[str, tuple[str, Struct]] = {
    "conversation_initiation_metadata": (
        "conversation_initiation_metadata_event",
        Struct(
            Metadata,
            Field("conversation_id"),
            Field("agent_output_audio_format"),
            Field("user_input_audio_format"),
        ),
    ),
    "ping": (
        "ping_event",
        Struct(Ping, Field("event_id", kind=_Numbered(), required=True), Field("ping_ms", kind=NUMBER)),
    ),
    "audio": (
        "audio_event",
        Struct(Sound, _NUMBER, Field("audio_base_64", "audio", BASE64), Field("is_final", kind=BOOLEAN)),
    ),
    "interruption": ("interruption_event", Struct(Interruption, _NUMBER)),
    "user_transcript": ("user_transcription_event", Struct(UserWords, _NUMBER, Field("user_transcript", "text"))),
    "tentative_user_transcript": (
        "tentative_user_transcription_event",
        Struct(UserWords, _NUMBER, Field("user_transcript", "text")),
    ),
    "agent_response": ("agent_response_event", Struct(AgentWords, _NUMBER, Field("agent_response", "text"))),
    "agent_response_correction": (
        "agent_response_correction_event",
        Struct(
            Correction,
            _NUMBER,
            Field("original_agent_response", "original"),
            Field("corrected_agent_response", "corrected"),
        ),
    ),
    "agent_chat_response_part": (
        "text_response_part",
        Struct(Part, _NUMBER, Field("text"), Field("type", kind=OneOf("start", "delta", "stop"))),
    ),
    "agent_response_complete": ("agent_response_complete_event", Struct(TurnComplete, _NUMBER)),
    "context_usage": ("context_usage_event", Struct(ContextUsage, _NUMBER, Field("context_tokens", kind=COUNT))),
    "client_tool_call": (
        "client_tool_call",
        Struct(
            ToolCall,
            _NUMBER,
            Field("tool_name", kind=TEXT),
            Field("tool_call_id", kind=TEXT),
            Field("parameters", kind=OBJECT),
            Field("expects_response", kind=BOOLEAN),
        ),
    ),
    "error": ("error_event", _FAILURE),
    "client_error": ("error_event", _FAILURE),
}

#: What a client may say; its sound has no type.
CLIENT_TYPES = frozenset(
    {
        "client_tool_result",
        "contextual_update",
        "conversation_initiation_client_data",
        "feedback",
        "mcp_tool_approval_result",
        "multimodal_message",
        "pong",
        "user_activity",
        "user_message",
    }
)
