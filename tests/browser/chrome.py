"""A real Chromium, headless, with a file for a microphone, and the page's own diagnostics."""

from __future__ import annotations

import importlib.util
import random
import shutil
import time
import wave
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt.config import AudioFormat
from kernl_rt.simulator import EspeakVoice

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="no Chromium, or no playwright, on this machine",
)

#: What Chromium's fake microphone reads.
MICROPHONE = AudioFormat("pcm16", 48_000)
#: A recogniser needs some noise in the silence; so does a detector that expects a room.
_DITHER = 12
_SILENT = 200
_POLL = 0.02


def microphone(path: Path, *parts: str | float) -> dict[str, float]:
    """Write a WAV file of spoken sentences and pauses (seconds); returns when each sentence ends, in seconds."""

    async def spoken() -> dict[str, bytes]:
        sounds: dict[str, bytes] = {}

        async def speak(line: str) -> None:
            sounds[line] = await EspeakVoice("en-us").synthesise(line, MICROPHONE)

        async with anyio.create_task_group() as task_group:
            for part in parts:
                if isinstance(part, str):
                    task_group.start_soon(speak, part)
        return sounds

    sounds = anyio.run(spoken)
    samples = array("h")
    ends: dict[str, float] = {}
    for part in parts:
        if isinstance(part, str):
            samples.extend(_trimmed(array("h", sounds[part])))
            ends[part] = len(samples) / MICROPHONE.rate
        else:
            samples.extend(array("h", bytes(2 * round(part * MICROPHONE.rate))))
    noise = random.Random(7)
    dithered = array("h", (min(max(sample + noise.randint(-_DITHER, _DITHER), -32768), 32767) for sample in samples))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE.rate)
        file.writeframes(dithered.tobytes())
    return ends


def _trimmed(samples: array[int]) -> array[int]:
    loud = [index for index, sample in enumerate(samples) if abs(sample) > _SILENT]
    return samples[loud[0] : loud[-1] + 1]


@contextmanager
def chromium(*, hears: Path | None = None, allowed: bool = True) -> Iterator[Any]:
    """A browser. ``hears`` is what its microphone records, once, instead of beeps; without ``allowed`` the human
    refuses it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, launched(playwright, hears=hears, allowed=allowed) as browser:
        yield browser


@contextmanager
def launched(
    playwright: Any, *flags: str, hears: Path | None = None, allowed: bool = True, device: bool = True
) -> Iterator[Any]:
    """The same, where several are needed at once; without ``device`` there is no microphone."""
    given = ["--autoplay-policy=no-user-gesture-required", "--no-sandbox", *flags]
    given.append("--use-fake-ui-for-media-stream" if allowed else "--deny-permission-prompts")
    if device:
        given.append("--use-fake-device-for-media-stream")
    if hears is not None:
        given.append(f"--use-file-for-fake-audio-capture={hears}%noloop")
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=given)
    try:
        yield browser
    finally:
        browser.close()


class Page:
    """The page as a human uses it, and what it says about itself. A script error anywhere in it fails the test."""

    def __init__(self, browser: Any, url: str, *, width: int = 1180, height: int = 720) -> None:
        self.raw: Any = browser.new_page(viewport={"width": width, "height": height})
        self.errors: list[str] = []
        self.raw.on("pageerror", lambda error: self.errors.append(str(error)))
        self.raw.goto(url)

    def press(self, name: str) -> None:
        self.raw.get_by_role("button", name=name, exact=True).click()

    def know(self, expression: str) -> Any:
        """An expression over ``page``, the page's diagnostics. (The strict policy forbids it to be evaluated there.)"""
        return self.raw.evaluate(f"() => {{ const page = window.kernlRt; return {expression}; }}")

    def until(self, expression: str, seconds: float) -> Any:
        """Wait until the expression is true; what it is then."""
        limit = time.monotonic() + seconds
        while not (found := self.know(expression)):
            if time.monotonic() > limit:
                pytest.fail(f"not within {seconds:g} s: {expression}\n{self.state()}")
            self.raw.wait_for_timeout(1000 * _POLL)
        return found

    def text(self, identity: str) -> str:
        return str(self.raw.locator(f"#{identity}").inner_text())

    def visible(self, identity: str) -> bool:
        return bool(self.raw.locator(f"#{identity}").is_visible())

    def state(self) -> dict[str, Any]:
        """Everything the page knows, but for the long list of messages."""
        found: dict[str, Any] = self.know("page.snapshot()")
        log: Sequence[Any] = found.pop("log")
        found.pop("snapshot", None)
        return {**found, "last messages": log[-12:], "script errors": self.errors}
