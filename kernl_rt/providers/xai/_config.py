"""Where xAI puts the options of a session and of a reply, and how it writes those that it writes otherwise than OpenAI.

Sources: recorded traffic, and xAI's reference of the Voice Agent API.
"""

from __future__ import annotations

from typing import Any

from kernl_rt.config import G711_ALAW, G711_ULAW, AudioFormat, InputTranscription, TurnDetection, Voice
from kernl_rt.providers._dialect._config import Layout, Place
from kernl_rt.providers._dialect._options import (
    MAX_TOKENS,
    MODALITY,
    REASONING,
    TOOL,
    TOOL_CHOICE,
    TURN_DETECTION,
)
from kernl_rt.providers._fields import BOOLEAN, OBJECT, TEXT, Field, Kind, ListOf, Misfit, Struct

__all__ = ["FORMATS", "LAYOUT"]

_RATES = (24_000, 16_000, 48_000, 8_000, 32_000, 44_100, 22_050)
#: In order of preference.
FORMATS = (*(AudioFormat("pcm16", rate) for rate in _RATES), G711_ULAW, G711_ALAW)

_G711 = {G711_ULAW: "audio/pcmu", G711_ALAW: "audio/pcma"}
_BY_NAME = {name: format for format, name in _G711.items()}


class _Format(Kind):
    def decode(self, value: Any) -> AudioFormat:
        said = OBJECT.decode(value)
        name = TEXT.decode(said.get("type"))
        format = _BY_NAME.get(name) or AudioFormat("pcm16", _rate(said.get("rate", 24_000)))
        if name not in (*_BY_NAME, "audio/pcm") or said.get("rate", format.rate) != format.rate:
            raise Misfit("expected a format that is known")
        return format

    def encode(self, value: AudioFormat) -> dict[str, Any]:
        name = _G711.get(value)
        return {"type": "audio/pcm", "rate": value.rate} if name is None else {"type": name}


def _rate(value: Any) -> int:
    if type(value) is not int or value not in _RATES:
        raise Misfit("expected a rate that is known")
    return value


class _Voice(Kind):
    """A built-in voice and a custom one are both plain names."""

    def decode(self, value: Any) -> Voice:
        return Voice(TEXT.decode(value))

    def encode(self, value: Voice) -> str:
        return value.id


class _TurnDetection(Kind):
    """Off is null, or an object whose type is null: that is how xAI tells it."""

    def decode(self, value: Any) -> TurnDetection:
        if type(value) is dict and "type" in value and value["type"] is None:
            return TurnDetection.off()
        turn: TurnDetection = TURN_DETECTION.decode(value)
        return turn

    def encode(self, value: TurnDetection) -> Any:
        return TURN_DETECTION.encode(value)


class _Tool(Kind):
    """A function is sent flat, and told with its fields one level deeper."""

    def decode(self, value: Any) -> Any:
        inner = value.get("function") if type(value) is dict else None
        return TOOL.decode({"type": "function", **inner} if type(inner) is dict else value)

    def encode(self, value: Any) -> Any:
        return TOOL.encode(value)


_TRANSCRIPTION = Struct(
    InputTranscription,
    Field("model"),
    Field("language_hint", "language"),
    Field("keyterms", "keywords", ListOf(TEXT)),
)
_FORMAT = _Format()

LAYOUT = Layout(
    (
        Place("instructions", "instructions", TEXT),
        Place("voice", "voice", _Voice()),
        Place("turn_detection", "turn_detection", _TurnDetection(), TurnDetection.off()),
        Place("audio.input.format", "input_format", _FORMAT),
        Place("audio.input.transcription", "transcription", _TRANSCRIPTION, "off"),
        Place("audio.output.format", "output_format", _FORMAT),
        Place("tools", "tools", ListOf(_Tool())),
        Place("tool_choice", "tool_choice", TOOL_CHOICE),
        Place("parallel_tool_calls", "parallel_tool_calls", BOOLEAN),
        Place("max_output_tokens", "max_output_tokens", MAX_TOKENS),
        Place("reasoning", "reasoning", REASONING),
    ),
    (
        Place("instructions", "instructions", TEXT),
        Place("modalities", "output_modality", MODALITY),
    ),
)
