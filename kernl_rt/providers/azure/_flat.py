"""``SessionConfig`` and ``ResponseConfig`` as the flat objects of the beta protocol, both ways.

Two services speak it: Azure OpenAI under its preview versions, as OpenAI did, and Voice Live with options of its own.
Writing says only what the configuration says. Reading never fails: what our vocabulary lacks stays in ``extra``, so
that writing it again gives the same object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs import frozen

from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    InputTranscription,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    TurnDetection,
    Voice,
)
from kernl_rt.providers._dialect._options import (
    MAX_TOKENS,
    NOISE_REDUCTION,
    TOOL,
    TOOL_CHOICE,
    TRANSCRIPTION,
    TURN_DETECTION as _OPENAI_TURNS,
)
from kernl_rt.providers._fields import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    Kind,
    ListOf,
    Misfit,
    OneOf,
    Struct,
    merge,
    remainder,
)

__all__ = ["PREVIEW_LAYOUT", "VOICE_LIVE_LAYOUT", "Layout", "Place", "is_azure_voice"]

#: The names of Azure's own voices begin with their locale: ``en-US-AvaNeural``, ``en-US-Ava:DragonHDLatestNeural``.
_AZURE_VOICE = re.compile(r"[a-z]{2,3}-([A-Z][a-z]{3}-)?[A-Z]{2}-.+")


def is_azure_voice(name: str) -> bool:
    return _AZURE_VOICE.fullmatch(name) is not None


class _Words(Kind):
    """Values that are words on the wire."""

    def __init__(self, words: Mapping[Any, str]) -> None:
        self._words = dict(words)
        self._values = {word: value for value, word in words.items()}

    def decode(self, value: Any) -> Any:
        if TEXT.decode(value) not in self._values:
            raise Misfit("expected a word that is known")
        return self._values[value]

    def encode(self, value: Any) -> str:
        # What has no word goes out in its own and is refused there; ``check`` refuses it before.
        word = self._words.get(value)
        return str(value) if word is None else word


class _Modalities(Kind):
    """Who speaks writes as well: sound is never alone."""

    def decode(self, value: Any) -> str:
        words = sorted(ListOf(TEXT).decode(value))
        if words not in (["audio", "text"], ["text"]):
            raise Misfit("expected modalities that are known")
        return str(words[0])

    def encode(self, value: str) -> list[str]:
        return ["text", "audio"] if value == "audio" else ["text"]


class _Name(Kind):
    """A voice by its name alone."""

    def decode(self, value: Any) -> Voice:
        return Voice(TEXT.decode(value))

    def encode(self, value: Voice) -> Any:
        return value.id


class _AzureVoice(_Name):
    """OpenAI's voices are names, Azure's are objects; a custom or personal one is left to ``extra``."""

    def decode(self, value: Any) -> Voice:
        if type(value) is not dict:
            return super().decode(value)
        if value.get("type") not in ("azure-standard", "openai"):
            raise Misfit("expected a type that is known")
        rate = value.get("rate")
        known = isinstance(rate, str) and re.fullmatch(r"\d(\.\d{1,6})?", rate) is not None
        return Voice(TEXT.decode(value.get("name")), float(str(rate)) if known else None)

    def encode(self, value: Voice) -> Any:
        if not is_azure_voice(value.id):
            return value.id
        rate = {} if value.speed is None else {"rate": f"{value.speed:g}"}
        return {"type": "azure-standard", "name": value.id, **rate}


_VAD = (
    Field("threshold", kind=NUMBER),
    Field("prefix_padding_ms", kind=COUNT),
    Field("silence_duration_ms", kind=COUNT),
    Field("create_response", kind=BOOLEAN),
    Field("interrupt_response", kind=BOOLEAN),
)


class _AzureTurns(Kind):
    """Voice Live judges from the words with a detector of its own; its relatives are read as the same mode."""

    _server = Struct(TurnDetection, *_VAD, type="server_vad", fixed={"mode": "server_vad"})
    _semantic = Struct(TurnDetection, *_VAD, type="azure_semantic_vad", fixed={"mode": "semantic_vad"})

    def decode(self, value: Any) -> TurnDetection:
        name = TEXT.decode(OBJECT.decode(value).get("type"))
        if name == "none":
            return TurnDetection.off()
        if name != "server_vad" and "semantic_vad" not in name:
            raise Misfit("expected a type that is known")
        struct = self._server if name == "server_vad" else self._semantic
        turns: TurnDetection = struct.decode(value)
        return turns

    def encode(self, value: TurnDetection) -> dict[str, Any]:
        return (self._semantic if value.mode == "semantic_vad" else self._server).encode(value)


class _Effort(Kind):
    _known = OneOf("none", "minimal", "low", "medium", "high", "xhigh")

    def decode(self, value: Any) -> Reasoning:
        effort: Any = self._known.decode(value)
        return Reasoning(effort)

    def encode(self, value: Reasoning) -> str:
        return value.effort


@frozen
class Place:
    """Under which ``key`` an option stands. ``off`` is the option that a null there means."""

    key: str
    option: str
    kind: Kind
    off: Any = None


def _is_off(value: Any) -> bool:
    return "off" in (value, getattr(value, "mode", None), getattr(value, "type", None))


@frozen
class Layout:
    """Where the options of a session and of a reply stand. ``rates``: the input's rate has a key of its own."""

    session: Sequence[Place]
    response: Sequence[Place]
    #: The key of a reply's own input.
    input: str
    rates: bool = False

    def encode_session(self, config: SessionConfig) -> dict[str, Any]:
        out = _write(config, self.session)
        if self.rates and config.input_format is not None:
            out["input_audio_sampling_rate"] = config.input_format.rate
        return merge(out, config.extra)

    def parse_session(self, said: Mapping[str, Any]) -> SessionConfig:
        """Read a ``session`` object of either side; never fails."""
        found = _read(said, self.session)
        if self.rates:
            _at_rate(found, said.get("input_audio_sampling_rate"))
        config = SessionConfig(**found)
        return attrs.evolve(config, extra=remainder(said, self.encode_session(config)))

    def encode_response(self, config: ResponseConfig, item: Kind) -> dict[str, Any]:
        out = _write(config, self.response)
        if config.input is not None:
            out[self.input] = [item.encode(entry) for entry in config.input]
        return merge(out, config.extra)

    def parse_response(self, said: Mapping[str, Any], item: Kind) -> ResponseConfig:
        """
        Raises:
            Misfit: the input is not a list of items.
        """
        found = _read(said, self.response)
        if said.get(self.input) is not None:
            found["input"] = ListOf(item).decode(said[self.input])
        config = ResponseConfig(**found)
        return attrs.evolve(config, extra=remainder(said, self.encode_response(config, item)))


