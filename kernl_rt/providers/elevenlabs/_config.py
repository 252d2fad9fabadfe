"""What can be said to an agent, and the frame that says it.

An agent's prompt, voice, tools and turn-taking live at ElevenLabs. A session may lay an *override* over a few of them,
each of which the agent's security settings have to allow. Only what the session's configuration says is overridden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kernl_rt.config import (
    G711_ULAW,
    AudioFormat,
    InputTranscription,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolDefinition,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._fields import merge

__all__ = [
    "Options",
    "check_format",
    "check_response",
    "check_session",
    "format_named",
    "initiation",
    "is_in_writing",
    "name_of",
    "overridden",
]

#: The rates of PCM that an agent can be set to.
_RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
_FORMATS = {**{f"pcm_{rate}": AudioFormat("pcm16", rate) for rate in _RATES}, "ulaw_8000": G711_ULAW}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_HERE = {
    "tool_choice": "the agent decides by itself; leave it out",
    "parallel_tool_calls": "it is a setting of the agent at ElevenLabs; leave it out",
    "max_output_tokens": "it is a setting of the agent at ElevenLabs; leave it out",
    "noise_reduction": "the service has none to choose; leave it out",
    "truncation": "the service decides what to forget; leave it out",
    "tracing": "there is none to choose; leave it out",
    "prompt": "the prompt is the agent's; say instructions to override it",
    "include": "there is nothing to include; leave it out",
}


@frozen(kw_only=True)
class Options:
    """What an agent can be told that a session's configuration has no word for. See ``elevenlabs.agent``."""

    first_message: str | None = None
    language: str | None = None
    dynamic_variables: Mapping[str, Any] | None = field(default=None, repr=False)
    custom_llm_extra_body: Mapping[str, Any] | None = field(default=None, repr=False)
    user_id: str | None = None
    environment: str | None = None
    branch_id: str | None = None


# -- formats ----------------------------------------------------------------------------------------------------------


def name_of(format: AudioFormat) -> str:
    """ElevenLabs' name of a format that :func:`check_format` lets pass."""
    return next(name for name, known in _FORMATS.items() if known == format)


def format_named(name: str | None) -> AudioFormat | None:
    return _FORMATS.get(name or "")


def check_format(option: str, format: object) -> None:
    """
    Raises:
        MisconfiguredError: no agent can be set to it.
    """
    if format not in _FORMATS.values():
        raise _refuse(option, str(format), f"an agent can be set to {', '.join(_FORMATS)}")


# -- checking ---------------------------------------------------------------------------------------------------------


def _refuse(option: str, value: object, fix: str) -> MisconfiguredError:
    shown = repr(value)
    return MisconfiguredError(f"{option}={shown if len(shown) <= 80 else shown[:77] + '...'} is invalid: {fix}")


def check_session(config: SessionConfig, input_format: AudioFormat, output_format: AudioFormat) -> None:
    """Refuse what an agent cannot be told, given the formats that it is set to.

    Raises:
        MisconfiguredError: names the option, its value and the fix.
    """
    for option, fix in _NOT_HERE.items():
        value = getattr(config, option)
        if value is not None and not (option == "tool_choice" and getattr(value, "mode", None) == "auto"):
            raise _refuse(option, value, fix)
    _text("instructions", config.instructions)
    if config.output_modality not in (None, "audio", "text"):
        raise _refuse("output_modality", config.output_modality, "use 'audio' or 'text'")
    _same("input_format", config.input_format, input_format)
    _same("output_format", config.output_format, output_format)
    if config.voice is not None:
        _voice(config.voice)
    if config.turn_detection is not None:
        _turn_detection(config.turn_detection)
    if config.transcription is not None:
        _transcription(config.transcription)
    if config.reasoning is not None and not isinstance(config.reasoning, Reasoning):
        raise _refuse("reasoning", config.reasoning, "use a Reasoning")
    _tools(config.tools)
    if not isinstance(config.extra, Mapping):
        raise _refuse("extra", config.extra, "use a mapping")


