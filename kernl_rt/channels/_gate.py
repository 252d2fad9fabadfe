"""Waiting until something changes, or until a moment."""

from __future__ import annotations

import anyio

__all__ = ["Gate"]


class Gate:
    """Opened for everybody who waits at that moment. Look again afterwards: it says that, not what."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._waiting = 0

    def open(self) -> None:
        """Wake everybody who waits."""
        if self._waiting:
            self._event.set()
            self._event = anyio.Event()

    async def wait(self, until: float | None = None) -> None:
        """Until the gate is opened, or the moment ``until``."""
        event = self._event
        self._waiting += 1
        try:
            if until is None:
                await event.wait()
                return
            with anyio.CancelScope(deadline=until):
                await event.wait()
        finally:
            self._waiting -= 1
