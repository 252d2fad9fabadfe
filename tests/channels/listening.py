"""A channel with turn detection whose detector takes all that is loud for speech, and sound for it."""

from __future__ import annotations

from typing import Any

from kernl_rt import SessionConfig, TurnDetection
from kernl_rt.channels import MemoryChannel, MemoryHuman, TurnDetectingChannel

MS = 48  # bytes of PCM16 at 24 kHz
MANUAL = SessionConfig(turn_detection=TurnDetection.off())


class Loud:
    """Speech is what is not nearly zero: 20 ms frames at 24 kHz, so that nothing is converted."""

    rate = 24_000
    frame_samples = 480

    def is_speech(self, frame: bytes) -> bool:
        return max(memoryview(frame).cast("h")) > 1_000

    def reset(self) -> None:
        pass


def voice(ms: int) -> bytes:
    return b"\x00\x20" * (ms * 24)


def hush(ms: int) -> bytes:
    return b"\x01\x00" * (ms * 24)


def listening(**options: Any) -> tuple[TurnDetectingChannel, MemoryHuman]:
    inner = MemoryChannel()
    return TurnDetectingChannel(inner, Loud(), **options), inner.human
