"""The session's one task that dials: the link to the model, and the next one when the machine wants another.

::

    dial ─▶ say the configuration ─▶ two pumps ─▶ hang up ─┐
      ▲                                                    │
      └──── wait ◀──── the machine: another one ◀──────────┘

Each link lives in a context of its own, which is left before the next is dialled: some providers refuse a second
session while the first is open.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import RunVar

from kernl_rt._core import inputs
from kernl_rt._session import pumps
from kernl_rt._session.driver import Driver, nowhere
from kernl_rt._session.errors import hosted
from kernl_rt.abc import RealtimeConnection, RealtimeModel
from kernl_rt.exceptions import ConnectError, ConnectionClosed, ConnectTimeout, MisconfiguredError, ProtocolError

__all__ = ["DIALS_PER_SECOND", "Link"]

#: All sessions of an event loop together dial anew at most so often: a server that comes back is not run over.
DIALS_PER_SECOND = 50

_next_dial: RunVar[float] = RunVar("kernl_rt_next_dial", float("-inf"))

#: Opens a connection; takes the handle to resume with.
Dial = Callable[[str | None], AbstractAsyncContextManager[RealtimeConnection]]


class Link:
    """``timeout`` bounds each attempt, in seconds: dialling, the handshake and the word on the configuration."""

    def __init__(self, driver: Driver, model: RealtimeModel, dial: Dial, timeout: float) -> None:
        self._driver = driver
        self._model = model
        self._dial = dial
        self._timeout = timeout
        #: Nobody has been told that the session is open: what goes wrong is raised.
        self._first = True

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Until the session is over. The first attempt must succeed.

        Raises:
            ConnectError: the first attempt failed.
        """
        await self._attempt(None, task_status.started)
        self._first = False
        driver = self._driver
        while driver.redial is not None and not driver.stopped:
            (at, resume), driver.redial = driver.redial, None
            with anyio.CancelScope() as waiting:
                driver.hang_up = waiting.cancel
                await anyio.sleep_until(at)
                await anyio.sleep_until(_slot())
            if driver.stopped:
                return
            try:
                await self._attempt(resume, lambda: None)
            except (ConnectError, MisconfiguredError, ConnectionClosed, ProtocolError) as exc:
                driver.feed(inputs.ConnectFailed(exc, random.random()))

    async def _attempt(self, resume: str | None, linked: Callable[[], None]) -> None:
        """One link, from dialling to hanging up. Returns when the machine gives it up."""
        driver = self._driver
        scope = anyio.CancelScope(deadline=anyio.current_time() + self._timeout)
        driver.hang_up = scope.cancel
        with scope:
            async with self._dial(resume) as connection:
                await self._configure(connection)
                if not driver.machine.state.lifecycle.linked:
                    return
                scope.deadline = float("inf")
                linked()
                driver.room_gate.wake()
                await self._talk(connection)
                driver.hang_up = scope.cancel
        if scope.cancelled_caught and not driver.stopped and driver.redial is None:
            raise ConnectTimeout(
                f"no session with {self._model.provider} within {self._timeout:g} seconds; "
                "raise ConnectOptions(timeout=…) if the network is that slow"
            )

    async def _talk(self, connection: RealtimeConnection) -> None:
        """Both ways, until the machine gives the link up."""
        driver = self._driver
        out = pumps.ModelOut(driver, connection)
        try:
            async with anyio.create_task_group() as group:
                driver.hang_up = group.cancel_scope.cancel
                driver.write = out.write
                group.start_soon(pumps.model_in, driver, connection, name="kernl_rt model in")
                await hosted(group, out.run())
        finally:
            driver.write = nowhere

    async def _configure(self, connection: RealtimeConnection) -> None:
        """Say the configuration and hear the provider's yes. Nothing else is said on this link before."""
        driver = self._driver
        driver.feed(inputs.ConnectionOpened())
        try:
            while not driver.machine.state.lifecycle.linked:
                while (event := driver.outbox.pop()) is not None:
                    await connection.send(event)
                for received in await connection.receive():
                    driver.feed(received)
                    if driver.redial is not None:
                        return  # it was refused, and another link is wanted
                if driver.error is not None and self._first:
                    raise driver.error
                if driver.stopped:
                    return
        except (ConnectionClosed, ProtocolError) as exc:
            if driver.machine.status == "connecting":
                driver.feed(inputs.ConnectionLost(exc))
                raise driver.error or exc from None
            raise


def _slot() -> float:
    """The moment at which this session may dial."""
    at = max(anyio.current_time(), _next_dial.get())
    _next_dial.set(at + 1 / DIALS_PER_SECOND)
    return at
