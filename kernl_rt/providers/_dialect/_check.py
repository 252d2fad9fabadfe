"""What OpenAI's Realtime API accepts, said before anything is sent.

The ranges are those of the API reference and of the official SDK's types; where those name none, none is invented and
the service decides. ``extra`` is never looked into: it is the way around everything here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    McpServer,
    NoiseReduction,
    PromptReference,
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

__all__ = ["FORMATS", "check_response", "check_session"]

#: In order of preference.
FORMATS = (PCM16_24K, G711_ULAW, G711_ALAW)

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
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


def _refuse(option: str, value: object, fix: str) -> MisconfiguredError:
    shown = repr(value)
    return MisconfiguredError(f"{option}={shown if len(shown) <= 80 else shown[:77] + '...'} is invalid: {fix}")


# -- single values ----------------------------------------------------------------------------------------------------


def _number(option: str, value: Any, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    if value is not None and not good:
        raise _refuse(option, value, f"use a number from {low:g} to {high:g}")


def _whole(option: str, value: Any, low: int, unit: str = "milliseconds") -> None:
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= 2**31 - 1
    if value is not None and not good:
        raise _refuse(option, value, f"use a whole number of {unit}, at least {low}")


def _text(option: str, value: Any, *, required: bool = False) -> None:
    if not (isinstance(value, str) or value is None) or (required and not value):
        raise _refuse(option, value, "use a text" + (" that is not empty" if required else ""))


def _flag(option: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise _refuse(option, value, "use True or False")


def _word(option: str, value: Any, words: Collection[str]) -> None:
    if value is not None and not (isinstance(value, str) and value in words):
        raise _refuse(option, value, "use " + " or ".join(repr(word) for word in words))


def _object(option: str, value: Any) -> None:
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise _refuse(option, value, "use a mapping with texts as keys")
    if value is not None:
        try:
            msgspec.json.encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            if not isinstance(error, UnicodeEncodeError):
                raise _refuse(option, type(value).__name__, "a value in it is not JSON") from None


def _a(option: str, value: Any, kind: type) -> bool:
    """Whether there is a value; refuses one of another type."""
    if value is not None and not isinstance(value, kind):
        raise _refuse(option, value, f"use a {kind.__name__}")
    return value is not None


def _only(option: str, owner: object, names: str, why: str) -> None:
    for name in names.split():
        if (value := getattr(owner, name)) is not None:
            raise _refuse(f"{option}.{name}", value, why)


# -- what sessions and responses share --------------------------------------------------------------------------------


def _check_common(config: SessionConfig | ResponseConfig, model: str) -> None:
    _text("instructions", config.instructions)
    _word("output_modality", config.output_modality, ("audio", "text"))
    _format("output_format", config.output_format)
    if _a("voice", config.voice, Voice):
        _voice(config.voice)
    _tools(config.tools)
    if _a("tool_choice", config.tool_choice, ToolChoice):
        _tool_choice(config.tool_choice, config.tools)
    _flag("parallel_tool_calls", config.parallel_tool_calls)
    limit = config.max_output_tokens
    if limit is not None and limit != "inf" and (type(limit) is not int or not 1 <= limit <= 4096):
        raise _refuse("max_output_tokens", limit, "use a whole number from 1 to 4096, or 'inf'")
    if config.reasoning is not None:
        _a("reasoning", config.reasoning, Reasoning)
        _word("reasoning.effort", config.reasoning.effort, _EFFORTS)
    for option in ("reasoning", "parallel_tool_calls"):
        if getattr(config, option) is not None and _NOT_REASONING.fullmatch(model):
            raise _refuse(option, getattr(config, option), f"{model} has no such option; use a gpt-realtime-2 model")
    if _a("prompt", config.prompt, PromptReference):
        _prompt(config.prompt)
    _object("extra", config.extra)


def _format(option: str, format: Any) -> None:
    if _a(option, format, AudioFormat) and format not in FORMATS:
        raise _refuse(option, str(format), "use " + ", ".join(str(known) for known in FORMATS))


def _voice(voice: Any) -> None:
    _text("voice.id", voice.id, required=True)
    _number("voice.speed", voice.speed, 0.25, 1.5)


def _prompt(prompt: Any) -> None:
    _text("prompt.id", prompt.id, required=True)
    _text("prompt.version", prompt.version)
    _object("prompt.variables", prompt.variables)


def _tools(tools: Any) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools or ()):
        where = f"tools[{index}]"
        if isinstance(tool, ToolDefinition):
            _function(where, tool)
            name = tool.name
        elif isinstance(tool, McpServer):
            _mcp(where, tool)
            name = f"mcp server {tool.label}"
        else:
            raise _refuse(where, tool, "use a ToolDefinition or an McpServer")
        if name in names:
            raise _refuse(where, name, "two tools have this name; rename one")
        names.add(name)


def _function(where: str, tool: Any) -> None:
    if not isinstance(tool.name, str) or not _TOOL_NAME.fullmatch(tool.name):
        raise _refuse(f"{where}.name", tool.name, "use 1 to 64 of a-z, A-Z, 0-9, _ and -")
    _text(f"{where}.description", tool.description)
    _object(f"{where}.parameters", tool.parameters)
    if tool.parameters and tool.parameters.get("type") != "object":
        raise _refuse(f"{where}.parameters", dict(tool.parameters), "use the JSON schema of an object")


def _mcp(where: str, server: Any) -> None:
    _text(f"{where}.label", server.label, required=True)
    for name in ("url", "connector_id", "tunnel_id", "description"):
        _text(f"{where}.{name}", getattr(server, name))
    if not (server.url or server.connector_id or server.tunnel_id):
        raise _refuse(f"{where}.url", server.url, "say where the server is: url, connector_id or tunnel_id")
    if server.headers is not None and not all(isinstance(value, str) for value in server.headers.values()):
        raise _refuse(f"{where}.headers", "…", "use texts")
    for caller in server.allowed_callers or ():
        _word(f"{where}.allowed_callers", caller, ("direct", "programmatic"))
    if not isinstance(server.require_approval, Mapping):
        _word(f"{where}.require_approval", server.require_approval, ("always", "never"))
    allowed = server.allowed_tools
    if isinstance(allowed, str):
        raise _refuse(f"{where}.allowed_tools", allowed, "use a list of names")
    _flag(f"{where}.defer_loading", server.defer_loading)


def _tool_choice(choice: Any, tools: Any) -> None:
    _word("tool_choice", choice.mode, ("auto", "none", "required", "function", "mcp"))
    if choice.mode == "function":
        _text("tool_choice.name", choice.name, required=True)
        _only("tool_choice", choice, "server_label", "only 'mcp' takes it")
        functions = [tool.name for tool in tools or () if isinstance(tool, ToolDefinition)]
        if tools is not None and choice.name not in functions:
            raise _refuse("tool_choice.name", choice.name, f"use one of the tools: {functions}")
    elif choice.mode == "mcp":
        _text("tool_choice.server_label", choice.server_label, required=True)
        _text("tool_choice.name", choice.name)
    else:
        _only("tool_choice", choice, "name server_label", f"{choice.mode!r} takes no name; use 'function' or 'mcp'")


# -- sessions ---------------------------------------------------------------------------------------------------------


def check_session(config: SessionConfig, model: str) -> None:
    """Refuse what ``model`` cannot do.

    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    _check_common(config, model)
    _format("input_format", config.input_format)
    if _a("turn_detection", config.turn_detection, TurnDetection):
        _turn_detection(config.turn_detection)
    if config.transcription is not None and config.transcription != "off":
        _a("transcription", config.transcription, InputTranscription)
        _transcription(config.transcription)
    if _a("noise_reduction", config.noise_reduction, NoiseReduction):
        _noise_reduction(config.noise_reduction)
    if _a("truncation", config.truncation, Truncation):
        _truncation(config.truncation)
    if _a("tracing", config.tracing, Tracing):
        _tracing(config.tracing)
    for entry in config.include or ():
        _word("include", entry, _INCLUDES)


