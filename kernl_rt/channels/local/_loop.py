"""The event loop, seen from a thread that is not its own and must not wait for it.

``anyio.from_thread`` waits for an answer; a sound card's thread cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attrs import frozen

from kernl_rt._transport._backend import running_backend

__all__ = ["Bell", "Loop", "running_loop"]


@frozen
class Loop:
    """``call_soon`` runs a function in the loop soon, ``now`` is ``anyio.current_time``; both from any thread."""

    _call_soon: Callable[[Callable[[], object]], object]
    now: Callable[[], float]

    def call_soon(self, function: Callable[[], object]) -> None:
        """Never waits. ``function`` must not raise, and under asyncio it runs in no task."""
        try:
            self._call_soon(function)
        except RuntimeError:
            # The loop has ended (trio.RunFinishedError is a RuntimeError, too): there is nobody left to tell.
            return


def running_loop() -> Loop:
    """The loop of the running task."""
    if running_backend() == "trio":
        import trio

        return Loop(trio.lowlevel.current_trio_token().run_sync_soon, trio.lowlevel.current_clock().current_time)
    loop = asyncio.get_running_loop()
    return Loop(loop.call_soon_threadsafe, loop.time)


class Bell:
    """Rung by the card's threads, heard in the loop: however often it is rung before that, ``answer`` runs once."""

    def __init__(self, loop: Loop) -> None:
        self.loop: Loop = loop
        #: Set before anybody rings. Runs in the loop, under asyncio in no task, and must not raise.
        self.answer: Callable[[], object] = lambda: None
        self._rung = False

    def ring(self) -> None:
        """From any thread; never waits."""
        if not self._rung:
            self._rung = True
            self.loop.call_soon(self._heard)

    def _heard(self) -> None:
        self._rung = False  # first: whoever rings from here on is answered again
        self.answer()
