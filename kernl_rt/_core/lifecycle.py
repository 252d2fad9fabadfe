"""The session's status, as a table.

``STATUS`` is the whole of it: what a trigger does in a status. What is not in the table cannot happen, and
:class:`IllegalTransition` says so: it is a fault of this library, never of a peer.
"""

from __future__ import annotations

from typing import Final

from kernl_rt.events import Status

__all__ = ["STATUS", "IllegalTransition", "Lifecycle"]

STATUS: Final[dict[tuple[Status, str], Status]] = {
    ("idle", "open"): "connecting",
    ("idle", "stop"): "closed",
    ("connecting", "configured"): "connected",
    ("connecting", "close"): "closing",
    ("connecting", "stop"): "closed",
    ("connected", "drop"): "reconnecting",
    ("reconnecting", "configured"): "connected",
    ("reconnecting", "close"): "closing",
    ("reconnecting", "stop"): "closed",
    ("connected", "close"): "closing",
    ("connected", "stop"): "closed",
    ("closing", "close"): "closing",
    ("closing", "stop"): "closed",
}


class IllegalTransition(AssertionError):
    """The table has no such transition."""


class Lifecycle:
    """Where the session stands."""

    __slots__ = ("reason", "status")

    def __init__(self) -> None:
        self.status: Status = "idle"
        self.reason: str | None = None

    def move(self, trigger: str) -> tuple[Status, Status]:
        """Follow the table; returns the status before and after."""
        previous = self.status
        try:
            self.status = STATUS[previous, trigger]
        except KeyError:
            raise IllegalTransition(f"{trigger!r} in status {previous!r}") from None
        return previous, self.status

    @property
    def live(self) -> bool:
        """Commands may be given; without a link they wait for the next one."""
        return self.status in ("connected", "reconnecting")

    @property
    def linked(self) -> bool:
        """What is said goes out at once."""
        return self.status == "connected"
