"""``SessionConfig`` and ``ResponseConfig`` as OpenAI's session and response objects, both ways.

Writing says only what the configuration says: what is ``None`` is not sent, what is off is sent as null. Reading is
lenient: what this vocabulary cannot express stays, as it was, in the configuration's ``extra``, so that writing it
again gives the same object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import frozen

from kernl_rt.config import NoiseReduction, ResponseConfig, SessionConfig, Tracing, TurnDetection
from kernl_rt.providers._dialect._options import (
    FORMAT,
    MAX_TOKENS,
    MODALITY,
    NOISE_REDUCTION,
    PROMPT,
    REASONING,
    TOOL,
    TOOL_CHOICE,
    TRACING,
    TRANSCRIPTION,
    TRUNCATION,
    TURN_DETECTION,
    VOICE,
)
from kernl_rt.providers._fields import BOOLEAN, LIMIT, TEXT, TEXTS, Kind, ListOf, Misfit, OneOf, merge, remainder

__all__ = ["encode_response", "encode_session", "parse_response", "parse_session"]


@frozen
class _Place:
    """Where an option stands in the object. ``off`` is the option that a null there means."""

    path: str
    option: str
    kind: Kind
    off: Any = None


_COMMON = (
    _Place("instructions", "instructions", TEXT),
    _Place("output_modalities", "output_modality", MODALITY),
    _Place("audio.output.format", "output_format", FORMAT),
    _Place("audio.output.voice", "voice", VOICE),
    _Place("tools", "tools", ListOf(TOOL)),
    _Place("tool_choice", "tool_choice", TOOL_CHOICE),
    _Place("parallel_tool_calls", "parallel_tool_calls", BOOLEAN),
    _Place("max_output_tokens", "max_output_tokens", MAX_TOKENS),
    _Place("reasoning", "reasoning", REASONING),
    _Place("prompt", "prompt", PROMPT),
)
_SESSION = (
    *_COMMON,
    _Place("audio.input.format", "input_format", FORMAT),
    _Place("audio.input.turn_detection", "turn_detection", TURN_DETECTION, TurnDetection.off()),
    _Place("audio.input.transcription", "transcription", TRANSCRIPTION, "off"),
    _Place("audio.input.noise_reduction", "noise_reduction", NOISE_REDUCTION, NoiseReduction("off")),
    _Place("truncation", "truncation", TRUNCATION),
    _Place("tracing", "tracing", TRACING, Tracing("off")),
    _Place("include", "include", ListOf(TEXT)),
)
_RESPONSE = (
    *_COMMON,
    _Place("conversation", "conversation", OneOf("auto", "none")),
    _Place("metadata", "metadata", TEXTS),
)


def _is_off(value: Any) -> bool:
    return "off" in (value, getattr(value, "mode", None), getattr(value, "type", None))


def _write(config: SessionConfig | ResponseConfig, places: tuple[_Place, ...], out: dict[str, Any]) -> None:
    for place in places:
        value = getattr(config, place.option)
        if value is not None:
            _put(out, place.path, None if place.off is not None and _is_off(value) else place.kind.encode(value))
    if config.voice is not None and config.voice.speed is not None:
        _put(out, "audio.output.speed", config.voice.speed)


def _put(out: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        out = out.setdefault(key, {})
    out[last] = value


def _read(said: Mapping[str, Any], places: tuple[_Place, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place in places:
        value = _get(said, place.path)
        if value is None:
            if place.off is not None and _has(said, place.path):
                found[place.option] = place.off
            continue
        try:
            found[place.option] = place.kind.decode(value)
        except Misfit:
            continue  # not in our words: the caller keeps what was said
    speed = _get(said, "audio.output.speed")
    if "voice" in found and type(speed) in (int, float) and abs(speed) <= LIMIT:
        found["voice"] = attrs.evolve(found["voice"], speed=speed)
    return found


def _get(said: Any, path: str) -> Any:
    for key in path.split("."):
        said = said.get(key) if isinstance(said, dict) else None
    return said


def _has(said: Any, path: str) -> bool:
    above, _, last = path.rpartition(".")
    node = _get(said, above) if above else said
    return isinstance(node, dict) and last in node


def encode_session(config: SessionConfig) -> dict[str, Any]:
    """The ``session`` object of ``session.update`` and of ``client_secrets``. ``extra`` is laid over it."""
    out: dict[str, Any] = {"type": "realtime"}
    _write(config, _SESSION, out)
    return merge(out, config.extra)


def parse_session(said: Mapping[str, Any]) -> SessionConfig:
    """Read a ``session`` object of either side; never fails."""
    config = SessionConfig(**_read(said, _SESSION))
    return attrs.evolve(config, extra=remainder(said, encode_session(config)))


def encode_response(config: ResponseConfig, item: Kind) -> dict[str, Any]:
    """The ``response`` object of ``response.create``; ``item`` is the kind of a conversation item."""
    out: dict[str, Any] = {}
    _write(config, _RESPONSE, out)
    if config.input is not None:
        out["input"] = [item.encode(entry) for entry in config.input]
    return merge(out, config.extra)


def parse_response(said: Mapping[str, Any], item: Kind) -> ResponseConfig:
    """Read a ``response`` object of ``response.create``.

    Raises:
        Misfit: ``input`` is not a list of items.
    """
    found = _read(said, _RESPONSE)
    if said.get("input") is not None:
        found["input"] = ListOf(item).decode(said["input"])
    config = ResponseConfig(**found)
    return attrs.evolve(config, extra=remainder(said, encode_response(config, item)))
