"""How each option of a session or a reply is written on OpenAI's wire, and read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    McpServer,
    NoiseReduction,
    PromptReference,
    Reasoning,
    Secret,
    ToolChoice,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.providers._fields import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    Kind,
    ListOf,
    Misfit,
    OneOf,
    Struct,
    Tagged,
)

__all__ = [
    "FORMAT",
    "MAX_TOKENS",
    "MODALITY",
    "NOISE_REDUCTION",
    "PROMPT",
    "REASONING",
    "TOOL",
    "TOOL_CHOICE",
    "TRACING",
    "TRANSCRIPTION",
    "TRUNCATION",
    "TURN_DETECTION",
    "VOICE",
]

_FORMATS: dict[AudioFormat, dict[str, Any]] = {
    PCM16_24K: {"type": "audio/pcm", "rate": 24_000},
    G711_ULAW: {"type": "audio/pcmu"},
    G711_ALAW: {"type": "audio/pcma"},
}
_FORMAT_OF = {said["type"]: format for format, said in _FORMATS.items()}


class _Format(Kind):
    def decode(self, value: Any) -> AudioFormat:
        said = OBJECT.decode(value)
        format = _FORMAT_OF.get(TEXT.decode(said.get("type")))
        if format is None or said.get("rate", format.rate) != format.rate:
            raise Misfit("expected a format that is known")
        return format

    def encode(self, value: AudioFormat) -> dict[str, Any]:
        # A format that OpenAI lacks goes out as it is and is refused there; ``check`` refuses it before.
        return dict(_FORMATS.get(value) or {"type": f"audio/{value.encoding}", "rate": value.rate})


class _Voice(Kind):
    """A built-in voice is a name, a custom one (``voice_…``) an object with its id."""

    def decode(self, value: Any) -> Voice:
        return Voice(TEXT.decode(value["id"] if isinstance(value, dict) and "id" in value else value))

    def encode(self, value: Voice) -> Any:
        return {"id": value.id} if value.id.startswith("voice_") else value.id


class _Secret(Kind):
    def decode(self, value: Any) -> Secret:
        return Secret(TEXT.decode(value))

    def encode(self, value: Secret) -> str:
        return value.reveal()


def _one_of(word: str, words: tuple[str, ...]) -> Any:
    if word not in words:
        raise Misfit("expected a word that is known")
    return word


def _struct_of(value: Any, structs: Mapping[str, Struct]) -> Struct:
    struct = structs.get(TEXT.decode(OBJECT.decode(value).get("type")))
    if struct is None:
        raise Misfit("expected a type that is known")
    return struct


class _WordOr(Kind):
    """One of some words, or an object; ``attribute`` holds the word."""

    def __init__(self, words: tuple[str, ...], attribute: str, other: Struct) -> None:
        self._words = words
        self._attribute = attribute
        self._other = other

    def decode(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._other.cls(_one_of(value, self._words))
        return self._other.decode(value)

    def encode(self, value: Any) -> Any:
        word = getattr(value, self._attribute)
        return word if word in self._words else self._other.encode(value)


class _Loose(Kind):
    """Anything at all, as it is; an attrs tuple becomes a list."""

    def decode(self, value: Any) -> Any:
        return value

    def encode(self, value: Any) -> Any:
        return list(value) if isinstance(value, (tuple, list)) else value


class _MaxTokens(Kind):
    def decode(self, value: Any) -> Any:
        return value if value == "inf" else COUNT.decode(value)


class _Modality(Kind):
    """OpenAI takes a list with exactly one word in it."""

    def decode(self, value: Any) -> str:
        words = ListOf(TEXT).decode(value)
        if len(words) != 1 or words[0] not in ("audio", "text"):
            raise Misfit("expected one modality")
        return str(words[0])

    def encode(self, value: str) -> list[str]:
        return [value]


_ANY = _Loose()
_TURN = (Field("create_response", kind=BOOLEAN), Field("interrupt_response", kind=BOOLEAN))
_SERVER_VAD = Struct(
    TurnDetection,
    Field("threshold", kind=NUMBER),
    Field("prefix_padding_ms", kind=COUNT),
    Field("silence_duration_ms", kind=COUNT),
    Field("idle_timeout_ms", kind=COUNT),
    *_TURN,
    type="server_vad",
    fixed={"mode": "server_vad"},
)
_SEMANTIC_VAD = Struct(
    TurnDetection,
    Field("eagerness", kind=OneOf("low", "medium", "high", "auto")),
    *_TURN,
    type="semantic_vad",
    fixed={"mode": "semantic_vad"},
)


class _TurnDetection(Kind):
    _modes: Mapping[str, Struct] = {"server_vad": _SERVER_VAD, "semantic_vad": _SEMANTIC_VAD}

    def decode(self, value: Any) -> TurnDetection:
        turn: TurnDetection = _struct_of(value, self._modes).decode(value)
        return turn

    def encode(self, value: TurnDetection) -> dict[str, Any]:
        return self._modes[value.mode].encode(value)


NOISE_REDUCTION = Struct(
    NoiseReduction, Field("type", kind=OneOf("near_field", "far_field", "off")), Field("strength", kind=NUMBER)
)
TRANSCRIPTION = Struct(
    InputTranscription,
    Field("model"),
    Field("language"),
    Field("languages", kind=ListOf(TEXT)),
    Field("prompt"),
    Field("keywords", kind=ListOf(TEXT)),
    Field("delay", kind=OneOf("minimal", "low", "medium", "high", "xhigh")),
)
REASONING = Struct(Reasoning, Field("effort", kind=OneOf("none", "minimal", "low", "medium", "high", "xhigh")))
PROMPT = Struct(PromptReference, Field("id"), Field("version"), Field("variables", kind=OBJECT))


class _TokenLimits(Kind):
    """An object with one field of interest."""

    def decode(self, value: Any) -> Any:
        return COUNT.decode(OBJECT.decode(value).get("post_instructions"))

    def encode(self, value: int) -> dict[str, int]:
        return {"post_instructions": value}


class _ToolChoice(Kind):
    """One word, one function, or an MCP server with perhaps one of its tools."""

    _named: Mapping[str, Struct] = {
        "function": Struct(ToolChoice, Field("name"), type="function", fixed={"mode": "function"}),
        "mcp": Struct(ToolChoice, Field("server_label"), Field("name"), type="mcp", fixed={"mode": "mcp"}),
    }

    def decode(self, value: Any) -> ToolChoice:
        if isinstance(value, str):
            return ToolChoice(_one_of(value, ("auto", "none", "required")))
        choice: ToolChoice = _struct_of(value, self._named).decode(value)
        return choice

    def encode(self, value: ToolChoice) -> Any:
        struct = self._named.get(value.mode)
        return value.mode if struct is None else struct.encode(value)


TRUNCATION = _WordOr(
    ("auto", "disabled"),
    "strategy",
    Struct(
        Truncation,
        Field("retention_ratio", kind=NUMBER),
        Field("token_limits", "post_instructions_tokens", _TokenLimits()),
        type="retention_ratio",
        fixed={"strategy": "retention_ratio"},
    ),
)
TRACING = _WordOr(
    ("auto",),
    "mode",
    Struct(
        Tracing,
        Field("workflow_name"),
        Field("group_id"),
        Field("metadata", kind=OBJECT),
        fixed={"mode": "custom"},
    ),
)
TOOL = Tagged(
    [
        Struct(
            ToolDefinition,
            Field("name"),
            Field("description"),
            Field("parameters", kind=OBJECT),
            type="function",
        ),
        Struct(
            McpServer,
            Field("server_label", "label"),
            Field("server_url", "url"),
            Field("connector_id"),
            Field("tunnel_id"),
            Field("authorization", kind=_Secret()),
            Field("headers", kind=TEXTS),
            Field("server_description", "description"),
            Field("allowed_tools", kind=_ANY),
            Field("allowed_callers", kind=ListOf(TEXT)),
            Field("require_approval", kind=_ANY),
            Field("defer_loading", kind=BOOLEAN),
            type="mcp",
        ),
    ]
)
FORMAT: Kind = _Format()
MAX_TOKENS: Kind = _MaxTokens()
MODALITY: Kind = _Modality()
TOOL_CHOICE: Kind = _ToolChoice()
TURN_DETECTION: Kind = _TurnDetection()
VOICE: Kind = _Voice()
