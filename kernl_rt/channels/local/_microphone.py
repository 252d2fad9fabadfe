"""The microphone's half: blocks come through a ring, and are converted in the loop, not in the card's thread."""

from __future__ import annotations

from collections.abc import Callable

from kernl_rt._audio.device import DeviceClock
from kernl_rt._audio.resample import Converter, convert
from kernl_rt._audio.ring import CaptureRing
from kernl_rt.channels.local._card import BlockTime
from kernl_rt.channels.local._loop import Bell
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured

__all__ = ["Microphone"]


class Microphone:
    """Captured sound, in the session's format. ``is_muted`` says whether a stretch of time is to be silence."""

    def __init__(
        self,
        audio_format: AudioFormat,
        device_format: AudioFormat,
        latency: float,
        bell: Bell,
        *,
        blocks: int,
        is_muted: Callable[[float, float], bool],
    ) -> None:
        self._device_format = device_format
        self._format = audio_format
        self._bell = bell
        self._is_muted = is_muted
        self._clock = DeviceClock(latency)
        self._converter: Converter = convert(device_format, audio_format)
        self._held = 0.0  # seconds of sound in the converter
        self.ring: CaptureRing = CaptureRing(blocks)
        self.muted: int = 0  # bytes of the card's
        self.overflows: int = 0  # written by the card's thread, as is the next
        self.last_block_at: float = bell.loop.now()

    def on_block(self, data: memoryview, time: BlockTime) -> None:
        """Take a block. Called by the card's thread; never waits."""
        now = self._bell.loop.now()
        self.last_block_at = now
        self.overflows += time.lost
        self.ring.put(bytes(data), self._clock.captured_at(time.at, time.now, now, self._seconds(len(data))))
        self._bell.ring()

    def take(self) -> AudioCaptured | None:
        """The oldest sound that waits."""
        while (block := self.ring.take()) is not None:
            audio = block.audio
            if self._is_muted(block.at, block.at + self._seconds(len(audio))):
                self.muted += len(audio)
                audio = bytes(len(audio))
            at = block.at - self._held
            sound = self._converter.push(audio)
            self._held += self._seconds(len(audio)) - self._format.ms(len(sound)) / 1000
            if sound:
                return AudioCaptured(sound, at=at)
        return None

    def _seconds(self, size: int) -> float:
        return size / self._device_format.bytes_per_second
