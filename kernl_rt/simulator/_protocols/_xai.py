"""xAI's Voice Agent API: OpenAI's protocol with another session object, another handshake and its own quirks.

Sources: recorded traffic, and xAI's reference. Ids that a client gives to its items are not kept. What is not played:
sound in binary frames, ``force_message``, and the tools that xAI calls by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from kernl_rt._transport.serve import Request
from kernl_rt.providers._fields import merge
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._openai import bearer, parse
from kernl_rt.simulator._protocols._resampler import Resampler
from kernl_rt.simulator._protocols._xai_schema import CHECKS, RATES, check_session
from kernl_rt.simulator._schema import Refusal

__all__ = ["XAI", "XAITranslation"]

#: The engine's requests that no client made.
_OURS = "simulator"
_KEY_SUBPROTOCOL = "xai-client-secret."
#: Conversations that are remembered.
_MOST_CONVERSATIONS = 1_000
_PCM = {"type": "audio/pcm", "rate": 24_000}
_TRANSCRIPTION = "conversation.item.input_audio_transcription."

Frame = dict[str, Any]


def engine_session(session: Mapping[str, Any]) -> Frame:
    """A checked ``session`` object in the engine's words; what the engine has no part in is left out."""
    out: Frame = {"type": "realtime"}
    for name in ("instructions", "tool_choice", "parallel_tool_calls", "max_output_tokens", "reasoning", "model"):
        if name in session:
            out[name] = session[name]
    if "tools" in session:
        out["tools"] = [tool for tool in session["tools"] or () if tool["type"] == "function"]
    audio = session.get("audio") or {}
    given = audio.get("input") or {}
    heard: Frame = {"format": _engine_format(given["format"])} if given.get("format") else {}
    if "transcription" in given:
        asked = given["transcription"]
        heard["transcription"] = asked and {"model": asked.get("model"), "language": asked.get("language_hint")}
    if "turn_detection" in session:
        heard["turn_detection"] = _detection(session["turn_detection"])
    output = audio.get("output") or {}
    said: Frame = {"format": _engine_format(output["format"])} if output.get("format") else {}
    if "speed" in output:
        said["speed"] = output["speed"]
    sides = {name: side for name, side in (("input", heard), ("output", said)) if side}
    return {**out, "audio": sides} if sides else out


def _engine_format(format: Mapping[str, Any]) -> Frame:
    return dict(_PCM) if format["type"] == "audio/pcm" else {"type": format["type"]}


def _detection(asked: Mapping[str, Any] | None) -> Frame | None:
    if asked is None or asked.get("type") is None:
        return None
    found = {name: value for name, value in asked.items() if value is not None}
    if "idle_timeout_ms" in found:
        found["idle_timeout_ms"] = min(max(found["idle_timeout_ms"], 5_000), 30_000)
    # It is echoed, and does nothing.
    return {**found, "create_response": True}


