"""Ears for the simulated model: none, a list of what was "heard", or pocketsphinx with the grammar.

Only the grammar is ever used: the recogniser's full language model holds Python's global lock while it decodes and
would stall every other session of the process.
"""

from __future__ import annotations

import importlib.util
import threading
from collections import deque
from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol

import anyio

from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.simulator._grammar import jsgf
from kernl_rt.simulator._sound import decoded

__all__ = ["DeafEars", "Ears", "GrammarEars", "ScriptedEars", "best_ears"]


class Ears(Protocol):
    """Writes down what was said. One pair serves all sessions of a simulator, at the same time."""

    async def transcribe(self, audio: bytes, format: AudioFormat) -> str:
        """The words in ``audio``, ``""`` for none.

        Raises:
            Exception: any; the transcription is reported as failed.
        """
        ...


class DeafEars:
    """Hears that somebody spoke, and not what. Needs no dependency."""

    async def transcribe(self, audio: bytes, format: AudioFormat) -> str:
        return "(speech)" if audio else ""


class ScriptedEars:
    """Hears what it was told, turn after turn, whatever the sound; then only that somebody spoke."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = deque(lines)

    async def transcribe(self, audio: bytes, format: AudioFormat) -> str:
        return self._lines.popleft() if self._lines else "(speech)"


_RATE = 16_000
#: Digital silence breaks the recogniser's front end at the last word; a little noise (amplitude) mends it.
_DITHER = 20


class GrammarEars:
    """Hears the sentences of the grammar, and nothing else, with pocketsphinx. Extra ``[demo]``.

    A grammar always answers something: other speech is forced into one of its sentences.

    Raises:
        MisconfiguredError: pocketsphinx or soxr is not installed (there is no pocketsphinx for Python 3.14 yet).
    """

    def __init__(self, grammar: str | None = None) -> None:
        if not GrammarEars.installed():
            raise MisconfiguredError(
                "hearing words needs pocketsphinx and soxr: install kernl_rt[demo], or use ScriptedEars([...])"
            )
        self._grammar = grammar or jsgf()
        self._decoder: Any = None
        # A decoder holds one utterance at a time; only worker threads ever wait here.
        self._lock = threading.Lock()

    @staticmethod
    def installed() -> bool:
        return all(importlib.util.find_spec(name) is not None for name in ("pocketsphinx", "soxr", "numpy"))

    async def transcribe(self, audio: bytes, format: AudioFormat) -> str:
        """Decodes in a worker thread; cancelling waits for it (milliseconds per second of sound)."""
        return await anyio.to_thread.run_sync(self._transcribe, audio, format)

    def _transcribe(self, audio: bytes, format: AudioFormat) -> str:
        samples = _prepared(audio, format)
        with self._lock:
            decoder = self._decoder = self._decoder or self._loaded()
            decoder.start_utt()
            decoder.process_raw(samples, no_search=False, full_utt=True)
            decoder.end_utt()
            found = decoder.hyp()
            return "" if found is None else str(found.hypstr)

    def _loaded(self) -> Any:
        sphinx: Any = import_module("pocketsphinx")
        decoder = sphinx.Decoder(samprate=_RATE, lm=None, loglevel="FATAL")
        decoder.add_jsgf_string("sentences", self._grammar)
        decoder.activate_search("sentences")
        return decoder


def _prepared(audio: bytes, format: AudioFormat) -> bytes:
    """At the recogniser's rate, with a quarter of a second of room around it, and dithered."""
    soxr: Any = import_module("soxr")
    numpy: Any = import_module("numpy")
    samples = numpy.array(decoded(audio, format), dtype="<i2")
    if len(samples) and format.rate != _RATE:
        samples = soxr.resample(samples, format.rate, _RATE, quality="HQ")
    padded = numpy.concatenate([numpy.zeros(_RATE // 4), samples, numpy.zeros(_RATE // 4)])
    noise = numpy.random.default_rng(0).integers(-_DITHER, _DITHER + 1, len(padded))
    mixed: bytes = numpy.clip(padded + noise, -32768, 32767).astype("<i2").tobytes()
    return mixed


def best_ears() -> tuple[Ears, str | None]:
    """The best ears that are installed, and what to tell the user when they are not the best there are."""
    if GrammarEars.installed():
        return GrammarEars(), None
    return DeafEars(), "no pocketsphinx: the simulator hears that you speak but not what; install kernl_rt[demo]"
