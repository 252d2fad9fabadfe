"""OpenAI's Live API: one continuous timeline both ways, which only the client's sound moves on.

For every 200 ms of sound that comes in, 200 ms go out: what the engine says, or silence. Turns, which the engine has,
do not show. The engine's tool calls become work that is handed over: to a Responses backend, whose events are nested,
or to the client, for whom one hidden function stands.

Source: the types of the official SDK (``openai.types.live``). Decisions and fixtures are refused.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import pybase64
from attrs import define, field

from kernl_rt._transport.serve import Request
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._live_replies import Replies
from kernl_rt.simulator._protocols._live_schema import check_event, check_fork
from kernl_rt.simulator._protocols._live_timeline import Messages, Timeline, answer
from kernl_rt.simulator._protocols._openai import bearer, parse
from kernl_rt.simulator._schema import Refusal

__all__ = ["Live", "LiveTranslation"]

_FORK = re.compile(r"/v1/live/sessions/([^/]+)/fork")
#: Sessions that are kept for forks, and what is kept of each.
_MOST_STORED = 1_000
_MOST_TOLD = 256
#: The function that stands for the client's work.
_HIDDEN = {"type": "function", "name": "delegate", "parameters": {"type": "object", "properties": {}}}
#: Races of the engine's protocol that this one does not know.
_HARMLESS = frozenset({"conversation_already_has_active_response", "response_cancel_not_active"})
_WROTE = "The user wrote: "


@define
class Stored:
    """What a fork begins with."""

    session: dict[str, Any]
    told: deque[dict[str, Any]] = field(factory=lambda: deque(maxlen=_MOST_TOLD))


class LiveTranslation(Translation):
    """One client's link. ``stored`` are the protocol's sessions that can be forked; ``source`` is the one that is."""

    def __init__(self, stored: dict[str, Stored], source: Stored | None, *, now: float) -> None:
        self._stored = stored
        self._source = source
        self._mine: Stored | None = None
        self._session: dict[str, Any] = {}
        self._asked = False
        self._started = False
        self._messages = Messages()
        self._timeline = Timeline(self._messages)
        self._replies = Replies(
            self._messages,
            self._timeline,
            client_works=lambda: self._session["delegation"]["type"] == "client",
            tell=lambda words: self._tell(_item("assistant", [{"text": words}])),
            fail=lambda message: self._fault({"message": message, "code": "server_error"}),
        )
        self._closing: tuple[int, str] | None = None
        self._speaking: dict[str, tuple[float, float]] = {}
        self._updating: str | None = None
        #: Frames for the engine that had to wait until its reply was over.
        self._later: list[dict[str, Any]] = []

    # -- what the server asks

    @property
    def closing(self) -> tuple[int, str] | None:
        return self._closing

    def answers(self) -> Sequence[str]:
        if self._started and self._closing is None:
            self._timeline.move_on()
        return self._messages.take()

    def close(self, code: int, reason: str) -> tuple[int, str]:
        return (1000, "") if code == 1001 else (code, reason)

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        frame = parse(message)
        event_id = frame.get("event_id") if isinstance(frame, dict) else None
        try:
            (check_event if self._source is None else check_fork)(frame)
            assert isinstance(frame, dict)
            if (frame["type"] == "session.start") == self._asked:
                raise Refusal("The session must be started first, with session.start, and once.", "invalid_state")
            return [*self._take_later(), *self._read(frame["type"], frame)]
        except Refusal as refusal:
            self._refuse(refusal, event_id if isinstance(event_id, str) else None)
            return ()

    # -- what the client says

    def _read(self, kind: str, frame: Mapping[str, Any]) -> Sequence[object]:
        if kind == "session.start":
            return self._start(frame["session"], frame.get("event_id"))
        if kind == "session.update":
            return self._update(frame["session"], frame.get("event_id"))
        if kind == "session.input_audio.append":
            return self._hear(frame["audio"])
        if kind in ("session.input_audio.mute", "session.input_audio.unmute"):
            self._timeline.muted = kind.endswith(".mute")
            self._messages.say(f"{kind}d", frame)
            return ()
        if kind.endswith(".append"):
            return self._append(kind.split(".")[1], frame)
        if kind in ("response.item.create", "response.create"):
            return self._to_backend(kind, frame)
        if kind == "session.close":
            self._end("close_requested", frame)
            return ()
        raise Refusal(f"The simulator knows no {kind}.", "unsupported")

    def _start(self, said: Mapping[str, Any], event_id: str | None) -> Sequence[object]:
        self._asked = True
        before = {} if self._source is None else self._source.session
        session = {**before, **_without_nulls(said)}
        audio = {**(before.get("audio") or {}), **_without_nulls(said.get("audio") or {})}
        session["audio"] = {"format": {"type": "audio/pcm", "rate": 24_000}, "output": {"voice": "marin"}, **audio}
        session["delegation"] = _merged(before.get("delegation"), said.get("delegation")) or {"type": "client"}
        self._session = session
        format = self._timeline.format = _format_of(session["audio"]["format"])
        self._mine = Stored(session, deque(self._source.told if self._source else (), _MOST_TOLD))
        engine = {"type": "audio/pcm", "rate": 24_000}
        if format.encoding != "pcm16":
            engine = {"type": session["audio"]["format"]["type"]}
        detection = {"type": "server_vad", "silence_duration_ms": 300}
        sound = {
            "input": {"format": engine, "turn_detection": detection, "transcription": {"model": "whisper-1"}},
            "output": {"format": engine},
        }
        config: dict[str, Any] = {"type": "realtime", "audio": sound, **self._tools()}
        if session.get("instructions"):
            config["instructions"] = session["instructions"]
        self._updating = event_id
        told = [*self._mine.told, *(_item(each["role"], each["content"]) for each in said.get("input") or ())]
        creates = [{"type": "conversation.item.create", "item": item} for item in told]
        return [{"type": "session.update", "event_id": event_id, "session": config}, *creates]

    def _tools(self) -> dict[str, Any]:
        delegation = self._session["delegation"]
        if delegation["type"] == "client":
            return {"tools": [_HIDDEN]}
        tools = [tool for tool in delegation["responses"].get("tools") or () if tool.get("type") == "function"]
        known = ("type", "name", "description", "parameters")
        said: dict[str, Any] = {"tools": [{k: t[k] for k in known if t.get(k) is not None} for t in tools]}
        if isinstance(choice := delegation["responses"].get("tool_choice"), str):
            said["tool_choice"] = choice
        return said

    def _update(self, said: Mapping[str, Any], event_id: str | None) -> Sequence[object]:
        asked = said.get("delegation")
        if asked is not None:
            if asked["type"] != self._session["delegation"]["type"]:
                raise Refusal("The delegation type cannot change.", "invalid_value", "session.delegation.type")
            self._session["delegation"] = _merged(self._session["delegation"], asked)
        if said.get("triggers") is not None:
            self._session["triggers"] = said["triggers"]
        self._updating = event_id
        return [{"type": "session.update", "event_id": event_id, "session": {"type": "realtime", **self._tools()}}]

    def _hear(self, text: str) -> Sequence[object]:
        try:
            sound = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise Refusal("Invalid 'audio': not valid base64.", "invalid_value", "audio") from None
        sound = self._timeline.hear(sound)
        audio = pybase64.b64encode_as_string(sound)
        return [{"type": "input_audio_buffer.append", "audio": audio}] if sound else []

    def _append(self, channel: str, frame: Mapping[str, Any]) -> Sequence[object]:
        about, text = frame.get("delegation_id"), frame["content"]
        call_id = None
        if about is not None:
            call_id = self._replies.handed.get(about)
            if call_id is None or self._session["delegation"]["type"] != "client":
                raise Refusal("Unknown delegation.", "invalid_value", "delegation_id")
        self._timeline.acks.append(answer(f"session.{channel}.appended", frame))
        if call_id is not None and channel == "commentary":
            del self._replies.handed[about or ""]
            item = {"type": "function_call_output", "call_id": call_id, "output": text}
        else:
            wrote = text.startswith(_WROTE)
            item = _item("user" if wrote else "system", [{"text": text.removeprefix(_WROTE)}])
            self._tell(item)
        frames: list[dict[str, Any]] = [{"type": "conversation.item.create", "item": item}]
        if channel != "thinking":
            frames.append({"type": "response.create"})
        return self._when_idle(frames)

    def _to_backend(self, kind: str, frame: Mapping[str, Any]) -> Sequence[object]:
        if self._session["delegation"]["type"] != "responses":
            raise Refusal(f"{kind} requires Responses delegation.", "invalid_value")
        event_id = frame.get("event_id")
        if kind == "response.create":
            self._replies.backend_next = True
            return self._when_idle([{"type": "response.create", "event_id": event_id}])
        item = frame["item"]
        if item.get("type") == "function_call_output":
            item = {key: item[key] for key in ("type", "call_id", "output")}
        return self._when_idle([{"type": "conversation.item.create", "event_id": event_id, "item": item}])

    def _when_idle(self, frames: list[dict[str, Any]]) -> Sequence[object]:
        """The engine takes one reply at a time; what would begin another waits for its end."""
        if self._replies.running is None and not self._later:
            return frames
        self._later += frames
        return ()

    def _take_later(self) -> list[dict[str, Any]]:
        if self._replies.running is not None:
            return []
        later, self._later = self._later, []
        return later

    def _tell(self, item: dict[str, Any]) -> None:
        if self._mine is not None:
            self._mine.told.append(item)

    # -- what the engine says

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        before = self._messages.take()
        self._write(frame["type"], frame)
        said, self._messages.said = self._messages.said, before
        return said

    def _write(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "session.updated":
            self._configured(frame["session"])
        elif kind == "error":
            self._fault(frame["error"])
        elif kind == "input_audio_buffer.speech_started":
            self._speaking[frame["item_id"]] = (frame["audio_start_ms"], frame["audio_start_ms"])
        elif kind == "input_audio_buffer.speech_stopped":
            start, _ = self._speaking.get(frame["item_id"], (frame["audio_end_ms"], 0))
            self._speaking[frame["item_id"]] = (start, frame["audio_end_ms"])
        elif kind == "conversation.item.input_audio_transcription.completed":
            unknown = (self._timeline.heard_ms, self._timeline.heard_ms)
            self._write_heard(frame["transcript"], *self._speaking.pop(frame["item_id"], unknown))
        elif kind.startswith("response."):
            self._replies.write(kind, frame)

    def _configured(self, engine: Mapping[str, Any]) -> None:
        named: dict[str, Any] = {} if self._updating is None else {"client_event_id": self._updating}
        if not self._started:
            self._started = True
            self._session |= {"id": engine["id"].replace("sess_", "live_"), "status": "active"}
            self._session["expires_at"] = engine["expires_at"]
            if self._session.get("store") and self._mine is not None:
                while len(self._stored) >= _MOST_STORED:
                    del self._stored[next(iter(self._stored))]
                self._stored[self._session["id"]] = self._mine
            self._messages.say("session.started", session=self._session, **named)
        else:
            self._messages.say("session.updated", session=self._session, **named)

    def _write_heard(self, words: str, start: float, end: float) -> None:
        if not words or not self._started:
            return
        self._tell(_item("user", [{"text": words}]))
        pieces = re.findall(r"\s*\S+", words)
        step = (end - start) / len(pieces)
        for index, piece in enumerate(pieces):
            times: dict[str, Any] = {"start_ms": int(start + step * index), "end_ms": int(start + step * (index + 1))}
            self._messages.say("session.input_transcript.delta", delta=piece, **times)

    # -- how it ends, and what is said about it

    def _fault(self, error: Mapping[str, Any]) -> None:
        if error.get("code") == "session_expired":
            self._end("expired", {})
        elif error.get("code") not in _HARMLESS:
            self._asked = self._started
            refusal = Refusal(error["message"], error.get("code"), error.get("param"))
            self._refuse(refusal, error.get("event_id"))

    def _end(self, reason: str, frame: Mapping[str, Any]) -> None:
        if self._started:
            said = {"reason": reason, "session": self._session, "usage": self._timeline.usage()}
            self._messages.put(answer("session.closed", frame) | said)
        self._closing = self._closing or (1000, "")

    def _refuse(self, refusal: Refusal, event_id: str | None) -> None:
        error = {"type": refusal.type, "code": refusal.code or "invalid_request", "message": refusal.message}
        if refusal.param is not None:
            error["param"] = refusal.param
        if event_id is not None:
            error["client_event_id"] = event_id
        self._messages.say("error", error=error)


def _without_nulls(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value is not None}


def _item(role: str, content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    parts = [{"type": kind, "text": part["text"]} for part in content]
    return {"type": "message", "role": "system" if role == "developer" else role, "content": parts}


def _merged(under: Mapping[str, Any] | None, over: Mapping[str, Any] | None) -> dict[str, Any]:
    """A delegation with the changed settings of its backend."""
    if not over or not under or under.get("type") != over.get("type"):
        return dict(over or under or {})
    responses = {**(under.get("responses") or {}), **(over.get("responses") or {})}
    return {**under, **over, **({"responses": responses} if responses else {})}


def _format_of(said: Mapping[str, Any]) -> AudioFormat:
    if said["type"] == "audio/pcm":
        return PCM16_16K if said["rate"] == 16_000 else PCM16_24K
    return G711_ULAW if said["type"] == "audio/pcmu" else G711_ALAW


class Live(Protocol):
    """At ``/v1/live/sessions``, and the forks of stored sessions. The model is named in ``session.start``."""

    base = "/v1"
    names_model = False

    def __init__(self) -> None:
        self._stored: dict[str, Stored] = {}

    def session_path(self, path: str) -> bool:
        fork = _FORK.fullmatch(path)
        return path == "/v1/live/sessions" if fork is None else fork[1] in self._stored

    def key_of(self, request: Request) -> str | None:
        return bearer(request)

    def model_of(self, request: Request) -> str | None:
        return None

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        fork = _FORK.fullmatch(request.path.rstrip("/"))
        return LiveTranslation(self._stored, None if fork is None else self._stored.get(fork[1]), now=now)
