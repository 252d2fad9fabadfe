"""What is fuzzed: each reader of foreign bytes, with the frames for it and what must hold of each.

A target takes frames in order. Most judge each for itself; those with a session behind them (``machine``,
``simulator``) begin a new one after some frames, and ``recent`` holds what the current one was given, which is what it
takes to see a failure again.

It is one page because the table at its end names them all: who adds a reader sees beside it how the others are judged.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from providers.frames import CLIENT_FRAMES, ITEMS, SERVER_FRAMES, SESSION, recorded as recorded_frames

from kernl_rt import Toolkit, tool
from kernl_rt._core import actions, inputs
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt._session.images import image_message
from kernl_rt._transport._errors import retry_after, status_error
from kernl_rt.channels.wav import _codec as wav
from kernl_rt.config import SessionConfig
from kernl_rt.events import AudioPlayed, ItemCreate, RawClientEvent, RawServerEvent, SessionError
from kernl_rt.exceptions import (
    AudioFileError,
    ConnectError,
    MisconfiguredError,
    ProtocolError,
    ToolArgumentsError,
)
from kernl_rt.history import dump_history, load_history
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.providers._dialect._secrets import minted
from kernl_rt.testing import Malformed, TraceGrammar, check_well_formed, hostile_bytes, hostile_corpus, hostile_frames
from tests.fuzz.decoders import DECODERS, TOGETHER
from tests.simulator.driver import Talk, b64, tone

Frame = str | bytes
Templates = Sequence[Mapping[str, Any]]

#: The largest frame of a template: longer ones cost time and find nothing more.
_LONGEST = 3_000
#: Frames after which a session is ended and a new one begins.
_SESSION = 40


@attrs.define
class Target:
    """``frames(seed)`` never ends. ``check`` raises where something does not hold."""

    name: str
    frames: Callable[[int], Iterator[Frame]]
    check: Callable[[Frame], None]
    corpus: Callable[[], Iterator[Frame]] = lambda: iter(hostile_corpus().values())
    #: Frames of one session; 1 where each is judged for itself.
    session: int = 1
    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    recent: list[Frame] = attrs.field(factory=list)

    def feed(self, frame: Frame) -> None:
        if not self.recent:
            self.begin()
        self.recent.append(frame)
        self.check(frame)
        if len(self.recent) >= self.session:
            self.end()
            self.recent.clear()

    def replay(self, frames: Sequence[Frame]) -> None:
        """What was found once: these frames, then the end."""
        self.recent.clear()
        for frame in frames:
            self.feed(frame)
        if self.recent:
            self.end()
            self.recent.clear()


def _recorded(direction: str) -> list[dict[str, Any]]:
    try:
        found = [frame for _, frame in recorded_frames(direction)]
    except pytest.skip.Exception:
        return []  # ../shared/recordings is absent: the built-in templates have every kind of frame
    return [frame for frame in found if len(json.dumps(frame)) <= _LONGEST]


def _one_reply(frames: Templates) -> Templates:
    """The same frames, all about one reply, so that a machine that gets them in any order has something to do."""
    text = json.dumps(frames)
    for short, long in (('"r"', '"resp_1"'), ('"i"', '"item_1"'), ('"name": "f"', '"name": "lookup"')):
        text = text.replace(short, long)
    made: Templates = json.loads(text)
    return made


# -- OpenAI's codec ---------------------------------------------------------------------------------------------------


def _decode_server(frame: Frame) -> None:
    codec = OpenAICodec()
    (event,) = codec.decode(frame)
    check_well_formed(event)
    if isinstance(event, SessionError) and event.source == "protocol":
        assert event.cause is not None
        assert event.cause.__traceback__ is None, "the traceback would hold the frame"
        assert len(event.message) < 400, "an error says what is wrong, and does not quote"
        return
    # What was read can be written and printed: nothing of it blows up later, in a log or a recording.
    _writable(codec.encode_server(event))
    if len(frame) < 10_000:
        repr(event)


def _decode_client(frame: Frame) -> None:
    codec = OpenAICodec()
    try:
        event = codec.decode_client(frame)
    except ProtocolError as error:
        return _short(error)
    check_well_formed(event)
    if not isinstance(event, RawClientEvent):
        codec.encode(event)
    _writable(codec.encode_client(event))


def _short(error: Exception, most: int = 400) -> None:
    """An error says what is wrong in some words that can be written anywhere, and does not quote at length."""
    assert len(str(error).encode()) <= most


def _writable(value: object) -> None:
    json.dumps(value, allow_nan=False).encode()
    msgspec.json.encode(value)


# -- the machine ------------------------------------------------------------------------------------------------------


class _Machine:
    """The pure machine behind the decoder, and a driver that obeys it."""

    def begin(self) -> None:
        settings = Settings(has_channel=True, marks=True, tools={"lookup": ToolTraits()}, config=SessionConfig())
        self.machine = SessionMachine(settings)
        self.codec = OpenAICodec()
        self.grammar = TraceGrammar()
        self.now = 0.0
        self.tools: list[str] = []
        self.steps = 0
        self.feed(inputs.ConnectionOpened())
        for frame in ({"type": "session.created", "session": SESSION}, {"type": "session.updated", "session": SESSION}):
            self.take(json.dumps(frame))

    def take(self, frame: Frame) -> None:
        for event in self.codec.decode(frame):
            self.feed(event)
        if self.machine.status == "connected":
            self.step()

    def step(self) -> None:
        """Something of the human's or of time's, in turn."""
        self.steps += 1
        playback = self.machine.state.playback
        match self.steps % 6:
            case 0 if self.tools:
                self.feed(inputs.ToolReturned(self.tools.pop(), "result", "ok", 0.1))
            case 1:
                self.feed(AudioPlayed(playback.heard_ms + 1))
            case 2:
                self.now += 0.5
                self.feed(inputs.Tick())
            case 3 if self.steps % 5 == 0:
                self.feed(inputs.InterruptRequested(self.steps))
            case 4 if self.steps % 7 == 0:
                self.feed(inputs.ReplyRequested(self.steps))

    def feed(self, input: Any) -> None:
        self.now += 0.001
        for action in self.machine.feed(input, self.now):
            match action:
                case actions.Emit(event=event):
                    self.grammar.feed(event)
                case actions.ClearPlayback():
                    self.feed(inputs.PlaybackCleared(self.machine.state.playback.heard_ms))
                case actions.StartTool(call_id=call_id):
                    self.tools.append(call_id)
                case actions.Send(event=event):
                    self.codec.encode(event)
        deadline = self.machine.deadline
        assert deadline is None or math.isfinite(deadline)

    def end(self) -> None:
        for number in (self.machine.state.playback.heard_ms, self.now):
            assert math.isfinite(number)
            assert number >= 0
        if self.machine.usage is not None:
            check_well_formed(self.machine.usage)
        again = load_history(dump_history(self.machine.history))
        assert again == self.machine.history
        self.feed(inputs.CloseRequested())
        self.feed(inputs.Stopped())
        self.grammar.end()


# -- the simulator ----------------------------------------------------------------------------------------------------

_CLIENT: Templates = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Hm.", "output_modalities": ["text"]}},
    {
        "type": "session.update",
        "event_id": "e",
        "session": {
            "type": "realtime",
            "max_output_tokens": 100,
            "tools": [{"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}}],
            "tool_choice": "auto",
            "truncation": {"type": "retention_ratio", "retention_ratio": 0.5},
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "turn_detection": {"type": "server_vad", "threshold": 0.5, "idle_timeout_ms": 5000},
                    "transcription": {"model": "whisper-1"},
                },
                "output": {"voice": "marin", "speed": 1.0, "format": {"type": "audio/pcmu"}},
            },
        },
    },
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
    *({"type": "conversation.item.create", "item": item} for item in ITEMS[:5]),
    {"type": "conversation.item.create", "item": {**ITEMS[1], "id": "item_x"}, "previous_item_id": "root"},
    {"type": "conversation.item.truncate", "item_id": "item_x", "content_index": 0, "audio_end_ms": 100},
    {"type": "conversation.item.delete", "item_id": "item_x"},
    {"type": "conversation.item.retrieve", "item_id": "item_x"},
    {"type": "input_audio_buffer.append", "audio": b64(tone(0.1))},
    {"type": "input_audio_buffer.append", "audio": b64(bytes(4_800))},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "response.create"},
    {"type": "response.create", "response": {"conversation": "none", "input": ITEMS[:2], "metadata": {"k": "v"}}},
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": "resp_x"},
]


class _Simulated:
    """The simulator's engine as a server runs it: parsed by the same rule, its frames written as JSON."""

    def begin(self) -> None:
        self.talk = Talk(on_frame=self.sent)
        self.codec = OpenAICodec()

    def sent(self, frame: Mapping[str, Any]) -> None:
        if not hasattr(self, "codec"):
            return
        (event,) = self.codec.decode(msgspec.json.encode(frame))
        assert not isinstance(event, RawServerEvent), frame["type"]
        assert not (isinstance(event, SessionError) and event.source == "protocol"), event

    def take(self, frame: Frame) -> None:
        from kernl_rt.simulator._protocols._openai import parse

        try:
            found = parse(frame)
        except ValueError:
            self.talk.engine.refuse_message("The message is not valid JSON.", self.talk.now)
            self.talk.wait(0.0)
        else:
            self.talk.give(found)
        self.talk.wait(0.05)
        assert self.talk.engine.pending == 0

    def end(self) -> None:
        self.talk.wait(20.0)


