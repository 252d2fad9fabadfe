"""Waiting until something changes, or until a moment."""

from __future__ import annotations

import anyio

__all__ = ["Gate"]


class Gate:
    """Opened for everybody who waits at that moment. Look again afterwards: it says that, not what."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None  # made by the first who waits, so that opening costs nothing else

    def open(self) -> None:
        """Wake everybody who waits. In the event loop's thread only; it need not be in a task."""
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self, until: float | None = None) -> None:
        """Until the gate is opened, or the moment ``until``."""
        if self._event is None:
            self._event = anyio.Event()
        event = self._event
        if until is None:
            await event.wait()
            return
        with anyio.CancelScope(deadline=until):
            await event.wait()
