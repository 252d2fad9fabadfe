"""Run a target over many frames; keep what breaks it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from attrs import frozen

from tests.fuzz.targets import Frame, Target, frames

REGRESSIONS = Path(__file__).parent / "regressions"


@frozen
class Outcome:
    """``slowest`` is in seconds, of a frame of at most 64 KiB; ``failure`` is where what broke it was written."""

    target: str
    frames: int
    seconds: float
    slowest: float
    failure: Path | None = None
    error: BaseException | None = None


def fuzz(target: Target, seed: int, count: int, folder: Path) -> Outcome:
    """Feed ``count`` frames. The first that breaks a promise ends it, and is written into ``folder``."""
    target.recent.clear()
    slowest = 0.0
    began = time.perf_counter()
    done = 0
    for frame in islice(frames(target, seed), count):
        before = time.perf_counter()
        try:
            target.feed(frame)
        except Exception as error:
            found = write(target, target.recent, folder)
            return Outcome(target.name, done, time.perf_counter() - began, slowest, found, error)
        done += 1
        if len(frame) <= 65_536:
            slowest = max(slowest, time.perf_counter() - before)
    return Outcome(target.name, done, time.perf_counter() - began, slowest)


def write(target: Target, given: Sequence[Frame], folder: Path) -> Path:
    """The frames as a file that :func:`read` gives back; move it to ``regressions`` and name it."""
    text = json.dumps([{"text": each} if isinstance(each, str) else {"hex": each.hex()} for each in given], indent=1)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{target.name}-{name}.json"
    path.write_text(text, "utf-8")
    return path


def read(path: Path) -> list[Frame]:
    return [each["text"] if "text" in each else bytes.fromhex(each["hex"]) for each in json.loads(path.read_text())]
