"""A session's configuration as the ``setup`` frame, and what of it this API cannot do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import fields

from kernl_rt.config import (
    PCM16_16K,
    PCM16_24K,
    InputTranscription,
    McpServer,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._fields import merge
from kernl_rt.providers.gemini._profile import Profile
from kernl_rt.providers.gemini._schema import as_parameters

__all__ = [
    "check_response",
    "check_session",
    "encode_instructions",
    "encode_setup",
    "encode_tools",
    "refusal_of_update",
]

_TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_OPTIONS = tuple(attribute.name for attribute in fields(SessionConfig))
_RESPONSE_OPTIONS = tuple(each.name for each in fields(ResponseConfig) if each.name != "conversation")
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")


def _refuse(option: str, value: object, fix: str) -> MisconfiguredError:
    shown = repr(value)
    return MisconfiguredError(f"{option}={shown if len(shown) <= 80 else shown[:77] + '...'} is invalid: {fix}")


def _a(option: str, value: Any, kind: type) -> bool:
    if value is not None and not isinstance(value, kind):
        raise _refuse(option, value, f"use a {kind.__name__}")
    return value is not None


# -- what it cannot do ------------------------------------------------------------------------------------------------


def check_session(config: SessionConfig, model: str, profile: Profile) -> None:
    """Refuse what ``model`` cannot do.

    Raises:
        MisconfiguredError: names the option, its value and the fix.
    """
    if config.instructions is not None and not isinstance(config.instructions, str):
        raise _refuse("instructions", config.instructions, "use a text")
    _check_sound(config, model, profile)
    if _a("turn_detection", config.turn_detection, TurnDetection):
        _check_turns(config.turn_detection)
    _check_transcription(config.transcription)
    _check_tools(config)
    limit = config.max_output_tokens
    if limit is not None and limit != "inf" and (type(limit) is not int or limit < 1):
        raise _refuse("max_output_tokens", limit, "use a whole number of tokens, or 'inf'")
    if _a("reasoning", config.reasoning, Reasoning):
        _check_reasoning(config.reasoning, model, profile)
    _check_absent(config)


def _check_sound(config: SessionConfig, model: str, profile: Profile) -> None:
    if config.output_modality not in (None, "audio", "text"):
        raise _refuse("output_modality", config.output_modality, "use 'audio' or 'text'")
    if config.output_modality == "text" and not profile.writes:
        raise _refuse(
            "output_modality", "text", f"{model} only speaks; leave it out and read the transcript of what it says"
        )
    for option, wanted in (("input_format", PCM16_16K), ("output_format", PCM16_24K)):
        value = getattr(config, option)
        if value is not None and value != wanted:
            raise _refuse(option, str(value), f"Gemini takes {PCM16_16K} and gives {PCM16_24K}")
    if _a("voice", config.voice, Voice):
        assert config.voice is not None
        if not isinstance(config.voice.id, str) or not config.voice.id:
            raise _refuse("voice.id", config.voice.id, "use a voice's name, such as 'Kore'")
        if config.voice.speed is not None:
            raise _refuse("voice.speed", config.voice.speed, "Gemini's voices have no speed; leave it out")


def _check_turns(turn: Any) -> None:
    option = "turn_detection"
    if turn.mode not in ("server_vad", "off"):
        raise _refuse(f"{option}.mode", turn.mode, "Gemini has 'server_vad' and 'off'")
    given = "threshold idle_timeout_ms eagerness"
    if turn.mode == "off":
        given += " prefix_padding_ms silence_duration_ms create_response interrupt_response"
    for name in given.split():
        if getattr(turn, name) is not None:
            raise _refuse(
                f"{option}.{name}", getattr(turn, name), f"Gemini's {turn.mode!r} does not take it; leave it out"
            )
    for name in ("prefix_padding_ms", "silence_duration_ms"):
        value = getattr(turn, name)
        if value is not None and (type(value) is not int or not 0 <= value < 2**31):
            raise _refuse(f"{option}.{name}", value, "use a whole number of milliseconds, at least 0")
    if turn.create_response is False:
        raise _refuse(
            f"{option}.create_response", False, "Gemini answers each turn that it finds; use TurnDetection.off()"
        )


def _check_transcription(asked: Any) -> None:
    if asked is None or asked == "off":
        return
    _a("transcription", asked, InputTranscription)
    for name in ("model", "prompt", "delay"):
        if getattr(asked, name) is not None:
            raise _refuse(f"transcription.{name}", getattr(asked, name), "Gemini's transcription does not take it")


def _check_tools(config: SessionConfig) -> None:
    names: set[str] = set()
    for index, tool in enumerate(config.tools or ()):
        where = f"tools[{index}]"
        if isinstance(tool, McpServer):
            raise _refuse(where, tool.label, "Gemini's Live API calls no tool servers; use functions")
        if not isinstance(tool, ToolDefinition):
            raise _refuse(where, tool, "use a ToolDefinition")
        if not isinstance(tool.name, str) or not _TOOL_NAME.fullmatch(tool.name):
            raise _refuse(f"{where}.name", tool.name, "use 1 to 128 of a-z, A-Z, 0-9, _ and -, a letter or _ first")
        if tool.name in names:
            raise _refuse(where, tool.name, "two tools have this name; rename one")
        names.add(tool.name)
        if not isinstance(tool.parameters, Mapping) or tool.parameters.get("type", "object") != "object":
            raise _refuse(f"{where}.parameters", tool.parameters, "use the JSON schema of an object")
    if _a("tool_choice", config.tool_choice, ToolChoice):
        assert config.tool_choice is not None
        if config.tool_choice.mode not in ("auto", "none"):
            raise _refuse("tool_choice", config.tool_choice.mode, "Gemini's Live API has 'auto' and 'none' only")
    if config.parallel_tool_calls is not None:
        raise _refuse("parallel_tool_calls", config.parallel_tool_calls, "Gemini decides this itself; leave it out")


def _check_reasoning(reasoning: Any, model: str, profile: Profile) -> None:
    if not profile.thinks:
        raise _refuse("reasoning", reasoning.effort, f"{model} has no such option; leave it out")
    allowed = _EFFORTS if profile.levels else ("none",)
    if reasoning.effort not in allowed:
        raise _refuse("reasoning.effort", reasoning.effort, f"{model} takes {' or '.join(map(repr, allowed))}")


def _check_absent(config: SessionConfig) -> None:
    noise = config.noise_reduction
    if _a("noise_reduction", noise, NoiseReduction) and noise is not None and noise.type != "off":
        raise _refuse("noise_reduction", noise.type, "Gemini has none; leave it out")
    if _a("truncation", config.truncation, Truncation):
        assert config.truncation is not None
        if config.truncation.strategy not in ("auto", "disabled"):
            raise _refuse("truncation", config.truncation.strategy, "Gemini has 'auto' and 'disabled'")
    if _a("tracing", config.tracing, Tracing) and config.tracing is not None and config.tracing.mode != "off":
        raise _refuse("tracing", config.tracing.mode, "Gemini has none; leave it out")
    if config.prompt is not None:
        raise _refuse("prompt", config.prompt.id, "Gemini stores no prompts; use instructions")
    if config.include:
        raise _refuse("include", list(config.include), "Gemini has nothing to include; leave it out")


def check_response(config: ResponseConfig) -> None:
    """Refuse the wishes of a single reply: there is no place for them on the wire.

    Raises:
        MisconfiguredError: names the option and the fix.
    """
    if config.conversation == "none":
        raise _refuse("conversation", "none", "Gemini replies in the conversation only")
    plain = ResponseConfig()
    for name in _RESPONSE_OPTIONS:
        value = getattr(config, name)
        if value != getattr(plain, name):
            raise _refuse(name, value, "a single reply of Gemini's takes no options; set it for the session")


def refusal_of_update(config: SessionConfig, profile: Profile) -> str | None:
    """Why a running session cannot take this change; ``None`` where it can."""
    if not profile.updates:
        return "this model cannot change a session that runs; say it before connecting"
    said = [name for name in _OPTIONS if getattr(config, name) is not None]
    frozen = [name for name in said if name not in ("instructions", "tools", "tool_choice", "extra")]
    if config.extra:
        frozen.append("extra")
    if frozen:
        return f"{frozen[0]} cannot change while a Gemini session runs: only instructions and tools can"
    return None


# -- the setup --------------------------------------------------------------------------------------------------------


def encode_setup(config: SessionConfig, model: str, profile: Profile, resume: str | None) -> dict[str, Any]:
    """The ``setup`` object. Transcripts of both sides, handles to resume with, and a sliding context window are asked
    for unless the configuration says otherwise: without the last a conversation ends after 15 minutes.
    """
    written = config.output_modality == "text"
    generation: dict[str, Any] = {"responseModalities": ["TEXT" if written else "AUDIO"]}
    if config.voice is not None:
        generation["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": config.voice.id}}}
    if isinstance(config.max_output_tokens, int):
        generation["maxOutputTokens"] = config.max_output_tokens
    if config.reasoning is not None:
        effort = config.reasoning.effort
        generation["thinkingConfig"] = {"thinkingLevel": effort.upper()} if profile.levels else {"thinkingBudget": 0}
    setup: dict[str, Any] = {"model": model, "generationConfig": generation}
    if config.instructions:
        setup["systemInstruction"] = encode_instructions(config.instructions)
    if tools := encode_tools(config, profile):
        setup["tools"] = tools
    if detection := _detection(config.turn_detection):
        setup["realtimeInputConfig"] = detection
    if config.transcription != "off":
        setup["inputAudioTranscription"] = _transcription(config.transcription)
    if not written:
        setup["outputAudioTranscription"] = {}
    if config.truncation is None or config.truncation.strategy == "auto":
        setup["contextWindowCompression"] = {"slidingWindow": {}}
    setup["sessionResumption"] = {} if resume is None else {"handle": resume}
    return merge(setup, config.extra)


def encode_instructions(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}], "role": "user"}


def encode_tools(config: SessionConfig, profile: Profile) -> list[dict[str, Any]]:
    if config.tool_choice is not None and config.tool_choice.mode == "none":
        return []
    functions = [tool for tool in config.tools or () if isinstance(tool, ToolDefinition)]
    return [{"functionDeclarations": [_function(tool, profile) for tool in functions]}] if functions else []


def _function(tool: ToolDefinition, profile: Profile) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name}
    if tool.description:
        said["description"] = tool.description
    if parameters := as_parameters(tool.parameters):
        said["parameters"] = parameters
    if profile.blocking:
        said["behavior"] = "BLOCKING"
    return said


def _detection(turn: TurnDetection | None) -> dict[str, Any]:
    if turn is None:
        return {}
    if turn.mode == "off":
        return {"automaticActivityDetection": {"disabled": True}}
    named = (("prefixPaddingMs", turn.prefix_padding_ms), ("silenceDurationMs", turn.silence_duration_ms))
    found: dict[str, Any] = {}
    if automatic := {key: value for key, value in named if value is not None}:
        found["automaticActivityDetection"] = automatic
    if turn.interrupt_response is False:
        found["activityHandling"] = "NO_INTERRUPTION"
    return found


def _transcription(asked: Any) -> dict[str, Any]:
    if asked is None:
        return {}
    languages: Sequence[str] = asked.languages or ((asked.language,) if asked.language else ())
    found: dict[str, Any] = {"languageCodes": list(languages)} if languages else {}
    if asked.keywords:
        found["customVocabulary"] = list(asked.keywords)
    return found
