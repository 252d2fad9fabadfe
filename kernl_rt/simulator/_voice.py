"""Voices for the simulated model: tones, which need nothing, and espeak-ng, which is robotic but says the words.

espeak-ng (GPL) always runs in a process of its own: its executable where there is one, else a worker that loads the
library of the ``espeakng-loader`` package. kernl_rt neither links nor imports it.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import sys
import wave
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, Protocol

import anyio
from anyio.abc import ByteSendStream, Process

from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.simulator._sound import babble, decoded, encoded

__all__ = ["EspeakVoice", "ToneVoice", "Voice", "best_voice"]


class Voice(Protocol):
    """Speaks. One voice serves all sessions of a simulator."""

    async def synthesise(self, text: str, format: AudioFormat, *, voice: str = "alloy", speed: float = 1.0) -> bytes:
        """``text`` as sound in ``format``. ``voice`` is the provider's name of a voice, ``speed`` a factor.

        Raises:
            Exception: any; the reply ends as ``failed``.
        """
        ...


#: Pitches (Hz), so that voices with different names sound different.
_PITCHES = {"alloy": 150, "ash": 110, "ballad": 120, "coral": 190, "echo": 105, "sage": 175, "shimmer": 210}


class ToneVoice:
    """Hums: one tone for each vowel. It says nothing, but takes as long as speaking would. Needs no dependency."""

    async def synthesise(self, text: str, format: AudioFormat, *, voice: str = "alloy", speed: float = 1.0) -> bytes:
        return babble(text, format, pitch=_PITCHES.get(voice, 140), speed=speed)


#: espeak-ng's own names for the provider's voices.
_ESPEAK_VOICES = {
    "alloy": "en-us+f3",
    "ash": "en-us",
    "ballad": "en-gb-x-rp",
    "coral": "en-us+f4",
    "echo": "en-us+m3",
    "sage": "en-gb-x-rp+f3",
    "shimmer": "en-gb-x-rp+f4",
    "verse": "en-us+m4",
    "marin": "en-us+f2",
    "cedar": "en-gb-x-rp+m3",
}
_WORKER = Path(__file__).with_name("_espeak_worker.py")
_WORDS_PER_MINUTE = 150
_LONGEST_TEXT = 20_000


class EspeakVoice:
    """Speaks with espeak-ng, in a subprocess for each text; cancelling kills it. Extra ``[demo]``.

    ``voice`` fixes one of espeak-ng's voices (``"en-us+f3"``); without it each of the provider's names has its own.

    Raises:
        MisconfiguredError: neither espeak-ng nor ``espeakng-loader`` is installed, or soxr is missing.
    """

    def __init__(self, voice: str | None = None, *, words_per_minute: int = _WORDS_PER_MINUTE) -> None:
        if not EspeakVoice.installed():
            raise MisconfiguredError(
                "the espeak voice needs espeak-ng and soxr: install kernl_rt[demo], or use ToneVoice()"
            )
        self._voice = voice
        self._words_per_minute = words_per_minute
        self._executable = shutil.which("espeak-ng")

    @staticmethod
    def installed() -> bool:
        speaks = shutil.which("espeak-ng") is not None or importlib.util.find_spec("espeakng_loader") is not None
        return speaks and importlib.util.find_spec("soxr") is not None

    async def synthesise(self, text: str, format: AudioFormat, *, voice: str = "alloy", speed: float = 1.0) -> bytes:
        name = self._voice or _ESPEAK_VOICES.get(voice, "en-us")
        pace = str(round(self._words_per_minute * speed))
        # NUL would end the text early for a C library.
        spoken = text.replace("\0", " ")[:_LONGEST_TEXT].encode()
        if self._executable is not None:
            command: Sequence[str] = (self._executable, "--stdout", "-b", "1", "-v", name, "-s", pace)
        else:
            command = (sys.executable, str(_WORKER), name, pace)
        output = await _run(command, spoken)
        if output is None:
            raise MisconfiguredError(f"espeak-ng failed; does it know the voice {name!r}?")
        rate, samples = _samples(output)
        return await anyio.to_thread.run_sync(_converted, samples, rate, format)


async def _run(command: Sequence[str], text: bytes) -> bytes | None:
    """What ``command`` writes when ``text`` is its input; ``None`` when it fails. Cancelling kills it."""
    # Under asyncio a process whose start is cancelled is lost, not killed: let it start, then see.
    process: Process | None = None
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(command, stderr=DEVNULL)
    assert process is not None
    output = bytearray()
    async with process, anyio.create_task_group() as task_group:
        assert process.stdin is not None
        assert process.stdout is not None
        task_group.start_soon(_feed, process.stdin, text)
        async for chunk in process.stdout:
            output += chunk
        await process.wait()
    return bytes(output) if process.returncode == 0 else None


async def _feed(stream: ByteSendStream, text: bytes) -> None:
    try:
        await stream.send(text)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # It ended without reading all of it; its exit status says whether that is bad.
    await stream.aclose()


def _samples(output: bytes) -> tuple[int, bytes]:
    """What a speaking process wrote: a WAV file, or a line with the rate and then samples."""
    if not output.startswith(b"RIFF"):
        rate, _, samples = output.partition(b"\n")
        return int(rate or 22_050), samples
    with wave.open(io.BytesIO(output)) as file:
        # espeak-ng does not know the length when it writes the header; the samples are what follows it.
        return file.getframerate(), output[44:]


def _converted(samples: bytes, rate: int, format: AudioFormat) -> bytes:
    soxr: Any = import_module("soxr")
    numpy: Any = import_module("numpy")
    whole = numpy.frombuffer(samples[: len(samples) & ~1], dtype="<i2")
    resampled = soxr.resample(whole, rate, format.rate, quality="MQ").astype("<i2").tobytes()
    return resampled if format.encoding == "pcm16" else encoded(decoded(resampled, _pcm(format)), format)


def _pcm(format: AudioFormat) -> AudioFormat:
    return AudioFormat("pcm16", format.rate)


def best_voice() -> tuple[Voice, str | None]:
    """The best voice that is installed, and what to tell the user when it is not the best there is."""
    if EspeakVoice.installed():
        return EspeakVoice(), None
    return ToneVoice(), "no espeak-ng: the simulator hums instead of speaking; install kernl_rt[demo]"