class XAITranslation(Translation):
    """One client's link. ``kept`` is what the protocol remembers of each conversation: the assistant's words."""

    def __init__(self, kept: dict[str, list[str]], conversation: str, *, known: bool, now: float) -> None:
        self._kept = kept
        self._conversation = conversation
        self._known = known
        self._now = now
        self._begun = False
        #: The engine will tell of our own update.
        self._silenced = False
        self._resumes = False
        self._session: Frame = {}
        self._said: list[str] = []
        self._rates = {"input": 24_000, "output": 24_000}
        self._resamplers: dict[str, Resampler] = {}
        self._manual = True
        self._buffered = 0
        #: Committed sound was answered, and nothing has been said since: requests for a reply are dropped.
        self._answered = False
        self._unheard: dict[str, str] = {}
        self._speaking: set[str] = set()
        self._restoring = 0

    # -- what the client says

    def answers(self) -> Sequence[str]:
        said, self._said = self._said, []
        return said

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        frame = parse(message)
        begin: list[object] = []
        if not self._begun:
            # The engine listens from the start; this service waits to be told.
            self._begun = self._silenced = True
            quiet = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            begin = [{"type": "session.update", "event_id": _OURS, "session": quiet}]
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            return [*begin, frame]
        try:
            if check := CHECKS.get(frame["type"]):
                check(frame, "")
            handle = _READ.get(frame["type"])
            return [*begin, *((frame,) if handle is None else handle(self, frame))]
        except Refusal as refusal:
            self._said.append(_refused(refusal, frame.get("event_id")))
            return begin

    def _update(self, frame: Frame) -> Sequence[object]:
        session = frame["session"]
        for side in ("input", "output"):
            format = ((session.get("audio") or {}).get(side) or {}).get("format") or {}
            if format.get("type") == "audio/pcm":
                rate = format.get("rate", 24_000)
                if rate not in RATES:
                    raise Refusal(f"Unsupported sample rate: {rate}.", "invalid_value", f"session.audio.{side}.format")
                self._rates[side] = rate
            elif format:
                self._rates[side] = 0  # as it is
            self._resamplers.clear()
        if "turn_detection" in session:
            self._manual = _detection(session["turn_detection"]) is None
        self._session = merge(self._session, session)
        self._resumes = bool((self._session.get("resumption") or {}).get("enabled"))
        restored: list[object] = []
        if self._resumes and self._known:
            self._known = False
            restored = [_assistant(text) for text in self._kept[self._conversation]]
            self._restoring = len(restored)
        return [*restored, {**frame, "session": engine_session(session)}]

    def _append(self, frame: Frame) -> Sequence[object]:
        audio = frame.get("audio")
        rate = self._rates["input"]
        if not isinstance(audio, str) or not rate:
            self._buffered += len(audio) if isinstance(audio, str) else 0
            return (frame,)
        try:
            sound = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            return (frame,)
        sound = self._resampled("input", rate, 24_000, sound)
        self._buffered += len(sound)
        return ({**frame, "audio": base64.b64encode(sound).decode()},)

    def _resampled(self, side: str, source: int, target: int, sound: bytes) -> bytes:
        if side not in self._resamplers:
            self._resamplers[side] = Resampler(source, target)
        return self._resamplers[side].push(sound)

    def _commit(self, frame: Frame) -> Sequence[object]:
        """Where nobody finds turns, a commit is answered by itself."""
        enough = self._buffered >= (4_800 if self._rates["input"] else 1_067)
        self._buffered = 0
        if not self._manual or not enough:
            return (frame,)
        self._answered = True
        return frame, {"type": "response.create", "event_id": _OURS}

    def _clear(self, frame: Frame) -> Sequence[object]:
        self._buffered, self._answered = 0, False
        return (frame,)

    def _item(self, frame: Frame) -> Sequence[object]:
        self._answered = False
        item = {name: value for name, value in frame["item"].items() if name not in ("id", "object", "status")}
        if item["type"] == "message":
            item["content"] = [dict(part) for part in item["content"]]
        return ({**frame, "item": item},)

    def _create(self, frame: Frame) -> Sequence[object]:
        if self._manual and self._answered:
            return ()
        asked = frame.get("response") or {}
        wishes = {"instructions": asked["instructions"]} if "instructions" in asked else {}
        return ({**frame, "response": wishes},)

    def _cancel(self, frame: Frame) -> Sequence[object]:
        self._answered = False
        return (frame,)

    def _ignore(self, frame: Frame) -> Sequence[object]:
        return ()

    # -- what the client is told

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        self._now = now
        kind = frame["type"]
        tell = _WRITE.get(kind)
        told = [dict(frame)] if tell is None else tell(self, dict(frame))
        # Every frame but the first names a predecessor, or says that it has none.
        return [
            _json(each if each["type"] == "session.created" else {"previous_item_id": None, **each}) for each in told
        ]

    def _created(self, frame: Frame) -> list[Frame]:
        self._model = frame["session"]["model"]
        session = {
            "id": frame["session"]["id"],
            "object": "realtime.session",
            "instructions": "",
            "voice": "ara",
            "modalities": ["audio"],
            "turn_detection": {"type": None},
            "tools": [],
            "model": self._model,
        }
        conversation = {"id": self._conversation, "object": "realtime.conversation"}
        name = frame["event_id"]
        return [
            {**frame, "session": session},
            {"type": "conversation.created", "event_id": f"{name}_c", "conversation": conversation},
            {"type": "ping", "event_id": f"{name}_p", "timestamp": int(self._now * 1000)},
        ]

    def _updated(self, frame: Frame) -> list[Frame]:
        if self._silenced:
            self._silenced = False
            return []
        session = {name: value for name, value in self._session.items() if name != "resumption"}
        if "tools" in session:
            session["tools"] = [_told_tool(tool) for tool in session["tools"] or ()]
        return [{**frame, "session": {**session, "model": self._model, "modalities": ["audio"]}}]

    def _speech_started(self, frame: Frame) -> list[Frame]:
        """The turn is an item from its first moment on."""
        name = frame["item_id"]
        self._speaking.add(name)
        content = [{"type": "input_audio", "transcript": ""}]
        item = {"id": name, "object": "realtime.item", "type": "message", "status": "in_progress", "role": "user"}
        added = {"type": "conversation.item.added", "event_id": f"{frame['event_id']}_i"}
        return [frame, {**added, "item": {**item, "content": content}}]

    def _added(self, frame: Frame) -> list[Frame]:
        item = _told_item(frame["item"])
        if item["id"] in self._speaking:
            self._speaking.discard(item["id"])
            return []
        if item["type"] == "message" and item["role"] == "assistant":
            if self._restoring:
                self._restoring -= 1
                item["content"] = [{"type": "text", "text": part["text"]} for part in item["content"]]
            elif item["status"] == "in_progress":
                item["content"] = []
        elif item["type"] != "message":
            item["role"] = "tool"
        return [{**frame, "item": item}]

    def _output_item(self, frame: Frame) -> list[Frame]:
        item = _told_item(frame["item"])
        item.pop("content", None)
        if item["type"] == "function_call":
            item["role"] = "user"
        return [{**frame, "item": item}]

    def _part_done(self, frame: Frame) -> list[Frame]:
        return [{name: value for name, value in frame.items() if name != "part"}]

    def _arguments(self, frame: Frame) -> list[Frame]:
        return [{name: value for name, value in frame.items() if name not in ("output_index", "obfuscation")}]

    def _words(self, frame: Frame) -> list[Frame]:
        return [{name: value for name, value in frame.items() if name != "obfuscation"}]

    def _audio(self, frame: Frame) -> list[Frame]:
        rate = self._rates["output"]
        if rate in (0, 24_000):
            return [frame]
        sound = self._resampled("output", 24_000, rate, base64.b64decode(frame["delta"]))
        return [{**frame, "delta": base64.b64encode(sound).decode()}]

    def _heard(self, frame: Frame) -> list[Frame]:
        """All that was understood so far, each time."""
        name = frame["item_id"]
        self._unheard[name] = self._unheard.get(name, "") + frame["delta"]
        place = {"item_id": name, "content_index": 0, "transcript": self._unheard[name]}
        updated = {**place, "type": f"{_TRANSCRIPTION}updated", "event_id": frame["event_id"]}
        so_far = {**place, "type": f"{_TRANSCRIPTION}completed", "event_id": f"{frame['event_id']}_s"}
        return [updated, {**so_far, "status": "in_progress"}]

    def _understood(self, frame: Frame) -> list[Frame]:
        self._unheard.pop(frame["item_id"], None)
        told = {name: value for name, value in frame.items() if name != "usage"}
        return [{**told, "status": "completed"}]

    def _response(self, frame: Frame) -> list[Frame]:
        response = frame["response"]
        output = [_told_item(item) for item in response["output"]]
        told = {"id": response["id"], "object": "realtime.response", "output": output, "status": response["status"]}
        frame["response"] = {**told, "status_details": "unimplemented", "usage": {}}
        if frame["type"] == "response.done":
            frame |= {"response_id": response["id"], "usage": response["usage"] or {}}
            self._remember(output)
        return [frame]

    def _remember(self, output: Sequence[Mapping[str, Any]]) -> None:
        if self._resumes:
            texts = ["".join(part.get("transcript") or "" for part in item.get("content", ())) for item in output]
            self._kept.setdefault(self._conversation, []).extend(text for text in texts if text)
            while len(self._kept) > _MOST_CONVERSATIONS:
                del self._kept[next(iter(self._kept))]

    def _error(self, frame: Frame) -> list[Frame]:
        error = frame["error"]
        if error["event_id"] == _OURS:
            return []
        if error["code"] == "session_expired":
            return [{**frame, "error": {**error, "type": "max_duration", "code": None}}]
        return [frame]

    def _nothing(self, frame: Frame) -> list[Frame]:
        return []


