"""Commands are run as a user runs them: in a process of their own, in real time, under both backends."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import wave
from array import array
from pathlib import Path

#: Python tells of whatever is not closed, or not awaited, on standard error, where nothing may stand.
COMMAND = (sys.executable, "-W", "default", "-m", "kernl_rt")


def environment(**more: str) -> dict[str, str]:
    """The test's environment without a key or an address of a real service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return {**kept, **more}


def run(*arguments: str | Path, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment(**more), cwd=cwd)


def start(*arguments: str | Path, **more: str) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**more))


def sides(path: Path) -> list[array[int]]:
    """The channels of a 16-bit WAV file."""
    with wave.open(str(path)) as file:
        assert (file.getsampwidth(), file.getframerate()) == (2, 24_000)
        samples = array("h", file.readframes(file.getnframes()))
        return [samples[lane :: file.getnchannels()] for lane in range(file.getnchannels())]


def loudness(samples: array[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / max(len(samples), 1))