def _turn_detection(turn: Any) -> None:
    option = "turn_detection"
    _word(f"{option}.mode", turn.mode, ("server_vad", "semantic_vad", "off"))
    energy = "threshold prefix_padding_ms silence_duration_ms idle_timeout_ms"
    if turn.mode == "off":
        everything = f"{energy} eagerness create_response interrupt_response"
        _only(option, turn, everything, "turn detection is off; leave it out")
    elif turn.mode == "semantic_vad":
        _only(option, turn, energy, "only 'server_vad' takes it")
    else:
        _only(option, turn, "eagerness", "only 'semantic_vad' takes it")
    _number(f"{option}.threshold", turn.threshold, 0, 1)
    _whole(f"{option}.prefix_padding_ms", turn.prefix_padding_ms, 0)
    _whole(f"{option}.silence_duration_ms", turn.silence_duration_ms, 0)
    _whole(f"{option}.idle_timeout_ms", turn.idle_timeout_ms, 1)
    _word(f"{option}.eagerness", turn.eagerness, ("low", "medium", "high", "auto"))
    _flag(f"{option}.create_response", turn.create_response)
    _flag(f"{option}.interrupt_response", turn.interrupt_response)


def _transcription(asked: Any) -> None:
    option = "transcription"
    _text(f"{option}.model", asked.model)
    _text(f"{option}.prompt", asked.prompt)
    _word(f"{option}.delay", asked.delay, ("minimal", "low", "medium", "high", "xhigh"))
    for language in (asked.language, *(asked.languages or ())):
        if language is not None and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise _refuse(f"{option}.language", language, "use an ISO 639 code such as 'en'")
    for keyword in asked.keywords or ():
        _text(f"{option}.keywords", keyword, required=True)
    if asked.model in _KNOWN_TRANSCRIBERS:
        for name, models in _TRANSCRIBER_OPTIONS:
            if asked.model not in models:
                _only(option, asked, name, f"{asked.model} does not take it; {' or '.join(sorted(models))} does")


