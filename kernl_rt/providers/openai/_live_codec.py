"""The OpenAI Live protocol: frames to events and back. Pure translation; ids are counted.

Three things are special to it. Nobody takes turns, so replies and turns are inferred from the timeline
(:mod:`._live_spans`). The Live model calls no tools: it hands work over (:mod:`._live_work`). And it takes no messages:
what is written to it is appended to what it knows, and that it shall speak is an instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pybase64
from attrs import evolve

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, ProtocolError, SessionExpired
from kernl_rt.items import ConversationItem, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers._dialect._codec import event_id_of, name_of
from kernl_rt.providers._fields import Misfit
from kernl_rt.providers._json import read_object, write_json
from kernl_rt.providers._names import Names
from kernl_rt.providers.openai._live_config import (
    Delegation,
    check_live,
    describe,
    encode_fork,
    encode_start,
    encode_update,
    refusal_of_update,
)
from kernl_rt.providers.openai._live_spans import Spans
from kernl_rt.providers.openai._live_wire import (
    SERVER,
    Appended,
    Closed,
    Delegated,
    Fault,
    Fragment,
    Muted,
    Nested,
    Session,
    Sound,
    Usage,
)
from kernl_rt.providers.openai._live_work import Work

__all__ = ["PAUSE", "LiveCodec"]

#: Milliseconds of silence that end a reply.
PAUSE = 1_000.0
#: What makes the model speak that was told something.
SPEAK = "Respond to the user now, aloud."
#: Characters in one append: 500 tokens are the most, and some scripts need one for each character.
_PIECE = 450
#: Appends that wait for their acknowledgement.
_MOST_WAITING = 256
Channel = Literal["commentary", "thinking", "instructions"]


class _Refused(Exception):
    """It cannot be said in this protocol; the text says what to do instead."""


class LiveCodec:
    """Translate one connection's frames.

    ``defaults`` is laid under the configuration; ``resume`` says that this is a fork of a stored session. ``pause`` is
    in milliseconds. ``redact`` takes credentials out of what the other side says.
    """

    def __init__(
        self,
        model: str,
        *,
        delegation: Delegation | None = None,
        defaults: SessionConfig | None = None,
        store: bool = False,
        resume: bool = False,
        pause: float = PAUSE,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._model = model
        self._delegation = delegation or Delegation()
        self._config = defaults or SessionConfig()
        self._store = store
        self._resume = resume
        self._redact = redact
        self._names = Names("live")
        self._spans = Spans(self._names, pause)
        self._work = Work(self._spans)
        self._said_start = False
        self._started = False
        self._seconds = 0.0
        #: What was appended, by event id: the item that it tells, or ``None`` for the wish that the model speaks.
        self._waiting: dict[str, ConversationItem | None] = {}
        #: Calls of an earlier conversation, told as words together with their results.
        self._told: dict[str, FunctionCall] = {}
        self._echoes: list[ServerEvent] = []
        self._expired = False
        #: Why the provider said that the session is over.
        self.reason: str | None = None

    @property
    def open(self) -> bool:
        """The session has begun and has not ended."""
        return self._started and self.reason is None

    # -- what the model says

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame.

        Never raises: a frame that cannot be understood is a ``SessionError`` with ``source="protocol"`` that says what
        is wrong and where; one of an unknown type is a ``RawServerEvent``.
        """
        frame: Any = None
        try:
            frame = read_object(message)
            name = name_of(frame)
            struct = SERVER.get(name)
            if struct is None:
                return (ev.RawServerEvent(name, frame, event_id=event_id_of(frame)),)
            try:
                return self._events(name, struct.decode(frame))
            except Misfit as misfit:
                raise ProtocolError(f"{name}: {misfit}") from None
        except ProtocolError as error:
            # A new error, because the traceback of this one would keep the frame alive.
            cause = ProtocolError(str(error))
            left = self._spans.taken()
            return (*left, ev.SessionError(str(error), source="protocol", cause=cause, event_id=event_id_of(frame)))

    def _events(self, name: str, said: Any) -> Sequence[ServerEvent]:
        spans = self._spans
        match said:
            case Sound():
                spans.sound(said)
            case Fragment():
                (spans.heard if "input" in name else spans.spoken)(said)
            case Nested():
                return self._work.nested(said)
            case Session():
                return self._described(name, said)
            case Appended():
                return self._appended(name, said)
            case Muted():
                return (ev.InputMuted(name.endswith(".muted"), event_id=said.event_id, extra=_named(said)),)
            case Delegated():
                return self._delegated(said)
            case Usage():
                more = {} if said.context_window is None else {"context_window": said.context_window}
                return self._used(said.usage.seconds, said.event_id, {**more, **_named(said)})
            case Closed():
                return self._closed(said)
            case Fault():
                return (self._fault(said),)
        return spans.taken()

    def _described(self, name: str, said: Session) -> Sequence[ServerEvent]:
        info = describe(said.session, self._config)
        if info.config.output_format is not None:
            self._spans.format = info.config.output_format
        updated = ev.SessionUpdated(info, event_id=said.event_id, extra=_named(said))
        if name == "session.updated":
            return (updated,)
        self._started = True
        out: list[ServerEvent] = [ev.SessionCreated(info, event_id=said.event_id, extra=_named(said)), updated]
        stored = said.session.get("store")
        if info.id and (stored is True or (stored is None and self._store)):
            out.append(ev.SessionResumable(info.id))
        return out

    def _appended(self, name: str, said: Appended) -> Sequence[ServerEvent]:
        channel: Any = name.split(".")[1]
        self._spans.reach(said.start_ms)
        told = ev.ContextAppended(
            channel, said.start_ms, said.end_ms, said.client_event_id, event_id=said.event_id, extra=said.extra
        )
        out: list[ServerEvent] = [*self._spans.taken(), told]
        if said.client_event_id in self._waiting:
            item = self._waiting.pop(said.client_event_id)
            if item is not None:
                out.append(ev.ItemCreated(item))
            # The model will speak: it was asked to, or has been told what came of its work.
            answers = isinstance(item, FunctionCallOutput) and channel == "commentary"
            if answers or (item is None and self._spans.wanted):
                self._spans.ask()
        return [*out, *self._spans.taken()]

    def _delegated(self, said: Delegated) -> Sequence[ServerEvent]:
        spans, handed = self._spans, said.delegation
        spans.reach(said.offset_ms)
        extra = {**handed.extra, **_named(said)}
        created = ev.DelegationCreated(
            handed.id, handed.target, said.offset_ms, handed.response_id, event_id=said.event_id, extra=extra
        )
        out: list[ServerEvent] = [*spans.taken(), created]
        tool = self._delegation.takes(self._config)
        if handed.target == "client" and tool is not None:
            request, spans.request = spans.request, ""
            known = tool.parameters.get("properties")
            takes = isinstance(known, Mapping) and "request" in known
            arguments = write_json({"request": request.strip()} if takes else {})
            self._work.delegated(handed.id, tool.name)
            spans.call(FunctionCall(tool.name, arguments, handed.id), {"delegation_id": handed.id})
            spans.close("completed")
        return [*out, *spans.taken()]

    def _used(self, seconds: float | None, event_id: str | None, extra: dict[str, Any]) -> list[ServerEvent]:
        """The wire counts from the session's start, we from the last report."""
        total = max(seconds or 0.0, self._seconds)
        more, self._seconds = total - self._seconds, total
        return [ev.UsageReported(ev.Usage(seconds=more), event_id=event_id, extra={"total_seconds": total, **extra})]

    def _closed(self, said: Closed) -> Sequence[ServerEvent]:
        self.reason = said.reason
        self._spans.end()
        out = self._spans.taken()
        if said.usage is not None:
            out += self._used(said.usage.seconds, said.event_id, _named(said))
        if said.reason == "content":
            message = "the provider ended the session because of what was said in it"
            out.append(ev.SessionError(message, "content", "session.closed"))
        return out

    def _fault(self, said: Fault) -> ev.SessionError:
        error = said.error
        blamed = error.client_event_id or said.client_event_id
        if blamed in self._waiting and self._waiting.pop(blamed) is None:
            self._spans.wanted = False
        self._work.refused(blamed)
        self._expired = self._expired or error.code == "session_expired"
        # A fork that cannot be is no fault of the configuration: the next attempt begins anew.
        type = "server_error" if self._resume and not self._started else error.type
        return ev.SessionError(
            self._redact(error.message),
            error.code,
            type,
            error.param,
            blamed,
            event_id=said.event_id,
            extra=error.extra,
        )

    # -- what we say

    def encode(self, event: ClientEvent) -> Sequence[str]:
        """The frames that say ``event``; none where there is nothing to say, or it cannot be said (:meth:`echoes`).

        Raises:
            MisconfiguredError: a value in it is not JSON.
        """
        try:
            match event:
                case ev.AudioInputAppend():
                    audio = pybase64.b64encode_as_string(event.audio)
                    return (f'{{"type":"session.input_audio.append","audio":"{audio}"}}',)
                case ev.SessionUpdate():
                    return self._configure(event)
                case ev.ItemCreate():
                    return self._create(event)
                case ev.ToolResult():
                    return self._answer(event)
                case ev.ResponseCreate():
                    return self._ask(event)
                case ev.InputMute():
                    return (_frame("session.input_audio.mute", event.event_id),)
                case ev.InputUnmute():
                    return (_frame("session.input_audio.unmute", event.event_id),)
                case ev.RawClientEvent():
                    named = {} if event.event_id is None else {"event_id": event.event_id}
                    return (write_json({**named, **event.data}),)
        except _Refused as refusal:
            self._refuse(event, str(refusal))
            return ()
        self._refuse(event, _HOW.get(type(event), f"OpenAI Live has no {event.kind}"))
        return ()

    def echoes(self) -> list[ServerEvent]:
        """What became of what was encoded since the last call, to be told once it has been written."""
        echoes, self._echoes = self._echoes, []
        return echoes

    def goodbye(self) -> str:
        """Asks the provider to finish the session."""
        return _frame("session.close", None)

    def _refuse(self, event: ClientEvent, why: str) -> None:
        self._echoes.append(ev.SessionError(why, "unsupported", client_event_id=event.event_id))

    def _configure(self, event: ev.SessionUpdate) -> Sequence[str]:
        if self._said_start:
            return self._update(event)
        self._said_start = True
        self._names.link = "".join(re.findall(r"[0-9]", event.event_id or ""))[:8]
        self._config = config = self._config.merged(event.config)
        self._delegation = self._delegation.chosen(config)
        if config.output_format is not None:
            self._spans.format = config.output_format
        if self._resume:
            session = encode_fork(config, self._delegation)
        else:
            session = encode_start(config, self._model, self._delegation, store=self._store)
        return (_frame("session.start", event.event_id, session=session),)

    def _update(self, event: ev.SessionUpdate) -> Sequence[str]:
        over = event.config
        wanted = self._config.merged(over)
        if (why := refusal_of_update(over, self._config, self._delegation)) is not None:
            raise _Refused(why)
        try:
            check_live(wanted, self._model, self._delegation)
        except MisconfiguredError as error:
            raise _Refused(str(error)) from None
        self._config = evolve(wanted, extra=self._config.extra)
        session = encode_update(over, self._delegation)
        if not session:
            self._echoes.append(ev.SessionUpdated(ev.SessionInfo(model=self._model, config=evolve(wanted, extra={}))))
            return ()
        return (_frame("session.update", event.event_id, session=session),)

    # -- what the model is told

    def _create(self, event: ev.ItemCreate) -> Sequence[str]:
        if event.previous_item_id is not None:
            raise _Refused("Live adds to the end of the conversation only; leave previous_item_id out")
        item = event.item
        self._names.taken(item.id)
        named = item if item.id else evolve(item, id=self._names.new("item"))
        if isinstance(item, FunctionCall):
            # Told together with its result, in words: Live takes calls from nobody.
            self._told[item.call_id or ""] = item
            self._echoes.append(ev.ItemCreated(named))
            return ()
        channel, words = self._words_of(item)
        return self._append(channel, words, event.event_id, named)

    def _words_of(self, item: ConversationItem) -> tuple[Channel, str]:
        if isinstance(item, FunctionCallOutput):
            return "thinking", self._result_of(item.call_id, item.output, None)
        if not isinstance(item, Message):
            raise _Refused(f"Live takes no {item.type} items")
        if not item.text or any(part.image_url for part in item.content):
            raise _Refused("Live takes words only: say sounds with send_audio(), and describe pictures")
        if item.role == "system":
            return "instructions", item.text
        return "thinking", f"The user wrote: {item.text}" if item.role == "user" else f"You said: {item.text}"

    def _result_of(self, call_id: str, output: str, name: str | None) -> str:
        call = self._told.pop(call_id, None)
        asked = name or "a tool" if call is None else f"{call.name}({call.arguments})"
        return f"{asked} returned: {output}"

    def _append(
        self, channel: Channel, text: str, event_id: str | None, item: ConversationItem | None, about: str | None = None
    ) -> Sequence[str]:
        """In pieces where it is long: all but the last are only to be known."""
        name = event_id or self._names.new("event")
        while len(self._waiting) >= _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[name] = item
        pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)] or [""]
        before: Channel = "instructions" if channel == "instructions" else "thinking"
        frames = [_frame(f"session.{before}.append", None, content=p, delegation_id=about) for p in pieces[:-1]]
        return [*frames, _frame(f"session.{channel}.append", name, content=pieces[-1], delegation_id=about)]

    def _ask(self, event: ev.ResponseCreate) -> Sequence[str]:
        config = event.config
        if config is not None and config.conversation == "none":
            raise _Refused("Live replies in the conversation only")
        wish = SPEAK if config is None or not config.instructions else config.instructions
        self._spans.wanted = True
        return self._append("instructions", wish, event.event_id, None)

    def _answer(self, event: ev.ToolResult) -> Sequence[str]:
        item = FunctionCallOutput(event.call_id, event.output, id=event.item_id or self._names.new("item"))
        call, last = self._work.answered(event.call_id)
        if call is None:
            # A call of an earlier link: this one does not know its id.
            words = self._result_of(event.call_id, event.output, event.name)
            return self._append("commentary", words, event.event_id, item)
        if call.group is None:
            return self._append("commentary", event.output, event.event_id, item, event.call_id)
        said = {"type": "function_call_output", "call_id": event.call_id, "output": event.output}
        frames = [_frame("response.item.create", event.event_id, item=said)]
        self._echoes.append(ev.ItemCreated(item))
        if last:
            name = self._names.new("event")
            self._work.goes_on(name)
            frames.append(_frame("response.create", name))
        return frames

    # -- how it ends

    def last_words(self, error: ConnectionClosed) -> list[ServerEvent]:
        """The link has ended: so has whatever was being said."""
        self._spans.end()
        return self._spans.taken()

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        """What the end of the link means: the reason in ``session.closed`` says it, whatever the code."""
        if (reason := self._redact(error.reason)) != error.reason:
            ConnectionClosed.__init__(error, error.code, reason)  # in place: the original stays in the chain of causes
        if isinstance(error, SessionExpired):
            return error
        if self.reason == "expired" or self._expired:
            return SessionExpired(error.code, error.reason or "the session reached its maximum duration")
        code = _CODES.get(self.reason or "")
        return error if code is None else ConnectionClosed(code, f"session.closed: {self.reason}")


#: Close codes that say the same as the reasons in ``session.closed``: a goodbye, a policy, a lost link.
_CODES = {"close_requested": 1000, "remote_hangup": 1000, "content": 1008, "connection_lost": 1006}
_HOW: dict[type, str] = {
    ev.AudioInputCommit: "a full-duplex model has no turns to commit: it hears the sound as it comes",
    ev.ResponseCancel: "Live cannot be stopped; interrupt() stops what is heard of it",
}


def _frame(type: str, event_id: str | None, **fields: Any) -> str:
    named = {} if event_id is None else {"event_id": event_id}
    return write_json({"type": type, **named, **fields})


def _named(said: Any) -> dict[str, Any]:
    name = said.client_event_id
    return {**({} if name is None else {"client_event_id": name}), **said.extra}
