"""OpenAI's Live API: one continuous timeline both ways, which only the client's sound moves on.

For every 200 ms of sound that comes in, 200 ms go out: what the engine says, or silence. Turns, which the engine has,
do not show. The engine's tool calls become work that is handed over: to a Responses backend, whose events are nested,
or to the client, for whom one hidden function stands.

Source: the types of the official SDK (``openai.types.live``). Decisions and fixtures are refused.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pybase64
from attrs import define, field

from kernl_rt._transport.serve import Request
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._gemini import Upsampler
from kernl_rt.simulator._protocols._live_schema import check_event, check_fork
from kernl_rt.simulator._protocols._openai import bearer, parse
from kernl_rt.simulator._schema import Refusal

__all__ = ["Live", "LiveTranslation"]

_FORK = re.compile(r"/v1/live/sessions/([^/]+)/fork")
_STEP = 200.0
_USAGE_EVERY = 15_000.0
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


class Downsampler:
    """PCM16 from 24 to 16 kHz: of three samples, the first, and the mean of the others."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, audio: bytes) -> bytes:
        data = self._rest + audio
        whole = len(data) // 6 * 6
        self._rest = data[whole:]
        samples = array("h", data[:whole])
        out = array("h", bytes(whole // 6 * 4))
        out[0::2] = samples[0::3]
        out[1::2] = array("h", [(a + b) // 2 for a, b in zip(samples[1::3], samples[2::3], strict=True)])
        return out.tobytes()


class LiveTranslation(Translation):
    """One client's link. ``stored`` are the protocol's sessions that can be forked; ``source`` is the one that is."""

    def __init__(self, stored: dict[str, Stored], source: Stored | None, *, now: float) -> None:
        self._stored = stored
        self._source = source
        self._mine: Stored | None = None
        self._session: dict[str, Any] = {}
        self._asked = False
        self._started = False
        self._said: list[str] = []
        self._acks: list[dict[str, Any]] = []
        self._count = 0
        self._closing: tuple[int, str] | None = None
        self._muted = False
        self._format = PCM16_24K
        self._up, self._down = Upsampler(), Downsampler()
        #: What the model is about to say: sound and words, in order.
        self._speech: deque[bytes | str] = deque()
        self._heard_ms = 0.0
        self._spoken_ms = 0.0
        self._usage_ms = _USAGE_EVERY
        self._speaking: dict[str, tuple[float, float]] = {}
        self._updating: str | None = None
        #: Frames for the engine that had to wait until its reply was over.
        self._later: list[dict[str, Any]] = []
        self._running: str | None = None
        self._nested: str | None = None
        self._backend_next = False
        self._text = ""
        #: Delegations to the client, and the engine's calls behind them.
        self._handed: dict[str, str] = {}

    # -- what the server asks

    @property
    def closing(self) -> tuple[int, str] | None:
        return self._closing

    def answers(self) -> Sequence[str]:
        self._move_on()
        said, self._said = self._said, []
        return said

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
            self._muted = kind.endswith(".mute")
            self._say(f"{kind}d", frame)
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
        self._format = _format_of(session["audio"]["format"])
        self._mine = Stored(session, deque(self._source.told if self._source else (), _MOST_TOLD))
        engine = {"type": "audio/pcm", "rate": 24_000}
        if self._format.encoding != "pcm16":
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
        self._heard_ms += self._format.ms(len(sound))
        if self._muted:
            sound = self._format.silence * (len(sound) // self._format.sample_width)
        if self._format == PCM16_16K:
            sound = self._up.push(sound, 16_000)
        audio = pybase64.b64encode_as_string(sound)
        return [{"type": "input_audio_buffer.append", "audio": audio}] if sound else []

    def _append(self, channel: str, frame: Mapping[str, Any]) -> Sequence[object]:
        about, text = frame.get("delegation_id"), frame["content"]
        call_id = None
        if about is not None:
            call_id = self._handed.get(about)
            if call_id is None or self._session["delegation"]["type"] != "client":
                raise Refusal("Unknown delegation.", "invalid_value", "delegation_id")
        self._acks.append(_answer(f"session.{channel}.appended", frame))
        if call_id is not None and channel == "commentary":
            del self._handed[about or ""]
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
            self._backend_next = True
            return self._when_idle([{"type": "response.create", "event_id": event_id}])
        item = frame["item"]
        if item.get("type") == "function_call_output":
            item = {key: item[key] for key in ("type", "call_id", "output")}
        return self._when_idle([{"type": "conversation.item.create", "event_id": event_id, "item": item}])

    def _when_idle(self, frames: list[dict[str, Any]]) -> Sequence[object]:
        """The engine takes one reply at a time; what would begin another waits for its end."""
        if self._running is None and not self._later:
            return frames
        self._later += frames
        return ()

    def _take_later(self) -> list[dict[str, Any]]:
        if self._running is not None:
            return []
        later, self._later = self._later, []
        return later

    def _tell(self, item: dict[str, Any]) -> None:
        if self._mine is not None:
            self._mine.told.append(item)

    # -- the timeline

    def _move_on(self) -> None:
        """As much goes out as has come in."""
        while self._started and self._closing is None and self._heard_ms - self._spoken_ms >= _STEP:
            start, self._spoken_ms = self._spoken_ms, self._spoken_ms + _STEP
            times: dict[str, Any] = {"start_ms": int(start), "end_ms": int(self._spoken_ms)}
            for ack in self._acks:
                self._put({**ack, "start_ms": times["start_ms"], "end_ms": times["start_ms"]})
            self._acks.clear()
            sound, words = self._next_sound()
            self._say("session.output_audio.delta", delta=pybase64.b64encode_as_string(sound), named=False)
            for text in words:
                self._say("session.output_transcript.delta", delta=text, **times)
            if self._spoken_ms >= self._usage_ms:
                self._usage_ms += _USAGE_EVERY
                self._say("session.usage.updated", usage=self._usage(), context_window={"usage_ratio": 0.01})

    def _next_sound(self) -> tuple[bytes, list[str]]:
        size = self._format.size(_STEP)
        sound, words = bytearray(), list[str]()
        while self._speech and len(sound) < size:
            piece = self._speech.popleft()
            if isinstance(piece, str):
                words.append(piece)
                continue
            room = size - len(sound)
            sound += piece[:room]
            if len(piece) > room:
                self._speech.appendleft(piece[room:])
        missing = (size - len(sound)) // self._format.sample_width
        return bytes(sound) + self._format.silence * missing, words

    def _usage(self) -> dict[str, Any]:
        return {"seconds": round(self._spoken_ms / 1000, 3)}

    # -- what the engine says

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        before, self._said = self._said, []
        self._write(frame["type"], frame)
        said, self._said = self._said, before
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
            self._write_heard(frame["transcript"], *self._speaking.pop(frame["item_id"], (self._heard_ms,) * 2))
        elif kind == "response.output_audio_transcript.delta":
            self._speech.append(frame["delta"])
            self._text += frame["delta"]
        elif kind == "response.output_audio.delta":
            sound = pybase64.b64decode(frame["delta"], validate=True)
            self._speech.append(self._down.push(sound) if self._format == PCM16_16K else sound)
        elif kind.startswith("response."):
            self._write_reply(kind, frame)

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
            self._say("session.started", session=self._session, **named)
        else:
            self._say("session.updated", session=self._session, **named)

    def _write_heard(self, words: str, start: float, end: float) -> None:
        if not words or not self._started:
            return
        self._tell(_item("user", [{"text": words}]))
        pieces = re.findall(r"\s*\S+", words)
        step = (end - start) / len(pieces)
        for index, piece in enumerate(pieces):
            times: dict[str, Any] = {"start_ms": int(start + step * index), "end_ms": int(start + step * (index + 1))}
            self._say("session.input_transcript.delta", delta=piece, **times)

    def _write_reply(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "response.created":
            self._running, self._text = frame["response"]["id"], ""
            self._nested = None
            if self._backend_next:
                self._backend_next = False
                self._nest_response()
        elif kind == "response.done":
            self._end_reply(frame["response"])
        elif frame.get("item", {}).get("type") == "function_call" or kind.startswith("response.function_call"):
            self._write_call(kind, frame)

    def _write_call(self, kind: str, frame: Mapping[str, Any]) -> None:
        if self._session["delegation"]["type"] == "client":
            if kind == "response.output_item.done":
                name = self._name("del")
                self._handed[name] = frame["item"]["call_id"]
                self._delegate({"id": name, "target": "client", "type": "delegation"})
            return
        if self._nested is None:
            name = self._name("del")
            self._delegate({"id": name, "target": "responses", "type": "delegation", "response_id": self._running})
            self._nest_response(name)
        inner = {key: value for key, value in frame.items() if key not in ("event_id", "response_id", "name")}
        self._nest(**inner)

    def _delegate(self, delegation: Mapping[str, Any]) -> None:
        self._say("session.delegation.created", delegation=delegation, offset_ms=int(self._spoken_ms))

    def _nest_response(self, delegation_id: str = "") -> None:
        self._nested = delegation_id
        self._nest(type="response.created", response={"id": self._running, "status": "in_progress", "output": []})

    def _nest(self, **event: Any) -> None:
        self._count += 1
        about: dict[str, Any] = {"delegation_id": self._nested} if self._nested else {}
        self._say("response.event", event={**event, "sequence_number": self._count}, **about)

    def _end_reply(self, response: Mapping[str, Any]) -> None:
        if response["status"] == "cancelled":
            self._speech.clear()
        elif self._text:
            self._tell(_item("assistant", [{"text": self._text}]))
        if self._nested is not None:
            if self._text:
                place = {"item_id": f"msg_{self._running}", "output_index": 0, "content_index": 0}
                self._nest(type="response.output_text.done", text=self._text, **place)
            status = response["status"] if response["status"] in ("completed", "failed") else "incomplete"
            ended: dict[str, Any] = {
                "id": self._running,
                "status": status,
                "output": [],
                "usage": _tokens(response["usage"] or {}),
            }
            self._nest(type=f"response.{status}", response=ended)
        elif response["status"] == "failed":
            error = (response.get("status_details") or {}).get("error") or {}
            self._fault({"message": error.get("message") or "The model failed.", "code": "server_error"})
        self._running = self._nested = None

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
            self._put(
                _answer("session.closed", frame) | {"reason": reason, "session": self._session, "usage": self._usage()}
            )
        self._closing = self._closing or (1000, "")

    def _refuse(self, refusal: Refusal, event_id: str | None) -> None:
        error = {"type": refusal.type, "code": refusal.code or "invalid_request", "message": refusal.message}
        if refusal.param is not None:
            error["param"] = refusal.param
        if event_id is not None:
            error["client_event_id"] = event_id
        self._say("error", error=error)

    def _say(self, type: str, frame: Mapping[str, Any] = {}, *, named: bool = True, **fields: Any) -> None:
        self._put({**_answer(type, frame), **fields}, named=named)

    def _put(self, said: Mapping[str, Any], *, named: bool = True) -> None:
        whole = {"event_id": self._name("event"), **said} if named else said
        self._said.append(msgspec.json.encode(whole).decode())

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_live_{self._count}"


def _answer(type: str, frame: Mapping[str, Any]) -> dict[str, Any]:
    named = frame.get("event_id")
    return {"type": type} if named is None else {"type": type, "client_event_id": named}


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


def _tokens(usage: Mapping[str, Any]) -> dict[str, Any]:
    counts = {key: usage.get(key, 0) for key in ("input_tokens", "output_tokens", "total_tokens")}
    return {
        **counts,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


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