def _text(option: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise _refuse(option, value, "use a text")


def _same(option: str, wanted: AudioFormat | None, known: AudioFormat) -> None:
    if wanted is not None and wanted != known:
        fix = f"the agent speaks {known}; if it is set to another format at ElevenLabs, say agent(…, {option}=…)"
        raise _refuse(option, str(wanted), fix)


def _voice(voice: object) -> None:
    if not isinstance(voice, Voice) or not isinstance(voice.id, str) or not voice.id.strip():
        raise _refuse("voice", voice, "use a Voice with the id of a voice of ElevenLabs'")
    speed = voice.speed
    if speed is not None and (isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0.7 <= speed <= 5):
        raise _refuse("voice.speed", speed, "use a number from 0.7 to 5")


def _turn_detection(turn: object) -> None:
    if not isinstance(turn, TurnDetection) or turn.mode == "off":
        fix = "an agent finds the end of a turn by itself, there is no push-to-talk; leave turn_detection out"
        raise _refuse("turn_detection", turn, fix)
    if turn not in (TurnDetection("server_vad"), TurnDetection("semantic_vad")):
        raise _refuse("turn_detection", turn, "turn-taking is a setting of the agent at ElevenLabs; leave it out")


def _transcription(asked: object) -> None:
    if asked == "off":
        fix = "an agent always transcribes; take user_transcript out of its client events, or leave this out"
        raise _refuse("transcription", asked, fix)
    if not isinstance(asked, InputTranscription):
        raise _refuse("transcription", asked, "use an InputTranscription")
    for name in ("model", "languages", "prompt", "delay"):
        if (value := getattr(asked, name)) is not None:
            raise _refuse(f"transcription.{name}", value, "an agent takes only language and keywords")
    _text("transcription.language", asked.language)
    for keyword in asked.keywords or ():
        _text("transcription.keywords", keyword)


def _tools(tools: Any) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, ToolDefinition):
            fix = "tool servers are a setting of the agent at ElevenLabs; leave it out"
            raise _refuse(f"tools[{index}]", tool, fix)
        if not isinstance(tool.name, str) or not _TOOL_NAME.fullmatch(tool.name):
            raise _refuse(f"tools[{index}].name", tool.name, "use 1 to 64 of a-z, A-Z, 0-9, _ and -")
        if tool.name in names:
            raise _refuse(f"tools[{index}].name", tool.name, "two tools have this name; rename one")
        names.add(tool.name)


def check_response(config: ResponseConfig) -> None:
    """A single reply takes no wishes.

    Raises:
        MisconfiguredError: there are some.
    """
    if config != ResponseConfig():
        raise MisconfiguredError(
            "an agent of ElevenLabs takes no wishes for a single reply: ask for it without a ResponseConfig, "
            "and say what matters in a message"
        )


# -- the first frame --------------------------------------------------------------------------------------------------


def initiation(config: SessionConfig, options: Options) -> dict[str, Any]:
    """``conversation_initiation_client_data``, with an override for each thing that was said, and for nothing else."""
    frame: dict[str, Any] = {"type": "conversation_initiation_client_data"}
    if override := _override(config, options):
        frame["conversation_config_override"] = override
    for name in ("dynamic_variables", "custom_llm_extra_body", "user_id", "environment", "branch_id"):
        if (value := getattr(options, name)) is not None:
            frame[name] = dict(value) if isinstance(value, Mapping) else value
    return merge(frame, config.extra)


def _override(config: SessionConfig, options: Options) -> dict[str, Any]:
    transcription = config.transcription if isinstance(config.transcription, InputTranscription) else None
    prompt = {
        "prompt": config.instructions or None,  # an agent without instructions of ours keeps its own
        "reasoning_effort": config.reasoning and config.reasoning.effort,
    }
    language = transcription.language if transcription is not None else None
    sections: dict[str, dict[str, Any]] = {
        "agent": {
            "prompt": _said(prompt) or None,
            "first_message": options.first_message,
            "language": language or options.language,
        },
        "tts": {"voice_id": config.voice and config.voice.id, "speed": config.voice and config.voice.speed},
        "asr": {"keywords": list(transcription.keywords) if transcription and transcription.keywords else None},
        "conversation": {"text_only": True if config.output_modality == "text" else None},
    }
    return {name: said for name, section in sections.items() if (said := _said(section))}


def _said(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}


def is_in_writing(frame: Mapping[str, Any]) -> bool:
    """Whether an initiation frame asks for a conversation without sound."""
    override = frame.get("conversation_config_override")
    conversation = override.get("conversation") if isinstance(override, Mapping) else None
    return isinstance(conversation, Mapping) and conversation.get("text_only") is True


#: Where an override comes from: its path on the wire, and the word for it on our side.
_SOURCES = {
    "agent.prompt.prompt": "instructions",
    "agent.prompt.reasoning_effort": "reasoning",
    "agent.prompt.llm": "extra",
    "agent.first_message": "agent(first_message=…)",
    "agent.language": "language",
    "tts.voice_id": "voice",
    "tts.speed": "voice.speed",
    "asr.keywords": "transcription.keywords",
    "conversation.text_only": "output_modality='text'",
}


def overridden(frame: Mapping[str, Any]) -> dict[str, str]:
    """The overrides in an initiation frame: their paths on the wire, each with our word for it."""
    found: dict[str, str] = {}
    _collect(frame.get("conversation_config_override"), "", found)
    return found


def _collect(value: Any, path: str, found: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _collect(item, f"{path}.{key}" if path else str(key), found)
    elif path:
        found[path] = _SOURCES.get(path, "extra")
