"""Listeners by topic: ``on``, ``once``, ``off`` and ``emit``, as in Node's emitter with its traps removed.

A listener that raises harms nobody else: its exception is handed to ``failed``. ``off(f)`` also removes a ``once(f)``.
The listeners of an event are those registered when it is emitted; one that is removed meanwhile is not called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

__all__ = ["EVERYTHING", "Emitter", "Listener"]

Listener = Callable[[Any], Any]

#: The topic that hears every event.
EVERYTHING = "event"


@define(eq=False)
class _Entry:
    listener: Listener
    once: bool
    removed: bool = False


class Emitter:
    def __init__(self) -> None:
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

    def emit(self, topics: tuple[str, ...], event: Any, failed: Callable[[Listener, Exception], None]) -> None:
        """Call the listeners of all the topics, in the order of the topics and of registration."""
        for topic in topics:
            entries = self._entries.get(topic)
            if entries is None:
                continue
            for entry in tuple(entries):
                if entry.removed:
                    continue
                if entry.once:
                    self._remove(topic, entry)
                try:
                    entry.listener(event)
                except Exception as exc:
                    failed(entry.listener, exc)

    def _remove(self, topic: str, entry: _Entry) -> None:
        entry.removed = True
        entries = self._entries[topic]
        entries.remove(entry)
        if not entries:
            del self._entries[topic]
