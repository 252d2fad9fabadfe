"""What OpenAI's Realtime API accepts, said before anything is sent.

The ranges are those of the API reference and of the official SDK's types; where those name none, none is invented and
the service decides. ``extra`` is never looked into: it is the way around everything here.
"""

from __future__ import annotations

import re
from typing import Any

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    NoiseReduction,
    PromptReference,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.providers._dialect._refusals import (
    a_flag,
    a_kind,
    a_number,
    a_text,
    a_whole_number,
    a_word,
    an_object,
    check_tool_choice,
    check_tools,
    only,
    refuse,
)

__all__ = ["FORMATS", "check_response", "check_session"]

#: In order of preference.
FORMATS = (PCM16_24K, G711_ULAW, G711_ALAW)

_LANGUAGE = re.compile(r"[a-z]{2,3}")
#: Known to think no more than they are told to. Other names (deployments, newer models) get the benefit of the doubt.
_NOT_REASONING = re.compile(
    r"(gpt-4o(-mini)?-realtime-preview|gpt-realtime(-mini|-1\.5)?|gpt-audio(-mini|-1\.5)?)(-\d{4}-\d\d-\d\d)?"
)
_KNOWN_TRANSCRIBERS = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe",
        "gpt-4o-transcribe-diarize",
        "gpt-realtime-whisper",
    }
)
_WITH_HINTS = frozenset({"gpt-transcribe", "gpt-live-transcribe"})
_WITH_DELAY = frozenset({"gpt-realtime-whisper"})
_WITH_PROMPT = _KNOWN_TRANSCRIBERS - {"gpt-realtime-whisper", "gpt-4o-transcribe-diarize"}
_INCLUDES = ("item.input_audio_transcription.logprobs",)
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")


# -- what sessions and responses share --------------------------------------------------------------------------------


def _check_common(config: SessionConfig | ResponseConfig, model: str) -> None:
    a_text("instructions", config.instructions)
    a_word("output_modality", config.output_modality, ("audio", "text"))
    _format("output_format", config.output_format)
    if a_kind("voice", config.voice, Voice):
        _voice(config.voice)
    check_tools(config.tools)
    if a_kind("tool_choice", config.tool_choice, ToolChoice):
        check_tool_choice(config.tool_choice, config.tools)
    a_flag("parallel_tool_calls", config.parallel_tool_calls)
    limit = config.max_output_tokens
    if limit is not None and limit != "inf" and (type(limit) is not int or not 1 <= limit <= 4096):
        raise refuse("max_output_tokens", limit, "use a whole number from 1 to 4096, or 'inf'")
    if config.reasoning is not None:
        a_kind("reasoning", config.reasoning, Reasoning)
        a_word("reasoning.effort", config.reasoning.effort, _EFFORTS)
    for option in ("reasoning", "parallel_tool_calls"):
        if getattr(config, option) is not None and _NOT_REASONING.fullmatch(model):
            raise refuse(option, getattr(config, option), f"{model} has no such option; use a gpt-realtime-2 model")
    if a_kind("prompt", config.prompt, PromptReference):
        _prompt(config.prompt)
    an_object("extra", config.extra)


def _format(option: str, format: Any) -> None:
    if a_kind(option, format, AudioFormat) and format not in FORMATS:
        raise refuse(option, str(format), "use " + ", ".join(str(known) for known in FORMATS))


def _voice(voice: Any) -> None:
    a_text("voice.id", voice.id, required=True)
    a_number("voice.speed", voice.speed, 0.25, 1.5)


def _prompt(prompt: Any) -> None:
    a_text("prompt.id", prompt.id, required=True)
    a_text("prompt.version", prompt.version)
    an_object("prompt.variables", prompt.variables)


# -- sessions ---------------------------------------------------------------------------------------------------------


