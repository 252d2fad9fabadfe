"""A channel whose human is at the far end of a link: what browsers and phones have in common.

Beside the link (a :class:`~kernl_rt.abc.MessageStream`) and the pure translation (a ``Wire``, see ``_wire.py``) this is
all there is to such a channel::

    link ──▶ reader ──▶ wire.decode ──▶ converter ──▶ inbox ──▶ receive()
    link ◀── writer ◀── clear ◀─ control ◀─ sound ◀── wire.encode_audio ◀── converter ◀── send()

The converters and the count of what was heard are the call's (``_call.py``), the lanes and the writer the outbox's
(``_outbox.py``). Everything is bounded:

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

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint
from attrs import frozen

from kernl_rt._audio.farplay import FarPlayout
from kernl_rt._audio.formats import check_offered, offered
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream, RealtimeChannel
from kernl_rt.channels._call import Call
from kernl_rt.channels._gate import Gate
from kernl_rt.channels._outbox import Outbox
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

__all__ = ["LinkChannel", "LinkStatistics"]


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


#: The position is reported so often while sound plays. What is exact is asked for when it counts: `clear` answers.
_STEP_MS = 50.0


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
        self.input_formats: Sequence[AudioFormat] = offered([wire.input_format])
        self.output_formats: Sequence[AudioFormat] = offered([wire.output_format])
        self._stream = stream
        self._wire = wire
        self._received = tuple(received)
        self._send_ahead_ms = send_ahead_ms
        self._slack_ms = slack_ms
        self._trust_ms = trust_ms
        self._mark_ms = mark_ms
        self._input_buffer_ms = input_buffer_ms
        self._call: Call | None = None
        self._outbox = Outbox(stream, wire)
        self._over = False
        self._failure: ChannelError | None = None
        self._cleared = 0  # counts calls of clear: a send that sees it change drops the rest of its sound
        self._discarded = 0
        self._news = Gate()  # for receive

    # -- the port -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        if self._call is not None:
            name = type(self).__name__
            raise SessionStateError(f"this {name} has been opened before: a channel is one call, make one for each")
        check_offered(input_format, self.input_formats, "input")
        check_offered(output_format, self.output_formats, "output")
        ledger = FarPlayout(
            output_format,
            ahead_ms=self._send_ahead_ms,
            slack_ms=self._slack_ms,
            trust_ms=self._trust_ms,
            step_ms=_STEP_MS,
        )
        call = self._call = Call(
            input_format,
            output_format,
            self._wire,
            ledger,
            self._outbox,
            buffer_ms=self._input_buffer_ms,
            mark_ms=self._mark_ms,
        )
        # Two messages for each frame: the frame and a mark.
        self._outbox.sound_max = 2 * max(int((self._send_ahead_ms + self._slack_ms) / self._wire.frame_ms), 2)
        async with bare_task_group() as tasks:
            tasks.start_soon(self._read, call)
            tasks.start_soon(self._outbox.run, ledger)
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
            call.advance(anyio.current_time())
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
        rest = memoryview(call.whole_samples(audio))
        while rest:
            if self._failure is not None:
                raise self._failure
            if self._over:
                self._discarded += len(rest)
                return
            now = anyio.current_time()
            piece = bytes(rest[: call.piece])
            room_at = call.room_at(len(piece), now)
            if room_at is not None and room_at <= now:
                call.play(piece, now)
                self._news.open()  # there is something to report again, at a moment that was not known before
                rest = rest[len(piece) :]
                continue
            await self._outbox.room.wait(room_at)
            if self._cleared != cleared:
                return

    async def flush(self) -> None:
        call = self._opened()
        cleared = self._cleared
        await checkpoint()
        if self._cleared != cleared or self._over:
            return
        call.play_rest(anyio.current_time())
        self._news.open()

    def clear(self) -> float:
        call = self._call
        if call is None:
            return 0.0
        if not call.closed:
            self._cleared += 1
            self._outbox.drop_sound()
            call.forget_sound()
            if call.ledger.clear(anyio.current_time()):
                self._outbox.order_clear()
            call.inbox.drop_marks()  # older than the position that is told here
            self._outbox.room.open()
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
        if not self._outbox.gone and not self._outbox.put_control(message, key):
            self.give_up("it does not read what is sent to it")

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

    def hang_up(self) -> None:
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
            waiting_messages=self._outbox.waiting,
            clears=ledger.clears,
            stale=ledger.stale,
            excess=ledger.excess,
        )

    # -- the reading task ---------------------------------------------------------------------------------------------

    async def _read(self, call: Call) -> None:
        try:
            for message in self._received:
                self._take(call, message)
            self._received = ()
            while True:
                for message in await self._stream.receive():
                    self._take(call, message)
        except ConnectionClosed:
            self._outbox.gone = True
            self._end(None)
        except ProtocolError as error:
            self._outbox.gone = True
            failure = ChannelError(str(error))
            failure.__cause__ = error
            self._end(failure)
        except ChannelError as error:
            self._end(error)

    async def _leave(self) -> None:
        """The last act of ``open``'s context, shielded and bounded: the two tasks have ended."""
        await self._outbox.part(1000 if self._failure is None else 1008)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _opened(self) -> Call:
        name = type(self).__name__
        if self._call is None:
            raise SessionStateError(f"this {name} is not open: use it within 'async with channel.open(…)'")
        if self._call.closed:
            raise SessionStateError(f"this {name} has been closed")
        return self._call

    def _take(self, call: Call, message: Message) -> None:
        now = anyio.current_time()
        for value in self._wire.decode(message, now):
            if self._over or call.closed:  # the task may hold messages at the moment in which it is cancelled
                return
            match value:
                case AudioCaptured():
                    if (captured := call.captured(value, now)) is not None:
                        self.report(captured)
                case Played():
                    call.ledger.played(value.size, value.clears, now)
                    self._confirmed(call, now)
                case Echoed():
                    call.ledger.echoed(value.name, now)
                    self._confirmed(call, now)
                case AudioPlayed() | ActivityStarted() | ActivityEnded() | DtmfPressed():
                    self.report(value)
                case Answer():
                    for answer in value.messages:
                        self.post(answer)
                case Left():
                    self.hang_up()
                case _:
                    self.on_control(value)

    def _confirmed(self, call: Call, now: float) -> None:
        call.advance(now)
        self._news.open()
        self._outbox.room.open()

    def _end(self, failure: ChannelError | None) -> None:
        if self._over:
            return
        self._over = True
        self._failure = failure
        self._outbox.close()
        if self._call is not None:
            self._call.ledger.clear(anyio.current_time())
        self._news.open()
        self._outbox.room.open()
