"""Where one task waits for another of the same loop: an event for one waiter, which is used again and again.

Waiting is most of what a frame of sound costs that comes alone, and an ``anyio.Event`` is three objects that are made
for each wait. This is what lies under it: a future on asyncio, on trio the task itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["Parking"]


class Parking:
    __slots__ = ("_wake",)

    def __init__(self) -> None:
        self._wake: Callable[[], object] | None = None

    @property
    def taken(self) -> bool:
        """A task waits here, and has not been woken."""
        return self._wake is not None

    def wake(self) -> None:
        """Let the task go on that waits, if one does. Who comes later waits for the next time."""
        wake = self._wake
        if wake is not None:
            self._wake = None
            wake()

    async def park(self) -> None:
        """Wait for :meth:`wake`; one task at a time. Cancelling it leaves the place free."""
        trio = sys.modules.get("trio")
        if trio is None or not trio.lowlevel.in_trio_task():
            await self._on_asyncio()
            return
        lowlevel = trio.lowlevel
        mine = self._wake = partial(lowlevel.reschedule, lowlevel.current_task())

        def abort(_: object) -> object:
            self._leave(mine)
            return lowlevel.Abort.SUCCEEDED

        await lowlevel.wait_task_rescheduled(abort)

    async def _on_asyncio(self) -> None:
        # The loop runs, so that its module is there; a program on trio never needs it.
        future = sys.modules["asyncio"].get_running_loop().create_future()
        mine = self._wake = partial(_release, future)
        try:
            await future
        finally:
            self._leave(mine)

    def _leave(self, mine: Callable[[], object]) -> None:
        # Whoever was woken may find another one waiting here already.
        if self._wake is mine:
            self._wake = None


def _release(future: Any) -> None:
    if not future.done():  # cancelled, and the task does not know it yet
        future.set_result(None)
