"""Gemini Live: frames told apart by their one key, no ids, no acknowledgements, and closes instead of errors.

Sources: the types of Google's SDK, and recorded traffic. Both spellings of a key are taken, ``clientContent`` and
``client_content``, as the service does. What the service does not forgive ends the link with 1007 or 1008.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pybase64

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._gemini_content import (
    ENGINE_RATE,
    INVALID,
    Wrong,
    bytes_of,
    declarations,
    function_of,
    item_of,
    parts_of,
    pcm_rate,
    pick,
)
from kernl_rt.simulator._protocols._resampler import Resampler

__all__ = ["Gemini", "GeminiTranslation"]

_PATH = re.compile(
    r"/ws/(google\.ai\.generativelanguage\.v[a-z0-9]+\.GenerativeService\.BidiGenerateContent(Constrained)?"
    r"|google\.cloud\.aiplatform\.v[a-z0-9]+\.LlmBidiService/BidiGenerateContent)"
)
_NOT_NOW = (1008, "Operation is not implemented, or supported, or enabled.")
_NOT_FOUND = (1008, "Requested entity was not found.")
_EXPLICIT = (1007, "Explicit activity control is not supported when automatic activity detection is enabled.")
_TOO_OLD = (1008, "The session duration limit was reached.")
#: Races of the engine's protocol that this one does not know.
_HARMLESS = frozenset(
    {
        "conversation_already_has_active_response",
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "session_expired",
    }
)
_SILENCE = bytes(2 * 24_000)
#: Seconds before the end at which the client is warned, or a tenth of the session if that is less.
_WARNING = 60.0
#: Handles that are remembered.
_MOST_HANDLES = 1_000


class GeminiTranslation(Translation):
    """One client's link. ``handles`` are the protocol's own: what is said under each."""

    def __init__(self, handles: dict[str, list[dict[str, Any]]], *, duration: float, now: float) -> None:
        self._handles = handles
        self._told: list[dict[str, Any]] = []
        self._said: list[str] = []
        self._closing: tuple[int, str] | None = None
        self._set_up = False
        self._ready = False
        self._resumes = False
        self._manual = False
        self._transcribes = False
        self._running: str | None = None
        self._calls: list[dict[str, Any]] = []
        self._pending: set[str] = set()
        self._spoken = ""
        self._resampler = Resampler(16_000, ENGINE_RATE)
        self._end = now + duration
        self._warn_at: float | None = self._end - min(_WARNING, duration / 10)

    # -- the frame's own verbs

    @property
    def closing(self) -> tuple[int, str] | None:
        return self._closing

    @property
    def deadline(self) -> float | None:
        return self._warn_at

    def answers(self) -> Sequence[str]:
        said, self._said = self._said, []
        return said

    def poll(self, now: float) -> Sequence[str]:
        if self._warn_at is None or now < self._warn_at:
            return ()
        self._warn_at = None
        return (_json({"goAway": {"timeLeft": f"{max(self._end - now, 0):g}s"}}),)

    def close(self, code: int, reason: str) -> tuple[int, str]:
        return _TOO_OLD if code == 1001 else (code, reason)

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        try:
            try:
                frame = msgspec.json.decode(message)
            except (msgspec.MsgspecError, RecursionError, ValueError):
                raise Wrong((1007, "Invalid JSON payload received.")) from None
            try:
                return self._read(frame)
            except RecursionError:
                raise Wrong(INVALID) from None
        except Wrong as wrong:
            self._closing = self._closing or wrong.close
            return ()

    def _read(self, frame: Any) -> Sequence[object]:
        if not isinstance(frame, dict):
            raise Wrong(INVALID)
        verbs = {
            "setup": self._setup,
            "clientContent": self._client_content,
            "realtimeInput": self._realtime_input,
            "toolResponse": self._tool_response,
            "contextUpdate": self._context_update,
        }
        found = [name for name in verbs if pick(frame, name) is not None]
        if len(found) != 1 or len(frame) != 1:
            unknown = next(iter(frame), "")
            raise Wrong((1007, f'Invalid JSON payload received. Unknown name "{unknown}": Cannot find field.'))
        name = found[0]
        if (name == "setup") == self._set_up:
            raise Wrong((1007, "The setup must be sent first, and once."))
        return verbs[name](pick(frame, name))

    # -- what the client says

    def _setup(self, setup: Mapping[str, Any]) -> Sequence[object]:
        if not pick(setup, "model", str):
            raise Wrong((1007, "setup must include a model."))
        self._set_up = True
        generation = pick(setup, "generationConfig") or {}
        modalities = pick(generation, "responseModalities", list) or ["AUDIO"]
        if modalities not in (["AUDIO"], ["TEXT"]):
            raise Wrong(INVALID)
        resumption = pick(setup, "sessionResumption")
        self._resumes = resumption is not None
        self._transcribes = pick(setup, "outputAudioTranscription") is not None
        session: dict[str, Any] = {"type": "realtime", "output_modalities": [str(modalities[0]).lower()]}
        session |= self._context(pick(setup, "systemInstruction", (dict, str)), pick(setup, "tools", list))
        if limit := pick(generation, "maxOutputTokens", int):
            session["max_output_tokens"] = max(1, min(limit, 4_096))
        heard = pick(setup, "inputAudioTranscription") is not None
        session["audio"] = {
            "input": {
                "turn_detection": self._detection(pick(setup, "realtimeInputConfig") or {}),
                "transcription": {"model": "gemini"} if heard else None,
            }
        }
        frames: list[object] = [{"type": "session.update", "session": session}]
        handle = pick(resumption or {}, "handle", str)
        if handle:
            if handle not in self._handles:
                raise Wrong((1008, "BidiGenerateContent session not found"))
            self._told = list(self._handles[handle])
            frames += [{"type": "conversation.item.create", "item": item} for item in self._told]
        return frames

    def _context(self, instruction: Any, tools: Any) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if isinstance(instruction, str):
            said["instructions"] = instruction
        elif instruction is not None:
            said["instructions"] = "".join(pick(part, "text", str) or "" for part in parts_of(instruction))
        if tools is not None:
            said["tools"] = [function_of(each) for tool in tools for each in declarations(tool)]
        return said

    def _detection(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        automatic = pick(config, "automaticActivityDetection") or {}
        self._manual = bool(pick(automatic, "disabled", bool))
        if self._manual:
            return None
        found: dict[str, Any] = {"type": "server_vad"}
        for name, ours in (("prefixPaddingMs", "prefix_padding_ms"), ("silenceDurationMs", "silence_duration_ms")):
            if (value := pick(automatic, name, int)) is not None:
                found[ours] = value
        if pick(config, "activityHandling", str) == "NO_INTERRUPTION":
            found["interrupt_response"] = False
        return found

    def _client_content(self, content: Mapping[str, Any]) -> Sequence[object]:
        complete = bool(pick(content, "turnComplete", bool))
        frames: list[object] = []
        for turn in pick(content, "turns", list) or ():
            item = item_of(turn)
            self._told.append(item)
            frames.append({"type": "conversation.item.create", "item": item})
        if complete:
            frames = [*self._stop(), *frames, {"type": "response.create"}]
        return frames

    def _stop(self) -> list[object]:
        """What the client says ends the turn that runs, and the calls that wait."""
        if self._pending:
            self._say({"toolCallCancellation": {"ids": sorted(self._pending)}})
            self._pending.clear()
        return [{"type": "response.cancel"}] if self._running is not None else []

    def _realtime_input(self, said: Mapping[str, Any]) -> Sequence[object]:
        if self._pending:
            raise Wrong(_NOT_NOW)
        if len(said) != 1:
            raise Wrong(INVALID)
        if (audio := pick(said, "audio")) is not None:
            return self._audio(audio)
        if (chunks := pick(said, "mediaChunks", list)) is not None:
            return [frame for chunk in chunks for frame in self._audio(chunk)]
        if (text := pick(said, "text", str)) is not None:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            self._told.append(item)
            return [*self._stop(), {"type": "conversation.item.create", "item": item}, {"type": "response.create"}]
        if pick(said, "activityStart") is not None or pick(said, "activityEnd") is not None:
            return self._activity(starts="activityStart" in said or "activity_start" in said)
        if pick(said, "audioStreamEnd", bool):
            if self._manual:
                raise Wrong(INVALID)
            return [{"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(_SILENCE)}]
        if pick(said, "video") is not None:
            return ()
        raise Wrong(INVALID)

    def _audio(self, blob: Any) -> Sequence[object]:
        if not isinstance(blob, Mapping):
            raise Wrong(INVALID)
        rate = pcm_rate(pick(blob, "mimeType", str) or "")
        if rate is None:
            raise Wrong((1007, "Unsupported audio MIME type."))
        if rate != self._resampler.source:
            self._resampler = Resampler(rate, ENGINE_RATE)
        sound = self._resampler.push(bytes_of(blob))
        return [{"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(sound)}] if sound else []

    def _activity(self, *, starts: bool) -> Sequence[object]:
        if not self._manual:
            raise Wrong(_EXPLICIT)
        if starts:
            return [*self._stop(), {"type": "input_audio_buffer.clear"}]
        return [{"type": "input_audio_buffer.commit"}, {"type": "response.create"}]

    def _tool_response(self, said: Mapping[str, Any]) -> Sequence[object]:
        frames: list[object] = []
        for answer in pick(said, "functionResponses", list) or ():
            call_id = pick(answer, "id", str) if isinstance(answer, dict) else None
            if call_id is None or call_id not in self._pending:
                raise Wrong(_NOT_FOUND)
            self._pending.discard(call_id)
            response = pick(answer, "response") or {}
            output = response.get("output", response.get("error", response))
            text = output if isinstance(output, str) else json.dumps(output)
            item = {"type": "function_call_output", "call_id": call_id, "output": text}
            frames.append({"type": "conversation.item.create", "item": item})
        if not frames:
            raise Wrong(INVALID)
        return frames if self._pending else [*frames, {"type": "response.create"}]

    def _context_update(self, update: Mapping[str, Any]) -> Sequence[object]:
        tools = pick(update, "tools")
        changed = self._context(
            pick(update, "systemInstruction", (dict, str)), None if tools is None else pick(tools, "tools", list) or []
        )
        return [{"type": "session.update", "session": {"type": "realtime", **changed}}]

    # -- what the engine says

    def _say(self, message: Mapping[str, Any]) -> None:
        self._said.append(_json(message))

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        told = self._said
        self._said = []
        self._write(frame["type"], frame)
        said, self._said = self._said, told
        return said

    def _write(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "session.updated":
            if not self._ready:
                self._ready = True
                self._say({"setupComplete": {}})
        elif kind == "error":
            if frame["error"].get("code") not in _HARMLESS:
                self._closing = self._closing or (1007, frame["error"]["message"])
        elif kind in ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"):
            starts = kind.endswith("started")
            ms = frame["audio_start_ms" if starts else "audio_end_ms"]
            said = {"voiceActivityType": "ACTIVITY_START" if starts else "ACTIVITY_END", "audioOffset": f"{ms / 1000}s"}
            self._say({"voiceActivity": said})
        elif kind == "conversation.item.input_audio_transcription.completed":
            words = frame["transcript"]
            if words:
                self._remember("user", words)
                self._say({"serverContent": {"inputTranscription": {"text": words, "finished": True}}})
        else:
            self._write_reply(kind, frame)

    def _write_reply(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "response.created":
            self._running = frame["response"]["id"]
            self._calls, self._spoken = [], ""
        elif kind == "response.output_audio_transcript.delta":
            self._spoken += frame["delta"]
            if self._transcribes:
                self._say({"serverContent": {"outputTranscription": {"text": frame["delta"]}}})
        elif kind == "response.output_audio.delta":
            blob = {"mimeType": "audio/pcm;rate=24000", "data": frame["delta"]}
            self._say({"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}})
        elif kind == "response.output_text.delta":
            self._spoken += frame["delta"]
            self._say({"serverContent": {"modelTurn": {"parts": [{"text": frame["delta"]}]}}})
        elif kind == "response.function_call_arguments.done":
            arguments = msgspec.json.decode(frame["arguments"] or "{}")
            self._calls.append({"id": frame["call_id"], "name": frame["name"], "args": arguments})
        elif kind == "response.done":
            self._end_reply(frame["response"])

    def _end_reply(self, response: Mapping[str, Any]) -> None:
        self._running = None
        if response["status"] == "failed":
            self._closing = self._closing or (1011, "Internal error encountered.")
            return
        if self._spoken:
            self._remember("assistant", self._spoken)
        if response["status"] == "cancelled":
            self._say({"serverContent": {"interrupted": True}})
        elif self._calls:
            self._pending = {call["id"] for call in self._calls}
            self._say({"toolCall": {"functionCalls": self._calls}})
            return
        else:
            self._say({"serverContent": {"generationComplete": True}})
        self._say({"serverContent": {"turnComplete": True}, "usageMetadata": _usage(response["usage"] or {})})
        if self._resumes:
            handle = f"handle-{len(self._handles) + 1}"
            while len(self._handles) >= _MOST_HANDLES:
                del self._handles[next(iter(self._handles))]
            self._handles[handle] = list(self._told)
            self._say({"sessionResumptionUpdate": {"newHandle": handle, "resumable": True}})

    def _remember(self, role: str, words: str) -> None:
        type = "output_text" if role == "assistant" else "input_text"
        self._told.append({"type": "message", "role": role, "content": [{"type": type, "text": words}]})


def _json(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    def counts(details: Mapping[str, Any]) -> list[dict[str, Any]]:
        named = (("TEXT", "text_tokens"), ("AUDIO", "audio_tokens"), ("IMAGE", "image_tokens"))
        return [{"modality": name, "tokenCount": details[key]} for name, key in named if details.get(key)]

    return {
        "promptTokenCount": usage.get("input_tokens", 0),
        "responseTokenCount": usage.get("output_tokens", 0),
        "totalTokenCount": usage.get("total_tokens", 0),
        "promptTokensDetails": counts(usage.get("input_token_details") or {}),
        "responseTokensDetails": counts(usage.get("output_token_details") or {}),
    }


class Gemini(Protocol):
    """At the Developer API's path and at Vertex AI's. The model is named in the setup."""

    names_model = False

    def __init__(self) -> None:
        self._handles: dict[str, list[dict[str, Any]]] = {}

    def session_path(self, path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    def key_of(self, request: Request) -> str | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        named = key.strip() if scheme.lower() in ("bearer", "token") else None
        return request.headers.get("x-goog-api-key") or request.query.get("key") or named or None

    def model_of(self, request: Request) -> str | None:
        return None

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        return GeminiTranslation(self._handles, duration=duration, now=now)
