"""The session object: what it starts as, and how ``session.update`` changes it.

Only the fields that an update holds change; ``null`` (and, for instructions, ``""``) brings the default back, or turns
off what may be off. A turn detection of the same type is completed from the one in force, one of another type from that
type's defaults; both as recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_24K, AudioFormat
from kernl_rt.simulator._schema import Refusal

__all__ = ["DEFAULT_INSTRUCTIONS", "Session", "audio_format"]

DEFAULT_INSTRUCTIONS = (
    "You are the kernl_rt simulator, which speaks the protocol of a realtime model but is not one. "
    "You understand the sentences of a small grammar, call a function if one fits, and say so when none does."
)
_PCM = {"type": "audio/pcm", "rate": 24_000}
_FORMATS = {"audio/pcm": PCM16_24K, "audio/pcmu": G711_ULAW, "audio/pcma": G711_ALAW}
_SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
_DETECTIONS = {"server_vad": _SERVER_VAD, "semantic_vad": _SEMANTIC_VAD}
_DEFAULTS: dict[str, Any] = {
    "output_modalities": ["audio"],
    "instructions": DEFAULT_INSTRUCTIONS,
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
}
#: Fields that a session shows only once they have been set.
_UNSHOWN = ("reasoning", "parallel_tool_calls")
_TOOL_FIELDS = ("type", "name", "description", "parameters")


def audio_format(described: Mapping[str, Any]) -> AudioFormat:
    return _FORMATS[described["type"]]


def _detection(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> dict[str, Any]:
    base = old if old is not None and old["type"] == new["type"] else _DETECTIONS[new["type"]]
    defaults = _DETECTIONS[new["type"]]
    return {**base, **{name: defaults[name] if value is None else value for name, value in new.items()}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    ordered = {name: tool[name] for name in _TOOL_FIELDS if name in tool}
    return {**ordered, **{name: value for name, value in tool.items() if name != "authorization"}}


class Session:
    """The configuration of one session, as the provider would show it."""

    def __init__(self, id: str, model: str, expires_at: int, *, kind: str = "realtime") -> None:
        self.id = id
        self.kind = kind
        self.expires_at = expires_at
        self._top: dict[str, Any] = {"model": model, **_DEFAULTS}
        self._input: dict[str, Any] = {
            "format": dict(_PCM),
            "transcription": None,
            "noise_reduction": None,
            "turn_detection": dict(_SERVER_VAD),
        }
        self._output: dict[str, Any] = {"format": dict(_PCM), "voice": "alloy", "speed": 1.0}

    def __getitem__(self, name: str) -> Any:
        """A top-level field, ``None`` where it has never been set."""
        return self._top.get(name)

    @property
    def input_format(self) -> AudioFormat:
        return audio_format(self._input["format"])

    @property
    def turn_detection(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._input["turn_detection"]
        return found

    @property
    def transcription(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._input["transcription"]
        return found

    @property
    def output(self) -> Mapping[str, Any]:
        """``format``, ``voice`` and ``speed``."""
        return self._output

    def update(self, new: Mapping[str, Any], *, has_spoken: bool) -> None:
        """Lay a checked ``session`` object over this one; all of it, or nothing when it is refused.

        Raises:
            Refusal: the kind of session, or after the first spoken audio the voice or model, would change.
        """
        if new["type"] != self.kind:
            raise Refusal(
                f"Passing a {new['type']} session update event to a {self.kind} session is not allowed.",
                "invalid_value",
                "session.type",
            )
        audio = new.get("audio") or {}
        output = audio.get("output") or {}
        if has_spoken and output.get("voice", self._output["voice"]) != self._output["voice"]:
            raise Refusal("Cannot update a conversation's voice if assistant audio is present.", "cannot_update_voice")
        if has_spoken and (new.get("model") or self._top["model"]) != self._top["model"]:
            raise Refusal("Cannot update a conversation's model if assistant audio is present.", "cannot_update_model")
        self._update_top(new)
        self._update_input(audio.get("input") or {})
        for name, value in output.items():
            default = {"format": dict(_PCM), "voice": "alloy", "speed": 1.0}[name]
            self._output[name] = default if value is None else value

    def _update_top(self, new: Mapping[str, Any]) -> None:
        for name, value in new.items():
            if name in ("type", "audio") or (name == "model" and value is None):
                continue
            if value is None or (name == "instructions" and value == ""):
                value = _DEFAULTS.get(name)
            self._top[name] = [_tool(tool) for tool in value or ()] if name == "tools" else value

    def _update_input(self, new: Mapping[str, Any]) -> None:
        for name, value in new.items():
            if name == "format":
                value = dict(_PCM) if value is None else value
            elif name == "turn_detection" and value is not None:
                value = _detection(value, self._input["turn_detection"])
            elif name == "transcription" and value is not None:
                value = {"model": None, "language": None, "prompt": None, **value}
            elif name == "noise_reduction" and value is not None:
                value = {**(self._input["noise_reduction"] or {}), **value}
            self._input[name] = value

    def shown(self) -> dict[str, Any]:
        """The object in ``session.created`` and ``session.updated``, its fields in the order that is recorded."""
        if self.kind == "transcription":
            return {
                "type": self.kind,
                "object": "realtime.transcription_session",
                "id": self.id,
                "expires_at": self.expires_at,
                "audio": {"input": dict(self._input)},
                "include": self._top["include"],
            }
        top = {name: value for name, value in self._top.items() if name not in (*_UNSHOWN, "include")}
        extra = {name: self._top[name] for name in _UNSHOWN if self._top.get(name) is not None}
        return {
            "type": self.kind,
            "object": "realtime.session",
            "id": self.id,
            "model": top.pop("model"),
            **top,
            "expires_at": self.expires_at,
            "audio": {"input": dict(self._input), "output": dict(self._output)},
            "include": self._top["include"],
            **extra,
        }