# -- files and other texts --------------------------------------------------------------------------------------------


def _wav_samples() -> list[bytes]:
    def file(
        tag: int, channels: int, bits: int, data: bytes, *, extensible: bool = False, before: bytes = b""
    ) -> bytes:
        size = channels * bits // 8
        head = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, 24_000, 24_000 * size, size, bits)
        if extensible:
            head += struct.pack("<HHIH", 22, bits, 0, tag)
            head += bytes.fromhex("000000001000800000aa00389b71")
        body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(head)) + head
        body += b"data" + struct.pack("<I", len(data)) + data
        return b"RIFF" + struct.pack("<I", len(body)) + body

    sound = bytes(range(96))
    floats = struct.pack("<24f", *([0.5, -1.0, 1e38, math.nan, math.inf, -math.inf] * 4))
    return [
        wav.write_header(24_000, len(sound)) + sound,
        file(1, 1, 8, sound),
        file(1, 2, 16, sound),
        file(1, 1, 24, sound),
        file(1, 2, 32, sound),
        file(3, 1, 32, floats),
        file(6, 1, 8, sound),
        file(7, 2, 8, sound),
        file(1, 1, 16, sound, extensible=True),
        file(1, 1, 16, sound, before=b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"),
    ]


def _read_wav(frame: Frame) -> None:
    data = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    asked = 0

    def read_at(offset: int, count: int) -> bytes:
        nonlocal asked
        asked += count
        assert offset >= 0
        assert 0 <= count <= 65_536, "a header must not say how much is read"
        return data[offset : offset + count]

    try:
        layout = wav.parse(read_at, len(data))
    except AudioFileError as error:
        return _short(error)
    finally:
        assert asked <= 100_000
    check_well_formed(layout)
    assert layout.data_offset + layout.data_size <= len(data)
    assert math.isfinite(layout.duration)
    sound = wav.decode(layout, data[layout.data_offset : layout.data_offset + layout.data_size])
    assert len(sound) == layout.data_size // layout.frame_size * 2


def _histories() -> Templates:
    codec = OpenAICodec()
    items = []
    for item in ITEMS:
        (event,) = codec.decode(json.dumps({"type": "conversation.item.done", "item": item}))
        items.append(event.item)  # type: ignore[union-attr]
    return [json.loads(dump_history(items)), *(json.loads(dump_history([item])) for item in items)]


def _load_history(frame: Frame) -> None:
    try:
        items = load_history(frame)
    except MisconfiguredError as error:
        return _short(error)
    codec = OpenAICodec()
    for item in items:
        try:
            check_well_formed(item)
        except Malformed as malformed:
            # Half a character, which a human typed, is kept as it is; it is replaced where it is sent.
            if "lone surrogate" not in str(malformed):
                raise
        codec.encode(ItemCreate(item))
    assert load_history(dump_history(items)) == items


@attrs.frozen
class Place:
    city: str
    country: str | None = None


@tool
def lookup(
    city: Annotated[str, msgspec.Meta(max_length=100)],
    day: Literal["today", "tomorrow"] = "today",
    days: int = 1,
    factor: float = 1.0,
    where: Place | None = None,
    names: list[str] | None = None,
    counts: dict[str, int] | None = None,
    tags: set[str] | None = None,
    when: datetime | None = None,
    raw: bytes = b"",
    either: int | str | bool = 0,
) -> str:
    """Look something up."""
    return city


_ARGUMENTS: Templates = [
    {"city": "Oslo"},
    {"city": "Oslo", "day": "tomorrow", "days": 3, "factor": 0.5, "either": True, "raw": "AAAA"},
    {"city": "Oslo", "where": {"city": "x", "country": None}, "names": ["a"], "counts": {"a": 1}, "tags": ["t"]},
    {"city": "Oslo", "when": "2026-01-01T00:00:00Z", "either": "x"},
]


def _read_arguments(frame: Frame) -> None:
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "surrogateescape")
    (known,) = Toolkit(id="t", tools=[lookup]).tools
    try:
        values = known.signature.structure(text)
    except ToolArgumentsError as error:
        return _short(error, 4_000)  # the model reads this
    for name, value in values.items():
        kinds = {"city": str, "day": str, "days": int, "factor": float, "names": list, "counts": dict, "raw": bytes}
        if name in kinds and value is not None:
            assert type(value) is kinds[name], name
    assert math.isfinite(values.get("factor", 0.0))


