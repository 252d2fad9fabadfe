"""What xAI's Voice Agent API takes, said before anything is sent. ``extra`` is never looked into."""

from __future__ import annotations

from typing import Any

from kernl_rt.config import (
    AudioFormat,
    InputTranscription,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    TurnDetection,
    Voice,
)
from kernl_rt.providers._dialect._refusals import (
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
from kernl_rt.providers.xai._config import FORMATS

__all__ = ["check_response", "check_session"]

_SPEAKS = "xAI's voice models always speak: leave it out, and read the transcript"
_NOT_HERE = "xAI has no such option; leave it out"
_NOT_IN_A_REPLY = "xAI takes only instructions for a single reply; set it for the session"


def check_session(config: SessionConfig) -> None:
    """
    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    only("session", config, "noise_reduction truncation tracing prompt include", _NOT_HERE)
    a_text("instructions", config.instructions)
    _modality(config.output_modality)
    for option in ("input_format", "output_format"):
        format = getattr(config, option)
        if a_kind(option, format, AudioFormat) and format not in FORMATS:
            raise refuse(option, str(format), "use " + ", ".join(str(known) for known in FORMATS))
    if a_kind("voice", config.voice, Voice):
        _voice(config.voice)
    check_tools(config.tools)
    if a_kind("tool_choice", config.tool_choice, ToolChoice):
        check_tool_choice(config.tool_choice, config.tools)
    a_kind("parallel_tool_calls", config.parallel_tool_calls, bool)
    if config.max_output_tokens != "inf":
        a_whole_number("max_output_tokens", config.max_output_tokens, 1, "tokens")
    if a_kind("reasoning", config.reasoning, Reasoning):
        _effort(config.reasoning)
    if a_kind("turn_detection", config.turn_detection, TurnDetection):
        _turn_detection(config.turn_detection)
    if config.transcription != "off" and a_kind("transcription", config.transcription, InputTranscription):
        _transcription(config.transcription)
    an_object("extra", config.extra)


def check_response(config: ResponseConfig) -> None:
    """
    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    a_text("instructions", config.instructions)
    _modality(config.output_modality)
    only("response", config, "voice output_format tools tool_choice parallel_tool_calls", _NOT_IN_A_REPLY)
    only("response", config, "max_output_tokens reasoning prompt input metadata", _NOT_IN_A_REPLY)
    a_word("conversation", config.conversation, ("auto",))
    an_object("extra", config.extra)


def _modality(modality: Any) -> None:
    a_word("output_modality", modality, ("audio", "text"))
    if modality == "text":
        raise refuse("output_modality", modality, _SPEAKS)


def _voice(voice: Any) -> None:
    a_text("voice.id", voice.id, required=True)
    a_number("voice.speed", voice.speed, 0.7, 1.5)


def _effort(reasoning: Any) -> None:
    a_word("reasoning.effort", reasoning.effort, ("high", "none"))


def _turn_detection(turn: Any) -> None:
    option = "turn_detection"
    a_word(f"{option}.mode", turn.mode, ("server_vad", "off"))
    everything = "threshold prefix_padding_ms silence_duration_ms idle_timeout_ms create_response interrupt_response"
    if turn.mode == "off":
        only(option, turn, f"{everything} eagerness", "turn detection is off; leave it out")
    only(option, turn, "eagerness", "xAI finds turns by their energy; leave it out")
    if turn.create_response is False:
        fix = "xAI answers all the same; use TurnDetection.off() to say yourself when a turn is over"
        raise refuse(f"{option}.create_response", False, fix)
    a_number(f"{option}.threshold", turn.threshold, 0.1, 0.9)
    a_whole_number(f"{option}.prefix_padding_ms", turn.prefix_padding_ms, 0)
    a_whole_number(f"{option}.silence_duration_ms", turn.silence_duration_ms, 0)
    a_whole_number(f"{option}.idle_timeout_ms", turn.idle_timeout_ms, 1)
    a_kind(f"{option}.create_response", turn.create_response, bool)
    a_kind(f"{option}.interrupt_response", turn.interrupt_response, bool)


def _transcription(asked: Any) -> None:
    option = "transcription"
    a_text(f"{option}.model", asked.model)
    a_text(f"{option}.language", asked.language)
    for keyword in asked.keywords or ():
        a_text(f"{option}.keywords", keyword, required=True)
    only(option, asked, "languages prompt delay", "xAI takes a model, a language and keywords")
