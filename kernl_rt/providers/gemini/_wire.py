"""What the Gemini Live server says, as tables: each frame is an object whose keys say what it is about.

The rows follow the SDK's types (``google.genai.types.LiveServerMessage``) and recorded traffic. Everything may be
absent; what no row claims stays in ``extra``.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64
from attrs import evolve, field, frozen

from kernl_rt import events as ev
from kernl_rt.items import NOTHING, as_tuple
from kernl_rt.providers._fields import (
    BOOLEAN,
    OBJECT,
    TEXT,
    TOKENS,
    Field,
    Kind,
    ListOf,
    Misfit,
    Struct,
)

__all__ = ["FRAME", "Content", "Frame", "FunctionCalled", "Part", "Transcription"]

_EXTRA: Any = field(default=NOTHING)


class _Table(Struct):
    """A struct that keeps in ``extra`` only what it does not know: nothing here is ever written back."""

    def decode(self, value: Any) -> Any:
        found = super().decode(value)
        if found.extra and not self._by_key.keys().isdisjoint(found.extra):
            left = {key: each for key, each in found.extra.items() if key not in self._by_key}
            return evolve(found, extra=left or NOTHING)
        return found


class _Bytes(Kind):
    """Base64, in either alphabet: Google's own clients write the URL-safe one."""

    def decode(self, value: Any) -> bytes:
        text: str = TEXT.decode(value)
        if "-" in text or "_" in text:
            text = text.replace("-", "+").replace("_", "/")
        try:
            return pybase64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (Base64Error, ValueError):
            raise Misfit("the text is not base64") from None


class _Seconds(Kind):
    """A duration as protobuf writes it in JSON: ``"12.5s"``."""

    _PATTERN = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s")

    def decode(self, value: Any) -> float:
        text: str = TEXT.decode(value)
        if not self._PATTERN.fullmatch(text):
            raise Misfit("not a duration such as '12.5s'")
        return float(text[:-1])


@frozen(kw_only=True)
class Blob:
    data: bytes = b""
    mime_type: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Part:
    text: str | None = None
    thought: bool = False
    blob: Blob | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Turn:
    parts: Sequence[Part] = field(default=(), converter=as_tuple)
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Transcription:
    text: str = ""
    finished: bool = False
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Content:
    """``serverContent``: a piece of the model's turn, of what was heard, or the end of something."""

    turn: Turn | None = None
    heard: Transcription | None = None
    interim: Transcription | None = None
    spoken: Transcription | None = None
    interrupted: bool = False
    generated: bool = False
    complete: bool = False
    reason: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class FunctionCalled:
    name: str
    id: str | None = None
    args: Mapping[str, Any] = field(factory=dict)
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class ToolCall:
    calls: Sequence[FunctionCalled] = field(default=(), converter=as_tuple)
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Cancellation:
    ids: Sequence[str] = field(default=(), converter=as_tuple)
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class GoAway:
    time_left: float | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Resumption:
    handle: str | None = None
    resumable: bool = False
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Activity:
    kind: str | None = None
    offset: float | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Setup:
    session_id: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class Fault:
    message: str = ""
    status: str | None = None
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class _Count:
    modality: str = "TEXT"
    tokens: int = 0
    extra: Mapping[str, Any] = _EXTRA


@frozen(kw_only=True)
class _Tokens:
    prompt: int | None = None
    response: int | None = None
    candidates: int | None = None
    total: int | None = None
    cached: int | None = None
    thoughts: int | None = None
    tool_use: int | None = None
    prompt_details: Sequence[_Count] = field(default=(), converter=as_tuple)
    response_details: Sequence[_Count] = field(default=(), converter=as_tuple)
    candidates_details: Sequence[_Count] = field(default=(), converter=as_tuple)
    cache_details: Sequence[_Count] = field(default=(), converter=as_tuple)
    extra: Mapping[str, Any] = _EXTRA


#: What carries no name of its own in our vocabulary is counted with what it is made of.
_MODALITIES = {"TEXT": "text", "DOCUMENT": "text", "AUDIO": "audio", "IMAGE": "image", "VIDEO": "image"}


def _details(counts: Sequence[_Count], **more: Any) -> ev.TokenDetails | None:
    found: dict[str, Any] = {name: value for name, value in more.items() if value is not None}
    for count in counts:
        name = _MODALITIES.get(count.modality, "text")
        found[name] = found.get(name, 0) + count.tokens
    return ev.TokenDetails(**found) if found else None


