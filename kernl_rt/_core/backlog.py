"""Commands that the provider has not answered yet.

A command is known by the id of the client event that carried it (a provider's error may name that) and, where it made
an item, by the item's id (the item's arrival acknowledges it). It leaves here exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from kernl_rt.events import ClientEvent

__all__ = ["LIMIT", "Backlog", "Pending"]

#: So many commands may wait for an answer; more means that the link is stalled.
LIMIT = 256


@frozen
class Pending:
    command: int | None
    event_id: str
    #: What acknowledges it: an item id, or the kind of the event that answers this kind of command.
    key: str
    #: What was said, to say it again on another link.
    event: ClientEvent | None = None


class Backlog:
    def __init__(self) -> None:
        self._by_event: dict[str, Pending] = {}
        #: Of these, how many somebody waits for.
        self._awaited = 0

    def __len__(self) -> int:
        return len(self._by_event)

    @property
    def full(self) -> bool:
        return self._awaited >= LIMIT

    def add(self, command: int | None, event_id: str, key: str, event: ClientEvent | None = None) -> None:
        self._by_event[event_id] = Pending(command, event_id, key, event)
        self._awaited += command is not None
        if len(self._by_event) - self._awaited > LIMIT:
            # The provider refused one without saying which, or does not answer this kind: nobody waits for it.
            oldest = next(name for name, pending in self._by_event.items() if pending.command is None)
            del self._by_event[oldest]

    def acknowledge(self, key: str) -> Pending | None:
        """The oldest command that waits for ``key`` is answered."""
        for pending in self._by_event.values():
            if pending.key == key:
                return self.reject(pending.event_id)
        return None

    def reject(self, event_id: str) -> Pending | None:
        """Take out what this client event carried: the provider's error names it, or it is answered."""
        pending = self._by_event.pop(event_id, None)
        self._awaited -= pending is not None and pending.command is not None
        return pending

    def __iter__(self) -> Iterator[Pending]:
        return iter(tuple(self._by_event.values()))

    def drain(self) -> list[Pending]:
        """Everything that will not be answered any more."""
        left = list(self._by_event.values())
        self._by_event.clear()
        self._awaited = 0
        return left
