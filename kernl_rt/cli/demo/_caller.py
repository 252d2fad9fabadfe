"""The caller's telephone: a microphone that never stops, a script that speaks into it, and an ear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import anyio

from kernl_rt.channels import MemoryHuman
from kernl_rt.cli.demo._cast import FORMAT
from kernl_rt.cli.demo._notes import Notes

__all__ = ["Caller"]

_PERIOD = 0.02
_FRAME = FORMAT.size(1000 * _PERIOD)
#: Seconds by which pieces of one run of sound may seem to be apart: whoever fetches them may be late.
_JITTER = 0.06

#: Takes sound, and the moment of its first sample.
Tap = Callable[[bytes, float], None]


class SpeechTap(Protocol):
    """Told when a line begins and when it has been said."""

    def __call__(self, line: str, *, started: bool) -> None: ...


class Caller:
    """Speaks ``lines`` and hears. ``said`` and ``heard`` get every sound with its moment."""

    def __init__(
        self,
        human: MemoryHuman,
        lines: Mapping[str, bytes],
        notes: Notes,
        *,
        said: Tap,
        heard: Tap,
        speech: SpeechTap,
    ) -> None:
        self._human = human
        self._lines = lines
        self._notes = notes
        self._said = said
        self._heard = heard
        self._speech = speech
        self._waiting: str | None = None
        self._saying = b""
        self._gone = False
        self._silent = anyio.Event()

    async def microphone(self) -> None:
        """Send what is being said, else silence, a frame every 20 ms of the clock, until hung up."""
        await self._human.wait_open()
        start = anyio.current_time()
        number = 0
        while not self._gone:
            # By the clock and not by sleeping 20 ms each time: a late frame must not make the caller speak slowly.
            at = start + number * _PERIOD
            await anyio.sleep_until(at + _PERIOD)
            if not self._gone:
                self._send(at)
            number += 1

    def _send(self, at: float) -> None:
        """The frame that was captured from the moment ``at`` on."""
        if self._waiting is not None:
            self._notes.human_began(self._waiting, at)
            self._speech(self._waiting, started=True)
            self._saying, self._waiting = self._lines[self._waiting], None
        frame, self._saying = self._saying[:_FRAME], self._saying[_FRAME:]
        whole = frame.ljust(_FRAME, b"\0")
        self._human.speak_nowait(whole, at=at)
        self._said(whole, at)
        if frame and not self._saying:
            self._notes.human_ended(at + FORMAT.ms(len(frame)) / 1000)
            self._silent.set()

    async def ear(self) -> None:
        """Take what is heard, 20 ms at a time, until the channel is closed."""
        await self._human.wait_open()
        until = 0.0
        while True:
            await anyio.sleep(_PERIOD)
            sound, over = self._drained()
            if sound:
                seconds = FORMAT.ms(len(sound)) / 1000
                began = anyio.current_time() - seconds
                # What goes on without a pause began where the last piece ended, however late it was fetched.
                began = until if abs(began - until) < _JITTER else began
                until = began + seconds
                self._heard(sound, began)
            if over:
                return

    def _drained(self) -> tuple[bytes, bool]:
        """Everything that was heard and not fetched yet, and whether nothing more will come."""
        pieces: list[bytes] = []
        while True:
            try:
                pieces.append(self._human.hear_nowait())
            except anyio.WouldBlock:
                return b"".join(pieces), False
            except anyio.EndOfStream:
                return b"".join(pieces), True

    async def say(self, line: str) -> None:
        """Say one of the lines; returns when it has been said."""
        self._silent = anyio.Event()
        self._waiting = line
        await self._silent.wait()
        self._speech(line, started=False)

    def hang_up(self) -> None:
        self._gone = True
        self._human.hang_up()