def _at_rate(found: dict[str, Any], rate: Any) -> None:
    """The input format is known only with its rate; 24 kHz, or 8 kHz for G.711, where none is told."""
    format = found.pop("input_format", None)
    if format is None:
        return
    known = (PCM16_8K, PCM16_16K, PCM16_24K) if format.encoding == "pcm16" else (format,)
    wanted = next((each for each in known if type(rate) is int and each.rate == rate), None)
    if wanted is not None:
        found["input_format"] = wanted


def _write(config: SessionConfig | ResponseConfig, places: Sequence[Place]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for place in places:
        value = getattr(config, place.option)
        if value is not None:
            out[place.key] = None if place.off is not None and _is_off(value) else place.kind.encode(value)
    return out


def _read(said: Mapping[str, Any], places: Sequence[Place]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place in places:
        value = said.get(place.key)
        if value is None:
            if place.off is not None and place.key in said:
                found[place.option] = place.off
            continue
        try:
            found[place.option] = place.kind.decode(value)
        except Misfit:
            continue  # not in our words: the caller keeps what was said
    return found


class _Beside(Kind):
    """``commit``: whether a reply joins the conversation."""

    def decode(self, value: Any) -> str:
        return "auto" if BOOLEAN.decode(value) else "none"

    def encode(self, value: str) -> bool:
        return value != "none"


_G711: dict[AudioFormat, str] = {G711_ULAW: "g711_ulaw", G711_ALAW: "g711_alaw"}
_PLAIN_FORMAT = _Words({PCM16_24K: "pcm16", **_G711})
#: The rate stands elsewhere, so that any PCM is the one word here.
_INPUT_ENCODING = _Words({PCM16_24K: "pcm16", PCM16_16K: "pcm16", PCM16_8K: "pcm16", **_G711})
_OUTPUT_FORMAT = _Words({PCM16_24K: "pcm16", PCM16_16K: "pcm16_16000hz", PCM16_8K: "pcm16_8000hz", **_G711})
_AZURE_TRANSCRIPTION = Struct(
    InputTranscription, Field("model"), Field("language"), Field("phrase_list", "keywords", ListOf(TEXT))
)


def _common(voice: Kind, format: Kind) -> tuple[Place, ...]:
    return (
        Place("instructions", "instructions", TEXT),
        Place("modalities", "output_modality", _Modalities()),
        Place("voice", "voice", voice),
        Place("output_audio_format", "output_format", format),
        Place("tools", "tools", ListOf(TOOL)),
        Place("tool_choice", "tool_choice", TOOL_CHOICE),
    )


def _session(common: tuple[Place, ...], format: Kind, turns: Kind, transcription: Kind) -> tuple[Place, ...]:
    return (
        *common,
        Place("input_audio_format", "input_format", format),
        Place("turn_detection", "turn_detection", turns, TurnDetection.off()),
        Place("input_audio_transcription", "transcription", transcription, "off"),
        Place("input_audio_noise_reduction", "noise_reduction", NOISE_REDUCTION, NoiseReduction("off")),
        Place("max_response_output_tokens", "max_output_tokens", MAX_TOKENS),
    )


_EFFORT = Place("reasoning_effort", "reasoning", _Effort())
_METADATA = Place("metadata", "metadata", TEXTS)
_OF_PREVIEW = _common(_Name(), _PLAIN_FORMAT)
_OF_VOICE_LIVE = _common(_AzureVoice(), _OUTPUT_FORMAT)

PREVIEW_LAYOUT = Layout(
    session=_session(_OF_PREVIEW, _PLAIN_FORMAT, _OPENAI_TURNS, TRANSCRIPTION),
    response=(
        *_OF_PREVIEW,
        Place("max_response_output_tokens", "max_output_tokens", MAX_TOKENS),
        Place("conversation", "conversation", OneOf("auto", "none")),
        _METADATA,
    ),
    input="input",
)
VOICE_LIVE_LAYOUT = Layout(
    session=(
        *_session(_OF_VOICE_LIVE, _INPUT_ENCODING, _AzureTurns(), _AZURE_TRANSCRIPTION),
        Place("parallel_tool_calls", "parallel_tool_calls", BOOLEAN),
        Place("include", "include", ListOf(TEXT)),
        _EFFORT,
    ),
    response=(
        *_OF_VOICE_LIVE,
        Place("max_output_tokens", "max_output_tokens", MAX_TOKENS),
        Place("commit", "conversation", _Beside()),
        _EFFORT,
        _METADATA,
    ),
    input="input_items",
    rates=True,
)