_TRANSCRIBER_OPTIONS = (
    ("delay", _WITH_DELAY),
    ("keywords", _WITH_HINTS),
    ("languages", _WITH_HINTS),
    ("prompt", _WITH_PROMPT),
)


def _noise_reduction(noise: Any) -> None:
    _word("noise_reduction.type", noise.type, ("near_field", "far_field", "off"))
    _number("noise_reduction.strength", noise.strength, 0, 1)
    if noise.type == "off":
        _only("noise_reduction", noise, "strength", "noise reduction is off; leave it out")


def _truncation(truncation: Any) -> None:
    option = "truncation"
    _word(f"{option}.strategy", truncation.strategy, ("auto", "disabled", "retention_ratio"))
    _number(f"{option}.retention_ratio", truncation.retention_ratio, 0, 1)
    _whole(f"{option}.post_instructions_tokens", truncation.post_instructions_tokens, 0, "tokens")
    if truncation.strategy != "retention_ratio":
        _only(option, truncation, "retention_ratio post_instructions_tokens", "only 'retention_ratio' takes it")
    elif truncation.retention_ratio is None:
        raise _refuse(f"{option}.retention_ratio", None, "say how much to keep, from 0 to 1")


def _tracing(tracing: Any) -> None:
    _word("tracing.mode", tracing.mode, ("auto", "off", "custom"))
    _text("tracing.workflow_name", tracing.workflow_name)
    _text("tracing.group_id", tracing.group_id)
    _object("tracing.metadata", tracing.metadata)
    if tracing.mode != "custom":
        _only("tracing", tracing, "workflow_name group_id metadata", "only 'custom' takes it")


# -- responses --------------------------------------------------------------------------------------------------------


def check_response(config: ResponseConfig, model: str) -> None:
    """Refuse a reply's wishes that ``model`` cannot fulfil.

    Raises:
        MisconfiguredError: names the option, its value and what is allowed.
    """
    _check_common(config, model)
    if config.voice is not None and config.voice.speed is not None:
        raise _refuse("voice.speed", config.voice.speed, "a single reply has no speed; set it for the session")
    _word("conversation", config.conversation, ("auto", "none"))
    _metadata(config.metadata)


def _metadata(metadata: Any) -> None:
    if metadata is None:
        return
    _object("metadata", metadata)
    if len(metadata) > 16:
        raise _refuse("metadata", f"{len(metadata)} pairs", "use at most 16")
    for key, value in metadata.items():
        if len(key) > 64:
            raise _refuse("metadata", key, "a key has at most 64 characters")
        if not isinstance(value, str) or len(value) > 512:
            raise _refuse(f"metadata[{key!r}]", value, "a value is a text of at most 512 characters")
