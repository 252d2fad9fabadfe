"""Azure Voice Live, and the preview of Azure OpenAI: the beta form of OpenAI's protocol around the GA engine.

What the engine has no use for (avatars, echo cancellation, Azure's own detectors) is checked, kept and shown again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pybase64

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._beta import PREVIEW_REPLY, PREVIEW_SESSION, VOICE_LIVE_REPLY, VOICE_LIVE_SESSION
from kernl_rt.simulator._protocols._openai import bearer, parse
from kernl_rt.simulator._protocols._resampler import Resampler
from kernl_rt.simulator._requests import VOICES
from kernl_rt.simulator._schema import Check, Refusal

__all__ = ["Beta", "VoiceLive", "azure_key"]

_PCM: dict[str, Any] = {"type": "audio/pcm", "rate": 24_000}
_FORMATS = {"g711_ulaw": {"type": "audio/pcmu"}, "g711_alaw": {"type": "audio/pcma"}}
_RATES = {"pcm16": 24_000, "pcm16_16000hz": 16_000, "pcm16_8000hz": 8_000}
_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
}
#: What the beta form does not tell.
_UNTOLD = frozenset({"conversation.item.done", "input_audio_buffer.timeout_triggered"})
_PARTS = {"output_text": "text", "output_audio": "audio"}
#: Options that mean the same to the engine, by their names there.
_SAME = ("instructions", "tools", "tool_choice", "parallel_tool_calls", "metadata", "conversation")
#: Ids of what the translation says by itself.
_SEED = 77


def _flat_item(item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("type") != "message" or item.get("role") != "assistant":
        return dict(item)
    return {**item, "content": [{**part, "type": _PARTS.get(part["type"], part["type"])} for part in item["content"]]}


def _nested_item(item: Any) -> Any:
    """An assistant's words are ``text`` here; everything else is judged by the engine."""
    if not isinstance(item, dict) or item.get("role") != "assistant" or not isinstance(item.get("content"), list):
        return item
    parts = [
        {**part, "type": "output_text"} if isinstance(part, dict) and part.get("type") == "text" else part
        for part in item["content"]
    ]
    return {**item, "content": parts}


