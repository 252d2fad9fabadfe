"""ElevenLabs Agents: an agent that is set up elsewhere, and a client that only talks to it.

Sources: the service's AsyncAPI document (``agent.asyncapi.yaml`` of its JavaScript SDK) and the official Python client.

The simulated agents are told apart by their ids. ``…_pcm_24000`` and the like end an id with the format that the agent
is set to, both ways; the default is ``pcm_16000``. An agent with ``locked`` in its id allows no override. What tools an
agent has stands in ``custom_llm_extra_body["tools"]`` of the client's first message, as OpenAI's functions, each with
``expects_response: false`` where the agent does not wait for its result: the simulator has no other place for it.
"""

from __future__ import annotations

import array
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pybase64

from kernl_rt._transport.serve import Request
from kernl_rt.config import AudioFormat
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._schema import (
    ANY,
    BOOL,
    TEXT,
    Check,
    Refusal,
    choice,
    integer,
    list_of,
    nullable,
    number,
    record,
)
from kernl_rt.simulator._sound import babble

__all__ = ["ElevenLabs", "ElevenLabsTranslation", "Resampler"]

_PATH = "/v1/convai/conversation"
_FORMAT = re.compile(r"_(pcm_(8000|16000|22050|24000|44100|48000)|ulaw_8000)$")
#: What the engine speaks where the agent speaks PCM.
_ENGINE_RATE = 24_000
_OPERATIONAL, _INVALID = 1002, 1008
_TIME_UP = (1000, "Max conversation duration reached.")
#: Seconds between pings; and how long the service waits for a pong.
_PING_EVERY = 2.0
_PATIENCE = 30.0
#: Faults of the engine's protocol that this one does not know: races.
_HARMLESS = frozenset(
    {"conversation_already_has_active_response", "response_cancel_not_active", "input_audio_buffer_commit_empty"}
)
_EVENTS: Final = (
    "conversation_initiation_metadata",
    "ping",
    "audio",
    "interruption",
    "user_transcript",
    "tentative_user_transcript",
    "agent_response",
    "agent_response_correction",
    "agent_chat_response_part",
    "agent_response_complete",
    "client_tool_call",
    "context_usage",
    "vad_score",
    "client_error",
)