_ANSWERS: Templates = [
    {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}},
    {"error": "no"},
    {"detail": "no"},
    {"value": "ek_1234", "expires_at": 1_785_217_650, "session": {"id": "s", "client_secret": {"value": "ek_1"}}},
    {"Retry-After": "120"},
    {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"},
    {"Retry-After": "1.5"},
]


def _read_answer(frame: Frame) -> None:
    body = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    text = body[:4_000].decode("latin-1")
    for status in (200, 302, 401, 429, 500, 999):
        error = status_error(status, {"retry-after": text}, body, where="wss://host/v1", secrets=["sk-secret-1"])
        assert isinstance(error, ConnectError)
        assert len(str(error)) < 500
        str(error).encode()
    for value in (text, text.partition('": "')[2].partition('"')[0]):
        seconds = retry_after(value)
        assert seconds is None or 0 <= seconds <= 7 * 86_400
    from kernl_rt._transport.http import parse_answer

    found = parse_answer(body)
    if found is not None:
        credential = minted(found)
        if isinstance(credential, ProtocolError):
            return
        secret = credential.secret.reveal()
        assert len(secret) < 8 or secret not in repr(credential)


_PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


def _show_image(frame: Frame) -> None:
    try:
        message = image_message(frame, None, "low", None)
    except MisconfiguredError as error:
        return _short(error)
    if isinstance(frame, bytes):
        check_well_formed(message)
    OpenAICodec().encode(ItemCreate(message))


