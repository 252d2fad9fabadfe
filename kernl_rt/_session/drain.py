"""Stopping a program without cutting its calls: no new sessions, a word to the live ones, and a limit."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup, TaskStatus

from kernl_rt._session.errors import bare
from kernl_rt._session.session import RealtimeSession
from kernl_rt.events import Draining
from kernl_rt.exceptions import MisconfiguredError, SessionStateError

__all__ = ["Drain"]

logger = logging.getLogger("kernl_rt")

T = TypeVar("T")

#: What asks a server to stop: the orchestrator, and the human at the terminal.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Why the sessions that are left are closed.
REASON = "the program is stopping"


class Drain:
    """Lets calls come to their end when the program is asked to stop.

    ::

        async with Drain(timeout=30) as drain:
            async with anyio.create_task_group() as calls:
                calls.start_soon(serve)                # each call: async with drain.session(RealtimeSession(agent)): …
                await drain.wait_started()
                stop_serving()

    The first SIGTERM or SIGINT, or :meth:`start`, starts it: from then on :meth:`session` refuses new sessions, each
    live one gets a ``draining`` event, and those that still live after ``timeout`` seconds are closed. The second
    signal, or :meth:`force`, closes them at once; a third has its usual effect again.

    Leaving the block waits until no session is left; without an exception it starts to drain if nothing else has.
    A ``Drain`` is used once, in the main thread where it takes signals (asyncio on Windows cannot: ``signals=()``).
    """

    def __init__(self, timeout: float = 30.0, *, signals: Iterable[signal.Signals] = SIGNALS) -> None:
        """
        Args:
            timeout: seconds that live sessions get. 0 closes them at once.
            signals: which start it. With none of them, call :meth:`start`.

        Raises:
            MisconfiguredError: ``timeout`` is no time.
        """
        if not isinstance(timeout, (int, float)) or not 0 <= timeout < float("inf"):
            raise MisconfiguredError(f"timeout={timeout!r} must be seconds, 0 or more")
        self._timeout = float(timeout)
        self._signals = tuple(signals)
        self._live: set[RealtimeSession[Any]] = set()
        self._told: set[RealtimeSession[Any]] = set()
        self._started, self._forced, self._empty = anyio.Event(), anyio.Event(), anyio.Event()
        self._deadline = float("inf")
        self._over = False
        self._group: TaskGroup | None = None
        self._stack = AsyncExitStack()
        self._bare = bare()

    @property
    def draining(self) -> bool:
        """No new session is taken: time to answer 503."""
        return self._started.is_set()

    @property
    def live(self) -> int:
        """How many sessions are left."""
        return len(self._live)

    def start(self) -> None:
        """Start to drain. Never waits; in the event loop's thread only. Again is nothing."""
        if self.draining:
            return
        self._deadline = anyio.current_time() + self._timeout
        self._started.set()
        logger.info("draining: %d sessions have %g seconds", len(self._live), self._timeout)
        for session in tuple(self._live):
            self._tell(session)
        self._check_empty()

    def force(self) -> None:
        """Start to drain if nothing else has, and close every session now. As :meth:`start` otherwise."""
        self.start()
        self._forced.set()

    async def wait_started(self) -> None:
        """Wait until it is time to take no more calls."""
        await self._started.wait()

    @asynccontextmanager
    async def session(self, session: RealtimeSession[T]) -> AsyncIterator[RealtimeSession[T]]:
        """``async with drain.session(RealtimeSession(agent)) as session``: as without ``drain``, but under its care.

        Raises:
            SessionStateError: draining has started; the session was not connected.
        """
        if self.draining:
            raise SessionStateError(
                f"no new session: the program is stopping, and waits for {len(self._live)} that are live; "
                "refuse the call, so that it is made elsewhere"
            )
        self._live.add(session)
        try:
            async with session:
                self._tell(session)
                if self._over:
                    session.close(REASON)
                yield session
        finally:
            self._live.discard(session)
            self._told.discard(session)
            self._check_empty()

    async def __aenter__(self) -> Drain:
        if self._group is not None:
            raise SessionStateError("a Drain is used once")
        self._stack.enter_context(self._bare)
        self._group = group = await self._stack.enter_async_context(anyio.create_task_group())
        if self._signals:
            try:
                await group.start(self._receive_signals, name="kernl_rt signals")
            except BaseException as exc:  # cancelled, too: the group is entered, and only this can leave it
                await self._stack.__aexit__(type(exc), exc, exc.__traceback__)
                raise
        group.start_soon(self._close_in_time, name="kernl_rt drain")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        try:
            if kind is None:
                self.start()
                await self._empty.wait()
        except BaseException as exc:  # cancelled while it drains: the group ends now, before that goes on its way
            self._group.cancel_scope.cancel()
            await self._stack.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        self._group.cancel_scope.cancel()
        self._bare.body = error
        return await self._stack.__aexit__(kind, error, traceback)

    async def _receive_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*self._signals) as received:
            task_status.started()
            async for _ in received:
                if self.draining:
                    self.force()
                    return
                self.start()

    async def _close_in_time(self) -> None:
        await self._started.wait()
        with anyio.CancelScope(deadline=self._deadline):
            await self._forced.wait()
        self._over = True
        for session in tuple(self._live):
            if session.status != "idle":
                session.close(REASON)

    def _tell(self, session: RealtimeSession[Any]) -> None:
        """Each session hears it once, as soon as it can hear."""
        driver = session._driver
        if self.draining and driver is not None and session not in self._told:
            self._told.add(session)
            driver.notice(Draining(max(0.0, self._deadline - anyio.current_time())))

    def _check_empty(self) -> None:
        if self.draining and not self._live:
            self._empty.set()