def _mapping(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise Refusal(f"Invalid type for '{path}': expected an object.", "invalid_type", path)


_prompt = record(
    {
        "prompt": nullable(TEXT),
        "llm": nullable(TEXT),
        "reasoning_effort": nullable(TEXT),
        "tool_ids": nullable(list_of(TEXT)),
        "native_mcp_server_ids": nullable(list_of(TEXT)),
        "knowledge_base": nullable(ANY),
    }
)
_override = record(
    {
        "agent": nullable(
            record(
                {
                    "prompt": nullable(_prompt),
                    "first_message": nullable(TEXT),
                    "language": nullable(TEXT),
                    "max_conversation_duration_message": nullable(TEXT),
                }
            )
        ),
        "asr": nullable(record({"keywords": nullable(list_of(TEXT))})),
        "turn": nullable(_mapping),
        "tts": nullable(
            record(
                {
                    "voice_id": nullable(TEXT),
                    "model_id": nullable(TEXT),
                    "stability": nullable(number(0.0, 1.0)),
                    "similarity_boost": nullable(number(0.0, 1.0)),
                    "speed": nullable(number(0.7, 5.0)),
                }
            )
        ),
        "conversation": nullable(
            record(
                {
                    "text_only": nullable(BOOL),
                    "client_events": nullable(list_of(choice(*_EVENTS))),
                    "max_duration_seconds": nullable(integer(1)),
                }
            )
        ),
        # As the official Python client says it where it has no audio interface.
        "text_only": nullable(BOOL),
    }
)
_file = record({"type": choice("file_input"), "file_id": TEXT}, ("type", "file_id"))
_user_message = record({"type": choice("user_message"), "text": nullable(TEXT)}, ("type",))

_MESSAGES: Final[dict[str, Check]] = {
    "conversation_initiation_client_data": record(
        {
            "type": TEXT,
            "conversation_config_override": nullable(_override),
            "custom_llm_extra_body": nullable(_mapping),
            "dynamic_variables": nullable(_mapping),
            "user_id": nullable(TEXT),
            "source_info": nullable(record({"source": nullable(TEXT), "version": nullable(TEXT)})),
            "environment": nullable(TEXT),
            "branch_id": nullable(TEXT),
            "tool_mock_config": nullable(_mapping),
        }
    ),
    "pong": record({"type": TEXT, "event_id": integer(0)}, ("event_id",)),
    "user_message": record({"type": TEXT, "text": nullable(TEXT)}),
    "user_activity": record({"type": TEXT}),
    "contextual_update": record({"type": TEXT, "text": TEXT, "context_id": nullable(TEXT)}, ("text",)),
    "client_tool_result": record(
        {"type": TEXT, "tool_call_id": TEXT, "result": TEXT, "is_error": BOOL}, ("tool_call_id", "result", "is_error")
    ),
    "feedback": record(
        {"type": TEXT, "event_id": integer(0), "score": nullable(choice("like", "dislike"))}, ("event_id",)
    ),
    "mcp_tool_approval_result": record(
        {"type": TEXT, "tool_call_id": TEXT, "is_approved": BOOL}, ("tool_call_id", "is_approved")
    ),
    "multimodal_message": record(
        {"type": TEXT, "text": nullable(_user_message), "file": nullable(_file), "files": nullable(list_of(_file))}
    ),
}
_sound = record({"user_audio_chunk": TEXT}, ("user_audio_chunk",))


class Resampler:
    """PCM16 from one rate to another, by drawing lines between the samples. The last one is kept for the next piece."""

    def __init__(self, source: int, target: int) -> None:
        self._step = source / target
        self._rest = b""
        self._last = 0
        self._at = 0.0

    def push(self, audio: bytes) -> bytes:
        data = self._rest + audio
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        samples = array.array("h", data[:whole])
        if self._step == 1.0:
            return samples.tobytes()
        out, at, last = array.array("h"), self._at, self._last
        for sample in samples:
            while at < 1.0:
                out.append(round(last + (sample - last) * at))
                at += self._step
            at -= 1.0
            last = sample
        self._at, self._last = at, last
        return out.tobytes()


class ElevenLabsTranslation(Translation):
    """One client's conversation."""

    def __init__(self, agent_id: str, conversation_id: str, *, now: float) -> None:
        match = _FORMAT.search(agent_id)
        self._format = match[1] if match is not None else "pcm_16000"
        self._rate = int(self._format.partition("_")[2])
        self._pcm = self._format.startswith("pcm")
        self._locked = "locked" in agent_id
        self._conversation_id = conversation_id
        self._in = Resampler(self._rate, _ENGINE_RATE)
        self._out = Resampler(_ENGINE_RATE, self._rate)
        self._said: list[str] = []
        self._closing: tuple[int, str] | None = None
        self._begun = self._ready = False
        self._text_only = False
        self._greeting = ""
        self._events: frozenset[str] = frozenset(_EVENTS)
        self._no_answer: frozenset[str] = frozenset()
        #: The service's running number; the turn that runs has the last.
        self._number = 0
        self._running = False
        self._words = ""
        self._told = False
        self._writing = False
        self._heard = ""
        #: A turn of the human's was taken and its words are not known: what the agent says waits for them.
        self._awaiting: set[str] = set()
        self._queue: list[str] = []
        self._calls: set[str] = set()
        #: When the human has heard all that was sent, by the clock.
        self._now = self._heard_at = now
        self._ping = 0
        self._ping_at: float | None = None
        self._pong_due: float | None = None

    # -- the translation's verbs

    @property
    def closing(self) -> tuple[int, str] | None:
        return self._closing

    @property
    def deadline(self) -> float | None:
        return self._ping_at

    def answers(self) -> Sequence[str]:
        said, self._said = self._said, []
        return said

    def close(self, code: int, reason: str) -> tuple[int, str]:
        return _TIME_UP if code == 1001 else (code, reason)

    def poll(self, now: float) -> Sequence[str]:
        if self._pong_due is not None and now >= self._pong_due:
            self._end(_OPERATIONAL, "No pong was received.")
        if self._ping_at is None or now < self._ping_at:
            return ()
        self._ping_at = now + _PING_EVERY
        self._ping += 1
        self._pong_due = self._pong_due or now + _PATIENCE
        said = {"type": "ping", "ping_event": {"event_id": self._ping, "ping_ms": None if self._ping == 1 else 20}}
        return (_json(said),) if "ping" in self._events else ()

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        if self._closing is not None:
            return ()
        try:
            frame = msgspec.json.decode(message)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return self._end(_INVALID, "Invalid message: not JSON.")
        try:
            return self._read(frame, now)
        except Refusal as refusal:
            return self._end(_INVALID, f"Invalid message received: {refusal.message}")

    def _end(self, code: int, reason: str) -> Sequence[object]:
        self._closing = self._closing or (code, reason[:120])
        return ()

    # -- what the client says

    def _read(self, frame: Any, now: float) -> Sequence[object]:
        if not isinstance(frame, dict):
            raise Refusal("expected an object")
        name = frame.get("type")
        if name is None and "user_audio_chunk" in frame:
            _sound(frame, "")
            return self._audio(frame["user_audio_chunk"])
        check = _MESSAGES.get(name) if isinstance(name, str) else None
        if check is None:
            raise Refusal(f"unknown type {name!r}")
        check(frame, "")
        if (name == "conversation_initiation_client_data") == self._begun:
            raise Refusal("the initiation data comes first, and once")
        match name:
            case "conversation_initiation_client_data":
                return self._begin(frame, now)
            case "user_message":
                return self._message(frame.get("text"))
            case "multimodal_message":
                return self._message((frame.get("text") or {}).get("text"))
            case "contextual_update":
                return [_item("system", frame["text"])]
            case "client_tool_result":
                return self._result(frame)
            case "pong" if frame["event_id"] <= self._ping:
                self._pong_due = None
        return ()

    def _begin(self, frame: Mapping[str, Any], now: float) -> Sequence[object]:
        self._begun = True
        override = frame.get("conversation_config_override") or {}
        forbidden = _first_override(override)
        if self._locked and forbidden is not None:
            return self._end(_INVALID, f"Override for field '{forbidden}' is not allowed by config.")
        conversation = override.get("conversation") or {}
        agent = override.get("agent") or {}
        tts = override.get("tts") or {}
        self._text_only = bool(conversation.get("text_only") or override.get("text_only"))
        self._greeting = agent.get("first_message") or ""
        if (events := conversation.get("client_events")) is not None:
            self._events = frozenset(events)
        tools = (frame.get("custom_llm_extra_body") or {}).get("tools") or []
        list_of(_mapping)(tools, "custom_llm_extra_body.tools")
        self._no_answer = frozenset(tool["name"] for tool in tools if tool.get("expects_response") is False)
        kinds = ("name", "description", "parameters")
        format = {"type": "audio/pcm", "rate": _ENGINE_RATE} if self._pcm else {"type": "audio/pcmu"}
        output: dict[str, Any] = {"format": format}
        if tts.get("voice_id"):
            output["voice"] = {"id": tts["voice_id"]}
        if tts.get("speed"):
            output["speed"] = min(max(tts["speed"], 0.25), 1.5)
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["text" if self._text_only else "audio"],
            "tools": [{"type": "function", **{key: tool[key] for key in kinds if key in tool}} for tool in tools],
            "audio": {
                "input": {
                    "format": format,
                    "transcription": {"model": "scribe"},
                    "turn_detection": {"type": "server_vad"},
                },
                "output": output,
            },
        }
        if prompt := (agent.get("prompt") or {}).get("prompt"):
            session["instructions"] = prompt
        self._ping_at = now + _PING_EVERY
        return [{"type": "session.update", "session": session}]

    def _audio(self, text: str) -> Sequence[object]:
        if not self._begun:
            raise Refusal("the initiation data comes first")
        try:
            audio = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise Refusal("user_audio_chunk is not base64") from None
        if self._pcm:
            audio = self._in.push(audio)
        if self._text_only or not audio:
            return ()
        return [{"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(audio)}]

    def _message(self, text: str | None) -> Sequence[object]:
        if not text:
            return ()
        stop: list[object] = [{"type": "response.cancel"}] if self._running else []
        return [*stop, _item("user", text), {"type": "response.create"}]

    def _result(self, frame: Mapping[str, Any]) -> Sequence[object]:
        call_id = frame["tool_call_id"]
        if call_id not in self._calls:
            raise Refusal(f"no call with the id {call_id!r} waits for a result")
        self._calls.discard(call_id)
        item = {"type": "function_call_output", "call_id": call_id, "output": frame["result"]}
        create: list[object] = [] if self._calls else [{"type": "response.create"}]
        return [{"type": "conversation.item.create", "item": item}, *create]

    # -- what the engine says

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        told, self._said = self._said, []
        self._now = now
        self._write(frame["type"], frame)
        said, self._said = self._said, told
        return said

    def _say(self, kind: str, key: str, **content: Any) -> None:
        if kind in self._events:
            self._said.append(_json({"type": kind, key: content}))

    def _agent_says(self, kind: str, key: str, **content: Any) -> None:
        """As :meth:`_say`, after the words of the human that it answers."""
        if kind in self._events:
            message = _json({"type": kind, key: {**content, "event_id": self._number}})
            (self._queue if self._awaiting else self._said).append(message)

    def _write(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "session.updated":
            self._open()
        elif kind == "error":
            self._fault(frame["error"])
        elif kind.startswith(("input_audio_buffer.", "conversation.item.input_audio_transcription.")):
            self._write_human(kind.rpartition(".")[2], frame)
        elif kind.startswith("response."):
            self._write_reply(kind.removeprefix("response."), frame)

    def _open(self) -> None:
        if self._ready:
            return
        self._ready = True
        formats = {"agent_output_audio_format": self._format, "user_input_audio_format": self._format}
        kind = "conversation_initiation_metadata"
        self._say(kind, f"{kind}_event", conversation_id=self._conversation_id, **formats)
        if self._greeting:
            self._number += 1
            if not self._text_only:
                sound = babble(self._greeting, _engine_format(self._pcm), pitch=140, speed=1.0)
                self._sound(sound)
            self._agent_says("agent_response", "agent_response_event", agent_response=self._greeting)
            self._agent_says("agent_response_complete", "agent_response_complete_event")

    def _fault(self, error: Mapping[str, Any]) -> None:
        if error.get("code") in _HARMLESS:
            return
        if error.get("code") == "session_expired":
            self._error(1000, "max_duration_exceeded", _TIME_UP[1])
            return
        self._error(_INVALID, "invalid_message", error["message"])
        self._end(_INVALID, error["message"])

    def _error(self, code: int, kind: str, message: str) -> None:
        said = {"code": code, "error_type": kind, "message": message, "reason": None}
        self._said.append(_json({"type": "error", "error_event": said}))

    def _write_human(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "speech_started" and not self._running and self._now < self._heard_at:
            self._heard_at = self._now
            self._say("interruption", "interruption_event", event_id=self._number)
            self._correct()
        elif kind == "committed":
            self._awaiting.add(frame["item_id"])
            self._heard = ""
        elif kind == "delta":
            self._heard += frame["delta"]
            self._say(
                "tentative_user_transcript",
                "tentative_user_transcription_event",
                user_transcript=self._heard,
                event_id=self._number + 1,
            )
        elif kind in ("completed", "failed"):
            self._awaiting.discard(frame["item_id"])
            if kind == "completed" and frame["transcript"]:
                words = {"user_transcript": frame["transcript"], "event_id": self._number + (not self._running)}
                self._say("user_transcript", "user_transcription_event", **words)
            if not self._awaiting:
                self._said += self._queue
                self._queue.clear()

    def _write_reply(self, kind: str, frame: Mapping[str, Any]) -> None:
        match kind:
            case "created":
                self._number += 1
                self._running, self._words, self._told, self._writing = True, "", False, False
            case "output_audio_transcript.delta":
                self._words += frame["delta"]
            case "output_audio_transcript.done":
                self._tell_words()
            case "output_audio.delta":
                self._sound(pybase64.b64decode(frame["delta"]))
            case "output_text.delta":
                self._write_part(frame["delta"])
            case "output_text.done":
                self._agent_says("agent_chat_response_part", "text_response_part", text="", type="stop")
                self._tell_words()
            case "function_call_arguments.done":
                self._call(frame)
            case "done":
                self._end_reply(frame["response"])

    def _sound(self, audio: bytes) -> None:
        self._heard_at = max(self._now, self._heard_at) + _engine_format(self._pcm).ms(len(audio)) / 1000
        if self._pcm:
            audio = self._out.push(audio)
        self._agent_says("audio", "audio_event", audio_base_64=pybase64.b64encode_as_string(audio))

    def _write_part(self, text: str) -> None:
        if not self._writing:
            self._writing = True
            self._agent_says("agent_chat_response_part", "text_response_part", text="", type="start")
        self._words += text
        self._agent_says("agent_chat_response_part", "text_response_part", text=text, type="delta")

    def _tell_words(self) -> None:
        if self._words and not self._told:
            self._told = True
            self._agent_says("agent_response", "agent_response_event", agent_response=self._words)

    def _call(self, frame: Mapping[str, Any]) -> None:
        waits = frame["name"] not in self._no_answer
        if waits:
            self._calls.add(frame["call_id"])
        self._agent_says(
            "client_tool_call",
            "client_tool_call",
            tool_name=frame["name"],
            tool_call_id=frame["call_id"],
            parameters=msgspec.json.decode(frame["arguments"] or "{}"),
            expects_response=waits,
        )

    def _end_reply(self, response: Mapping[str, Any]) -> None:
        self._running = False
        if response["status"] == "failed":
            self._error(_OPERATIONAL, "llm_error", response["status_details"]["error"]["message"])
            self._end(_OPERATIONAL, "LLM error.")
        elif response["status"] == "cancelled":
            self._queue.clear()
            self._heard_at = self._now
            self._say("interruption", "interruption_event", event_id=self._number)
            self._correct()
        else:
            self._agent_says("agent_response_complete", "agent_response_complete_event")
            tokens = (response["usage"] or {}).get("input_tokens", 0)
            usage = {"model": "simulator", "context_tokens": tokens, "context_limit_tokens": 32_000}
            self._agent_says("context_usage", "context_usage_event", **usage)

    def _correct(self) -> None:
        """By the service's reckoning, half of what it said was heard."""
        words = self._words.split()
        if words and self._told:
            corrected = " ".join(words[: len(words) // 2]) + "..."
            self._say(
                "agent_response_correction",
                "agent_response_correction_event",
                original_agent_response=self._words,
                corrected_agent_response=corrected,
                event_id=self._number,
            )


def _engine_format(pcm: bool) -> AudioFormat:
    return AudioFormat("pcm16", _ENGINE_RATE) if pcm else AudioFormat("g711_ulaw", 8_000)


def _item(role: str, text: str) -> dict[str, Any]:
    item = {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def _first_override(value: Any, name: str = "") -> str | None:
    """The name of the first field that is overridden."""
    if isinstance(value, dict):
        found = (_first_override(item, key) for key, item in value.items())
        return next((each for each in found if each is not None), None)
    return None if value is None else name


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class ElevenLabs(Protocol):
    subprotocols = ("convai",)
    secrets_path = None
    signed_path = f"{_PATH}/get-signed-url"

    def __init__(self) -> None:
        self._conversations = 0

    def session_path(self, path: str) -> bool:
        return path == _PATH

    def key_of(self, request: Request) -> str | None:
        """What a signed URL is signed with; or the key itself, as the service takes it in a header."""
        return request.query.get("conversation_signature") or request.headers.get("xi-api-key")

    def signed(self, request: Request, signature: str) -> Any:
        query = urlencode({"agent_id": self.model_of(request) or "", "conversation_signature": signature})
        return {"signed_url": f"ws://{request.headers.get('host', 'localhost')}{_PATH}?{query}"}

    def model_of(self, request: Request) -> str | None:
        return request.query.get("agent_id")

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        self._conversations += 1
        agent_id = self.model_of(request) or ""
        return ElevenLabsTranslation(agent_id, f"conv_{self._conversations}", now=now)
