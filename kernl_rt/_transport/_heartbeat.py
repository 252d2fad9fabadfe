"""Finds out that a peer has gone without saying so."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Heartbeat"]


class Heartbeat:
    """Pings every ``interval`` seconds; a peer from which nothing came within ``timeout`` seconds is dead.

    Whatever arrives proves life, not the pong alone: a pong may be queued behind much sound.
    """

    def __init__(self, interval: float | None, timeout: float | None) -> None:
        if interval is not None and not interval > 0:
            raise MisconfiguredError(f"ping_interval {interval!r} must be more than 0 seconds, or None for no pings")
        if timeout is not None and not timeout > 0:
            raise MisconfiguredError(f"ping_timeout {timeout!r} must be more than 0 seconds, or None to wait forever")
        self._interval = interval
        self._timeout = timeout
        self._awaited: anyio.Event | None = None

    def heard(self) -> None:
        """Something arrived."""
        if self._awaited is not None:
            self._awaited.set()

    async def run(self, ping: Callable[[], None], paused: Callable[[], bool]) -> None:
        """Return when the peer is dead. While ``paused()``, nothing is read and so nothing is proved."""
        while self._interval is not None:
            await anyio.sleep(self._interval)
            if paused():
                continue
            self._awaited = anyio.Event()
            ping()
            with anyio.move_on_after(self._timeout):
                await self._awaited.wait()
            answered, self._awaited = self._awaited.is_set(), None
            if not answered and not paused():
                return
        await anyio.sleep_forever()
