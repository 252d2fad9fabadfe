"""ElevenLabs Agents: an agent that is set up elsewhere, and a client that only talks to it.

Sources: the service's AsyncAPI document (``agent.asyncapi.yaml`` of its JavaScript SDK) and the official Python client.

The simulated agents are told apart by their ids. ``…_pcm_24000`` and the like end an id with the format that the agent
is set to, both ways; the default is ``pcm_16000``. An agent with ``locked`` in its id allows no override. What tools an
agent has stands in ``custom_llm_extra_body["tools"]`` of the client's first message, as OpenAI's functions, each with
``expects_response: false`` where the agent does not wait for its result: the simulator has no other place for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
import pybase64

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._elevenlabs_schema import EVENTS, MESSAGES, check_sound, check_tools
from kernl_rt.simulator._protocols._elevenlabs_turns import (
    INVALID,
    OPERATIONAL,
    TIME_UP,
    AgentSound,
    Turns,
    Wishes,
    json_text,
)
from kernl_rt.simulator._protocols._resampler import Resampler
from kernl_rt.simulator._schema import Refusal

__all__ = ["ElevenLabs", "ElevenLabsTranslation"]

_PATH = "/v1/convai/conversation"
_FORMAT = re.compile(r"_(pcm_(8000|16000|22050|24000|44100|48000)|ulaw_8000)$")
#: Seconds between pings; and how long the service waits for a pong.
_PING_EVERY = 2.0
_PATIENCE = 30.0


class ElevenLabsTranslation(Translation):
    """One client's conversation."""

    def __init__(self, agent_id: str, conversation_id: str, *, now: float) -> None:
        match = _FORMAT.search(agent_id)
        self._sound = AgentSound(match[1] if match is not None else "pcm_16000")
        self._turns = Turns(conversation_id, self._sound, now=now)
        self._resampler = Resampler(self._sound.rate, self._sound.engine.rate)
        self._locked = "locked" in agent_id
        self._begun = False
        self._ping = 0
        self._ping_at: float | None = None
        self._pong_due: float | None = None

    # -- the translation's verbs

    @property
    def closing(self) -> tuple[int, str] | None:
        return self._turns.closing

    @property
    def deadline(self) -> float | None:
        return self._ping_at

    def close(self, code: int, reason: str) -> tuple[int, str]:
        return TIME_UP if code == 1001 else (code, reason)

    def poll(self, now: float) -> Sequence[str]:
        if self._pong_due is not None and now >= self._pong_due:
            self._end(OPERATIONAL, "No pong was received.")
        if self._ping_at is None or now < self._ping_at:
            return ()
        self._ping_at = now + _PING_EVERY
        self._ping += 1
        self._pong_due = self._pong_due or now + _PATIENCE
        said = {"type": "ping", "ping_event": {"event_id": self._ping, "ping_ms": None if self._ping == 1 else 20}}
        return (json_text(said),) if "ping" in self._turns.wishes.events else ()

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        if self._turns.closing is not None:
            return ()
        try:
            frame = msgspec.json.decode(message)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return self._end(INVALID, "Invalid message: not JSON.")
        try:
            return self._read(frame, now)
        except Refusal as refusal:
            return self._end(INVALID, f"Invalid message received: {refusal.message}")

    def _end(self, code: int, reason: str) -> Sequence[object]:
        self._turns.end(code, reason)
        return ()

    # -- what the client says

    def _read(self, frame: Any, now: float) -> Sequence[object]:
        if not isinstance(frame, dict):
            raise Refusal("expected an object")
        name = frame.get("type")
        if name is None and "user_audio_chunk" in frame:
            check_sound(frame, "")
            return self._audio(frame["user_audio_chunk"])
        check = MESSAGES.get(name) if isinstance(name, str) else None
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
            return self._end(INVALID, f"Override for field '{forbidden}' is not allowed by config.")
        conversation = override.get("conversation") or {}
        agent = override.get("agent") or {}
        events = conversation.get("client_events")
        tools = (frame.get("custom_llm_extra_body") or {}).get("tools") or []
        check_tools(tools, "custom_llm_extra_body.tools")
        self._turns.wishes = Wishes(
            bool(conversation.get("text_only") or override.get("text_only")),
            agent.get("first_message") or "",
            frozenset(EVENTS if events is None else events),
            frozenset(tool["name"] for tool in tools if tool.get("expects_response") is False),
        )
        self._ping_at = now + _PING_EVERY
        return [{"type": "session.update", "session": self._session(agent, override.get("tts") or {}, tools)}]

    def _session(
        self, agent: Mapping[str, Any], tts: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The engine's session for such an agent."""
        kinds = ("name", "description", "parameters")
        format = {"type": "audio/pcm", "rate": self._sound.engine.rate} if self._sound.pcm else {"type": "audio/pcmu"}
        output: dict[str, Any] = {"format": format}
        if tts.get("voice_id"):
            output["voice"] = {"id": tts["voice_id"]}
        if tts.get("speed"):
            output["speed"] = min(max(tts["speed"], 0.25), 1.5)
        session: dict[str, Any] = {
            "type": "realtime",
            "output_modalities": ["text" if self._turns.wishes.text_only else "audio"],
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
        return session

    def _audio(self, text: str) -> Sequence[object]:
        if not self._begun:
            raise Refusal("the initiation data comes first")
        try:
            audio = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise Refusal("user_audio_chunk is not base64") from None
        if self._sound.pcm:
            audio = self._resampler.push(audio)
        if self._turns.wishes.text_only or not audio:
            return ()
        return [{"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(audio)}]

    def _message(self, text: str | None) -> Sequence[object]:
        if not text:
            return ()
        stop: list[object] = [{"type": "response.cancel"}] if self._turns.running else []
        return [*stop, _item("user", text), {"type": "response.create"}]

    def _result(self, frame: Mapping[str, Any]) -> Sequence[object]:
        call_id = frame["tool_call_id"]
        if call_id not in self._turns.calls:
            raise Refusal(f"no call with the id {call_id!r} waits for a result")
        self._turns.calls.discard(call_id)
        item = {"type": "function_call_output", "call_id": call_id, "output": frame["result"]}
        create: list[object] = [] if self._turns.calls else [{"type": "response.create"}]
        return [{"type": "conversation.item.create", "item": item}, *create]

    # -- what the engine says

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        return self._turns.write(frame, now)


def _item(role: str, text: str) -> dict[str, Any]:
    item = {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    return {"type": "conversation.item.create", "item": item}


def _first_override(value: Any, name: str = "") -> str | None:
    """The name of the first field that is overridden."""
    if isinstance(value, dict):
        found = (_first_override(item, key) for key, item in value.items())
        return next((each for each in found if each is not None), None)
    return None if value is None else name


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
