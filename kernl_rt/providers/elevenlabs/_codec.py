"""The protocol of ElevenLabs Agents: frames to events and back. Pure translation; ids are counted.

The service confirms nothing that it is told, so the codec says itself what has become of it
(:meth:`AgentsCodec.echoes`); and it pings in messages, which are answered without the session
(:meth:`AgentsCodec.answers`).

A written message of the user's brings a reply by itself, so it is said at once only where a reply is asked for; one for
which none is asked is told as context, which the agent reads and does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pybase64

from kernl_rt import events as ev
from kernl_rt.config import PCM16_16K, AudioFormat, ResponseConfig, SessionConfig
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed, ProtocolError, SessionExpired
from kernl_rt.items import ContentPart, ConversationItem, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers._fields import Misfit
from kernl_rt.providers._json import read_object, write_json
from kernl_rt.providers.elevenlabs import _wire as wire
from kernl_rt.providers.elevenlabs._closing import Refusal, expired, meaning, refusal_of
from kernl_rt.providers.elevenlabs._config import Options, format_named, initiation, is_in_writing, name_of, overridden
from kernl_rt.providers.elevenlabs._turns import Turns

__all__ = ["AgentsCodec"]

_UNSUPPORTED = "unsupported_by_provider"
#: Why a client event means nothing here, by class.
_NO_SUCH = {
    ev.ItemDelete: "an agent's memory cannot be edited",
    ev.ItemRetrieve: "an agent's memory cannot be read",
    ev.ItemTruncate: "the agent reckons by itself how much was heard",
    ev.AudioInputCommit: "an agent finds the end of a turn by itself; leave commit() out",
    ev.AudioInputClear: "sound that was sent cannot be taken back",
    ev.AudioOutputClear: "there is no output buffer over a WebSocket",
    ev.ResponseCancel: "an agent stops when it hears the human; nothing else can stop it",
    ev.InputMute: "there is no mute on the wire; use session.mute()",
    ev.InputUnmute: "there is no mute on the wire; use session.unmute()",
}


class AgentsCodec:
    """Translate one connection's frames.

    ``input_format`` and ``output_format`` are what the agent is taken to be set to; the service says what is so.
    ``defaults`` is laid under the configuration. ``redact`` takes credentials out of what the other side says.
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        defaults: SessionConfig | None = None,
        input_format: AudioFormat = PCM16_16K,
        output_format: AudioFormat = PCM16_16K,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._options = options or Options()
        self._defaults = defaults or SessionConfig()
        self._formats = {"input_format": input_format, "output_format": output_format}
        self._redact = redact
        self._turns = Turns()
        self._echoes: list[ServerEvent] = []
        self._answers: list[str] = []
        self._overrides: dict[str, str] | None = None
        #: The service has named the conversation.
        self._live = False
        self._expired = False
        #: The last words are said once.
        self._ended = False
        #: The turn of the human's that is under way, and how many there were.
        self._human: str | None = None
        self._humans = 0
        self._speaking = False
        #: Messages of the user's that wait until a reply is asked for; and the last that was only told.
        self._held: list[str] = []
        self._told: str | None = None
        #: The agent owes a reply to something that was said; one has begun before it was asked for.
        self._owed = self._served = False
        #: Calls that run here, and whether the agent waits for them.
        self._calls: dict[str, bool] = {}
        #: The reply that will be asked for next answers nothing: the agent does not wait for that tool.
        self._nothing_follows = False

    # -- what the service says

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame. Never raises: a frame that cannot be understood is a ``SessionError`` with
        ``source="protocol"``, one of an unknown type a ``RawServerEvent``.
        """
        try:
            frame = read_object(message)
            name = frame.get("type")
            if type(name) is not str:
                raise ProtocolError("the frame's type is missing" if name is None else "the frame's type is not a text")
            known = wire.SERVER.get(name)
            if known is None:
                return (ev.RawServerEvent(name, frame),)
            return self._decode(name, frame, self._payload(name, frame, *known))
        except ProtocolError as error:
            # A new error: the traceback of this one would keep the frame alive.
            cause = ProtocolError(str(error))
            return (ev.SessionError(str(error), source="protocol", cause=cause),)

    def _payload(self, name: str, frame: dict[str, Any], key: str, struct: Any) -> Any:
        content = frame.get(key)
        if content is None and name in ("agent_response_complete", "error", "client_error"):
            content = frame.get("client_error_event", {})
        try:
            return struct.decode(content)
        except Misfit as misfit:
            raise ProtocolError(f"{name}: {misfit.under(key)}") from None

    def _decode(self, name: str, frame: dict[str, Any], payload: Any) -> Sequence[ServerEvent]:
        raw = ev.RawServerEvent(name, frame)
        match payload:
            case wire.Sound():
                events = self._turns.sound(payload, payload.numbered)
            case wire.AgentWords():
                events = self._turns.words(payload)
            case wire.Part():
                events = self._turns.part(payload)
            case wire.ToolCall():
                self._calls[payload.tool_call_id] = payload.expects_response
                events = self._turns.call(payload)
            case wire.UserWords():
                return self._user_words(payload, final=name == "user_transcript")
            case wire.Interruption():
                return self._interruption(payload, raw)
            case wire.Metadata():
                return self._created(payload)
            case wire.Ping():
                self._answers.append(write_json({"type": "pong", "event_id": payload.event_id}))
                return [*self._turns.ping(), raw]
            case wire.TurnComplete():
                return self._turns.complete(payload.event_id) or [raw]
            case wire.ContextUsage():
                return self._turns.usage(payload) or [raw]
            case wire.Failure():
                return self._failure(payload, raw)
            case _:
                return [raw]  # a correction: what was heard is known here, by the channel
        return self._begun(events)

    def _begun(self, events: list[ServerEvent]) -> Sequence[ServerEvent]:
        """A turn that begins ends the human's, and may be what was owed."""
        if not any(isinstance(event, ev.ResponseCreated) for event in events):
            return events
        self._told = None
        if self._owed:
            self._owed, self._served = False, True
        return [*self._silence(), *events]

    def _silence(self) -> list[ServerEvent]:
        if not self._speaking:
            return []
        self._speaking = False
        return [ev.SpeechStopped(self._human)]

    def _created(self, metadata: wire.Metadata) -> Sequence[ServerEvent]:
        """The conversation is open. Its formats are the agent's own, whatever we expected."""
        raw = {
            "conversation_id": metadata.conversation_id,
            "agent_output_audio_format": metadata.agent_output_audio_format,
            "user_input_audio_format": metadata.user_input_audio_format,
            **metadata.extra,
        }
        said = {
            "input_format": metadata.user_input_audio_format,
            "output_format": metadata.agent_output_audio_format,
        }
        for option, name in said.items():
            expected = self._formats[option]
            if not self._turns.text_only and name is not None and format_named(name) != expected:
                return [_wrong_format(option, name, expected)]
        self._live = True
        self._turns.call_it(metadata.conversation_id)
        formats: dict[str, Any] = {option: format_named(name) for option, name in said.items()}
        return [
            ev.SessionCreated(ev.SessionInfo(id=metadata.conversation_id, config=SessionConfig(**formats), raw=raw))
        ]

    def _user_words(self, words: wire.UserWords, *, final: bool) -> Sequence[ServerEvent]:
        item_id = self._human_item()
        if not final:
            return [ev.InputTranscriptDelta(item_id, words.text, 0, cumulative=True, extra=words.numbered)]
        self._human = None
        self._turns.human_spoke()
        item = Message("user", [ContentPart("input_audio", transcript=words.text)], id=item_id, status="completed")
        stopped = [ev.SpeechStopped(item_id)] if self._speaking else []
        self._speaking = False
        return [
            *stopped,
            ev.AudioInputCommitted(item_id),
            ev.ItemCreated(item),
            ev.InputTranscript(item_id, words.text, 0, extra=words.numbered),
        ]

    def _human_item(self) -> str:
        if self._human is None:
            self._humans += 1
            self._human = self._turns.id("item_user", self._humans)
        return self._human

    def _interruption(self, interruption: wire.Interruption, raw: ServerEvent) -> Sequence[ServerEvent]:
        """The agent stops because it heard the human: here that is where speech begins."""
        stopped = self._turns.interrupt(interruption.event_id)
        if stopped is None:
            return [raw]
        started = [] if self._speaking else [ev.SpeechStarted(self._human_item(), extra=interruption.numbered)]
        self._speaking = True
        return [*started, *stopped]

    def _failure(self, failure: wire.Failure, raw: ServerEvent) -> Sequence[ServerEvent]:
        said = failure.message or failure.reason or failure.debug_message or ""
        if failure.error_type == "max_duration_exceeded" or expired(said):
            self._expired = True
            return [raw]
        found = refusal_of(failure.error_type, said, failure.code, self._overrides or {})
        return [self._refusal(found, failure.numbered)]

    def _refusal(self, found: Refusal, extra: Any) -> ev.SessionError:
        return ev.SessionError(self._redact(found.message), found.code, found.type, found.param, extra=extra)

    # -- what we say

    def encode(self, event: ClientEvent) -> Sequence[str]:
        """The frames that say ``event``, if any. What cannot be said is an error among the echoes.

        Raises:
            MisconfiguredError: a value in it is not JSON.
        """
        match event:
            case ev.AudioInputAppend(audio=audio):
                return (
                    ()
                    if self._turns.text_only
                    else (f'{{"user_audio_chunk":"{pybase64.b64encode_as_string(audio)}"}}',)
                )
            case ev.SessionUpdate():
                return self._configure(event)
            case ev.ItemCreate():
                return self._item(event)
            case ev.ToolResult():
                return self._tool_result(event)
            case ev.ResponseCreate():
                return self._ask(event)
            case ev.ActivityStart():
                return (write_json({"type": "user_activity"}),)
            case ev.ActivityEnd():
                return ()
            case ev.RawClientEvent():
                return self._raw(event)
        self._refuse(event, f"ElevenLabs cannot do this: {_NO_SUCH[type(event)]}")
        return ()

    def echoes(self) -> list[ServerEvent]:
        """What the last :meth:`encode` brings by itself."""
        echoes, self._echoes = self._echoes, []
        return echoes

    def answers(self) -> list[str]:
        """The frames that answer what was decoded: pongs."""
        answers, self._answers = self._answers, []
        return answers

    def _refuse(self, event: ClientEvent, message: str) -> None:
        self._echoes.append(ev.SessionError(message, _UNSUPPORTED, client_event_id=event.event_id))

    def _configure(self, event: ev.SessionUpdate) -> Sequence[str]:
        if self._overrides is not None:
            self._refuse(event, "an agent takes its configuration once, when the session begins; start a new session")
            return ()
        config = self._defaults.merged(event.config)
        frame = initiation(config, self._options)
        self._overrides = overridden(frame)
        self._turns.text_only = is_in_writing(frame)
        return (write_json(frame),)

    def _item(self, event: ev.ItemCreate) -> Sequence[str]:
        item = event.item
        if isinstance(item, Message) and any(part.image_url is not None for part in item.content):
            self._refuse(event, "an agent takes no images this way; describe it in words")
            return ()
        is_new = isinstance(item, Message) and item.role == "user" and item.status is None
        words = item.text if isinstance(item, Message) else ""
        if is_new and not words:
            self._refuse(event, "an agent takes messages in words, and sound as it is captured: send_audio()")
            return ()
        self._echoes.append(ev.ItemCreated(attrs.evolve(item, status=item.status or "completed")))
        if is_new and event.asks:
            return (self._say(words),)
        if is_new and event.asks is None:
            self._held.append(words)
            return ()
        return self._tell(f"The user has written: {words}" if is_new else _as_context(item))

    def _say(self, text: str) -> str:
        """A message of the user's, which the agent answers."""
        self._owed, self._told = True, None
        self._nothing_follows = False
        self._turns.human_spoke()
        return write_json({"type": "user_message", "text": text})

    def _tell(self, text: str) -> Sequence[str]:
        if not text:
            return ()
        self._told = text
        return (write_json({"type": "contextual_update", "text": text}),)

    def _tool_result(self, event: ev.ToolResult) -> Sequence[str]:
        output = FunctionCallOutput(event.call_id, event.output, id=event.item_id)
        self._echoes.append(ev.ItemCreated(output))
        awaited = self._calls.pop(event.call_id, None)
        if awaited is None:  # a call of an earlier link: this agent has never made it
            return self._tell(f"The tool {event.name or ''} has answered: {event.output}".replace("  ", " "))
        if not awaited:
            self._nothing_follows = not self._owed
            return ()
        self._owed, self._nothing_follows = True, False
        result = {"tool_call_id": event.call_id, "result": event.output, "is_error": event.is_error}
        return (write_json({"type": "client_tool_result", **result}),)

    def _ask(self, event: ev.ResponseCreate) -> Sequence[str]:
        """A reply is asked for: the agent is answering already, or it is given what to answer."""
        if event.config is not None and event.config != ResponseConfig():
            self._refuse(event, "an agent takes no wishes for a single reply")
            return ()
        if self._held:
            text, self._held = "\n".join(self._held), []
            return self._asked(self._say(text))
        if self._owed:
            return self._asked()
        if self._served:
            self._served = False  # its answer has begun, or is over, already
            return ()
        if self._nothing_follows:
            self._nothing_follows = False
            self._echoes += [*self._turns.begin(), *self._turns.end("completed")]
            return ()
        if self._told is not None:
            return self._asked(self._say(self._told))
        self._refuse(event, "an agent answers what it is told: ask with a message, session.send_message(…)")
        return ()

    def _asked(self, *frames: str) -> Sequence[str]:
        self._served = False
        if not self._turns.open:
            self._owed = False
            self._echoes += [*self._silence(), *self._turns.begin()]
        return frames

    def _raw(self, event: ev.RawClientEvent) -> Sequence[str]:
        name = event.data.get("type")
        if name not in wire.CLIENT_TYPES and "user_audio_chunk" not in event.data:
            # The service would end the link (1008).
            self._refuse(event, f"{name!r} is not a message that ElevenLabs knows")
            return ()
        return (write_json(event.data),)

    # -- how it ends

    def last_words(self, error: ConnectionClosed) -> Sequence[ServerEvent]:
        """Why the service hung up before there was a conversation; nothing where that is not known."""
        if self._live or self._ended or isinstance(error, SessionExpired):
            return ()
        self._ended = True
        found = meaning(error.code, error.reason, self._overrides or {})
        return () if found is None else (self._refusal(found, {}),)

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        """What the end of the link means."""
        reason = self._redact(error.reason)
        if self._expired or expired(reason):
            return SessionExpired(error.code, reason)
        found = meaning(error.code, reason, self._overrides or {})
        if found is not None and found.fix and found.fix not in reason:
            reason = f"{reason}; {found.fix}" if reason else found.fix
        return ConnectionClosed(error.code, reason)


def _wrong_format(option: str, name: str, expected: AudioFormat) -> ev.SessionError:
    side, setting = ("input", "user input") if option == "input_format" else ("output", "TTS output")
    known = format_named(name)
    told = "another agent" if known is None else f"agent(…, {option}=AudioFormat({known.encoding!r}, {known.rate}))"
    return ev.SessionError(
        f"the agent's {side} format is {name}, and this session's is {name_of(expected)}: set the agent's {setting} "
        f"format to {name_of(expected)} at ElevenLabs, or say {told}",
        "audio_format_mismatch",
        "invalid_request_error",
        option,
    )


def _as_context(item: ConversationItem) -> str:
    """What was before, as the agent can be told of it: it has no other way to know."""
    match item:
        case Message(role="system"):
            return item.text
        case Message(role=role, text=text):
            speaker = "you" if role == "assistant" else "the user"
            return f"Earlier {speaker} said: {text}" if text else ""
        case FunctionCall(name=name, arguments=arguments):
            return f"Earlier you called the tool {name} with {arguments or '{}'}"
        case FunctionCallOutput(output=output):
            return f"The tool answered: {output}"
        case _:
            return ""
