"""The OpenAI Realtime protocol and its dialects: frames to events and back. Pure translation by tables.

A dialect is a :class:`Dialect`: OpenAI's own tables (``_wire``) with rows replaced, added or known by other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import pybase64

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.events import ClientEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, ProtocolError, SessionExpired
from kernl_rt.items import FunctionCallOutput
from kernl_rt.providers._dialect._wire import AUDIO_DELTA, CLIENT, SERVER
from kernl_rt.providers._fields import Misfit, Struct, canonical
from kernl_rt.providers._json import read_object, write_json
from kernl_rt.providers._typed import TypedReader

__all__ = ["OPENAI", "Dialect", "OpenAICodec"]

#: How far into a frame the sound may begin. All that OpenAI sends before it takes 240 bytes.
_HEAD = 1024


class Dialect:
    """What the messages of one service look like.

    ``server`` and ``client`` are the rows; ``aliases`` are the service's other names for types that have a row (what is
    said under one keeps it in ``extra["type"]``). ``audio`` is the row of the sound. ``name`` stands in errors.
    ``expired`` are the codes and types of the error that tells that the session is too old.
    """

    def __init__(
        self,
        name: str,
        server: Sequence[Struct],
        client: Sequence[Struct],
        *,
        audio: Struct,
        aliases: Mapping[str, str] = {},
        expired: Sequence[str] = ("session_expired",),
    ) -> None:
        self.name: str = name
        self.expired: frozenset[str] = frozenset(expired)
        self.sound: TypedReader = TypedReader([audio])
        self.sound_marks: tuple[str, bytes] = f'"{audio.type}"', f'"{audio.type}"'.encode()
        self.plain: TypedReader = TypedReader(struct for struct in server if struct is not audio)
        self.server_by_type: dict[str | None, Struct] = {struct.type: struct for struct in server}
        self.server_by_class: dict[type, list[Struct]] = _by_class(server)
        self.server_by_class[ev.ToolStarted] = self.server_by_class[ev.OutputItemAdded]
        self.server_by_class[ev.SessionError] = [self.server_by_type["error"]]
        for alias, known in aliases.items():
            self.server_by_type[alias] = self.server_by_type[known]
        self.client_by_type: dict[str | None, Struct] = {struct.type: struct for struct in client}
        self.client_by_class: dict[type, list[Struct]] = _by_class(client)

    def struct_for(self, table: Mapping[type, list[Struct]], event: ServerEvent | ClientEvent) -> Struct:
        """
        Raises:
            MisconfiguredError: the protocol has no message for it.
        """
        for struct in table.get(type(event), ()):
            if all(getattr(event, name) == value for name, value in struct.fixed.items()):
                return struct
        raise MisconfiguredError(f"{self.name}'s protocol has no message for {event.kind!r}")


def _by_class(structs: Sequence[Struct]) -> dict[type, list[Struct]]:
    table: dict[type, list[Struct]] = {}
    for struct in structs:
        table.setdefault(struct.cls, []).append(struct)
    return table


OPENAI = Dialect(
    "OpenAI",
    SERVER,
    CLIENT,
    audio=AUDIO_DELTA,
    # The beta protocol's word, which compatible services still use.
    aliases={"conversation.item.created": "conversation.item.added"},
)


class OpenAICodec:
    """Translate one connection's frames.

    ``decode`` and ``encode`` are the client's side; ``encode_server`` and ``decode_client`` are the same tables read
    the other way, for simulators, recordings and replay. Nothing that a frame says is lost: encoding what was decoded
    gives the frame.

    The only state is what ended the session, for :meth:`closed`, and ``defaults``: a configuration laid under the first
    ``session.update``. ``redact`` takes credentials out of what the other side says in errors: some quote them back.
    """

    def __init__(
        self,
        defaults: SessionConfig | None = None,
        *,
        dialect: Dialect = OPENAI,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._dialect = dialect
        self._defaults = defaults
        self._redact = redact
        self._expired = False

    # -- what the model says

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        """The events in one frame: for this protocol always one.

        Never raises: a frame that cannot be understood is a ``SessionError`` with ``source="protocol"`` that says what
        is wrong and where, and holds nothing of the frame; one of an unknown type is a ``RawServerEvent``. What is
        nested deeper than 128 levels is refused: whoever prints, compares or sends it again would recurse over it.
        """
        dialect = self._dialect
        if message.find(dialect.sound_marks[type(message) is bytes], 0, _HEAD) >= 0:  # type: ignore[arg-type]
            plain = _decode_audio(message, dialect.sound)
        else:
            plain = dialect.plain.read(message)
        if plain is not None:
            return (plain,)
        frame: Any = None
        try:
            frame = read_object(message)
            name = name_of(frame)
            struct = dialect.server_by_type.get(name)
            if struct is None:
                return (ev.RawServerEvent(name, frame, event_id=event_id_of(frame)),)
            event = _decode_struct(struct, frame, name)
        except ProtocolError as error:
            # A new error, because the traceback of this one would keep the frame alive, and show it to whoever prints
            # local variables.
            cause = ProtocolError(str(error))
            return (ev.SessionError(str(error), source="protocol", cause=cause, event_id=event_id_of(frame)),)
        if type(event) is ev.SessionError:
            self._expired = self._expired or not dialect.expired.isdisjoint((event.code, event.type))
            event = attrs.evolve(event, message=self._redact(event.message))
        return (event,)

    def encode_server(self, event: ServerEvent) -> dict[str, Any]:
        """The frame, as an object, that :meth:`decode` reads as ``event``.

        Raises:
            MisconfiguredError: the protocol has no message for it.
        """
        if isinstance(event, ev.RawServerEvent):
            return dict(event.data)
        return self._dialect.struct_for(self._dialect.server_by_class, event).encode(event)

    # -- what we say

    def encode(self, event: ClientEvent) -> str:
        """The frame that says ``event``, as text.

        A ``ToolResult`` becomes the item that OpenAI wants; an activity becomes what it means where turn detection is
        off: its start drops what was buffered before, its end commits.

        Raises:
            MisconfiguredError: the protocol has no message for it, or a value in it is not JSON.
        """
        if type(event) is ev.AudioInputAppend and not event.extra:
            name = "" if event.event_id is None else f'"event_id":{write_json(event.event_id)},'
            audio = pybase64.b64encode_as_string(event.audio)
            return f'{{{name}"type":"input_audio_buffer.append","audio":"{audio}"}}'
        if isinstance(event, ev.SessionUpdate) and self._defaults is not None:
            event = attrs.evolve(event, config=self._defaults.merged(event.config))
            self._defaults = None
        return write_json(self.encode_client(event))

    def encode_client(self, event: ClientEvent) -> dict[str, Any]:
        """The frame that says ``event``, as an object."""
        if isinstance(event, ev.RawClientEvent):
            said = {} if event.event_id is None else {"event_id": event.event_id}
            return {**said, **event.data}
        event = _in_openai_terms(event)
        return self._dialect.struct_for(self._dialect.client_by_class, event).encode(event)

    def decode_client(self, message: str | bytes) -> ClientEvent:
        """What a client says in one frame; a type that is unknown is a ``RawClientEvent``.

        Raises:
            ProtocolError: the frame cannot be understood; says what is wrong and where.
        """
        frame = read_object(message)
        name = name_of(frame)
        struct = self._dialect.client_by_type.get(name)
        if struct is None:
            return ev.RawClientEvent(frame, event_id=event_id_of(frame))
        event: ClientEvent = _decode_struct(struct, frame, name)
        return event

    # -- how it ends

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        """What the end of the link means.

        At its limit of 60 minutes the service sends an ``error`` with the code ``session_expired`` and closes with 1001
        and "Your session hit the maximum duration of 60 minutes."; either may be missing.
        """
        if (reason := self._redact(error.reason)) != error.reason:
            # In place, because the original stays in the chain of causes.
            ConnectionClosed.__init__(error, error.code, reason)
        said_so = error.code == 1001 and "maximum duration" in error.reason.lower()
        if (said_so or self._expired) and not isinstance(error, SessionExpired):
            return SessionExpired(error.code, error.reason)
        return error


# -- the caller's words ----------------------------------------------------------------------------------------------


def _in_openai_terms(event: ClientEvent) -> ClientEvent:
    match event:
        case ev.ToolResult(call_id=call_id, output=output, item_id=item_id):
            item = FunctionCallOutput(call_id=call_id, output=output, id=item_id)
            return ev.ItemCreate(item, event_id=event.event_id, extra=event.extra)
        case ev.ActivityStart():
            return ev.AudioInputClear(event_id=event.event_id, extra=event.extra)
        case ev.ActivityEnd():
            return ev.AudioInputCommit(event_id=event.event_id, extra=event.extra)
    return event


# -- reading ----------------------------------------------------------------------------------------------------------


def name_of(frame: dict[str, Any]) -> str:
    name = frame.get("type")
    if type(name) is not str:
        raise ProtocolError("the frame's type is missing" if name is None else "the frame's type is not a text")
    return name


def event_id_of(frame: Any) -> str | None:
    name = frame.get("event_id") if type(frame) is dict else None
    return name if type(name) is str else None


def _decode_struct(struct: Struct, frame: dict[str, Any], name: str) -> Any:
    try:
        return struct.decode(frame)
    except Misfit as misfit:
        raise ProtocolError(f"{name}: {misfit}") from None


def _decode_audio(message: Any, reader: TypedReader) -> ev.AudioDelta | None:
    """Read a frame of sound without its sound going through the JSON parser, or ``None`` where that is not certain.

    Base64 holds neither quotes nor backslashes, so the next quote ends the sound. The reader takes no key but those of
    the row, and no objects inside, so this is the row's own; and it is the last of its name when no backslash and no
    second one stands after it.
    """
    marks: tuple[Any, ...] = _BYTES_MARKS if type(message) is bytes else _TEXT_MARKS
    key, name, escape, last, padding = marks
    begin = message.find(key, 0, _HEAD) + _KEY_SIZE
    end = message.find(last[:1], begin)
    if begin < _KEY_SIZE or end < 0:
        return None
    tail = message[end:]
    if tail != last and (escape in tail or name in tail):
        return None
    sound = message[begin:end]
    try:
        event: ev.AudioDelta | None = reader.read(message[:begin] + tail, sound)
        faithful = not sound.endswith(padding) or canonical(sound if type(sound) is str else str(sound[-4:], "ascii"))
    except ValueError:
        return None  # the whole frame is read the slow way, which says what is wrong
    return event if faithful else None


_KEY_SIZE = len('"delta":"')
_TEXT_MARKS = ('"delta":"', '"delta"', "\\", '"}', "=")
_BYTES_MARKS = tuple(mark.encode() for mark in _TEXT_MARKS)
