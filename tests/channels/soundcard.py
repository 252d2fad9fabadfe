"""A sound card that is a task, or a thread: it hums into the microphone and keeps what the loudspeaker was given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import anyio
import pytest

from kernl_rt.channels.local import BlockTime, SoundDevice
from kernl_rt.channels.local._card import Direction, OnBlock, OnEnd
from kernl_rt.exceptions import ChannelError

DEVICES = (
    SoundDevice(0, "Built-in Microphone", "Fake", 1, 0, 48_000, is_default_input=True),
    SoundDevice(1, "Built-in Speakers", "Fake", 0, 2, 48_000, is_default_output=True),
)


def need_portaudio() -> None:
    """Skip where sounddevice, or the library under it, is not installed."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        pytest.skip(f"PortAudio is not installed: {error}")
    assert sounddevice.get_portaudio_version()


class FakeStream:
    """One direction. Its clock began 1,000 s before, and runs ``drift`` faster than the session's."""

    def __init__(self, card: FakeCard, direction: Direction, rate: int, block_ms: float) -> None:
        self.card = card
        self.direction = direction
        self.name = DEVICES[direction == "output"].name
        self.rate = rate
        self.latency = card.latency
        self.samples = round(rate * block_ms / 1000)
        self.seconds = self.samples / rate
        self.on_block: OnBlock | None = None
        self.on_end: OnEnd | None = None
        self.closed = False
        self.played = bytearray()
        self.blocks = 0

    async def start(self, on_block: OnBlock, on_end: OnEnd) -> None:
        await anyio.sleep(self.card.start_seconds)
        if self.card.start_fails:
            raise ChannelError(f"{self.name} cannot be started")
        self.on_block, self.on_end = on_block, on_end

    async def aclose(self) -> None:
        self.closed = True

    def block(self, now: float, *, lost: bool = False) -> None:
        """The card calls back, at ``now`` on the session's clock."""
        if self.on_block is None or self.closed:
            return
        device = 1_000 + now * (1 + self.card.drift)
        buffer = bytearray(2 * self.samples)
        if self.direction == "input":
            stamp = device - self.seconds - self.latency
            buffer[:] = self.card.hum(self.blocks, self.samples)
            self.on_block(memoryview(buffer), BlockTime(device, stamp if self.card.stamps else 0.0, lost))
        else:
            stamp = device + self.latency
            self.on_block(memoryview(buffer), BlockTime(device, stamp if self.card.stamps else 0.0, lost))
            self.played += buffer
        self.blocks += 1


def ramp(block: int, samples: int) -> bytes:
    """Each sample differs from the next, and each block from the one before."""
    return b"".join(((block * samples + index) % 30_011).to_bytes(2, "little") for index in range(samples))


class FakeCard:
    """Runs in virtual time where :meth:`turn` is a task, in real time where :meth:`thread` is entered."""

    def __init__(
        self,
        *,
        rates: Sequence[int] = (8_000, 16_000, 24_000, 48_000),
        default_rate: int = 48_000,
        latency: float = 0.03,
        drift: float = 50e-6,
        stamps: bool = True,
        hum: Callable[[int, int], bytes] = ramp,
        missing: Sequence[Direction] = (),
        start_fails: bool = False,
        start_seconds: float = 0.0,
    ) -> None:
        self.rates = rates
        self.default_rate = default_rate
        self.latency = latency
        self.drift = drift
        self.stamps = stamps
        self.hum = hum
        self.missing = missing
        self.start_fails = start_fails
        self.start_seconds = start_seconds
        self.streams: dict[Direction, FakeStream] = {}

    def devices(self) -> Sequence[SoundDevice]:
        return DEVICES

    async def open(
        self, direction: Direction, device: int | str | None, rate: int, block_ms: float, latency_ms: float
    ) -> FakeStream:
        await anyio.lowlevel.checkpoint()
        if direction in self.missing:
            raise ChannelError(f"there is no device for {direction}")
        stream = FakeStream(self, direction, rate if rate in self.rates else self.default_rate, block_ms)
        self.streams[direction] = stream
        return stream

    @property
    def microphone(self) -> FakeStream:
        return self.streams["input"]

    @property
    def speaker(self) -> FakeStream:
        return self.streams["output"]

    async def turn(self, seconds: float = 1e6) -> None:
        """Call back at the pace of the session's clock."""
        start = anyio.current_time()
        tick = 0
        while tick * 0.01 < seconds:
            now = anyio.current_time()
            self.speaker.block(now)
            if tick % 2:
                self.microphone.block(now)
            tick += 1
            await anyio.sleep_until(start + tick * 0.01)


class ThreadedCard(FakeCard):
    """Calls back from a thread of its own, in real time, once both directions are started."""

    async def open(
        self, direction: Direction, device: int | str | None, rate: int, block_ms: float, latency_ms: float
    ) -> FakeStream:
        stream = await super().open(direction, device, rate, block_ms, latency_ms)
        if direction == "output":
            threading.Thread(target=self._run, args=(stream,), daemon=True).start()
        return stream

    def _run(self, stream: FakeStream) -> None:
        start = time.monotonic()
        tick = 0
        while not stream.closed:
            stream.block(time.monotonic())
            if tick % 2 and "input" in self.streams:
                self.microphone.block(time.monotonic())
            tick += 1
            time.sleep(max(start + tick * 0.01 - time.monotonic(), 0))
