"""The protocol itself: frames in, frames out, and what to think and listen about. Pure.

``receive`` takes a client's frame, ``poll`` gives the frames that are due, ``deadline`` says when the next one will
be. The engine never waits and has no clock: time comes in as ``now``. What takes real work leaves it as ``jobs`` (a
reply to think of, a turn to listen to) and comes back through ``reply`` and ``words``, or ``fail_reply`` and
``fail_words``.

House rules: a refused request changes nothing and costs one ``error`` frame; at most one reply is under way in the
conversation; each ``response.created`` is followed by exactly one ``response.done``, unless the session itself ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import pybase64

from kernl_rt.config import AudioFormat
from kernl_rt.simulator._conversation import Conversation, Item
from kernl_rt.simulator._faults import Faults
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._input import InputBuffer
from kernl_rt.simulator._reply import Listening, Pace, Reply, Thinking
from kernl_rt.simulator._requests import check_request
from kernl_rt.simulator._response import Response, snapshot
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._session import Session
from kernl_rt.simulator._transcripts import Transcripts
from kernl_rt.simulator._turns import context_of, turn_of, usage_of, wishes_of
from kernl_rt.simulator._vad import Boundary

__all__ = ["Engine"]

#: The provider's limit for the sound in one append.
_LONGEST_APPEND = 15 * 2**20
_SHORTEST_COMMIT_MS = 100
#: Replies beside the conversation that may run at once: the simulator's own bound.
_MOST_REPLIES = 16


class Engine:
    """One session's server side."""

    def __init__(
        self,
        *,
        now: float,
        ids: Ids | None = None,
        model: str = "simulator",
        kind: Literal["realtime", "transcription"] = "realtime",
        expires_at: int = 0,
        duration: float = 3600.0,
        pace: Pace | None = None,
        faults: Faults | None = None,
        rate_limits: bool = False,
        session: Mapping[str, Any] | None = None,
    ) -> None:
        """``session`` is a ``session`` object to begin with, as an ephemeral credential carries it.

        Raises:
            Refusal: that object may not be.
        """
        self._ids = ids or Ids()
        self._pace = pace or Pace()
        self._faults = faults or Faults()
        self._duration = duration
        self._expires = now + duration
        self._rate_limits = rate_limits
        self._conversation = Conversation()
        self._conversation_id = self._ids.new("conv")
        self._session = Session(self._ids.new("sess"), model, expires_at, kind=kind)
        self._input = InputBuffer()
        self._speech: tuple[str, int] | None = None
        self._idle_at: float | None = None
        self._idle_from_ms = 0.0
        self._has_spoken = False
        self._previous_total = 0
        self._responses: dict[str, Response] = {}
        self._listening: dict[str, Item] = {}
        self._outbox: list[dict[str, Any]] = []
        self._jobs: list[Thinking | Listening] = []
        self._transcripts = Transcripts(self._ids, self._pace, self._emit)
        self._now = now
        #: The close code and reason, once the session has ended; what ``poll`` still gives comes before.
        self.closing: tuple[int, str] | None = None
        if session is not None:
            self._session.update(session, has_spoken=False)
        self._configure_input()
        self._emit("session.created", session=self._session.shown())

    # -- the four verbs of a pure half

    def receive(self, frame: object, now: float) -> None:
        """Take one decoded frame from the client: any JSON value."""
        self._advance(now)
        if self.closing is not None:
            return
        event_id = frame.get("event_id") if isinstance(frame, dict) else None
        try:
            request = check_request(frame)
            _HANDLERS[request["type"]](self, request)
        except Refusal as refusal:
            self._refuse(refusal, event_id if isinstance(event_id, str) else None)

    def refuse_message(self, why: str, now: float) -> None:
        """Answer a message that is no JSON at all."""
        self._advance(now)
        if self.closing is None:
            self._refuse(Refusal(why, "invalid_json"), None)

    def poll(self, now: float) -> list[dict[str, Any]]:
        """Every frame that is due, in order. Frames are the caller's to keep."""
        self._advance(now)
        frames, self._outbox = self._outbox, []
        return frames

    @property
    def deadline(self) -> float | None:
        """When ``poll`` will have something to do without any other input; ``None`` after the end."""
        if self.closing is not None:
            return None
        moments = [self._expires, self._idle_at, self._transcripts.due]
        moments += [response.due for response in self._responses.values()]
        return min(moment for moment in moments if moment is not None)

    @property
    def pending(self) -> int:
        """How many frames wait to be polled."""
        return len(self._outbox)

    def awaits(self, response_id: str) -> bool:
        """Whether anybody still waits for this reply to be thought of."""
        return self.closing is None and response_id in self._responses

    def jobs(self) -> list[Thinking | Listening]:
        """What there is to think and listen about, each once."""
        jobs, self._jobs = self._jobs, []
        return jobs

    # -- what comes back from brain and ears

    def reply(self, response_id: str, reply: Reply, now: float) -> None:
        """The brain's answer to a ``Thinking``. One that comes too late is dropped."""
        self._advance(now)
        response = self._responses.get(response_id)
        if response is None or self.closing is not None:
            return
        if reply.failure is not None or self._faults.take("failing_replies"):
            self.fail_reply(response_id, reply.failure or "The simulator was asked to fail this reply.", now)
        else:
            response.plan(reply, self._now)
            self._advance(now)

    def fail_reply(self, response_id: str, message: str, now: float) -> None:
        """The brain could not answer: the reply ends as ``failed``."""
        self._advance(now)
        response = self._responses.get(response_id)
        if response is not None and self.closing is None:
            response.fail(message)
            self._finished(response)

    def words(self, item_id: str, text: str, now: float) -> None:
        """What the ears made of a ``Listening``."""
        self._heard(item_id, text, now)

    def fail_words(self, item_id: str, message: str, now: float) -> None:
        """The ears failed: the item stays without words."""
        self._heard(item_id, "", now, failure=message)

    def _heard(self, item_id: str, text: str, now: float, failure: str | None = None) -> None:
        self._advance(now)
        item = self._listening.pop(item_id, None)
        if item is None or self.closing is not None:
            return
        item.heard = text
        self._transcripts.heard(item, text, failure, self._now)
        for response in self._responses.values():
            response.waiting_for.discard(item_id)
        self._think()

    # -- time

    def _advance(self, now: float) -> None:
        """Everything that happens by itself until ``now``."""
        self._now = max(now, self._now)
        if self.closing is not None:
            return
        if self._now >= self._expires:
            return self._expire()
        for response in list(self._responses.values()):
            if response.created_at is not None and response.created_at <= self._now:
                self._announce(response)
            response.advance(self._now)
            self._has_spoken = self._has_spoken or response.first_audio_at is not None
            self._finished(response)
        self._transcripts.advance(self._now)
        if self._idle_at is not None and self._idle_at <= self._now:
            self._idle_timeout()

    def _expire(self) -> None:
        minutes = self._duration / 60
        text = f"Your session hit the maximum duration of {minutes:g} minutes."
        self._emit("error", error=_error(Refusal(text, "session_expired"), None))
        self.closing = (1001, text)
        self._responses.clear()

    # -- frames

    def _emit(self, type: str, **fields: Any) -> None:
        self._outbox.append({"type": type, "event_id": self._ids.new("event"), **fields})

    def _refuse(self, refusal: Refusal, event_id: str | None) -> None:
        self._emit("error", error=_error(refusal, None if self._faults.anonymous_errors else event_id))

    # -- the session

    def _update_session(self, request: Mapping[str, Any]) -> None:
        before = (self._session.input_format, self._session.turn_detection)
        servers = _servers(self._session["tools"])
        self._session.update(request["session"], has_spoken=self._has_spoken)
        if (self._session.input_format, self._session.turn_detection) != before:
            self._configure_input()
        self._emit("session.updated", session=self._session.shown())
        for label in sorted(_servers(self._session["tools"]) - servers):
            self._refuse_mcp(label)

    def _refuse_mcp(self, label: str) -> None:
        """The simulator reaches no tool server, and says so as the provider does when it cannot reach one."""
        item_id = self._ids.new("mcpl")
        self._emit("mcp_list_tools.in_progress", item_id=item_id)
        self._emit("mcp_list_tools.failed", item_id=item_id)

    # -- the conversation

    def _create_item(self, request: Mapping[str, Any]) -> None:
        item = self._item(request["item"])
        previous = self._conversation.add(item, request.get("previous_item_id"))
        self._announce_item(item, previous)
        if item.audio:
            self._listen(item, self._session.input_format, transcribe=False)

    def _item(self, given: Mapping[str, Any]) -> Item:
        """A new item as the conversation keeps it: the client's fields, in the order that is recorded."""
        shown: dict[str, Any] = {"id": given.get("id") or self._ids.new("item"), "type": given["type"]}
        audio = b""
        if given["type"] == "message":
            parts = []
            for index, part in enumerate(given["content"]):
                if part["type"] == "input_audio":
                    audio += _audio(part["audio"], f"item.content[{index}].audio", self._session.input_format)
                    part = {"type": "input_audio", "transcript": part.get("transcript")}
                parts.append(dict(part))
            shown |= {"status": "completed", "role": given["role"], "content": parts}
        elif given["type"] == "function_call":
            call_id = given.get("call_id") or self._ids.new("call", 16)
            shown |= {"status": "completed", "name": given["name"], "call_id": call_id, "arguments": given["arguments"]}
        elif given["type"] == "function_call_output":
            if self._conversation.call(given["call_id"]) is None:
                raise Refusal(f"Tool call ID '{given['call_id']}' not found in conversation.", "invalid_tool_call_id")
            shown |= {"call_id": given["call_id"], "output": given["output"]}
        else:
            raise Refusal(
                f"Approval request '{given['approval_request_id']}' not found in conversation.", "item_not_found"
            )
        return Item(shown, audio, self._session.input_format.ms(len(audio)))

    def _announce_item(self, item: Item, previous: str | None) -> None:
        self._emit("conversation.item.added", previous_item_id=previous, item=snapshot(item))
        self._emit("conversation.item.done", previous_item_id=previous, item=snapshot(item))

    def _find(self, request: Mapping[str, Any], verb: str, doing: str) -> Item:
        item = self._conversation.find(request["item_id"])
        if item is None:
            raise Refusal(
                f"Error {doing} item: the item with id '{request['item_id']}' does not exist.",
                f"item_{verb}_invalid_item_id",
            )
        return item

    def _retrieve_item(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "retrieve", "retrieving")
        shown = snapshot(item)
        if item.audio:
            for part in shown.get("content", ()):
                if part["type"] in ("input_audio", "output_audio"):
                    part["audio"] = pybase64.b64encode(item.audio).decode()
        self._emit("conversation.item.retrieved", item=shown)

    def _delete_item(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "delete", "deleting")
        self._conversation.remove(item)
        self._emit("conversation.item.deleted", item_id=item.id)

    def _truncate_item(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "truncate", "truncating")
        end = request["audio_end_ms"]
        spoken = item.type == "message" and item.shown["role"] == "assistant" and item.audio_ms > 0
        if not spoken or request["content_index"] != 0:
            raise Refusal("Only model output audio messages can be truncated", "unsupported_content_type")
        if end > item.audio_ms:
            raise Refusal(
                f"Audio content of {int(item.audio_ms)}ms is already shorter than {end}ms",
                "invalid_value",
                "audio_end_ms",
            )
        # What was not heard must not be remembered, and nobody knows which words those were: all of them go.
        item.truncated = True
        item.audio = item.audio[: int(len(item.audio) * end / item.audio_ms) // 2 * 2]
        item.audio_ms = end if item.complete else item.audio_ms
        for part in item.shown["content"]:
            part["transcript"] = None
        self._emit("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end)

    # -- what is heard

    def _configure_input(self) -> None:
        self._input.configure(self._session.input_format, self._session.turn_detection)
        self._speech = None
        self._idle_at = None

    def _append(self, request: Mapping[str, Any]) -> None:
        for boundary in self._input.append(_audio(request["audio"], "audio", self._session.input_format)):
            if boundary.kind == "started":
                self._speech_started(boundary)
            else:
                self._speech_stopped(boundary)

    def _speech_started(self, boundary: Boundary) -> None:
        item_id = self._ids.new("item")
        self._speech = (item_id, boundary.ms)
        self._idle_at = None
        self._emit("input_audio_buffer.speech_started", audio_start_ms=boundary.ms, item_id=item_id)
        active = self._active()
        if active is not None and (self._session.turn_detection or {}).get("interrupt_response"):
            self._cancel(active, "turn_detected")

    def _speech_stopped(self, boundary: Boundary) -> None:
        assert self._speech is not None
        item_id, start = self._speech
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=boundary.ms, item_id=item_id)
        self._commit_audio(item_id, self._input.take(start, boundary.ms))
        if (self._session.turn_detection or {}).get("create_response") and self._session.kind == "realtime":
            self._answer_turn()

    def _answer_turn(self) -> None:
        try:
            self._create_response({})
        except Refusal as refusal:
            # interrupt_response is off and the last reply still runs: this turn gets none.
            self._refuse(refusal, None)

    def _commit(self, request: Mapping[str, Any]) -> None:
        held = self._input.ms
        if held < _SHORTEST_COMMIT_MS:
            raise Refusal(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {held:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        item_id = self._speech[0] if self._speech is not None else self._ids.new("item")
        audio = self._input.take()
        self._input.clear(detection=self._session.turn_detection)
        self._commit_audio(item_id, audio)

    def _commit_audio(self, item_id: str, audio: bytes) -> None:
        self._speech = None
        self._idle_at = None
        previous = self._conversation.last_id
        content = [{"type": "input_audio", "transcript": None}]
        item = Item(
            {"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content},
            audio,
            self._session.input_format.ms(len(audio)),
        )
        self._emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        self._conversation.add(item)
        self._announce_item(item, previous)
        self._conversation.forget_old_audio()
        self._listen(item, self._session.input_format, transcribe=self._session.transcription is not None)

    def _listen(self, item: Item, format: AudioFormat, *, transcribe: bool) -> None:
        self._listening[item.id] = item
        if transcribe:
            self._transcripts.expect(item.id, self._session.transcription or {})
        self._jobs.append(Listening(item.id, item.audio, format))

    def _clear(self, request: Mapping[str, Any]) -> None:
        self._input.clear(detection=self._session.turn_detection)
        self._speech = None
        self._emit("input_audio_buffer.cleared")

    def _idle_timeout(self) -> None:
        """Nobody has spoken since the last reply was heard: the silence becomes a turn, and is answered."""
        item_id = self._ids.new("item")
        start, end = int(self._idle_from_ms), int(self._input.position_ms)
        self._emit("input_audio_buffer.timeout_triggered", audio_start_ms=start, audio_end_ms=end, item_id=item_id)
        self._commit_audio(item_id, self._input.take())
        self._answer_turn()

    def _wait_for_user(self, response: Response) -> None:
        detection = self._session.turn_detection or {}
        timeout = detection.get("idle_timeout_ms")
        if timeout is None or response.conversation is None or response.status != "completed":
            return
        began = self._now if response.first_audio_at is None else response.first_audio_at
        heard_at = max(self._now, began + response.audio_ms / 1000)
        self._idle_at = heard_at + timeout / 1000
        self._idle_from_ms = self._input.position_ms

    # -- replies

    def _active(self) -> Response | None:
        """The reply under way in the conversation."""
        return next((found for found in self._responses.values() if found.conversation is not None), None)

    def _ask_response(self, request: Mapping[str, Any]) -> None:
        if self._session.kind != "realtime":
            raise Refusal("Responses cannot be created in a transcription session.", "invalid_value", "type")
        if self._active() is None and self._faults.take("lost_races"):
            self._create_response({})
        self._create_response(request.get("response") or {}, delay=self._faults.created_delay)

    def _create_response(self, asked: Mapping[str, Any], delay: float = 0.0) -> None:
        beside = asked.get("conversation") == "none"
        active = self._active()
        if active is not None and not beside:
            raise Refusal(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        if len(self._responses) >= _MOST_REPLIES:
            raise Refusal(f"The simulator runs {_MOST_REPLIES} responses at once at most.", "rate_limit_exceeded")
        items = None if asked.get("input") is None else [self._referred(given) for given in asked["input"]]
        wishes = wishes_of(self._session, asked, items)
        response = Response(
            self._ids.new("resp"),
            wishes,
            conversation=None if beside else self._conversation,
            conversation_id=None if beside else self._conversation_id,
            ids=self._ids,
            emit=self._emit,
            pace=self._pace,
        )
        response.created_at = self._now + delay
        self._idle_at = None
        self._responses[response.id] = response
        for item in items or ():
            if item.audio and item.heard is None and item.id not in self._listening:
                self._listen(item, self._session.input_format, transcribe=False)
        if delay <= 0:
            self._announce(response)

    def _referred(self, given: Mapping[str, Any]) -> Item:
        if given["type"] != "item_reference":
            return self._item(given)
        item = self._conversation.find(given["id"])
        if item is None:
            raise Refusal(f"Item with id '{given['id']}' not found.", "item_not_found", "response.input")
        return item

    def _announce(self, response: Response) -> None:
        response.created_at = None
        self._emit("response.created", response=response.shown())
        context = context_of(self._conversation, response)
        response.waiting_for = {item.id for item in context if item.id in self._listening}
        self._think()

    def _think(self) -> None:
        for response in self._responses.values():
            if response.thinking or response.waiting_for or response.created_at is not None:
                continue
            response.thinking = True
            context = context_of(self._conversation, response)
            if response.wishes.input is None and response.conversation is not None:
                response.answers = context
            response.usage = usage_of(context, response.wishes, self._previous_total)
            wishes = response.wishes
            voice = wishes.voice if isinstance(wishes.voice, str) else str(wishes.voice["id"])
            self._jobs.append(
                Thinking(
                    response.id,
                    turn_of(context, self._conversation, wishes),
                    wishes.modality == "audio",
                    wishes.format,
                    voice,
                    wishes.speed,
                )
            )

    def _ask_cancel(self, request: Mapping[str, Any]) -> None:
        asked = request.get("response_id")
        response = self._active() if asked is None else self._responses.get(asked)
        # One that has not been announced yet does not exist for the client, and cannot be cancelled.
        if response is None or response.created_at is not None:
            raise Refusal("Cancellation failed: no active response found", "response_cancel_not_active")
        self._cancel(response, "client_cancelled")

    def _cancel(self, response: Response, reason: Literal["turn_detected", "client_cancelled"]) -> None:
        if response.created_at is not None:
            response.created_at = None
            self._emit("response.created", response=response.shown())
        response.cancel(reason)
        self._finished(response)

    def _finished(self, response: Response) -> None:
        """If it has ended: forget it, and do what follows the end of a reply."""
        if response.status == "in_progress" or response.id not in self._responses:
            return
        del self._responses[response.id]
        self._previous_total = response.usage.total
        for item in response.answers if response.status == "completed" else ():
            item.answered = True
        self._conversation.forget_old_audio()
        if self._rate_limits:
            used = {"requests": 1, "tokens": response.usage.total}
            limits = {"requests": 1_000, "tokens": 50_000}
            shown = [
                {"name": name, "limit": limits[name], "remaining": max(0, limits[name] - used[name]), "reset_seconds": 1.0}
                for name in limits
            ]
            self._emit("rate_limits.updated", rate_limits=shown)
        self._wait_for_user(response)

    def _no_output_buffer(self, request: Mapping[str, Any]) -> None:
        raise Refusal("The output audio buffer exists only over WebRTC and SIP, not over a WebSocket.", None, "type")


_Handler = Callable[[Engine, Mapping[str, Any]], None]
_HANDLERS: dict[str, _Handler] = {
    "session.update": Engine._update_session,
    "input_audio_buffer.append": Engine._append,
    "input_audio_buffer.commit": Engine._commit,
    "input_audio_buffer.clear": Engine._clear,
    "conversation.item.create": Engine._create_item,
    "conversation.item.retrieve": Engine._retrieve_item,
    "conversation.item.truncate": Engine._truncate_item,
    "conversation.item.delete": Engine._delete_item,
    "response.create": Engine._ask_response,
    "response.cancel": Engine._ask_cancel,
    "output_audio_buffer.clear": Engine._no_output_buffer,
}


def _error(refusal: Refusal, event_id: str | None) -> dict[str, Any]:
    return {
        "type": refusal.type,
        "code": refusal.code,
        "message": refusal.message,
        "param": refusal.param,
        "event_id": event_id,
    }


def _servers(tools: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(tool["server_label"]) for tool in tools if tool["type"] == "mcp"}


_SPOKEN_OF = {"pcm16": "mono PCM16 at 24kHz", "g711_ulaw": "G.711 u-law at 8kHz", "g711_alaw": "G.711 a-law at 8kHz"}


def _audio(text: str, param: str, format: AudioFormat) -> bytes:
    """Base64 sound as bytes.

    Raises:
        Refusal: it is not base64, or longer than one event may hold.
    """
    if len(text) > math.ceil(_LONGEST_APPEND / 3) * 4:
        raise Refusal(
            f"Invalid '{param}': audio too long. Expected at most {_LONGEST_APPEND} bytes of audio.",
            "invalid_value",
            param,
        )
    try:
        return pybase64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise Refusal(
            f"Invalid '{param}'. Expected base64-encoded audio bytes ({_SPOKEN_OF[format.encoding]}) "
            "but got an invalid value.",
            "invalid_value",
            param,
        ) from error
