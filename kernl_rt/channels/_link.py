"""A channel whose human is at the far end of a link: what browsers and phones have in common.

Beside the link (a :class:`~kernl_rt.abc.MessageStream`) and the pure translation (a ``Wire``, see ``_wire.py``) this is
all there is to such a channel::

    link ──▶ reader ──▶ wire.decode ──▶ converter ──▶ inbox ──▶ receive()
    link ◀── writer ◀── clear ◀─ control ◀─ sound ◀── wire.encode_audio ◀── converter ◀── send()

Everything is bounded:

    ==================  ===========================================================================================
    captured sound      ``input_buffer_ms``; the oldest is dropped and counted
    other events        1,024, then the call is given up
    unheard sound       ``send_ahead_ms`` ahead of what the far end's clock must have played, and ``slack_ms`` more
                        ahead of what it has confirmed: ``send`` waits
    control messages    1,024, then the call is given up; a newer message of the same key replaces an older one
    order to clear      one: it overtakes everything
    ==================  ===========================================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint
from attrs import evolve, frozen

from kernl_rt._audio.farplay import FarPlayout
from kernl_rt._audio.formats import offered
from kernl_rt._audio.framing import Framer
from kernl_rt._audio.resample import Converter, convert
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream, RealtimeChannel
from kernl_rt.channels._gate import Gate
from kernl_rt.channels._inbox import Inbox
from kernl_rt.channels._speaker import check_send_ahead
from kernl_rt.channels._wire import Answer, Echoed, Left, Message, Played, Wire
from kernl_rt.config import AudioFormat
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioPlayed,
    ChannelEvent,
    DtmfPressed,
)
from kernl_rt.exceptions import (
    ChannelError,
    ConnectionClosed,
    MisconfiguredError,
    ProtocolError,
    SessionStateError,
)

__all__ = ["LinkChannel", "LinkStatistics", "MessageReader"]

_CONTROL_MAX = 1_024
#: For the last words, in seconds; the link's own goodbye is bounded by itself.
_GOODBYE_TIMEOUT = 1.0


@frozen
class LinkStatistics:
    """Bytes of sound in the session's formats, but for the counts at the end.

    ``dropped_input`` was captured and lost by a full buffer, ``discarded`` was sent after the human had left. ``stale``
    and ``excess`` count confirmations that came too late or claimed what was never sent.
    """

    waiting_input: int
    dropped_input: int
    sent: int
    heard: int
    confirmed: int
    cleared: int
    discarded: int
    waiting_messages: int
    clears: int
    stale: int
    excess: int


class MessageReader:
    """Reads a link message by message, for a handshake before the channel exists. ``rest`` is for the channel."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self._messages: deque[Message] = deque()

    async def next(self) -> Message:
        """The next message. Cancelling it loses nothing. Raises as :meth:`~kernl_rt.abc.MessageStream.receive`."""
        while not self._messages:
            self._messages.extend(await self._stream.receive())
        return self._messages.popleft()

    @property
    def rest(self) -> tuple[Message, ...]:
        """What arrived and was not read."""
        return tuple(self._messages)


class _Call:
    """What exists from ``open`` on."""

    def __init__(
        self, input_format: AudioFormat, output_format: AudioFormat, wire: Wire, ledger: FarPlayout, buffer_ms: float
    ) -> None:
        self.ledger = ledger
        self.inbox = Inbox(input_format.size(buffer_ms))
        self.captured: Converter = convert(wire.input_format, input_format)
        # The far end's messages may cut samples; a conversion must not see half of one.
        self.whole_input = Framer(wire.input_format.sample_width)
        self.samples = Framer(output_format.sample_width, output_format.silence)
        self.played: Converter = convert(output_format, wire.output_format)
        far = wire.output_format
        self.frames = Framer(max(far.size(wire.frame_ms), far.sample_width), far.silence)
        self.piece = max(output_format.size(wire.frame_ms), output_format.sample_width)
        self.closed = False

    def forget_sound(self) -> None:
        """Drop what waits to be cut into samples, converted, or cut into frames."""
        self.samples.clear()
        self.played.clear()
        self.frames.clear()