# -- all of them ------------------------------------------------------------------------------------------------------


def _from(templates: Callable[[], Templates]) -> Callable[[int], Iterator[Frame]]:
    return lambda seed: hostile_frames(seed, templates())


def _images(seed: int) -> Iterator[Frame]:
    urls = [f"data:image/png;base64,{b64(_PNG)}".encode(), b"https://example.com/a.png"]
    for number, data in enumerate(hostile_bytes(seed, [_PNG, b"GIF89a" + bytes(9), b"RIFF\0\0\0\0WEBP", *urls])):
        yield data if number % 2 else data.decode("utf-8", "surrogateescape")


_machine = _Machine()
_simulated = _Simulated()

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("server", _from(lambda: [*SERVER_FRAMES, *_recorded("received")]), _decode_server),
        Target("client", _from(lambda: [*CLIENT_FRAMES, *_recorded("sent")]), _decode_client),
        Target(
            "machine",
            _from(lambda: [*_one_reply(SERVER_FRAMES), *_recorded("received")]),
            _machine.take,
            session=_SESSION,
            begin=_machine.begin,
            end=_machine.end,
        ),
        Target(
            "simulator",
            _from(lambda: [*_CLIENT, *_CLIENT, *CLIENT_FRAMES, *_recorded("sent")]),
            _simulated.take,
            session=_SESSION,
            begin=_simulated.begin,
            end=_simulated.end,
        ),
        *(
            Target(name, _from(decoder.templates), decoder.take, session=TOGETHER, begin=decoder.begin)
            for name, decoder in DECODERS.items()
        ),
        Target("wav", lambda seed: iter(hostile_bytes(seed, _wav_samples())), _read_wav),
        Target("history", _from(_histories), _load_history),
        Target("arguments", _from(lambda: _ARGUMENTS), _read_arguments),
        Target("answer", _from(lambda: _ANSWERS), _read_answer),
        Target("image", _images, _show_image),
    )
}


def frames(target: Target, seed: int) -> Iterator[Frame]:
    """The corpus once, then damaged frames without end."""
    return chain(target.corpus(), target.frames(seed))
