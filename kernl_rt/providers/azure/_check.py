"""What Azure's beta-speaking services accept, said before anything is sent. ``extra`` is never looked into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    InputTranscription,
    McpServer,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    TurnDetection,
    Voice,
)
from kernl_rt.providers._dialect._check import check_response, check_session
from kernl_rt.providers._dialect._refusals import a_flag, a_kind, a_number, a_text, a_word, only, refuse
from kernl_rt.providers.azure._flat import is_azure_voice

__all__ = [
    "VOICE_LIVE_FORMATS",
    "check_preview_response",
    "check_preview_session",
    "check_voice_live_response",
    "check_voice_live_session",
]

#: In order of preference.
VOICE_LIVE_FORMATS = (PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW, G711_ALAW)
_LANGUAGES = re.compile(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*(,\s*[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*)*")
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_INCLUDES = (
    "item.input_audio_transcription.logprobs",
    "item.input_audio_transcription.phrases",
    "file_search_call.results",
)
_LEAVE = "Voice Live has no such option; leave it out"
_OLD = "the preview has no such option; leave it out, or leave api_version out"


def _lacks(owner: object, names: str, why: str) -> None:
    """As ``only``, for options at the top."""
    for name in names.split():
        if (value := getattr(owner, name)) is not None:
            raise refuse(name, value, why)


# -- Voice Live -------------------------------------------------------------------------------------------------------


def check_voice_live_session(config: SessionConfig, model: str) -> None:
    """Refuse what Voice Live cannot do.

    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    _lacks(config, "prompt truncation tracing", _LEAVE)
    _format("input_format", config.input_format)
    if config.transcription != "off" and a_kind("transcription", config.transcription, InputTranscription):
        _transcription(config.transcription)
    if a_kind("turn_detection", config.turn_detection, TurnDetection):
        _turns(config.turn_detection)
    if a_kind("noise_reduction", config.noise_reduction, NoiseReduction):
        only("noise_reduction", config.noise_reduction, "strength", _LEAVE)
    for entry in config.include or ():
        a_word("include", entry, _INCLUDES)
    _voice_live_common(config)
    bare = attrs.evolve(config, input_format=None, transcription=None, include=None, **_JUDGED)
    check_session(attrs.evolve(bare, voice=_without_speed(config.voice)), model)


def check_voice_live_response(config: ResponseConfig, model: str) -> None:
    """Refuse a reply's wishes that Voice Live cannot fulfil. Raises as :func:`check_voice_live_session`."""
    _lacks(config, "prompt parallel_tool_calls", _LEAVE)
    _voice_live_common(config)
    if isinstance(config.tool_choice, ToolChoice) and config.tool_choice.mode == "function":
        raise refuse("tool_choice", "function", "one reply of Voice Live takes 'auto', 'none' or 'required'")
    bare = attrs.evolve(config, **_JUDGED)
    check_response(attrs.evolve(bare, voice=_without_speed(config.voice)), model)


#: What :func:`_voice_live_common` has judged by rules of its own.
_JUDGED: dict[str, Any] = {"output_format": None, "reasoning": None, "parallel_tool_calls": None}


def _voice_live_common(config: SessionConfig | ResponseConfig) -> None:
    _format("output_format", config.output_format)
    if a_kind("reasoning", config.reasoning, Reasoning):
        a_word("reasoning.effort", config.reasoning and config.reasoning.effort, _EFFORTS)
    a_flag("parallel_tool_calls", config.parallel_tool_calls)
    if a_kind("voice", config.voice, Voice):
        _voice(config.voice)
    if isinstance(config.tool_choice, ToolChoice) and config.tool_choice.mode == "mcp":
        raise refuse("tool_choice", "mcp", "Voice Live takes 'auto', 'none', 'required' or a function by name")
    for index, tool in enumerate(config.tools or ()):
        if isinstance(tool, McpServer):
            _mcp(f"tools[{index}]", tool)


