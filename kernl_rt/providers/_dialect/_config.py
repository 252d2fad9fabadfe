"""``SessionConfig`` and ``ResponseConfig`` as session and response objects, both ways.

A :class:`Layout` says where each option stands: :data:`GA` is OpenAI's own.

Writing says only what the configuration says: what is ``None`` is not sent, what is off is sent as null. Reading is
lenient: what this vocabulary cannot express stays, as it was, in the configuration's ``extra``, so that writing it
again gives the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

__all__ = [
    "GA",
    "RESPONSE_PLACES",
    "SESSION_PLACES",
    "Layout",
    "Place",
    "encode_response",
    "encode_session",
    "parse_response",
    "parse_session",
]


@frozen
class Place:
    """Where an option stands in the object. ``off`` is the option that a null there means."""

    path: str
    option: str
    kind: Kind
    off: Any = None


_COMMON = (
    Place("instructions", "instructions", TEXT),
    Place("output_modalities", "output_modality", MODALITY),
    Place("audio.output.format", "output_format", FORMAT),
    Place("audio.output.voice", "voice", VOICE),
    Place("tools", "tools", ListOf(TOOL)),
    Place("tool_choice", "tool_choice", TOOL_CHOICE),
    Place("parallel_tool_calls", "parallel_tool_calls", BOOLEAN),
    Place("max_output_tokens", "max_output_tokens", MAX_TOKENS),
    Place("reasoning", "reasoning", REASONING),
    Place("prompt", "prompt", PROMPT),
)
SESSION_PLACES = (
    *_COMMON,
    Place("audio.input.format", "input_format", FORMAT),
    Place("audio.input.turn_detection", "turn_detection", TURN_DETECTION, TurnDetection.off()),
    Place("audio.input.transcription", "transcription", TRANSCRIPTION, "off"),
    Place("audio.input.noise_reduction", "noise_reduction", NOISE_REDUCTION, NoiseReduction("off")),
    Place("truncation", "truncation", TRUNCATION),
    Place("tracing", "tracing", TRACING, Tracing("off")),
    Place("include", "include", ListOf(TEXT)),
)
RESPONSE_PLACES = (
    *_COMMON,
    Place("conversation", "conversation", OneOf("auto", "none")),
    Place("metadata", "metadata", TEXTS),
)


def _is_off(value: Any) -> bool:
    return "off" in (value, getattr(value, "mode", None), getattr(value, "type", None))


class Layout:
    """Where one dialect puts the options. ``fixed`` stands in every session object; ``speed`` is the path of the
    voice's.
    """

    def __init__(
        self,
        session: Sequence[Place],
        response: Sequence[Place],
        *,
        fixed: Mapping[str, Any] = {},
        speed: str = "audio.output.speed",
    ) -> None:
        self._session = tuple(session)
        self._response = tuple(response)
        self._fixed = dict(fixed)
        self._speed = speed

    def encode_session(self, config: SessionConfig) -> dict[str, Any]:
        """The ``session`` object of ``session.update`` and of ``client_secrets``. ``extra`` is laid over it."""
        out = dict(self._fixed)
        self._write(config, self._session, out)
        return merge(out, config.extra)

    def parse_session(self, said: Mapping[str, Any]) -> SessionConfig:
        """Read a ``session`` object of either side; never fails."""
        config = SessionConfig(**self._read(said, self._session))
        return attrs.evolve(config, extra=remainder(said, self.encode_session(config)))

    def encode_response(self, config: ResponseConfig, item: Kind) -> dict[str, Any]:
        """The ``response`` object of ``response.create``; ``item`` is the kind of a conversation item."""
        out: dict[str, Any] = {}
        self._write(config, self._response, out)
        if config.input is not None:
            out["input"] = [item.encode(entry) for entry in config.input]
        return merge(out, config.extra)

    def parse_response(self, said: Mapping[str, Any], item: Kind) -> ResponseConfig:
        """Read a ``response`` object of ``response.create``.

        Raises:
            Misfit: ``input`` is not a list of items.
        """
        found = self._read(said, self._response)
        if said.get("input") is not None:
            found["input"] = ListOf(item).decode(said["input"])
        config = ResponseConfig(**found)
        return attrs.evolve(config, extra=remainder(said, self.encode_response(config, item)))

    def _write(self, config: SessionConfig | ResponseConfig, places: Sequence[Place], out: dict[str, Any]) -> None:
        for place in places:
            value = getattr(config, place.option)
            if value is not None:
                _put(out, place.path, None if place.off is not None and _is_off(value) else place.kind.encode(value))
        if config.voice is not None and config.voice.speed is not None:
            _put(out, self._speed, config.voice.speed)

    def _read(self, said: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
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
        speed = _get(said, self._speed)
        if "voice" in found and type(speed) in (int, float) and abs(speed) <= LIMIT:
            found["voice"] = attrs.evolve(found["voice"], speed=speed)
        return found


def _put(out: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        out = out.setdefault(key, {})
    out[last] = value


def _get(said: Any, path: str) -> Any:
    for key in path.split("."):
        said = said.get(key) if isinstance(said, dict) else None
    return said


def _has(said: Any, path: str) -> bool:
    above, _, last = path.rpartition(".")
    node = _get(said, above) if above else said
    return isinstance(node, dict) and last in node


#: OpenAI's own.
GA = Layout(SESSION_PLACES, RESPONSE_PLACES, fixed={"type": "realtime"})
encode_session = GA.encode_session
parse_session = GA.parse_session
encode_response = GA.encode_response
parse_response = GA.parse_response
