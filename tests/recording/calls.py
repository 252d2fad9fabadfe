"""Calls that are recorded, with sound that can be told apart, and how to read what was written."""

from __future__ import annotations

import json
import time
import wave
from array import array
from pathlib import Path
from typing import Any

import anyio

from kernl_rt.channels import MemoryHuman
from kernl_rt.events import AudioDelta
from tests.scenarios.calls import quiet

RATE = 24_000


def ramp(first: int, samples: int) -> bytes:
    """Samples that count up from ``first``: each says itself where it belongs."""
    return array("h", [(first + index) % 30_000 + 1 for index in range(samples)]).tobytes()


def flat(value: int, samples: int) -> bytes:
    return array("h", [value] * samples).tobytes()


def delta(pcm: bytes, response_id: str = "r1", item_id: str = "i1") -> AudioDelta:
    return AudioDelta(pcm, response_id=response_id, item_id=item_id, content_index=0, output_index=0)


def sound_of(folder: Path) -> tuple[array[int], array[int]]:
    """Left and right, read with the standard library."""
    with wave.open(str(folder / "audio.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        samples = array("h", file.readframes(file.getnframes()))
        assert len(samples) == 2 * file.getnframes()
    return samples[0::2], samples[1::2]


def rate_of(folder: Path) -> int:
    with wave.open(str(folder / "audio.wav")) as file:
        return int(file.getframerate())


def written_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def words_of(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "transcript.json").read_text("utf-8"))["entries"]
    return entries


def runs(side: array[int]) -> list[tuple[int, int]]:
    """Where there is sound: (first sample, last sample + 1) of each run."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for index, value in enumerate(side):
        if value and start is None:
            start = index
        elif not value and start is not None:
            found.append((start, index))
            start = None
    return [*found, *([(start, len(side))] if start is not None else [])]


async def speak(human: MemoryHuman, pcm: bytes, frame: int = 960) -> None:
    """Twenty milliseconds at a time, each when it has been captured."""
    for start in range(0, len(pcm), frame):
        at = anyio.current_time()
        await anyio.sleep(0.02)
        human.speak_nowait(pcm[start : start + frame], at=at)


async def until(true: Any) -> None:
    """Of what a thread does, in real time."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        await quiet()