def check_session(config: SessionConfig, model: str) -> None:
    """Refuse what ``model`` cannot do.

    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    _check_common(config, model)
    _format("input_format", config.input_format)
    if a_kind("turn_detection", config.turn_detection, TurnDetection):
        _turn_detection(config.turn_detection)
    if config.transcription is not None and config.transcription != "off":
        a_kind("transcription", config.transcription, InputTranscription)
        _transcription(config.transcription)
    if a_kind("noise_reduction", config.noise_reduction, NoiseReduction):
        _noise_reduction(config.noise_reduction)
    if a_kind("truncation", config.truncation, Truncation):
        _truncation(config.truncation)
    if a_kind("tracing", config.tracing, Tracing):
        _tracing(config.tracing)
    for entry in config.include or ():
        a_word("include", entry, _INCLUDES)


def _turn_detection(turn: Any) -> None:
    option = "turn_detection"
    a_word(f"{option}.mode", turn.mode, ("server_vad", "semantic_vad", "off"))
    energy = "threshold prefix_padding_ms silence_duration_ms idle_timeout_ms"
    if turn.mode == "off":
        everything = f"{energy} eagerness create_response interrupt_response"
        only(option, turn, everything, "turn detection is off; leave it out")
    elif turn.mode == "semantic_vad":
        only(option, turn, energy, "only 'server_vad' takes it")
    else:
        only(option, turn, "eagerness", "only 'semantic_vad' takes it")
    a_number(f"{option}.threshold", turn.threshold, 0, 1)
    a_whole_number(f"{option}.prefix_padding_ms", turn.prefix_padding_ms, 0)
    a_whole_number(f"{option}.silence_duration_ms", turn.silence_duration_ms, 0)
    a_whole_number(f"{option}.idle_timeout_ms", turn.idle_timeout_ms, 1)
    a_word(f"{option}.eagerness", turn.eagerness, ("low", "medium", "high", "auto"))
    a_flag(f"{option}.create_response", turn.create_response)
    a_flag(f"{option}.interrupt_response", turn.interrupt_response)


def _transcription(asked: Any) -> None:
    option = "transcription"
    a_text(f"{option}.model", asked.model)
    a_text(f"{option}.prompt", asked.prompt)
    a_word(f"{option}.delay", asked.delay, ("minimal", "low", "medium", "high", "xhigh"))
    for language in (asked.language, *(asked.languages or ())):
        if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise refuse(f"{option}.language", language, "use an ISO 639 code such as 'en'")
    for keyword in asked.keywords or ():
        a_text(f"{option}.keywords", keyword, required=True)
    if asked.model in _KNOWN_TRANSCRIBERS:
        for name, models in _TRANSCRIBER_OPTIONS:
            if asked.model not in models:
                only(option, asked, name, f"{asked.model} does not take it; {' or '.join(sorted(models))} does")


_TRANSCRIBER_OPTIONS = (
    ("delay", _WITH_DELAY),
    ("keywords", _WITH_HINTS),
    ("languages", _WITH_HINTS),
    ("prompt", _WITH_PROMPT),
)


def _noise_reduction(noise: Any) -> None:
    a_word("noise_reduction.type", noise.type, ("near_field", "far_field", "off"))
    a_number("noise_reduction.strength", noise.strength, 0, 1)
    if noise.type == "off":
        only("noise_reduction", noise, "strength", "noise reduction is off; leave it out")


def _truncation(truncation: Any) -> None:
    option = "truncation"
    a_word(f"{option}.strategy", truncation.strategy, ("auto", "disabled", "retention_ratio"))
    a_number(f"{option}.retention_ratio", truncation.retention_ratio, 0, 1)
    a_whole_number(f"{option}.post_instructions_tokens", truncation.post_instructions_tokens, 0, "tokens")
    if truncation.strategy != "retention_ratio":
        only(option, truncation, "retention_ratio post_instructions_tokens", "only 'retention_ratio' takes it")
    elif truncation.retention_ratio is None:
        raise refuse(f"{option}.retention_ratio", None, "say how much to keep, from 0 to 1")


def _tracing(tracing: Any) -> None:
    a_word("tracing.mode", tracing.mode, ("auto", "off", "custom"))
    a_text("tracing.workflow_name", tracing.workflow_name)
    a_text("tracing.group_id", tracing.group_id)
    an_object("tracing.metadata", tracing.metadata)
    if tracing.mode != "custom":
        only("tracing", tracing, "workflow_name group_id metadata", "only 'custom' takes it")


# -- responses --------------------------------------------------------------------------------------------------------


def check_response(config: ResponseConfig, model: str) -> None:
    """Refuse a reply's wishes that ``model`` cannot fulfil.

    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    _check_common(config, model)
    if config.voice is not None and config.voice.speed is not None:
        raise refuse("voice.speed", config.voice.speed, "a single reply has no speed; set it for the session")
    a_word("conversation", config.conversation, ("auto", "none"))
    _metadata(config.metadata)


def _metadata(metadata: Any) -> None:
    if metadata is None:
        return
    an_object("metadata", metadata)
    if len(metadata) > 16:
        raise refuse("metadata", f"{len(metadata)} pairs", "use at most 16")
    for key, value in metadata.items():
        if len(key) > 64:
            raise refuse("metadata", key, "a key has at most 64 characters")
        if not isinstance(value, str) or len(value) > 512:
            raise refuse(f"metadata[{key!r}]", value, "a value is a text of at most 512 characters")
