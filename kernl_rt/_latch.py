"""An event that costs nothing until somebody waits for it."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["Latch"]


class Latch:
    """``anyio.Event``, made when the first waiter comes: of most of a session's nobody ever waits, and each is as large
    as all else that the session keeps about the same thing. It may be made outside an event loop.
    """

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: anyio.Event | None = None

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """Again is nothing. In the event loop's thread only."""
        self._set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        if self._set:
            await checkpoint()
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
