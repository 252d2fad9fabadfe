"""The calls that one server holds: how many, how long, and how they end when it stops."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from inspect import isawaitable
from typing import Any, TypeAlias

import anyio

from kernl_rt import (
    ConnectOptions,
    Drain,
    RealtimeAgent,
    RealtimeChannel,
    RealtimeSession,
    SessionConfig,
    TurnDetection,
)
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.channels._gate import Gate
from kernl_rt.channels.browser import BrowserChannel
from kernl_rt.exceptions import ChannelError, MisconfiguredError, RealtimeError, SessionStateError
from kernl_rt.serve._recordings import CallRecordings

__all__ = ["AgentSource", "Calls", "SessionSource"]

_logger = logging.getLogger("kernl_rt")

#: An agent for every call, or what makes one for each.
AgentSource: TypeAlias = RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any] | Awaitable[RealtimeAgent[Any]]]
#: Makes the session of a call, where the usual one will not do. It must have this channel.
SessionSource: TypeAlias = Callable[[RealtimeAgent[Any], RealtimeChannel], RealtimeSession[Any]]


class Calls:
    """Holds calls over any channel, at most ``max_sessions`` at once.

    Args:
        agent: who answers, or a function (also an ``async`` one) that makes the agent of each call.
        max_sessions: one more is refused.
        max_minutes: after so long a call is ended.
        push_to_talk: the sessions of pages take no turns by themselves; pages have a button.
        session: makes the session of a call instead of ``RealtimeSession(agent, channel=channel)``; turn detection is
            then its own affair.
        drain: under whose care sessions live; entered by the caller. Without one, :func:`kernl_rt.serve.app` makes its
            own, which starts when the server shuts the application down.
        record: record every call to a new folder inside this one, named by the time and the call's id; made now. Nobody
            is told: asking for consent is yours. A disk that fails costs the recording, not the call, and is logged.

    Raises:
        MisconfiguredError: a limit that would admit nobody, or a folder that cannot be written to.
    """

    def __init__(
        self,
        agent: AgentSource,
        *,
        max_sessions: int = 50,
        max_minutes: float = 60.0,
        push_to_talk: bool = False,
        session: SessionSource | None = None,
        drain: Drain | None = None,
        record: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(agent, RealtimeAgent) and not callable(agent):
            raise MisconfiguredError(f"calls are answered by a RealtimeAgent, or what makes one: not by {agent!r}")
        if max_sessions < 1 or not max_minutes > 0:
            raise MisconfiguredError("max_sessions and max_minutes must be greater than 0, or nobody can call")
        self._agent = agent
        self._session = session
        self._max_seconds = max_minutes * 60
        self.max_sessions: int = max_sessions
        self.push_to_talk: bool = push_to_talk
        self.drain: Drain | None = drain
        self.live: int = 0
        self._left = Gate()
        self._recordings: CallRecordings | None = None
        if record is not None:
            self._recordings = CallRecordings(record)
            self._recordings.prepare()

    @property
    def free(self) -> int:
        """How many more calls would be taken now."""
        return 0 if self.drain is not None and self.drain.draining else max(self.max_sessions - self.live, 0)

    @contextmanager
    def slot(self) -> Iterator[bool]:
        """Room for one call, taken until the block is left. ``False``: there is none, refuse with 503."""
        if not self.free:
            yield False
            return
        self.live += 1
        try:
            yield True
        finally:
            self.live -= 1
            self._left.open()

    async def wait_ended(self) -> None:
        """Wait until no call is live."""
        while self.live:
            await self._left.wait()

    async def answer(self, channel: RealtimeChannel) -> None:
        """Hold a call over ``channel`` until it ends: what a phone's routes do with one. Where no line is free, it is
        over at once. What ends it badly is logged, not raised: it is one call's.
        """
        with self.slot() as free:
            if free:
                await self._hold(channel)
            else:
                _logger.warning("a call was refused: all %d lines are busy", self.max_sessions)

    async def _hold(self, channel: RealtimeChannel) -> None:
        try:
            session = await self._make(channel)
            async with self._opened(session, channel):
                await session.wait_closed()
        except (RealtimeError, OSError) as error:
            self._tell_of(error)

    async def hold_page(self, channel: BrowserChannel) -> None:
        """As :meth:`answer`, for a page that has a :meth:`slot` already; it is told what happens."""
        try:
            try:
                session = await self._make(channel)
            except BaseException:  # cancelled, too: no session will ever close the page's link
                await channel.turn_away()
                raise
            await channel.run(session, self._opened(session, channel))
        except (RealtimeError, OSError) as error:
            self._tell_of(error)

    def _tell_of(self, error: Exception) -> None:
        ordinary = isinstance(error, (ChannelError, SessionStateError))
        _logger.log(logging.INFO if ordinary else logging.ERROR, "a call ended: %s", error)

    async def _make(self, channel: RealtimeChannel) -> RealtimeSession[Any]:
        agent = self._agent
        if not isinstance(agent, RealtimeAgent):
            made = agent()
            agent = await made if isawaitable(made) else made
        if self._session is not None:
            return self._session(agent, channel)
        by_button = self.push_to_talk and isinstance(channel, BrowserChannel)  # a phone has no button for it
        laid_over = SessionConfig(turn_detection=TurnDetection.off()) if by_button else None
        return RealtimeSession(agent, channel=channel, connect_options=ConnectOptions(session_config=laid_over))

    @asynccontextmanager
    async def _opened(self, session: RealtimeSession[Any], channel: RealtimeChannel) -> AsyncIterator[None]:
        if self.drain is None:
            raise MisconfiguredError("these calls have no Drain: pass drain=, or let kernl_rt.serve.app make one")

        async def end_in_time() -> None:
            await anyio.sleep(self._max_seconds)
            if isinstance(channel, BrowserChannel):
                channel.tell_problem("time_limit")
            session.close("time limit")

        async with self.drain.session(session), bare_task_group() as tasks:
            tasks.start_soon(end_in_time)
            try:
                with nullcontext() if self._recordings is None else self._recordings.recording(session, channel):
                    yield
            finally:
                tasks.cancel_scope.cancel()