class Beta(Translation):
    """One client's link. ``agent`` is what a session shows of the agent behind it."""

    def __init__(self, *, voice_live: bool, agent: Mapping[str, Any] | None = None) -> None:
        self._voice_live = voice_live
        self._agent = agent
        self._ids = Ids(_SEED)
        self._check_session: Check = VOICE_LIVE_SESSION if voice_live else PREVIEW_SESSION
        self._check_reply: Check = VOICE_LIVE_REPLY if voice_live else PREVIEW_REPLY
        self._limit = "max_output_tokens" if voice_live else "max_response_output_tokens"
        self._said: list[str] = []
        #: The session as the client made it.
        self._shown: dict[str, Any] = {"input_audio_format": "pcm16", "output_audio_format": "pcm16"}
        self._formats: dict[str, str] = {}
        self._hears = Resampler(24_000, 24_000)
        self._speaks: dict[str, Resampler] = {}

    # -- from the client

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        frame = parse(message)
        if not isinstance(frame, dict):
            return (frame,)
        readers: dict[object, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "session.update": self._session_update,
            "response.create": self._response_create,
            "conversation.item.create": lambda said: {**said, "item": _nested_item(said.get("item"))},
            "input_audio_buffer.append": self._append,
        }
        name = frame.get("type")
        reader = readers.get(name) if isinstance(name, str) else None
        try:
            return (frame if reader is None else reader(frame),)
        except Refusal as refusal:
            self._refuse(refusal, frame.get("event_id"))
            return ()

    def answers(self) -> Sequence[str | bytes]:
        said, self._said = self._said, []
        return said

    def _refuse(self, refusal: Refusal, event_id: object) -> None:
        error = {
            "type": refusal.type,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": event_id if isinstance(event_id, str) else None,
        }
        self._tell({"type": "error", "event_id": self._ids.new("event"), "error": error})

    def _tell(self, frame: Mapping[str, Any]) -> None:
        self._said.append(msgspec.json.encode(frame).decode())

    def _session_update(self, said: dict[str, Any]) -> dict[str, Any]:
        flat = said.get("session")
        self._check_session(flat, "session")
        assert isinstance(flat, dict)
        self._refuse_what_the_agent_has(flat)
        session = self._common(flat, "max_response_output_tokens")
        session.pop("metadata", None)  # the engine's sessions have none
        session["type"] = "realtime"
        audio = session.setdefault("audio", {})
        hearing: dict[str, Any] = {}
        audio["input"] = hearing
        if {"input_audio_format", "input_audio_sampling_rate"} & flat.keys():
            hearing["format"] = self._input_format(flat)
        if "turn_detection" in flat:
            hearing["turn_detection"] = self._turns(flat["turn_detection"])
        if "input_audio_transcription" in flat:
            asked = flat["input_audio_transcription"]
            hearing["transcription"] = asked and {key: asked[key] for key in ("model", "language") if key in asked}
        if "input_audio_noise_reduction" in flat:
            noise = flat["input_audio_noise_reduction"]
            known = noise is not None and noise.get("type") in ("near_field", "far_field")
            hearing["noise_reduction"] = noise if known else None
        for key, value in flat.items():
            self._shown[key] = "pcm16" if value is None and key.endswith("_audio_format") else value
        return {**said, "session": session}

    def _refuse_what_the_agent_has(self, flat: Mapping[str, Any]) -> None:
        for option in ("instructions", "tools", "tool_choice"):
            if self._agent is not None and flat.get(option):
                raise Refusal(f"'{option}' cannot be set: the agent has its own.", "invalid_value", f"session.{option}")

    def _common(self, flat: Mapping[str, Any], limit: str) -> dict[str, Any]:
        """What sessions and replies share, in the engine's words."""
        out: dict[str, Any] = {name: flat[name] for name in _SAME if name in flat}
        if flat.get("commit") is False:
            out["conversation"] = "none"
        if flat.get("modalities") is not None:
            out["output_modalities"] = ["audio"] if "audio" in flat["modalities"] else ["text"]
        if limit in flat:
            # The engine's own bound is that of one provider's models.
            value = flat[limit]
            out["max_output_tokens"] = min(value, 4_096) if isinstance(value, int) else value
        if flat.get("reasoning_effort") is not None:
            out["reasoning"] = {"effort": flat["reasoning_effort"]}
        output: dict[str, Any] = {}
        if flat.get("voice") is not None:
            name = flat["voice"] if isinstance(flat["voice"], str) else flat["voice"]["name"]
            output["voice"] = name if name in VOICES else {"id": name}
        if flat.get("output_audio_format") is not None:
            output["format"] = dict(_FORMATS.get(flat["output_audio_format"], _PCM))
        if output:
            out["audio"] = {"output": output}
        return out

    def _input_format(self, flat: Mapping[str, Any]) -> dict[str, Any]:
        shown = {**self._shown, **{key: value for key, value in flat.items() if value is not None}}
        name, rate = shown["input_audio_format"], shown.get("input_audio_sampling_rate")
        if name != "pcm16":
            if rate not in (None, 8_000):
                raise Refusal(f"{name} is sampled at 8000 Hz.", "invalid_value", "session.input_audio_sampling_rate")
            self._hears = Resampler(24_000, 24_000)
            return dict(_FORMATS[name])
        if rate not in (None, 8_000, 16_000, 24_000):
            message = f"Invalid value: '{rate}'. Supported values are: 8000, 16000, and 24000."
            raise Refusal(message, "invalid_value", "session.input_audio_sampling_rate")
        self._hears = Resampler(rate or 24_000, 24_000)
        return dict(_PCM)

    def _turns(self, asked: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if asked is None or asked["type"] == "semantic_vad":
            return asked
        known = ("threshold", "prefix_padding_ms", "silence_duration_ms", "create_response", "interrupt_response")
        return {"type": "server_vad", **{name: asked[name] for name in known if name in asked}}

    def _response_create(self, said: dict[str, Any]) -> dict[str, Any]:
        flat = said.get("response")
        if flat is None:
            return said
        self._check_reply(flat, "response")
        assert isinstance(flat, dict)
        response = self._common(flat, self._limit)
        items = flat.get("input_items" if self._voice_live else "input")
        if items is not None:
            response["input"] = [_nested_item(item) for item in items]
        return {**said, "response": response}

    def _append(self, said: dict[str, Any]) -> dict[str, Any]:
        audio = said.get("audio")
        if self._shown.get("input_audio_sampling_rate") in (None, 24_000) or not isinstance(audio, str):
            return said
        if self._shown["input_audio_format"] != "pcm16":
            return said
        try:
            sound = pybase64.b64decode(audio.encode("ascii"), validate=True)
        except ValueError:
            return said  # the engine says what is wrong
        return {**said, "audio": pybase64.b64encode_as_string(self._hears.push(sound))}

    # -- to the client

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str | bytes]:
        name = frame["type"]
        if name in _UNTOLD or (self._voice_live and name == "rate_limits.updated"):
            return ()
        out = {**frame, "type": _NAMES.get(name, name)}
        out.pop("obfuscation", None)
        if "session" in frame:
            out["session"] = self._flat_session(frame["session"])
        if isinstance(frame.get("item"), dict):
            out["item"] = _flat_item(frame["item"])
        if "response" in frame:
            out["response"] = self._flat_response(frame["response"])
        if name == "response.output_audio.delta":
            out["delta"] = self._spoken(frame)
        if name.endswith("transcription.completed") and self._voice_live:
            del out["usage"]
        return (msgspec.json.encode(out).decode(),)

    def _flat_session(self, session: Mapping[str, Any]) -> dict[str, Any]:
        hearing, speaking = session["audio"]["input"], session["audio"]["output"]
        turns = hearing["turn_detection"]
        flat: dict[str, Any] = {
            "id": session["id"],
            "model": session["model"],
            "modalities": ["text", "audio"] if session["output_modalities"] == ["audio"] else ["text"],
            "instructions": session["instructions"],
            "voice": speaking["voice"],
            "turn_detection": turns and {key: turns[key] for key in turns if key != "idle_timeout_ms"},
            "input_audio_transcription": None,
            "input_audio_noise_reduction": None,
            "tools": session["tools"],
            "tool_choice": session["tool_choice"],
            "temperature": 0.8,
            "max_response_output_tokens": session["max_output_tokens"],
            "expires_at": session["expires_at"],
        }
        flat["object"] = "realtime.session"
        if self._voice_live:
            del flat["object"]
            flat["input_audio_sampling_rate"] = 24_000
            flat["input_audio_echo_cancellation"] = None
        if self._agent is not None:
            flat["agent"] = dict(self._agent)
        return {**flat, **{key: value for key, value in self._shown.items() if value is not None}}

    def _flat_response(self, response: Mapping[str, Any]) -> dict[str, Any]:
        flat = {key: value for key, value in response.items() if key not in ("audio", "output_modalities")}
        spoken = response.get("output_modalities") == ["audio"]
        flat["modalities"] = ["text", "audio"] if spoken else ["text"]
        flat["output"] = [_flat_item(item) for item in response.get("output", ())]
        flat["output_audio_format"] = self._shown["output_audio_format"]
        flat["voice"] = self._shown.get("voice") or "alloy"
        return flat

    def _spoken(self, frame: Mapping[str, Any]) -> str:
        rate = _RATES.get(self._shown["output_audio_format"], 24_000)
        if rate == 24_000:
            return str(frame["delta"])
        item = frame["item_id"]
        if item not in self._speaks:
            self._speaks = {item: Resampler(24_000, rate)}
        return pybase64.b64encode_as_string(self._speaks[item].push(pybase64.b64decode(frame["delta"])))


def azure_key(request: Request) -> str | None:
    """The key in Azure's own header, a bearer token, or the query."""
    return request.headers.get("api-key") or bearer(request) or request.query.get("api-key")


class VoiceLive(Protocol):
    """``/voice-live/realtime``, for a model or for an agent."""

    base = ""
    secrets_path = None

    def session_path(self, path: str) -> bool:
        return path == "/voice-live/realtime"

    def key_of(self, request: Request) -> str | None:
        return azure_key(request)

    def model_of(self, request: Request) -> str | None:
        if not request.query.get("api-version"):
            return None
        agent = request.query.get("agent-name") if request.query.get("agent-project-name") else None
        return request.query.get("model") or agent

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        name = request.query.get("agent-name")
        agent = None
        if name is not None:
            thread = request.query.get("conversation-id") or "conv_simulated"
            agent = {"type": "agent", "name": name, "agent_id": f"{name}:1", "thread_id": thread}
        return Beta(voice_live=True, agent=agent)
