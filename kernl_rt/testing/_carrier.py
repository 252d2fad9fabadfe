"""A phone carrier and a caller for tests: they speak a carrier's documented messages, in real or virtual time."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt.abc import MessageStream
from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError
from kernl_rt.testing._carrier_words import FORMATS, WORDS, Carrier, Order, Words, WrongMessage

__all__ = ["FakeCarrier"]

Message = str | bytes

_TICK = 0.02
#: Messages on their way; a test that piles up more is stuck.
_MOST_UNDERWAY = 100_000


class _Way:
    """One direction of the link: messages arrive in order, each after its delay."""

    def __init__(self) -> None:
        self._underway: deque[tuple[float, Message]] = deque()
        self._changed = anyio.Event()
        self._last = 0.0
        self.closed: tuple[int, str] | None = None

    def put(self, message: Message, at: float) -> None:
        if len(self._underway) >= _MOST_UNDERWAY:
            raise RuntimeError(f"{_MOST_UNDERWAY} messages are on their way and nobody reads them")
        self._last = max(self._last, at)
        self._underway.append((self._last, message))
        self._wake()

    def close(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = code, reason
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def take(self) -> list[Message]:
        await checkpoint()
        while True:
            now = anyio.current_time()
            ready: list[Message] = []
            while self._underway and self._underway[0][0] <= now + 1e-9:
                ready.append(self._underway.popleft()[1])
            if ready:
                return ready
            if not self._underway and self.closed is not None:
                raise ConnectionClosed(*self.closed)
            changed = self._changed
            with anyio.CancelScope(deadline=self._underway[0][0] if self._underway else float("inf")):
                await changed.wait()


class _AppEnd(MessageStream):
    """The link, as the application has it."""

    def __init__(self, carrier: FakeCarrier, inward: _Way, outward: _Way) -> None:
        self._carrier = carrier
        self._inward, self._outward = inward, outward

    async def receive(self) -> Sequence[Message]:
        return await self._inward.take()

    async def send(self, message: Message) -> None:
        await checkpoint()
        closed = self._outward.closed or self._inward.closed
        if closed is not None:
            raise ConnectionClosed(*closed)
        self._outward.put(message, self._carrier.arrival())

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self._outward.close(code, reason)
        self._inward.close(code, reason)
        await checkpoint()


class FakeCarrier:
    """The far end of a phone channel: a carrier's media stream with a caller on the line.

    Give :attr:`stream` to the channel, and let :meth:`run` go in a task group beside it::

        carrier = FakeCarrier("twilio")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.run)
            channel = await TwilioChannel.accept(carrier.stream)
            async with RealtimeSession(agent, channel=channel) as session:
                carrier.speak(question)
                …
                carrier.hang_up()

    The caller's sound is sent every 20 ms, silence where nothing is said; what arrives is played every 20 ms and kept
    in :attr:`heard`; marks are echoed when the sound before them was played, and when it was cleared. A message that is
    not in the carrier's documentation ends the stream, as it would in earnest, and is kept in :attr:`wrong`.

    Args:
        carrier: ``"twilio"``, ``"telnyx"`` or ``"vonage"``.
        call_id: the call's id.
        parameters: what comes with the stream (``<Parameter>``, ``headers``).
        audio_format: of both directions; the carrier's usual one by default.
        latency: of each message on its way, in seconds, and ``jitter``: by how much more at random.
        loss: the part of the caller's messages that are lost; ``reorder``: the part that change places with the next.
        seed: of what is random here.
    """

    def __init__(
        self,
        carrier: Carrier = "twilio",
        *,
        call_id: str = "CA00000000000000000000000000000001",
        parameters: Mapping[str, str] | None = None,
        audio_format: AudioFormat | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        reorder: float = 0.0,
        seed: int = 0,
    ) -> None:
        if carrier not in WORDS:
            raise MisconfiguredError(f"no carrier {carrier!r}: use one of {', '.join(WORDS)}")
        self.audio_format: AudioFormat = audio_format or FORMATS[carrier]
        given = dict(parameters or {})
        if carrier == "vonage":
            given.setdefault("call_id", call_id)
        self.words: Words = WORDS[carrier](call_id, self.audio_format, given)
        self._latency, self._jitter, self._loss, self._reorder = latency, jitter, loss, reorder
        self._random = random.Random(seed)
        self._to_app, self._to_carrier = _Way(), _Way()
        #: The application's end of the link.
        self.stream: MessageStream = _AppEnd(self, self._to_app, self._to_carrier)
        self._frame = self.audio_format.size(20)
        self._says = bytearray()
        self._kept: Message | None = None
        self._buffer: deque[bytes | str] = deque()  # sound, and names of marks
        self._over = False
        #: What the caller has heard, with the time of each piece.
        self.heard: list[tuple[float, bytes]] = []
        #: When the order to clear came.
        self.clears: list[float] = []
        #: Milliseconds of sound that were waiting to be played, after each message: the application's send-ahead.
        self.most_waiting_ms: float = 0.0
        #: Messages that no carrier would take.
        self.wrong: list[str] = []
        self.lost: int = 0

    # -- the caller ---------------------------------------------------------------------------------------------------

    def speak(self, audio: bytes) -> None:
        """The caller says ``audio``, in :attr:`audio_format`, after what was said before."""
        self._says += audio

    @property
    def speaking(self) -> bool:
        """Whether what the caller says has not been sent in full."""
        return bool(self._says)

    def press(self, key: str) -> None:
        """A key of the telephone: one of ``0-9*#A-D``."""
        self._send(self.words.key(key))

    def hang_up(self) -> None:
        """The caller puts the receiver down; :meth:`run` ends."""
        if not self._over:
            self._over = True
            for message in self.words.farewell():
                self._send(message)
            self._to_app.close(1000, "")
            self._to_carrier.close(1000, "")

    def inject(self, message: Message) -> None:
        """Say to the application what no carrier would."""
        self._send(message)

    @property
    def heard_audio(self) -> bytes:
        return b"".join(audio for _, audio in self.heard)

    @property
    def heard_ms(self) -> float:
        return self.audio_format.ms(len(self.heard_audio))

    @property
    def closed(self) -> tuple[int, str] | None:
        """Close code and reason, once the link has ended."""
        return self._to_carrier.closed or self._to_app.closed

    # -- the carrier --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin the stream, and carry the call until either side ends it."""
        for message in self.words.greeting():
            self._send(message)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            await self._obey()
            tasks.cancel_scope.cancel()

    def arrival(self) -> float:
        return anyio.current_time() + self._latency + self._random.random() * self._jitter

    def _send(self, message: Message) -> None:
        if self._to_app.closed is None:
            self._to_app.put(message, self.arrival())

    async def _tick(self) -> None:
        begin = anyio.current_time()
        frames = 0
        while True:
            self._play()
            self._talk(frames * 20)
            frames += 1
            await anyio.sleep_until(begin + frames * _TICK)

    def _talk(self, at_ms: int) -> None:
        audio = bytes(self._says[: self._frame])
        del self._says[: self._frame]
        if len(audio) < self._frame:
            audio += self.audio_format.silence * ((self._frame - len(audio)) // self.audio_format.sample_width)
        if self._loss and self._random.random() < self._loss:
            self.words.skip()
            self.lost += 1
            return
        message = self.words.media(audio, at_ms)
        if self._kept is None and self._reorder and self._random.random() < self._reorder:
            self._kept = message
            return
        self._send(message)
        if self._kept is not None:
            self._send(self._kept)
            self._kept = None

    def _play(self) -> None:
        room = self._frame
        while self._buffer:
            piece = self._buffer[0]
            if isinstance(piece, str):
                self._buffer.popleft()
                self._send(self.words.mark(piece))
                continue
            if not room:
                return
            self._buffer.popleft()
            if len(piece) > room:
                self._buffer.appendleft(piece[room:])
                piece = piece[:room]
            room -= len(piece)
            self.heard.append((anyio.current_time(), piece))

    async def _obey(self) -> None:
        while not self._over:
            try:
                messages = await self._to_carrier.take()
            except ConnectionClosed:
                return
            for message in messages:
                try:
                    self._do(self.words.read(message))
                except WrongMessage as error:
                    self.wrong.append(str(error))
                    self.hang_up()
                    return

    def _do(self, order: Order) -> None:
        if order.verb == "clear":
            self.clears.append(anyio.current_time())
            marks = [piece for piece in self._buffer if isinstance(piece, str)]
            self._buffer.clear()
            for message in self.words.cleared(marks):
                self._send(message)
        elif order.verb == "mark":
            if self._buffer:
                self._buffer.append(order.name)
            else:  # nothing is queued: at once
                self._send(self.words.mark(order.name))
        else:
            self._buffer.append(order.audio)
            waiting = sum(len(piece) for piece in self._buffer if isinstance(piece, bytes))
            self.most_waiting_ms = max(self.most_waiting_ms, self.audio_format.ms(waiting))
