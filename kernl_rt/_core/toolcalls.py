"""The ledger of tool calls: each call id runs at most once and has exactly one outcome.

Calls of one reply form a group. When the reply is over and every call of the group has an outcome, one reply to all of
them is owed. At most ``LIMIT`` calls run at once; the rest wait their turn.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from attrs import define, field

from kernl_rt.events import ToolOutcome

__all__ = ["LIMIT", "Call", "Group", "ToolLedger"]

#: Calls that run at the same time.
LIMIT = 8


@define
class Call:
    call_id: str
    name: str
    arguments: str
    group: Group = field(repr=False, eq=False)
    state: Literal["waiting", "running", "settled"] = "waiting"
    outcome: ToolOutcome | None = None


@define
class Group:
    """The calls of one reply. ``asks`` are commands that wait for the final answer."""

    response_id: str | None
    calls: list[Call] = field(factory=list)
    closed: bool = False
    owed: bool = False
    asks: tuple[int, ...] = ()

    @property
    def complete(self) -> bool:
        return self.closed and all(call.state == "settled" for call in self.calls)


class ToolLedger:
    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._groups: dict[str | None, Group] = {}
        self._waiting: deque[Call] = deque()
        self._running = 0

    def begin(self, call_id: str, name: str, arguments: str, response_id: str | None) -> Call | None:
        """A call arrived. ``None`` if this id has been seen: it never runs twice."""
        if call_id in self._calls:
            return None
        group = self._groups.setdefault(response_id, Group(response_id))
        call = Call(call_id, name, arguments, group)
        group.calls.append(call)
        self._calls[call_id] = call
        self._waiting.append(call)
        return call

    def startable(self) -> list[Call]:
        """Calls that may start now; they count as running."""
        started = []
        while self._waiting and self._running < LIMIT:
            call = self._waiting.popleft()
            if call.state == "waiting":
                call.state = "running"
                self._running += 1
                started.append(call)
        return started

    def settle(self, call_id: str, outcome: ToolOutcome) -> Call | None:
        """A call ended. ``None`` if it is unknown or has an outcome already."""
        call = self._calls.get(call_id)
        if call is None or call.state == "settled":
            return None
        if call.state == "running":
            self._running -= 1
        call.state, call.outcome = "settled", outcome
        return call

    def close(self, response_id: str | None, asks: tuple[int, ...]) -> Group | None:
        """The reply is over: its group has all its calls. ``None`` if it made none."""
        group = self._groups.get(response_id)
        if group is not None:
            group.closed, group.asks = True, asks
        return group

    def finish(self, group: Group) -> bool:
        """Whether the group is complete and its answer is owed; the group then leaves the ledger."""
        if not group.complete or self._groups.pop(group.response_id, None) is None:
            return False
        return group.owed

    def drain_asks(self) -> list[int]:
        """Commands that wait for an answer which will not come any more."""
        waiting = [command for group in self._groups.values() for command in group.asks]
        for group in self._groups.values():
            group.asks = ()
        return waiting

    def open_calls(self) -> list[Call]:
        return [call for call in self._calls.values() if call.state != "settled"]