class _Usage(Kind):
    """``usageMetadata``. Thoughts are counted beside the output, as Google does; tool prompts with the input."""

    def decode(self, value: Any) -> ev.Usage:
        said: _Tokens = _TOKENS.decode(value)
        cached = _details(said.cache_details)
        given = None if said.prompt is None and said.tool_use is None else (said.prompt or 0) + (said.tool_use or 0)
        return ev.Usage(
            input_tokens=given,
            output_tokens=said.response if said.response is not None else said.candidates,
            total_tokens=said.total,
            input=_details(said.prompt_details, cached=said.cached, cached_details=cached),
            output=_details(said.response_details or said.candidates_details, reasoning=said.thoughts),
            extra=said.extra,
        )


_COUNTS = ListOf(_Table(_Count, Field("modality"), Field("tokenCount", "tokens", TOKENS)), most=50)
_TOKENS = _Table(
    _Tokens,
    Field("promptTokenCount", "prompt", TOKENS),
    Field("responseTokenCount", "response", TOKENS),
    Field("candidatesTokenCount", "candidates", TOKENS),
    Field("totalTokenCount", "total", TOKENS),
    Field("cachedContentTokenCount", "cached", TOKENS),
    Field("thoughtsTokenCount", "thoughts", TOKENS),
    Field("toolUsePromptTokenCount", "tool_use", TOKENS),
    Field("promptTokensDetails", "prompt_details", _COUNTS),
    Field("responseTokensDetails", "response_details", _COUNTS),
    Field("candidatesTokensDetails", "candidates_details", _COUNTS),
    Field("cacheTokensDetails", "cache_details", _COUNTS),
)
_TRANSCRIPTION = _Table(Transcription, Field("text"), Field("finished", kind=BOOLEAN))
_BLOB = _Table(Blob, Field("data", kind=_Bytes()), Field("mimeType", "mime_type"))
_PART = _Table(Part, Field("text"), Field("thought", kind=BOOLEAN), Field("inlineData", "blob", _BLOB))
_CONTENT = _Table(
    Content,
    Field("modelTurn", "turn", _Table(Turn, Field("parts", kind=ListOf(_PART)))),
    Field("inputTranscription", "heard", _TRANSCRIPTION),
    Field("interimInputTranscription", "interim", _TRANSCRIPTION),
    Field("outputTranscription", "spoken", _TRANSCRIPTION),
    Field("interrupted", kind=BOOLEAN),
    Field("generationComplete", "generated", BOOLEAN),
    Field("turnComplete", "complete", BOOLEAN),
    Field("turnCompleteReason", "reason"),
)
_CALL = _Table(FunctionCalled, Field("name"), Field("id"), Field("args", kind=OBJECT))


@frozen(kw_only=True)
class Frame:
    """One message of the server's, read; ``extra`` holds the keys that are not known."""

    setup: Setup | None = None
    content: Content | None = None
    tool_call: ToolCall | None = None
    cancellation: Cancellation | None = None
    usage: ev.Usage | None = None
    go_away: GoAway | None = None
    resumption: Resumption | None = None
    activity: Activity | None = None
    signal: Activity | None = None
    fault: Fault | None = None
    extra: Mapping[str, Any] = _EXTRA


FRAME = _Table(
    Frame,
    Field("setupComplete", "setup", _Table(Setup, Field("sessionId", "session_id"))),
    Field("serverContent", "content", _CONTENT),
    Field("toolCall", "tool_call", _Table(ToolCall, Field("functionCalls", "calls", ListOf(_CALL, most=100)))),
    Field("toolCallCancellation", "cancellation", _Table(Cancellation, Field("ids", kind=ListOf(TEXT)))),
    Field("usageMetadata", "usage", _Usage()),
    Field("goAway", "go_away", _Table(GoAway, Field("timeLeft", "time_left", _Seconds()))),
    Field(
        "sessionResumptionUpdate",
        "resumption",
        _Table(Resumption, Field("newHandle", "handle"), Field("resumable", kind=BOOLEAN)),
    ),
    Field(
        "voiceActivity",
        "activity",
        _Table(Activity, Field("voiceActivityType", "kind"), Field("audioOffset", "offset", _Seconds())),
    ),
    Field("voiceActivityDetectionSignal", "signal", _Table(Activity, Field("vadSignalType", "kind"))),
    Field("error", "fault", _Table(Fault, Field("message"), Field("status"))),
)