def _told_tool(tool: Mapping[str, Any]) -> Frame:
    """A function's fields stand one level deeper than they were sent."""
    if tool["type"] != "function":
        return dict(tool)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _told_item(item: Mapping[str, Any]) -> Frame:
    told = {"object": "realtime.item", "status": "completed", **item}
    if "content" in told:
        spoken = {"output_audio": "audio", "output_text": "text"}
        told["content"] = [{**part, "type": spoken.get(part["type"], part["type"])} for part in told["content"]]
    return told


def _assistant(text: str) -> Frame:
    content = [{"type": "output_text", "text": text}]
    item = {"type": "message", "role": "assistant", "content": content}
    return {"type": "conversation.item.create", "event_id": _OURS, "item": item}


def _refused(refusal: Refusal, event_id: object) -> str:
    error = {"type": refusal.type, "code": refusal.code, "message": refusal.message, "param": refusal.param}
    named = {**error, "event_id": event_id if isinstance(event_id, str) else None}
    return _json({"type": "error", "event_id": "event_refused", "error": named, "previous_item_id": None})


def _json(frame: object) -> str:
    return msgspec.json.encode(frame).decode()


_READ: Mapping[str, Callable[[XAITranslation, Frame], Sequence[object]]] = {
    "session.update": XAITranslation._update,
    "input_audio_buffer.append": XAITranslation._append,
    "input_audio_buffer.commit": XAITranslation._commit,
    "input_audio_buffer.clear": XAITranslation._clear,
    "conversation.item.create": XAITranslation._item,
    "conversation.item.truncate": XAITranslation._ignore,
    "response.create": XAITranslation._create,
    "response.cancel": XAITranslation._cancel,
}
_WRITE: Mapping[str, Callable[[XAITranslation, Frame], list[Frame]]] = {
    "session.created": XAITranslation._created,
    "session.updated": XAITranslation._updated,
    "input_audio_buffer.speech_started": XAITranslation._speech_started,
    "conversation.item.added": XAITranslation._added,
    "conversation.item.done": XAITranslation._nothing,
    "rate_limits.updated": XAITranslation._nothing,
    "response.created": XAITranslation._response,
    "response.done": XAITranslation._response,
    "response.output_item.added": XAITranslation._output_item,
    "response.output_item.done": XAITranslation._output_item,
    "response.content_part.done": XAITranslation._part_done,
    "response.output_audio.delta": XAITranslation._audio,
    "response.output_audio_transcript.delta": XAITranslation._words,
    "response.function_call_arguments.delta": XAITranslation._arguments,
    f"{_TRANSCRIPTION}delta": XAITranslation._heard,
    f"{_TRANSCRIPTION}completed": XAITranslation._understood,
    "error": XAITranslation._error,
}


class XAI(Protocol):
    base = "/v1"

    def __init__(self) -> None:
        self._kept: dict[str, list[str]] = {}
        self._numbers = count(1)

    def session_path(self, path: str) -> bool:
        return path == "/v1/realtime"

    def key_of(self, request: Request) -> str | None:
        tokens = (
            name.removeprefix(_KEY_SUBPROTOCOL) for name in request.subprotocols if name.startswith(_KEY_SUBPROTOCOL)
        )
        return bearer(request) or next(tokens, None)

    def model_of(self, request: Request) -> str | None:
        # Without one the service takes a model of its own choice, and says nothing.
        return request.query.get("model") or "grok-voice-latest"

    def minting(self, asked: Any) -> Any:
        """
        Raises:
            Refusal: the session is none of this protocol's.
        """
        if not isinstance(asked, dict) or not isinstance(asked.get("session"), dict):
            return asked
        check_session(asked["session"], "session")
        return {**asked, "session": engine_session(asked["session"])}

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        asked = request.query.get("conversation_id") or ""
        known = asked in self._kept
        name = asked if known else f"conv-{next(self._numbers):08d}"
        return XAITranslation(self._kept, name, known=known, now=now)
