"""The sound of one call over a link: how it is converted, cut, counted and marked, both ways."""

from __future__ import annotations

from attrs import evolve

from kernl_rt._audio.farplay import FarPlayout
from kernl_rt._audio.framing import Framer
from kernl_rt._audio.resample import Converter, convert
from kernl_rt.channels._inbox import Inbox
from kernl_rt.channels._outbox import Outbox
from kernl_rt.channels._wire import Wire
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed

__all__ = ["Call"]


class Call:
    """What exists from ``open`` on. Formats are the session's; the far end's are the wire's."""

    def __init__(
        self,
        input_format: AudioFormat,
        output_format: AudioFormat,
        wire: Wire,
        ledger: FarPlayout,
        outbox: Outbox,
        *,
        buffer_ms: float,
        mark_ms: float,
    ) -> None:
        self.ledger = ledger
        self.inbox = Inbox(input_format.size(buffer_ms))
        self.closed = False
        self._wire = wire
        self._outbox = outbox
        self._captured: Converter = convert(wire.input_format, input_format)
        # The far end's messages may cut samples; a conversion must not see half of one.
        self._whole_input = Framer(wire.input_format.sample_width)
        self._samples = Framer(output_format.sample_width, output_format.silence)
        self._played: Converter = convert(output_format, wire.output_format)
        far = wire.output_format
        self._frames = Framer(max(far.size(wire.frame_ms), far.sample_width), far.silence)
        #: Of what is sent, so much at once, in bytes.
        self.piece = max(output_format.size(wire.frame_ms), output_format.sample_width)
        self._mark_size = far.size(mark_ms)
        self._unmarked = 0
        self._marks = 0

    # -- from the far end ---------------------------------------------------------------------------------------------

    def captured(self, event: AudioCaptured, now: float) -> AudioCaptured | None:
        """The far end's sound as the session's; ``None`` where there is no whole sample yet."""
        at = event.at
        if at is None:
            at = now - self._wire.input_format.ms(len(event.audio)) / 1000
        audio = self._captured.push(self._whole_input.push_joined(event.audio))
        return evolve(event, audio=audio, at=at) if audio else None

    def advance(self, now: float) -> None:
        """Bring playback up to ``now``, and put the mark that became due into the inbox."""
        self.ledger.advance(now)
        position = self.ledger.take_mark()
        if position is not None:
            self.inbox.put_mark(AudioPlayed(position, at=now))

    # -- to the far end -----------------------------------------------------------------------------------------------

    def whole_samples(self, audio: bytes) -> bytes:
        """``audio`` after what was left of the last, without the half sample at its end."""
        return self._samples.push_joined(audio)

    def room_at(self, size: int, now: float) -> float | None:
        """When so many bytes may be played, by the clock; ``None``: not before something is confirmed or sent."""
        return None if self._outbox.full else self.ledger.room_at(size, now)

    def play(self, piece: bytes, now: float) -> None:
        """Whole samples, on their way to the far end."""
        self._accept(piece, self._played.push(piece), now)

    def play_rest(self, now: float) -> None:
        """Nothing follows for the moment: what waits for more goes out as it is."""
        tail = self._samples.flush()
        self._accept(tail, self._played.push(tail) + self._played.flush(), now, last=True)

    def forget_sound(self) -> None:
        """Drop what waits to be cut into samples, converted, or cut into frames."""
        self._samples.clear()
        self._played.clear()
        self._frames.clear()
        self._unmarked = 0

    def _accept(self, audio: bytes, converted: bytes, now: float, *, last: bool = False) -> None:
        frames = self._frames.push(converted)
        if last and (rest := self._frames.pending):
            frames.append(self._frames.flush()[:rest])
        size = sum(len(frame) for frame in frames)
        self.ledger.push(len(audio), size, now)
        self._unmarked += size
        for frame in frames:
            self._outbox.put_sound(self._wire.encode_audio(frame))
        if last:
            self.ledger.settle(now)
        if self._unmarked and (last or self._unmarked >= self._mark_size):
            self._place_mark()
        self._outbox.wake()

    def _place_mark(self) -> None:
        self._unmarked = 0
        name = f"m{self._marks + 1}"
        if messages := self._wire.encode_mark(name):
            self._marks += 1
            self.ledger.mark(name)
            self._outbox.put_sound(messages)
