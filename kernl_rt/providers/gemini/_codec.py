"""The Gemini Live protocol: frames to events and back. Pure translation; ids are counted.

Three things are special to it. Nothing that we say is acknowledged, so the codec says itself what has become of it
(:meth:`GeminiCodec.echoes`). Replies have no names and no beginnings, so :mod:`._turns` infers them. And while a call
waits for its result the service takes no sound and hangs up on whoever sends it, so sound is held back for so long.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pybase64
from attrs import evolve

from kernl_rt import events as ev
from kernl_rt.config import PCM16_16K, PCM16_24K, SessionConfig
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed, ProtocolError, SessionExpired
from kernl_rt.items import ConversationItem, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers._fields import Misfit
from kernl_rt.providers._json import read_object, write_json
from kernl_rt.providers._names import Names
from kernl_rt.providers.gemini._closing import expired, word_for
from kernl_rt.providers.gemini._config import encode_instructions, encode_setup, encode_tools, refusal_of_update
from kernl_rt.providers.gemini._contents import Refused, turn_of
from kernl_rt.providers.gemini._profile import Profile, profile_of
from kernl_rt.providers.gemini._turns import Turns
from kernl_rt.providers.gemini._wire import FRAME, Frame, FunctionCalled

__all__ = ["GeminiCodec"]

#: Sound that is held back while a call runs, in seconds; the oldest goes first.
HELD = 10.0
_ACTIVITY_START = '{"realtimeInput":{"activityStart":{}}}'
_ACTIVITY_END = '{"realtimeInput":{"activityEnd":{}}}'
_REPLY = '{"clientContent":{"turnComplete":true}}'
_VERBS = frozenset({"setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate"})
#: What is wrong with a key or an account is so also where a session was to be resumed.
_OF_THE_ACCOUNT = frozenset({"invalid_api_key", "insufficient_quota", "rate_limit_exceeded", "permission_denied"})


class GeminiCodec:
    """Translate one connection's frames.

    ``model`` is the model's full name on the wire. ``defaults`` is laid under the configuration; ``resume`` is the
    handle of a session to go on with. ``redact`` takes credentials out of what the other side says.
    """

    def __init__(
        self,
        model: str,
        *,
        defaults: SessionConfig | None = None,
        resume: str | None = None,
        profile: Profile | None = None,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._model = model
        self._profile = profile or profile_of(model)
        self._config = defaults or SessionConfig()
        self._resume = resume
        self._redact = redact
        self._names = Names("g")
        self._turns = Turns(self._names)
        #: The setup has been said; it has been taken.
        self._said_setup = False
        self._configured = False
        self._leaving = False
        #: Calls that wait for their results: their names, and whether the wire knows them by an id.
        self._calls: dict[str, tuple[str, bool]] = {}
        #: Calls of an earlier conversation, told as words together with their results.
        self._told: dict[str, FunctionCall] = {}
        self._held: deque[tuple[str, int]] = deque()
        self._held_size = 0
        self._talking = False
        #: A call's result was told in words, which asks for the reply to it.
        self._answering = False
        self._echoes: list[ServerEvent] = []

    # -- what the model says

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame.

        Never raises: a frame that cannot be understood is a ``SessionError`` with ``source="protocol"`` that says what
        is wrong and where, and nothing of it counts. What is unknown in a frame is a ``RawServerEvent``.
        """
        try:
            raw = read_object(message)
            frame: Frame = FRAME.decode(raw)
        except ProtocolError as error:
            said = f"server message: {error}" if isinstance(error, Misfit) else str(error)
            # A new error, because the traceback of this one would keep the frame alive.
            return (ev.SessionError(said, source="protocol", cause=ProtocolError(said)),)
        return self._events(frame, raw)

    def _events(self, frame: Frame, raw: dict[str, Any]) -> Sequence[ServerEvent]:
        out: list[ServerEvent] = []
        turns = self._turns
        if frame.setup is not None:
            out += self._set_up(frame.setup.session_id)
        if frame.usage is not None:
            turns.usage(frame.usage)
        for activity in (frame.activity, frame.signal):
            if activity is not None:
                out += turns.activity(activity)
        if frame.content is not None:
            out += turns.content(frame.content)
        if frame.tool_call is not None:
            out += turns.tool_call(tuple(frame.tool_call.calls), self._remember)
        if frame.cancellation is not None:
            for call_id in frame.cancellation.ids:
                self._calls.pop(call_id, None)
            out.append(ev.ToolCancelled(frame.cancellation.ids))
        if frame.go_away is not None:
            self._leaving = True
            out.append(ev.SessionExpiring(frame.go_away.time_left, extra=frame.go_away.extra))
        if (update := frame.resumption) is not None:
            resumable = update.resumable and bool(update.handle)
            out.append(ev.SessionResumable(update.handle if resumable else None, resumable, extra=update.extra))
        if frame.fault is not None:
            out.append(ev.SessionError(self._redact(frame.fault.message), frame.fault.status))
        unknown = {key: value for key, value in frame.extra.items() if value is not None}
        if unknown or not raw:
            out.append(ev.RawServerEvent(next(iter(unknown), ""), unknown))
        return out

    def _set_up(self, session_id: str | None) -> list[ServerEvent]:
        self._configured = True
        info = ev.SessionInfo(id=session_id, model=self._model, config=self._described())
        return [ev.SessionCreated(info), ev.SessionUpdated(info)]

    def _described(self) -> SessionConfig:
        return evolve(self._config, input_format=PCM16_16K, output_format=PCM16_24K, extra={})

    def _remember(self, call_id: str, call: FunctionCalled) -> None:
        self._calls[call_id] = (call.name, call.id is not None)

    # -- what we say

    def encode(self, event: ClientEvent) -> Sequence[str]:
        """The frames that say ``event``; none where the service needs none, or cannot be told (see :meth:`echoes`).

        Raises:
            MisconfiguredError: a value in it is not JSON.
        """
        try:
            match event:
                case ev.AudioInputAppend():
                    return self._append(event.audio)
                case ev.SessionUpdate():
                    return self._configure(event)
                case ev.ItemCreate():
                    return self._create(event)
                case ev.ToolResult():
                    return self._answer(event)
                case ev.ResponseCreate():
                    return self._ask(event)
                case ev.AudioInputCommit():
                    return self._commit(event)
                case ev.ActivityStart():
                    return self._realtime(self._begin_talking())
                case ev.ActivityEnd():
                    return self._realtime(self._end_talking())
                case ev.RawClientEvent():
                    return self._raw(event)
        except Refused as refusal:
            self._refuse(event, str(refusal))
            return ()
        self._refuse(event, f"Gemini's Live API has no {event.kind}")
        return ()

    def echoes(self) -> list[ServerEvent]:
        """What became of what was encoded since the last call, to be told once it has been written."""
        echoes, self._echoes = self._echoes, []
        return echoes

    def _refuse(self, event: ClientEvent, why: str) -> None:
        self._echoes.append(ev.SessionError(why, "unsupported", client_event_id=event.event_id))

    def _configure(self, event: ev.SessionUpdate) -> Sequence[str]:
        if not self._said_setup:
            self._said_setup = True
            self._names.link = "".join(re.findall(r"[0-9]", event.event_id or ""))[:8]
            self._config = self._config.merged(event.config)
            self._turns.written = self._config.output_modality == "text"
            return (write_json({"setup": encode_setup(self._config, self._model, self._profile, self._resume)}),)
        if (why := refusal_of_update(event.config, self._profile)) is not None:
            raise Refused(why)
        self._config = self._config.merged(event.config)
        said: dict[str, Any] = {}
        if event.config.instructions is not None:
            said["systemInstruction"] = encode_instructions(event.config.instructions)
        if event.config.tools is not None or event.config.tool_choice is not None:
            said["tools"] = {"tools": encode_tools(self._config, self._profile)}
        self._echoes.append(ev.SessionUpdated(ev.SessionInfo(model=self._model, config=self._described())))
        return (write_json({"contextUpdate": said}),) if said else ()

    def _ask(self, event: ev.ResponseCreate) -> Sequence[str]:
        config = event.config
        if config is not None and config.conversation == "none":
            raise Refused("Gemini replies in the conversation only")
        if self._turns.asked and self._answering:
            return ()  # the result that was told in words has asked for it already
        self._answering = False
        self._turns.asked = True
        return (_REPLY,)

    def _raw(self, event: ev.RawClientEvent) -> Sequence[str]:
        if len(event.data) != 1 or not _VERBS.intersection(event.data):
            raise Refused(
                f"a message of Gemini's has one key, of {', '.join(sorted(_VERBS))}: it would hang up over this"
            )
        return (write_json(dict(event.data)),)

    # -- the conversation

    def _create(self, event: ev.ItemCreate) -> Sequence[str]:
        if event.previous_item_id is not None:
            raise Refused("Gemini adds to the end of the conversation only; leave previous_item_id out")
        item = event.item
        self._names.taken(item.id)
        frames = self._say(item)
        named = item if item.id else evolve(item, id=self._names.new("item"))
        self._echoes.append(ev.ItemCreated(named))
        return frames

    def _say(self, item: ConversationItem) -> Sequence[str]:
        if isinstance(item, FunctionCall):
            # The service takes calls from nobody: it is told together with its result, in words.
            self._told[item.call_id or ""] = item
            return ()
        if isinstance(item, FunctionCallOutput):
            return (self._tell_result(item.call_id, item.output, None, complete=False),)
        if isinstance(item, Message):
            return (_content(turn_of(item), complete=False),)
        raise Refused(f"Gemini's Live API takes no {item.type} items")

    def _tell_result(self, call_id: str, output: str, name: str | None, *, complete: bool) -> str:
        call = self._told.pop(call_id, None)
        asked = f"{name or 'a tool'}" if call is None else f"{call.name}({call.arguments})"
        words = f"[The tool call {asked} returned: {output}]"
        return _content({"role": "user", "parts": [{"text": words}]}, complete=complete)

    def _answer(self, event: ev.ToolResult) -> Sequence[str]:
        output = FunctionCallOutput(event.call_id, event.output, id=event.item_id or self._names.new("item"))
        known = self._calls.pop(event.call_id, None)
        self._turns.asked = True
        self._echoes.append(ev.ItemCreated(output))
        if known is None:
            # A call of an earlier link: this one does not know its id, and would hang up over it.
            self._answering = True
            return (self._tell_result(event.call_id, event.output, event.name, complete=True), *self._release())
        name, named = known
        response: dict[str, Any] = {"id": event.call_id} if named else {}
        response["name"] = name
        response["response"] = {"error" if event.is_error else "output": event.output}
        return (write_json({"toolResponse": {"functionResponses": [response]}}), *self._release())

    # -- the human's sound

    def _append(self, audio: bytes) -> Sequence[str]:
        self._turns.listened = True
        frames = self._begin_talking() if self._manual else []
        sound = pybase64.b64encode_as_string(audio)
        said = f'{{"realtimeInput":{{"audio":{{"data":"{sound}","mimeType":"audio/pcm;rate=16000"}}}}}}'
        return self._realtime(frames, (said, len(audio)))

    @property
    def _manual(self) -> bool:
        detection = self._config.turn_detection
        return detection is not None and detection.mode == "off"

    def _begin_talking(self) -> list[str]:
        if not self._manual:
            raise Refused("Gemini takes activity signals only where turn detection is off")
        begins, self._talking = not self._talking, True
        return [_ACTIVITY_START] if begins else []

    def _end_talking(self) -> list[str]:
        if not self._manual:
            raise Refused("Gemini takes activity signals only where turn detection is off")
        ends, self._talking = self._talking, False
        return [_ACTIVITY_END] if ends else []

    def _commit(self, event: ev.AudioInputCommit) -> Sequence[str]:
        if not self._manual:
            # What is left is that the stream pauses here, so that the detection need not wait for more of it.
            self._echoes += self._turns.commit(event.event_id)
            return self._realtime(['{"realtimeInput":{"audioStreamEnd":true}}'])
        if not self._talking:
            raise Refused("nothing to commit: no audio was sent since the last commit")
        self._echoes += self._turns.commit(event.event_id)
        return self._realtime(self._end_talking())

    def _realtime(self, frames: Sequence[str], sound: tuple[str, int] | None = None) -> Sequence[str]:
        """Realtime input, in order; held back while a call waits for its result."""
        self._held.extend((frame, 0) for frame in frames)
        if sound is not None:
            self._held.append(sound)
            self._held_size += sound[1]
        if self._calls:
            self._trim()
            return ()
        return self._release()

    def _release(self) -> list[str]:
        if self._calls:
            return []
        frames = [frame for frame, _ in self._held]
        self._held.clear()
        self._held_size = 0
        return frames

    def _trim(self) -> None:
        """Forget the oldest sound. What begins and ends a turn keeps its place."""
        kept: list[tuple[str, int]] = []
        while self._held_size > HELD * PCM16_16K.bytes_per_second:
            frame, size = self._held.popleft()
            self._held_size -= size
            if not size:
                kept.append((frame, size))
        self._held.extendleft(reversed(kept))

    # -- how it ends

    def last_words(self, error: ConnectionClosed) -> list[ServerEvent]:
        """What the end of the link says besides: before the setup was taken, why it was refused."""
        if self._configured or not self._said_setup or not error.reason:
            return []
        word = word_for(error.reason)
        if self._resume is not None and word not in _OF_THE_ACCOUNT:
            # The handle is of no use any more: another attempt goes without.
            return [ev.SessionError(self._redact(error.reason), word, "server_error")]
        passing = error.code not in (1007, 1008) and word is None
        return [ev.SessionError(self._redact(error.reason), word, "server_error" if passing else None)]

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        """What the end of the link means: after a ``goAway``, or where the reason says so, the end of its time."""
        if (reason := self._redact(error.reason)) != error.reason:
            ConnectionClosed.__init__(error, error.code, reason)  # in place: the original stays in the chain of causes
        if self._configured and (self._leaving or expired(error.reason)) and not isinstance(error, SessionExpired):
            return SessionExpired(error.code, error.reason)
        return error


def _content(turn: dict[str, Any], *, complete: bool) -> str:
    return write_json({"clientContent": {"turns": [turn], "turnComplete": complete}})
