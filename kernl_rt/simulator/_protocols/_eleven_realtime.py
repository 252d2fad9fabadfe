"""Eleven Realtime: OpenAI's protocol at another address, with less of it.

Sources: ElevenLabs' published notes. Not recorded; what a close frame says here is the simulator's own word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._openai import KEY_SUBPROTOCOL, bearer, parse

__all__ = ["ElevenRealtime", "ElevenRealtimeTranslation"]

MODELS = ("eleven_realtime_v1_mini", "eleven_realtime_v1_max")
#: Seconds without a word from the client after which the link is closed.
_IDLE = 60.0
_GONE = (1000, "Closed because the client was idle.")
_PATH = "/v1/convai/realtime"


class ElevenRealtimeTranslation(Translation):
    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._said: list[str] = []
        self._idle = False

    @property
    def deadline(self) -> float | None:
        return None if self._idle else self._heard_at + _IDLE

    @property
    def closing(self) -> tuple[int, str] | None:
        return _GONE if self._idle else None

    def poll(self, now: float) -> Sequence[str]:
        self._idle = self._idle or now >= self._heard_at + _IDLE
        return ()

    def answers(self) -> Sequence[str]:
        said, self._said = self._said, []
        return said

    def close(self, code: int, reason: str) -> tuple[int, str]:
        return (1000, "Max conversation duration reached.") if code == 1001 else (code, reason)

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        self._heard_at = now
        frame = parse(message)
        if isinstance(frame, dict) and (wrong := _wrong(frame)) is not None:
            self._refuse(frame, *wrong)
            return ()
        return (frame,)

    def _refuse(self, frame: Mapping[str, Any], text: str, param: str) -> None:
        event_id = frame.get("event_id")
        error = {"type": "invalid_request_error", "code": "unsupported", "message": text, "param": param}
        named = {**error, "event_id": event_id if isinstance(event_id, str) else None}
        self._said.append(_json({"type": "error", "event_id": "event_refused", "error": named}))

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        if frame["type"] == "rate_limits.updated":
            return ()
        if frame["type"] == "response.done":
            frame = {**frame, "response": {**frame["response"], "usage": None}}
        if frame["type"] == "error" and frame["error"]["code"] == "session_expired":
            return ()  # told by the close alone
        return (_json({name: value for name, value in frame.items() if name != "usage"}),)


def _wrong(frame: Mapping[str, Any]) -> tuple[str, str] | None:
    """What the engine would take, and this service does not."""
    if frame.get("type") in ("conversation.item.delete", "conversation.item.retrieve"):
        return f"'{frame['type']}' is not supported.", "type"
    session = frame.get("session")
    if frame.get("type") != "session.update" or not isinstance(session, dict):
        return None
    if session.get("model", MODELS[0]) not in MODELS:
        return f"Unknown model: {session['model']}.", "session.model"
    audio = session.get("audio")
    heard = audio.get("input") if isinstance(audio, dict) else None
    if isinstance(heard, dict) and "turn_detection" in heard:
        detection = heard["turn_detection"]
        if not isinstance(detection, dict) or detection.get("type") != "semantic_vad":
            return "Only semantic_vad is supported.", "session.audio.input.turn_detection"
    return None


def _json(frame: object) -> str:
    return msgspec.json.encode(frame).decode()


class ElevenRealtime(Protocol):
    subprotocols = ("realtime",)
    base = "/v1/convai"
    names_model = False
    secrets_path = f"{_PATH}/client_secrets"

    def session_path(self, path: str) -> bool:
        return path == _PATH

    def key_of(self, request: Request) -> str | None:
        named = (name for name in request.subprotocols if name.startswith(KEY_SUBPROTOCOL))
        in_subprotocol = next(named, "").removeprefix(KEY_SUBPROTOCOL)
        return request.headers.get("xi-api-key") or bearer(request) or in_subprotocol or None

    def model_of(self, request: Request) -> str | None:
        return MODELS[0]  # the address is not looked at: the session names another

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        return ElevenRealtimeTranslation(now)
