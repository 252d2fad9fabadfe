"""A channel around a channel, that listens to what it passes on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt._audio.turns import GAP, Boundary, SpeechDetector, TurnTracker
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels.turn_detection._webrtc import RATES, WebRtcDetector
from kernl_rt.config import AudioFormat
from kernl_rt.events import ActivityEnded, ActivityStarted, AudioCaptured, ChannelEvent
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["TurnDetectingChannel"]

#: The longest that any of the times may be, in milliseconds.
_LONGEST = 10_000.0
_PIECE_MS = 20.0
#: Seconds that do not count: sums of floats.
_EARLY = 1e-6


class TurnDetectingChannel(RealtimeChannel):
    """``channel``, with turn detection on our side. Formats, playback and the rest are the channel's.

    Args:
        channel: any channel; it is opened and closed with this one.
        detector: says of each frame whether somebody speaks; :class:`WebRtcDetector` by default.
        onset_ms: so much speech begins a turn (four fifths of the time is enough); shorter noises make nothing.
        hangover_ms: so much without speech ends it.
        prefix_padding_ms: pass on sound only while somebody speaks, beginning so much before they did; the silence
            between turns is then neither sent nor paid for. Only with the provider's turn detection off, which would
            wait for silence. ``None``: pass on all sound.

    Where the channel itself reports activity (a button is pressed), that counts, and the detector waits until it ends.
    A human who speaks and of whom no sound comes any more (a muted device) has stopped.

    Raises:
        MisconfiguredError: an option is out of its range, or no detector is given and ``kernl_rt[vad]`` is not
            installed.
    """

    def __init__(
        self,
        channel: RealtimeChannel,
        detector: SpeechDetector | None = None,
        *,
        onset_ms: float = 80.0,
        hangover_ms: float = 500.0,
        prefix_padding_ms: float | None = None,
    ) -> None:
        for name, ms in (
            ("onset_ms", onset_ms),
            ("hangover_ms", hangover_ms),
            ("prefix_padding_ms", prefix_padding_ms),
        ):
            if ms is not None and not 0 <= ms <= _LONGEST:
                raise MisconfiguredError(f"{name}={ms!r} is no time: use 0 to {_LONGEST:g} ms")
        #: What is listened to.
        self.channel: RealtimeChannel = channel
        self.input_formats: Sequence[AudioFormat] = channel.input_formats
        self.output_formats: Sequence[AudioFormat] = channel.output_formats
        self.live: bool = channel.live
        self.reports_playback: bool = channel.reports_playback
        if detector is None:
            WebRtcDetector()  # says now that the extra is missing; the rate is not known yet
        self._detector: SpeechDetector | None = detector
        self._onset_ms = onset_ms
        self._hangover_ms = hangover_ms
        self._padding_ms = prefix_padding_ms
        self._listener: _Listener | None = None

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        """As the port says.

        Raises:
            MisconfiguredError: also where the detector wants another rate than ``input_format`` has and soxr is
                missing (it comes with ``kernl_rt[vad]``).
        """
        detector = self._detector or WebRtcDetector(input_format.rate if input_format.rate in RATES else 16_000)
        tracker = TurnTracker(input_format, detector, onset_ms=self._onset_ms, hangover_ms=self._hangover_ms)
        async with self.channel.open(input_format, output_format):
            padding = None if self._padding_ms is None else self._padding_ms / 1000
            self._listener = _Listener(tracker, input_format, padding, reach=3 * self._onset_ms / 1000)
            yield

    async def receive(self) -> ChannelEvent:
        listener = self._listener
        if listener is None:
            return await self.channel.receive()  # not open: the channel says so
        if listener.events:
            await checkpoint()
            return listener.events.popleft()
        while not listener.events:
            with anyio.CancelScope(deadline=self._silent_at(listener)) as waiting:
                listener.take(await self.channel.receive(), anyio.current_time())
            if waiting.cancelled_caught:
                listener.lapse()
        return listener.events.popleft()

    def _silent_at(self, listener: _Listener) -> float:
        """When no more sound will come of a human who speaks. A source that can wait may be late."""
        if not self.live or not listener.tracker.speaking:
            return math.inf
        return listener.arrived_at + self._hangover_ms / 1000 + GAP

    async def send(self, audio: bytes) -> None:
        await self.channel.send(audio)

    async def flush(self) -> None:
        await self.channel.flush()

    def clear(self) -> float:
        return self.channel.clear()


class _Listener:
    """What exists from ``open`` on: makes the channel's events into ours. ``events`` wait to be received."""

    def __init__(self, tracker: TurnTracker, audio_format: AudioFormat, padding: float | None, reach: float) -> None:
        self.tracker = tracker
        self.events: deque[ChannelEvent] = deque()
        self.arrived_at = 0.0
        self._format = audio_format
        self._padding = padding
        #: Sound before now that may turn out to belong to a turn, in bytes: a start is noticed late.
        self._reach = audio_format.size(((padding or 0.0) + reach + 0.2) * 1000)
        self._piece = max(audio_format.size(_PIECE_MS), audio_format.sample_width)
        self._withheld: deque[AudioCaptured] = deque()
        self._withheld_size = 0
        #: The channel's own detector, or button, says that somebody speaks; somebody does, all in all.
        self._reported = False
        self._speaking = False

    def take(self, event: ChannelEvent, now: float) -> None:
        """The channel has reported ``event``."""
        match event:
            case AudioCaptured():
                self._hear(event, now)
            case ActivityStarted():
                self._reported = True
                self.tracker.lapse()
                self._begin(event)
            case ActivityEnded():
                self._reported = False
                self._end(event)
            case _:
                self.events.append(event)

    def lapse(self) -> None:
        """No sound comes any more."""
        self._report(self.tracker.lapse())

    def _hear(self, event: AudioCaptured, now: float) -> None:
        """In pieces: a turn may begin or end in the middle of what a channel reports at once."""
        self.arrived_at = now
        at = now if event.at is None else event.at
        for offset in range(0, len(event.audio), self._piece):
            audio = event.audio[offset : offset + self._piece]
            self._hear_piece(AudioCaptured(audio, at=at + self._format.ms(offset) / 1000))

    def _hear_piece(self, piece: AudioCaptured) -> None:
        assert piece.at is not None
        found = [] if self._reported else self.tracker.push(piece.audio, piece.at)
        # A start comes before the sound that shows it, which belongs to the turn; an end comes after.
        first = 1 if found and isinstance(found[0], ActivityStarted) else 0
        self._report(found[:first])
        if self._padding is None or self._speaking:
            self.events.append(piece)
        else:
            self._withhold(piece)
        self._report(found[first:])

    def _withhold(self, piece: AudioCaptured) -> None:
        self._withheld.append(piece)
        self._withheld_size += len(piece.audio)
        while self._withheld_size > self._reach and len(self._withheld) > 1:
            self._withheld_size -= len(self._withheld.popleft().audio)

    def _report(self, boundaries: Sequence[Boundary]) -> None:
        for boundary in boundaries:
            if isinstance(boundary, ActivityStarted):
                self._begin(boundary)
            else:
                self._end(boundary)

    def _begin(self, started: ActivityStarted) -> None:
        if self._speaking:
            return
        self._speaking = True
        self.events.append(started)
        if self._padding is not None:
            since = -math.inf if started.at is None else started.at - self._padding
            self.events += [piece for piece in self._withheld if piece.at is not None and piece.at >= since - _EARLY]
            self._withheld.clear()
            self._withheld_size = 0

    def _end(self, ended: ActivityEnded) -> None:
        if self._speaking:
            self._speaking = False
            self.events.append(ended)
