"""``async def`` listeners: each is a task that iterates over a stream of its own and awaits the function for each
event.

So an awaited listener obeys the same rules as any other consumer: its own bounded buffer, the same order, and a bound
on how long it may still run after the session has ended.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define

from kernl_rt._emitter import EVERYTHING, Listener, name_of
from kernl_rt._session.stream import BUFFER, EventStream, Streams
from kernl_rt._session.watch import Watchdog
from kernl_rt.events import EventsDropped, SessionError
from kernl_rt.exceptions import SlowConsumer

__all__ = ["AsyncListeners"]

#: Seconds that awaited listeners get to finish after the session's last event.
GRACE = 2.0

#: Whose listener the running task is, or was started by.
_serving: ContextVar[AsyncListeners | None] = ContextVar("kernl_rt.serving", default=None)


@define(eq=False)
class _Registration:
    topic: str
    listener: Listener
    once: bool
    stream: EventStream


class AsyncListeners:
    """An asynchronous context around the session's nursery: listeners outlive its tasks, and end before it is left."""

    def __init__(self, streams: Streams, report: Callable[[SessionError], None], watchdog: Watchdog) -> None:
        self._streams = streams
        self._watchdog = watchdog
        self._report_error = report
        self._registered: list[_Registration] = []
        self._group: TaskGroup | None = None

    def add(self, topic: str, listener: Listener, *, once: bool) -> bool:
        """Register the listener if it is asynchronous. Returns whether it is."""
        call = getattr(listener, "__call__", None)  # noqa: B004 - an object with ``async def __call__`` counts
        if not inspect.iscoroutinefunction(listener) and not inspect.iscoroutinefunction(call):
            return False
        registration = _Registration(topic, listener, once, self._streams.open((topic,), "shed", BUFFER))
        self._registered.append(registration)
        if self._group is not None:
            self._group.start_soon(self._serve, registration)
        return True

    def remove(self, topic: str, listener: Listener) -> bool:
        for registration in reversed(self._registered):
            if registration.topic == topic and registration.listener == listener:
                self._registered.remove(registration)
                registration.stream.discard()
                return True
        return False

    @property
    def running(self) -> bool:
        """Whether the caller is one of these listeners. It must not wait for its own end."""
        return _serving.get() is self

    async def __aenter__(self) -> AsyncListeners:
        self._group = await anyio.create_task_group().__aenter__()
        for registration in self._registered:
            self._group.start_soon(self._serve, registration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        group, self._group = self._group, None
        group.cancel_scope.deadline = anyio.current_time() + GRACE
        if error is not None and isinstance(error, Exception):
            # The session failed: its listeners still hear why, and that it closed, before the failure goes on.
            await group.__aexit__(None, None, None)
            return None
        return await group.__aexit__(kind, error, traceback)

    async def _serve(self, registration: _Registration) -> None:
        _serving.set(self)
        try:
            async for event in registration.stream:
                if type(event) is EventsDropped and registration.topic not in (EventsDropped.topic, EVERYTHING):
                    continue
                if registration.once:
                    self.remove(registration.topic, registration.listener)
                await self._call(registration.listener, event)
                if registration.once:
                    return
        except SlowConsumer as exc:
            self._report(registration.listener, exc)

    async def _call(self, listener: Listener, event: Any) -> None:
        try:
            await self._watchdog.watched("listener", name_of(listener), listener(event))
        except Exception as exc:
            self._report(listener, exc)

    def _report(self, listener: Listener, exc: Exception) -> None:
        message = f"listener {name_of(listener)} raised {type(exc).__name__}: {exc}"
        self._report_error(SessionError(message, source="listener", cause=exc))