def _format(option: str, format: Any) -> None:
    if format is not None and format not in VOICE_LIVE_FORMATS:
        raise refuse(option, str(format), "use " + ", ".join(str(each) for each in VOICE_LIVE_FORMATS))


def _voice(voice: Any) -> None:
    a_text("voice.id", voice.id, required=True)
    if voice.speed is not None and not is_azure_voice(voice.id):
        raise refuse("voice.speed", voice.speed, "only Azure's own voices (such as 'en-US-AvaNeural') have a speed")
    a_number("voice.speed", voice.speed, 0.5, 1.5)


def _without_speed(voice: Any) -> Any:
    return attrs.evolve(voice, speed=None) if isinstance(voice, Voice) else voice


def _transcription(asked: Any) -> None:
    option = "transcription"
    if not isinstance(asked.model, str) or not asked.model:
        raise refuse(f"{option}.model", asked.model, "Voice Live wants one: 'azure-speech', 'whisper-1' …")
    only(option, asked, "prompt delay", _LEAVE)
    only(option, asked, "languages", "give them as one text: language='en-US,fr-FR'")
    if asked.language is not None and not (isinstance(asked.language, str) and _LANGUAGES.fullmatch(asked.language)):
        raise refuse(f"{option}.language", asked.language, "use locales such as 'en-US' or 'en-US,fr-FR'")
    for keyword in asked.keywords or ():
        a_text(f"{option}.keywords", keyword, required=True)
    if asked.keywords and asked.model != "azure-speech":
        raise refuse(f"{option}.keywords", asked.keywords, "only the model 'azure-speech' takes phrases")


def _turns(turns: Any) -> None:
    option = "turn_detection"
    only(option, turns, "idle_timeout_ms", _LEAVE)
    instead = "Voice Live has end_of_utterance_detection instead: extra={'turn_detection': {…}}"
    only(option, turns, "eagerness", instead)


def _mcp(where: str, server: McpServer) -> None:
    only(where, server, "connector_id tunnel_id description allowed_callers defer_loading", _LEAVE)
    if isinstance(server.allowed_tools, Mapping):
        raise refuse(f"{where}.allowed_tools", dict(server.allowed_tools), "use a list of names")


# -- the preview ------------------------------------------------------------------------------------------------------


def check_preview_session(config: SessionConfig, model: str) -> None:
    """Refuse what the preview cannot say. Raises as :func:`check_voice_live_session`."""
    _lacks(config, "prompt truncation tracing include reasoning parallel_tool_calls", _OLD)
    if a_kind("turn_detection", config.turn_detection, TurnDetection):
        only("turn_detection", config.turn_detection, "idle_timeout_ms", _OLD)
    if config.transcription != "off" and a_kind("transcription", config.transcription, InputTranscription):
        only("transcription", config.transcription, "languages keywords delay", _OLD)
    if a_kind("noise_reduction", config.noise_reduction, NoiseReduction):
        only("noise_reduction", config.noise_reduction, "strength", _OLD)
    _preview_common(config)
    check_session(config, model)


def check_preview_response(config: ResponseConfig, model: str) -> None:
    """Refuse a reply's wishes that the preview cannot say. Raises as :func:`check_voice_live_session`."""
    _lacks(config, "prompt reasoning parallel_tool_calls", _OLD)
    _preview_common(config)
    check_response(config, model)


def _preview_common(config: SessionConfig | ResponseConfig) -> None:
    if a_kind("voice", config.voice, Voice):
        only("voice", config.voice, "speed", _OLD)
    for index, tool in enumerate(config.tools or ()):
        if isinstance(tool, McpServer):
            raise refuse(f"tools[{index}]", tool.label, "the preview knows functions only")
    if isinstance(config.tool_choice, ToolChoice) and config.tool_choice.mode == "mcp":
        raise refuse("tool_choice", "mcp", _OLD)