class LinkChannel(RealtimeChannel):
    """A call over ``stream``, in the language of ``wire``. It owns the link from ``open`` on, and closes it.

    ``received`` are messages that were read before, after the handshake's. ``trust_ms`` is how far beyond the last
    confirmation the clock may take the position heard; a mark is sent after every ``mark_ms`` of sound.

    When the link ends, the human has left (``receive`` raises ``anyio.EndOfStream``); when the far end breaks the
    protocol or a limit, it raises :class:`~kernl_rt.exceptions.ChannelError`.
    """

    def __init__(
        self,
        stream: MessageStream,
        wire: Wire,
        *,
        received: Iterable[Message] = (),
        send_ahead_ms: float = 200.0,
        slack_ms: float = 1_000.0,
        trust_ms: float | None = 120.0,
        mark_ms: float = 100.0,
        input_buffer_ms: float = 500.0,
    ) -> None:
        check_send_ahead(send_ahead_ms)
        if input_buffer_ms <= 0 or mark_ms <= 0:
            raise MisconfiguredError("input_buffer_ms and mark_ms must be greater than 0")
        self.input_formats = offered([wire.input_format])
        self.output_formats = offered([wire.output_format])
        self._stream = stream
        self._wire = wire
        self._received = tuple(received)
        self._send_ahead_ms = send_ahead_ms
        self._slack_ms = slack_ms
        self._trust_ms = trust_ms
        self._mark_ms = mark_ms
        self._input_buffer_ms = input_buffer_ms
        self._call: _Call | None = None
        self._over = False
        self._gone = False  # nobody is there to be told anything
        self._failure: ChannelError | None = None
        self._cleared = 0  # counts calls of clear: a send that sees it change drops the rest of its sound
        self._clear_due = False
        self._control: deque[tuple[object, Message]] = deque()
        self._sound: deque[Message] = deque()
        self._sound_max = 0
        self._unmarked = 0
        self._marks = 0
        self._discarded = 0
        self._news = Gate()  # for receive
        self._room = Gate()  # for send
        self._work = Gate()  # for the writing task

    # -- the port -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        name = type(self).__name__
        if self._call is not None:
            raise SessionStateError(f"this {name} has been opened before: a channel is one call, make one for each")
        if input_format not in self.input_formats or output_format not in self.output_formats:
            raise MisconfiguredError(
                f"this {name} cannot give {input_format} and take {output_format}: it offers "
                + ", ".join(str(known) for known in dict.fromkeys((*self.input_formats, *self.output_formats)))
            )
        ledger = FarPlayout(
            output_format, ahead_ms=self._send_ahead_ms, slack_ms=self._slack_ms, trust_ms=self._trust_ms
        )
        call = self._call = _Call(input_format, output_format, self._wire, ledger, self._input_buffer_ms)
        # Two messages for each frame: the frame and a mark.
        self._sound_max = 2 * max(int((self._send_ahead_ms + self._slack_ms) / self._wire.frame_ms), 2)
        async with bare_task_group() as tasks:
            tasks.start_soon(self._read, call)
            tasks.start_soon(self._write, call)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                call.closed = True
                with anyio.CancelScope(shield=True):
                    await self._leave()

    async def receive(self) -> ChannelEvent:
        call = self._opened()
        await checkpoint()
        while True:
            self._advance(call)
            if call.inbox:
                return call.inbox.take()
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise anyio.EndOfStream
            await self._news.wait(call.ledger.mark_at)

    async def send(self, audio: bytes) -> None:
        call = self._opened()
        cleared = self._cleared
        await checkpoint()
        if self._cleared != cleared:
            return
        rest = memoryview(call.samples.push_joined(audio))
        while rest:
            if self._failure is not None:
                raise self._failure
            if self._over:
                self._discarded += len(rest)
                return
            now = anyio.current_time()
            piece = bytes(rest[: call.piece])
            room_at = call.ledger.room_at(len(piece), now) if len(self._sound) < self._sound_max else None
            if room_at is not None and room_at <= now:
                self._accept(call, piece, call.played.push(piece))
                rest = rest[len(piece) :]
                continue
            await self._room.wait(room_at)
            if self._cleared != cleared:
                return

    async def flush(self) -> None:
        call = self._opened()
        cleared = self._cleared
        await checkpoint()
        if self._cleared != cleared or self._over:
            return
        tail = call.samples.flush()
        self._accept(call, tail, call.played.push(tail) + call.played.flush(), last=True)

    def clear(self) -> float:
        call = self._call
        if call is None:
            return 0.0
        if not call.closed:
            self._cleared += 1
            self._sound.clear()
            call.forget_sound()
            self._unmarked = 0
            if call.ledger.clear(anyio.current_time()):
                self._clear_due = True
                self._work.open()
            call.inbox.drop_marks()  # older than the position that is told here
            self._room.open()
        return call.ledger.position_ms

    # -- for the channels made of this --------------------------------------------------------------------------------

    def on_control(self, value: object) -> None:
        """The wire decoded ``value``, which only this channel understands. Must not wait.

        Raises:
            ChannelError: the call cannot go on.
        """

    def post(self, message: Message, *, key: object = None) -> None:
        """Send a control message, ahead of waiting sound. It replaces a waiting one of the same ``key``, in its place.

        Never waits. After the human has left it is forgotten.
        """
        if self._gone:
            return
        if key is not None:
            for index, (known, _) in enumerate(self._control):
                if known == key:
                    self._control[index] = (key, message)
                    return
        if len(self._control) >= _CONTROL_MAX:
            self.give_up("it does not read what is sent to it")
            return
        self._control.append((key, message))
        self._work.open()

    def report(self, event: ChannelEvent) -> None:
        """Hand an event to the session, after what was captured before."""
        call = self._opened()
        try:
            if isinstance(event, AudioCaptured):
                if not call.inbox.has_room(len(event.audio)):
                    call.inbox.make_room(len(event.audio))
                call.inbox.put_audio(event)
            elif isinstance(event, AudioPlayed):
                call.inbox.put_mark(event)
            else:
                call.inbox.put_event(event)
        except anyio.WouldBlock:
            self.give_up("it reports more events than can be followed")
        self._news.open()

    def hang_up(self, reason: str = "") -> None:
        """The human has left: ``receive`` gives what was said before, then raises ``anyio.EndOfStream``."""
        self._end(None)

    def give_up(self, why: str) -> None:
        """The call cannot go on: ``receive`` and ``send`` raise :class:`~kernl_rt.exceptions.ChannelError`."""
        self._end(ChannelError(f"the far end of this {type(self).__name__} was given up: {why}"))

    def statistics(self) -> LinkStatistics:
        """Counters and fill levels, now."""
        call = self._call
        ledger = call.ledger if call is not None else FarPlayout(self.output_formats[0])
        if call is not None and not call.closed:
            ledger.advance(anyio.current_time())
        return LinkStatistics(
            waiting_input=call.inbox.size if call is not None else 0,
            dropped_input=call.inbox.dropped if call is not None else 0,
            sent=ledger.sent + ledger.cleared,
            heard=ledger.heard,
            confirmed=ledger.confirmed,
            cleared=ledger.cleared,
            discarded=self._discarded,
            waiting_messages=len(self._sound) + len(self._control),
            clears=ledger.clears,
            stale=ledger.stale,
            excess=ledger.excess,
        )

    # -- the two tasks ------------------------------------------------------------------------------------------------

    async def _read(self, call: _Call) -> None:
        try:
            for message in self._received:
                self._take(call, message)
            self._received = ()
            while True:
                for message in await self._stream.receive():
                    self._take(call, message)
        except ConnectionClosed:
            self._gone = True
            self._end(None)
        except ProtocolError as error:
            self._gone = True
            failure = ChannelError(str(error))
            failure.__cause__ = error
            self._end(failure)
        except ChannelError as error:
            self._end(error)

    async def _write(self, call: _Call) -> None:
        try:
            while True:
                if self._clear_due:
                    self._clear_due = False
                    for message in self._wire.encode_clear(call.ledger.clears):
                        await self._stream.send(message)
                elif self._control:
                    await self._stream.send(self._control.popleft()[1])
                elif self._sound:
                    message = self._sound.popleft()
                    if len(self._sound) == self._sound_max - 1:
                        self._room.open()
                    await self._stream.send(message)
                else:
                    await self._work.wait()
        except (ConnectionClosed, ProtocolError):
            self._gone = True  # the reading task tells why

    async def _leave(self) -> None:
        """The last act of ``open``'s context, shielded and bounded: the two tasks have ended."""
        await self._part(1000 if self._failure is None else 1008)

    async def _part(self, code: int) -> None:
        """Say what is left to say, and close the link."""
        if not self._gone:
            self._gone = True
            with anyio.move_on_after(_GOODBYE_TIMEOUT):
                try:
                    while self._control:
                        await self._stream.send(self._control.popleft()[1])
                    for message in self._wire.encode_goodbye():
                        await self._stream.send(message)
                except (ConnectionClosed, ProtocolError):
                    pass  # it went first
        await self._stream.aclose(code)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _opened(self) -> _Call:
        name = type(self).__name__
        if self._call is None:
            raise SessionStateError(f"this {name} is not open: use it within 'async with channel.open(…)'")
        if self._call.closed:
            raise SessionStateError(f"this {name} has been closed")
        return self._call

    def _take(self, call: _Call, message: Message) -> None:
        now = anyio.current_time()
        for value in self._wire.decode(message, now):
            if self._over or call.closed:  # the task may hold messages at the moment in which it is cancelled
                return
            match value:
                case AudioCaptured():
                    self._capture(call, value, now)
                case Played():
                    call.ledger.played(value.size, value.clears, now)
                    self._confirmed(call)
                case Echoed():
                    call.ledger.echoed(value.name, now)
                    self._confirmed(call)
                case AudioPlayed() | ActivityStarted() | ActivityEnded() | DtmfPressed():
                    self.report(value)
                case Answer():
                    for answer in value.messages:
                        self.post(answer)
                case Left():
                    self.hang_up(value.reason)
                case _:
                    self.on_control(value)

    def _capture(self, call: _Call, event: AudioCaptured, now: float) -> None:
        at = event.at
        if at is None:
            at = now - self._wire.input_format.ms(len(event.audio)) / 1000
        audio = call.captured.push(call.whole_input.push_joined(event.audio))
        if audio:
            self.report(evolve(event, audio=audio, at=at))

    def _confirmed(self, call: _Call) -> None:
        self._advance(call)
        self._news.open()
        self._room.open()

    def _advance(self, call: _Call) -> None:
        """Bring playback up to now, and put the mark that became due into the inbox."""
        ledger = call.ledger
        ledger.advance(anyio.current_time())
        position = ledger.take_mark()
        if position is not None:
            call.inbox.put_mark(AudioPlayed(position, at=anyio.current_time()))

    def _accept(self, call: _Call, audio: bytes, converted: bytes, *, last: bool = False) -> None:
        frames = call.frames.push(converted)
        if last and (rest := call.frames.pending):
            frames.append(call.frames.flush()[:rest])
        now = anyio.current_time()
        size = sum(len(frame) for frame in frames)
        call.ledger.push(len(audio), size, now)
        self._unmarked += size
        for frame in frames:
            self._sound.extend(self._wire.encode_audio(frame))
        if last:
            call.ledger.settle(now)
        if self._unmarked and (last or self._unmarked >= self._wire.output_format.size(self._mark_ms)):
            self._place_mark(call)
        self._work.open()
        self._news.open()  # there is something to report again, at a moment that was not known before

    def _place_mark(self, call: _Call) -> None:
        self._unmarked = 0
        name = f"m{self._marks + 1}"
        if messages := self._wire.encode_mark(name):
            self._marks += 1
            call.ledger.mark(name)
            self._sound.extend(messages)

    def _end(self, failure: ChannelError | None) -> None:
        if self._over:
            return
        self._over = True
        self._failure = failure
        self._sound.clear()
        self._clear_due = False
        if self._call is not None:
            self._call.ledger.clear(anyio.current_time())
        self._news.open()
        self._room.open()
