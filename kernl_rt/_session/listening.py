"""Hearing a session: listeners by topic, and iterators."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Self, TypeVar, overload

from kernl_rt._core import inputs
from kernl_rt._emitter import Emitter, Listener
from kernl_rt._session.async_listeners import AsyncListeners
from kernl_rt._session.driver import Driver
from kernl_rt._session.stream import BUFFER, EventStream, Policy, Streams
from kernl_rt._session.topics import warn_of_typo
from kernl_rt.events import CustomEvent
from kernl_rt.exceptions import MisconfiguredError, SessionStateError

__all__ = ["Listening"]

ListenerT = TypeVar("ListenerT", bound=Callable[[Any], Any])


class Listening:
    """The part of a session that is heard. Base of :class:`~kernl_rt.RealtimeSession`."""

    _driver: Driver | None
    _emitter: Emitter
    _streams: Streams
    _async_listeners: AsyncListeners
    #: Names that were emitted.
    _own_names: set[str]

    @overload
    def on(self, topic: str, listener: Listener) -> Self: ...

    @overload
    def on(self, topic: str) -> Callable[[ListenerT], ListenerT]: ...

    def on(self, topic: str, listener: Listener | None = None) -> Any:
        """Call ``listener(event)`` for each event of ``topic``: a topic, a kind, or ``"event"`` for all. Chainable.

        Without ``listener``, a decorator. An ``async def`` listener is awaited, one event after the other, in a task of
        the session's. What a listener raises becomes an ``error`` event.
        """
        warn_of_typo(topic, self._own_names)
        return self._register(topic, listener, once=False)

    @overload
    def once(self, topic: str, listener: Listener) -> Self: ...

    @overload
    def once(self, topic: str) -> Callable[[ListenerT], ListenerT]: ...

    def once(self, topic: str, listener: Listener | None = None) -> Any:
        """As :meth:`on`, for the next such event only."""
        warn_of_typo(topic, self._own_names)
        return self._register(topic, listener, once=True)

    def _register(self, topic: str, listener: Listener | None, *, once: bool) -> Any:
        if not topic or not isinstance(topic, str):
            raise MisconfiguredError(f"a topic is a name such as 'audio' or 'event', not {topic!r}")
        if listener is None:

            def decorate(function: ListenerT) -> ListenerT:
                self._register(topic, function, once=once)
                return function

            return decorate
        if not callable(listener):
            raise MisconfiguredError(f"a listener is a function of one event, not a {type(listener).__name__}")
        if not self._async_listeners.add(topic, listener, once=once):
            self._emitter.on(topic, listener, once=once)
        return self

    def off(self, topic: str, listener: Listener) -> Self:
        """Remove a listener that ``on`` or ``once`` registered; one that is not registered is ignored. Chainable."""
        if not self._async_listeners.remove(topic, listener):
            self._emitter.off(topic, listener)
        return self

    def emit(self, event: str | CustomEvent, data: Any = None) -> Self:
        """Put an event of your own into the stream, in order with all others. Chainable.

        Raises:
            SessionStateError: not connected.
        """
        custom = event if isinstance(event, CustomEvent) else CustomEvent(event, data)
        self._own_names.add(custom.name)
        self._live("emit").feed(inputs.EventEmitted(custom))
        return self

    def events(self, *topics: str, policy: Policy = "shed", buffer: int = BUFFER) -> EventStream:
        """An iterator over the events of ``topics`` (topics or kinds; all where none are named), from now on.

        Make it before connecting to see everything from the start. ``policy`` says what happens when its ``buffer`` (a
        number of events) is full: see :mod:`kernl_rt._session.stream`. It ends after the ``closed`` status.
        """
        for topic in topics:
            warn_of_typo(topic, self._own_names)
        return self._streams.open(topics, policy, buffer)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.events()

    def _live(self, verb: str) -> Driver:
        driver = self._driver
        if driver is None:
            raise SessionStateError(f"{verb}() before the session was connected: use it inside 'async with session'")
        driver.check_thread(verb)
        if not driver.machine.state.lifecycle.live:
            raise SessionStateError(f"{verb}() while the session is {driver.machine.status}")
        return driver
