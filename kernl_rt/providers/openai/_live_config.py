"""What an OpenAI Live session is asked for, and what it cannot be asked for.

Everything is said once, in ``session.start``. Of a session that runs only the delegation's settings and the triggers
change; a fork of a stored session takes its format and those settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    ResponseConfig,
    SessionConfig,
    ToolDefinition,
    Voice,
)
from kernl_rt.events import SessionInfo
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._dialect._check import check_session
from kernl_rt.providers._dialect._options import REASONING, TOOL, TOOL_CHOICE, VOICE
from kernl_rt.providers._fields import LIMIT, merge

__all__ = [
    "DEFAULT_BACKEND",
    "FORMATS",
    "Delegation",
    "check_live",
    "check_live_response",
    "describe",
    "encode_fork",
    "encode_start",
    "encode_update",
    "refusal_of_update",
]

#: The model that calls tools where none is named: the one in OpenAI's own guide to delegation.
DEFAULT_BACKEND = "gpt-6-luna"
#: In order of preference.
FORMATS = (PCM16_24K, PCM16_16K, G711_ULAW, G711_ALAW)
_SAID: dict[AudioFormat, dict[str, Any]] = {
    PCM16_24K: {"type": "audio/pcm", "rate": 24_000},
    PCM16_16K: {"type": "audio/pcm", "rate": 16_000},
    G711_ULAW: {"type": "audio/pcmu", "rate": 8_000},
    G711_ALAW: {"type": "audio/pcma", "rate": 8_000},
}
#: Options that only the model behind the Live model has.
_OF_BACKEND = ("tool_choice", "parallel_tool_calls", "max_output_tokens", "reasoning")
#: What no Live session has, and what to do instead.
_WITHOUT: Mapping[str, str] = {
    "turn_detection": "a full-duplex model hears and speaks at the same time, and nobody takes turns: leave it out",
    "noise_reduction": "Live has no such option: leave it out",
    "truncation": "Live sees to its context by itself: leave it out",
    "tracing": "Live has no such option: leave it out",
    "prompt": "Live has no stored prompts: write the instructions",
    "include": "Live has no such option: leave it out",
}


@frozen
class Delegation:
    """Who does the work that the Live model hands over.

    ``backend`` is a ``responses`` object, whose model calls the tools; ``None`` for the client, where the tool with the
    name ``delegate`` does all of it.
    """

    backend: Mapping[str, Any] | None = None
    delegate: str = field(default="delegate")

    def chosen(self, config: SessionConfig) -> Delegation:
        """What a session with this configuration begins with: other tools than ``delegate`` need a backend."""
        others = [tool for tool in config.tools or () if self.takes(SessionConfig(tools=[tool])) is None]
        return evolve(self, backend={"model": DEFAULT_BACKEND}) if self.backend is None and others else self

    @property
    def type(self) -> str:
        return "client" if self.backend is None else "responses"

    def takes(self, config: SessionConfig) -> ToolDefinition | None:
        """The tool that does delegated work, if there is one."""
        tools = [tool for tool in config.tools or () if isinstance(tool, ToolDefinition)]
        return next((tool for tool in tools if self.backend is None and tool.name == self.delegate), None)


# -- what cannot be ---------------------------------------------------------------------------------------------------


def _refuse(option: str, value: object, fix: str) -> MisconfiguredError:
    shown = str(value) if isinstance(value, AudioFormat) else repr(value)
    return MisconfiguredError(f"{option}={shown if len(shown) <= 80 else shown[:77] + '...'} is invalid: {fix}")


def check_live(config: SessionConfig, model: str, delegation: Delegation) -> None:
    """Refuse what a Live session cannot do.

    Raises:
        MisconfiguredError: names the option, its value and the fix.
    """
    for option, fix in _WITHOUT.items():
        if (value := getattr(config, option)) is not None:
            raise _refuse(option, value, fix)
    if config.output_modality not in (None, "audio"):
        raise _refuse("output_modality", config.output_modality, "Live speaks, and writes what it says: use 'audio'")
    if config.transcription not in (None, InputTranscription()):
        raise _refuse("transcription", config.transcription, "Live always writes down what is said: leave it out")
    # What Live shares with the Realtime API is checked as there; formats are its own.
    check_session(evolve(config, input_format=None, output_format=None, reasoning=None, transcription=None), "")
    if isinstance(config.voice, Voice) and config.voice.speed is not None:
        raise _refuse("voice.speed", config.voice.speed, "Live has no such option: leave it out")
    _check_formats(config.input_format, config.output_format)
    _check_delegation(config, delegation)


def _check_formats(heard: Any, spoken: Any) -> None:
    for option, format in (("input_format", heard), ("output_format", spoken)):
        if format is not None and format not in FORMATS:
            raise _refuse(option, format, "use " + ", ".join(map(str, FORMATS)))
    if heard is not None and spoken is not None and heard != spoken:
        raise _refuse("output_format", spoken, f"Live has one format for both directions: use {heard} for both")


def _check_delegation(config: SessionConfig, delegation: Delegation) -> None:
    if delegation.backend is not None:
        if config.max_output_tokens == "inf":
            raise _refuse("max_output_tokens", "inf", "leave it out: the backend has no limit then")
        return
    how = "pass live(…, backend='…') with the name of a model that calls tools"
    for option in _OF_BACKEND:
        if (value := getattr(config, option)) is not None:
            raise _refuse(option, value, f"the Live model itself has no such option: {how}")
    for tool in config.tools or ():
        if delegation.takes(SessionConfig(tools=[tool])) is None:
            name = getattr(tool, "name", None) or getattr(tool, "label", None)
            fix = f"the Live model itself calls no tools: {how}, or name the one tool for all its work"
            raise _refuse("tools", name, f"{fix} {delegation.delegate!r}")


def check_live_response(config: ResponseConfig) -> None:
    """Refuse a reply's wishes: the Live model can be told what to say, and nothing else.

    Raises:
        MisconfiguredError: names the option and the fix.
    """
    said = evolve(config, instructions=None)
    if said != ResponseConfig():
        raise MisconfiguredError(
            "a reply of a Live model has no options but instructions: leave the rest out, or set it for the session"
        )


def refusal_of_update(over: SessionConfig, holds: SessionConfig, delegation: Delegation) -> str | None:
    """Why a running session cannot be changed so; ``None`` where it can."""
    for option in ("instructions", "voice", "input_format", "output_format"):
        value = getattr(over, option)
        if value is not None and value != getattr(holds, option):
            more = (
                ': add to them with session.send({"type": "session.instructions.append", "content": "…", '
                '"delegation_id": None}), or start a new session'
                if option == "instructions"
                else ": start a new session"
            )
            return f"a Live session keeps its {option}{more}"
    for key in over.extra:
        if key not in ("delegation", "triggers"):
            return f"of a Live session only delegation and triggers change, not {key}: start a new session"
    return None


# -- what is said -----------------------------------------------------------------------------------------------------


def encode_start(config: SessionConfig, model: str, delegation: Delegation, *, store: bool) -> dict[str, Any]:
    """The ``session`` of ``session.start``; the configuration's ``extra`` is laid over it."""
    said: dict[str, Any] = {"model": model}
    if config.instructions is not None:
        said["instructions"] = config.instructions
    audio: dict[str, Any] = {}
    if (format := config.output_format or config.input_format) is not None:
        audio["format"] = dict(_SAID[format])
    if config.voice is not None:
        audio["output"] = {"voice": VOICE.encode(config.voice)}
    if audio:
        said["audio"] = audio
    behind = {} if delegation.backend is None else {"responses": {**delegation.backend, **_backend(config)}}
    said["delegation"] = {"type": delegation.type, **behind}
    if store:
        said["store"] = True
    return merge(said, config.extra)


