"""The channel of a sound card: opens both directions, and watches over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint
from attrs import frozen

from kernl_rt._audio.formats import check_offered, offered
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._speaker import check_send_ahead
from kernl_rt.channels.local._card import CardStream, Direction, OnEnd, SoundCard
from kernl_rt.channels.local._loop import Bell, running_loop
from kernl_rt.channels.local._loudspeaker import Loudspeaker
from kernl_rt.channels.local._microphone import Microphone
from kernl_rt.channels.local._portaudio import PortAudioCard
from kernl_rt.config import PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import ChannelEvent
from kernl_rt.exceptions import ChannelError, MisconfiguredError, SessionStateError

__all__ = ["LocalChannel", "LocalChannelStatistics"]

#: What a card is asked for; what it cannot do is converted from what it can.
_NATIVE = (PCM16_24K, PCM16_16K, PCM16_8K)
#: Milliseconds of a block: what a model is sent at a time, and how closely the position is known.
_INPUT_BLOCK_MS = 20.0
_OUTPUT_BLOCK_MS = 10.0
#: Less would be played out between two blocks, or wait in a resampler.
_SEND_AHEAD_MIN_MS = 50.0
#: A card that has not called for so long, in seconds, has gone, whatever it says.
_STALLED = 5.0


@frozen
class LocalChannelStatistics:
    """Milliseconds of sound since the channel was opened, and counts.

    ``dropped_ms``: captured, and lost because the session took it too late. ``muted_ms``: replaced by silence
    (half-duplex). ``gaps``: the loudspeaker ran dry in the middle of a reply. ``overflows`` and ``underflows``: the
    device itself says that it lost captured sound, or played silence, because it was not served in time. The latencies
    are the driver's estimates, the rates those that the devices really run at.
    """

    captured_ms: float = 0.0
    dropped_ms: float = 0.0
    muted_ms: float = 0.0
    sent_ms: float = 0.0
    heard_ms: float = 0.0
    unheard_ms: float = 0.0
    cleared_ms: float = 0.0
    gaps: int = 0
    overflows: int = 0
    underflows: int = 0
    input_rate: int = 0
    output_rate: int = 0
    input_latency_ms: float = 0.0
    output_latency_ms: float = 0.0


class LocalChannel(RealtimeChannel):
    """The human sits before this machine: its microphone, its loudspeaker.

    Args:
        input_device: the microphone: an index or a part of a name, as :func:`~kernl_rt.channels.local.devices` lists
            them, or ``None`` for the system's default.
        output_device: the loudspeaker, likewise.
        half_duplex: silence instead of the microphone while the loudspeaker is heard. For a room where the microphone
            hears the loudspeaker: nothing here cancels the echo. The human can then not interrupt by speaking.
        tail_ms: how much longer, after the last of the sound, for its echo to die away.
        send_ahead_ms: sound that ``send`` accepts before it is heard, 50 or more.
        input_buffer_ms: captured sound that waits for the session; of more, the oldest is dropped and counted.
        latency_ms: what each device is asked to buffer. More is safer on a busy machine; less is quicker, and leaves
            less to play when the human interrupts.
        card: what stands in for PortAudio, in tests.

    A channel is opened once.

    Raises:
        MisconfiguredError: an option that cannot be; on opening also: sounddevice or PortAudio is not installed, or the
            device runs at a rate from which soxr would have to convert.
    """

    live = True
    reports_playback = True

    def __init__(
        self,
        input_device: int | str | None = None,
        output_device: int | str | None = None,
        *,
        half_duplex: bool = False,
        tail_ms: float = 250.0,
        send_ahead_ms: float = 200.0,
        input_buffer_ms: float = 500.0,
        latency_ms: float = 40.0,
        card: SoundCard | None = None,
    ) -> None:
        check_send_ahead(send_ahead_ms)
        if send_ahead_ms < _SEND_AHEAD_MIN_MS:
            raise MisconfiguredError(f"a sound card needs a send-ahead of 50 ms or more, not {send_ahead_ms!r}")
        if not _INPUT_BLOCK_MS <= input_buffer_ms <= 60_000:
            raise MisconfiguredError(f"input_buffer_ms={input_buffer_ms!r} cannot be: use 20 to 60000, 500 is usual")
        if not 0 <= tail_ms <= 10_000:
            raise MisconfiguredError(f"tail_ms={tail_ms!r} cannot be: use 0 to 10000, 250 is usual")
        if not 0 < latency_ms <= 1_000:
            raise MisconfiguredError(f"latency_ms={latency_ms!r} cannot be: use more than 0, up to 1000; 40 is usual")
        self.input_device = input_device
        self.output_device = output_device
        self.half_duplex = half_duplex
        self.input_formats: Sequence[AudioFormat] = offered(_NATIVE)
        self.output_formats: Sequence[AudioFormat] = offered(_NATIVE)
        self._tail = tail_ms / 1000
        self._send_ahead_ms = send_ahead_ms
        self._latency_ms = latency_ms
        self._blocks = int(input_buffer_ms / _INPUT_BLOCK_MS)
        self._card: SoundCard = PortAudioCard() if card is None else card
        self._used = False
        self._call: _Call | None = None

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        if self._used:
            raise SessionStateError("this LocalChannel has been opened before: make a new one for each session")
        check_offered(input_format, self.input_formats, "input")
        check_offered(output_format, self.output_formats, "output")
        self._used = True
        async with AsyncExitStack() as streams:
            source = await self._open("input", self.input_device, input_format, streams)
            sink = await self._open("output", self.output_device, output_format, streams)
            call = self._connect(source, sink, input_format, output_format)
            try:
                await sink.start(call.loudspeaker.on_block, call.on_end("loudspeaker", sink))
                await source.start(call.microphone.on_block, call.on_end("microphone", source))
                call.started()
                self._call = call
                yield
            finally:
                call.close()

    async def _open(
        self, direction: Direction, device: int | str | None, wanted: AudioFormat, streams: AsyncExitStack
    ) -> CardStream:
        block_ms = _INPUT_BLOCK_MS if direction == "input" else _OUTPUT_BLOCK_MS
        stream = await self._card.open(direction, device, wanted.rate, block_ms, self._latency_ms)
        streams.push_async_callback(stream.aclose)
        return stream

    def _connect(
        self, source: CardStream, sink: CardStream, input_format: AudioFormat, output_format: AudioFormat
    ) -> _Call:
        bell = Bell(running_loop())
        loudspeaker = Loudspeaker(
            output_format, AudioFormat("pcm16", sink.rate), sink.latency, bell, send_ahead_ms=self._send_ahead_ms
        )
        microphone = Microphone(
            input_format,
            AudioFormat("pcm16", source.rate),
            source.latency,
            bell,
            blocks=self._blocks,
            is_muted=self._muting(loudspeaker),
        )
        return _Call(source, sink, microphone, loudspeaker, bell)

    def _muting(self, loudspeaker: Loudspeaker) -> Callable[[float, float], bool]:
        if not self.half_duplex:
            return lambda begin, end: False
        return lambda begin, end: loudspeaker.sounded(begin - self._tail, end)

    async def receive(self) -> ChannelEvent:
        self._running()
        await checkpoint()
        while True:
            call = self._running()
            call.loudspeaker.advance()
            if (mark := call.loudspeaker.take_mark()) is not None:
                return mark
            if (sound := call.microphone.take()) is not None:
                return sound
            await call.loudspeaker.wait(None)

    async def send(self, audio: bytes) -> None:
        await self._running().loudspeaker.send(audio)

    async def flush(self) -> None:
        await self._running().loudspeaker.flush()

    def clear(self) -> float:
        call = self._call
        if call is None:
            return 0.0
        if not call.closed:
            call.loudspeaker.clear()
        return call.loudspeaker.playout.position_ms

    def statistics(self) -> LocalChannelStatistics:
        """Counters and fill levels, now; zeros before the channel is open."""
        return LocalChannelStatistics() if self._call is None else self._call.statistics()

    def _running(self) -> _Call:
        if self._call is None:
            raise SessionStateError("this LocalChannel is not open: use it within 'async with channel.open(…)'")
        if self._call.closed:
            raise SessionStateError("this LocalChannel has been closed")
        return self._call


class _Call:
    """What exists from ``open`` on."""

    def __init__(
        self, source: CardStream, sink: CardStream, microphone: Microphone, loudspeaker: Loudspeaker, bell: Bell
    ) -> None:
        self.source = source
        self.sink = sink
        self.microphone = microphone
        self.loudspeaker = loudspeaker
        self.closed = False
        self._bell = bell
        self._ended: str | None = None
        loudspeaker.watch = self.watch

    def on_end(self, word: str, stream: CardStream) -> OnEnd:
        """What a stream that ends by itself calls, in any thread."""

        def on_end(reason: str) -> None:
            told = f": {reason}" if reason else ""
            self._ended = self._ended or f"the {word} {stream.name!r} has stopped{told}; was it unplugged?"
            self._bell.ring()

        return on_end

    def started(self) -> None:
        """Both devices run. Starting one may take seconds, which do not count as silence."""
        self.microphone.last_block_at = self.loudspeaker.last_block_at = anyio.current_time()

    def watch(self) -> float:
        """Until when the devices may be silent. Raises ``ChannelError`` when one has gone."""
        stalled_at = min(self.microphone.last_block_at, self.loudspeaker.last_block_at) + _STALLED
        if self._ended is None and anyio.current_time() >= stalled_at:
            is_input = self.microphone.last_block_at <= self.loudspeaker.last_block_at
            word, stream = ("microphone", self.source) if is_input else ("loudspeaker", self.sink)
            self._ended = f"the {word} {stream.name!r} has given no sign for {_STALLED:g} s; was it unplugged?"
        if self._ended is not None:
            failure = ChannelError(self._ended)
            self.loudspeaker.fail(failure)
            raise failure
        return stalled_at

    def close(self) -> None:
        self.closed = True
        self.loudspeaker.end()

    def statistics(self) -> LocalChannelStatistics:
        microphone, loudspeaker, playout = self.microphone, self.loudspeaker, self.loudspeaker.playout
        device = AudioFormat("pcm16", self.source.rate)
        session = playout.audio_format
        return LocalChannelStatistics(
            captured_ms=device.ms(microphone.ring.captured),
            dropped_ms=device.ms(microphone.ring.dropped),
            muted_ms=device.ms(microphone.muted),
            sent_ms=session.ms(playout.sent + playout.cleared),
            heard_ms=playout.position_ms,
            unheard_ms=session.ms(playout.pending),
            cleared_ms=session.ms(playout.cleared),
            gaps=loudspeaker.ring.gaps,
            overflows=microphone.overflows,
            underflows=loudspeaker.underflows,
            input_rate=self.source.rate,
            output_rate=self.sink.rate,
            input_latency_ms=1000 * self.source.latency,
            output_latency_ms=1000 * self.sink.latency,
        )
