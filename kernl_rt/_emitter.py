"""Listeners by topic: ``on``, ``once``, ``off`` and ``emit``, as in Node's emitter with its traps removed.

A listener that raises harms nobody else: its exception is handed to ``failed``. ``off(f)`` also removes a ``once(f)``.
The listeners of an event are those registered when it is emitted; one that is removed meanwhile is not called.

With a ``clock`` (a function that gives seconds) each call is timed, and one that took :data:`STALL` seconds or more is
handed to ``stalled``. It costs one reading of the clock per call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

__all__ = ["EVERYTHING", "STALL", "Emitter", "Listener", "name_of"]

Listener = Callable[[Any], Any]

#: The topic that hears every event.
EVERYTHING = "event"

#: Seconds that a listener may take: a frame of audio is 20 ms, and this is two of them late.
STALL = 0.05

Failed = Callable[[Listener, Exception], None]
#: Told with the listener, the event, and how many seconds it took.
Stalled = Callable[[Listener, Any, float], None]


def name_of(listener: Listener) -> str:
    """How a listener is named to the human."""
    return getattr(listener, "__qualname__", None) or repr(listener)


def _still() -> float:
    """No clock: nothing ever takes long."""
    return 0.0


def _untold(listener: Listener, event: Any, seconds: float) -> None:
    """Nobody wants to know."""


@define(eq=False)
class _Entry:
    listener: Listener
    once: bool
    removed: bool = False


class Emitter:
    def __init__(self, clock: Callable[[], float] = _still) -> None:
        self._clock = clock
        self._entries: dict[str, list[_Entry]] = {}

    def on(self, topic: str, listener: Listener, *, once: bool = False) -> None:
        self._entries.setdefault(topic, []).append(_Entry(listener, once))

    def off(self, topic: str, listener: Listener) -> bool:
        """Remove the listener's newest registration. Returns whether there was one."""
        entries = self._entries.get(topic, [])
        for entry in reversed(entries):
            if entry.listener == listener:
                self._remove(topic, entry)
                return True
        return False

    def listens(self, topic: str) -> bool:
        return topic in self._entries

    def emit(self, topics: tuple[str, ...], event: Any, failed: Failed, stalled: Stalled = _untold) -> None:
        """Call the listeners of all the topics, in the order of the topics and of registration.

        What is no ordinary exception (Ctrl-C, ``SystemExit``) is raised here, the first of it, after all were called.
        """
        urgent: BaseException | None = None
        for topic in topics:
            entries = self._entries.get(topic)
            if entries is None:
                continue
            start = self._clock()
            for entry in tuple(entries):
                if entry.removed:
                    continue
                if entry.once:
                    self._remove(topic, entry)
                try:
                    entry.listener(event)
                except Exception as exc:
                    failed(entry.listener, exc)
                except BaseException as exc:  # raised below, when the others have been told
                    urgent = urgent or exc
                end = self._clock()
                if end - start >= STALL:
                    stalled(entry.listener, event, end - start)
                start = end
        if urgent is not None:
            raise urgent

    def _remove(self, topic: str, entry: _Entry) -> None:
        entry.removed = True
        entries = self._entries[topic]
        entries.remove(entry)
        if not entries:
            del self._entries[topic]