def encode_fork(config: SessionConfig, delegation: Delegation) -> dict[str, Any]:
    """The ``session`` of a fork's ``session.start``: what is not said stays as it was."""
    said: dict[str, Any] = {}
    if (format := config.output_format or config.input_format) is not None:
        said["audio"] = {"format": dict(_SAID[format])}
    changed = _backend(config)
    if delegation.backend is not None and changed:
        said["delegation"] = {"type": "responses", "responses": changed}
    return said


def encode_update(over: SessionConfig, delegation: Delegation) -> dict[str, Any]:
    """The ``session`` of ``session.update``; empty where nothing is to be said."""
    changed = _backend(over) if delegation.backend is not None else {}
    said: dict[str, Any] = {"delegation": {"type": "responses", "responses": changed}} if changed else {}
    return merge(said, over.extra)


def _backend(config: SessionConfig) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if config.tools is not None:
        said["tools"] = [TOOL.encode(tool) for tool in config.tools]
    if config.tool_choice is not None:
        said["tool_choice"] = TOOL_CHOICE.encode(config.tool_choice)
    if config.reasoning is not None:
        said["reasoning"] = REASONING.encode(config.reasoning)
    for option in ("parallel_tool_calls", "max_output_tokens"):
        if (value := getattr(config, option)) is not None:
            said[option] = value
    return said


# -- what the server says of it ---------------------------------------------------------------------------------------


def describe(said: Mapping[str, Any], holds: SessionConfig) -> SessionInfo:
    """The session as the server tells it, with what only we know: lenient, it never fails."""
    config = evolve(holds, extra={})
    audio = _object(said.get("audio"))
    format = _format_of(_object(audio.get("format")))
    if format is not None:
        config = evolve(config, input_format=format, output_format=format)
    voice = _object(audio.get("output")).get("voice")
    if (voice := _text(_object(voice).get("id", voice))) is not None:
        config = evolve(config, voice=Voice(voice))
    if isinstance(instructions := said.get("instructions"), str):
        config = evolve(config, instructions=instructions)
    return SessionInfo(
        id=_text(said.get("id")),
        model=_text(said.get("model")),
        expires_at=_number(said.get("expires_at")),
        config=config,
        raw=said,
    )


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) and -LIMIT <= value <= LIMIT else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _format_of(said: Mapping[str, Any]) -> AudioFormat | None:
    found: Sequence[AudioFormat] = [
        format
        for format, known in _SAID.items()
        if said.get("type") == known["type"] and said.get("rate", known["rate"]) == known["rate"]
    ]
    return found[0] if found else None
