"""The ledger of tool calls: each call id runs at most once and has exactly one outcome.

A call's life, as a table (``CALL``)::

    held ──heard──▶ asking ──approved──▶ waiting ──started──▶ running
      │               │                     │                    │
      └───────────────┴──────── settled ◀───┴────────────────────┘

``held`` calls wait until what the model said before them was heard, ``asking`` ones for a human's consent, ``waiting``
ones for a place among the :data:`LIMIT` that run at once. Calls of one reply form a group: when the reply is over and
every call of the group has an outcome, one reply to all of them is owed.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from kernl_rt.events import Response, ToolOutcome

__all__ = ["CALL", "LIMIT", "Call", "CallState", "Group", "ToolLedger", "ToolTraits"]

#: Calls that run at the same time.
LIMIT = 8
#: The same call (tool and arguments) more often than this within :data:`LOOP_SECONDS` is a loop, and refused.
LOOP_CALLS = 5
LOOP_SECONDS = 10.0
#: So many calls that are over are remembered, with what the model was told of each.
_REMEMBERED = 256

CallState: TypeAlias = Literal["held", "asking", "waiting", "running", "settled"]

CALL: Final[dict[tuple[CallState, str], CallState]] = {
    ("held", "heard"): "asking",
    ("asking", "approved"): "waiting",
    ("waiting", "started"): "running",
    ("held", "settle"): "settled",
    ("asking", "settle"): "settled",
    ("waiting", "settle"): "settled",
    ("running", "settle"): "settled",
}


@frozen
class ToolTraits:
    """What the ledger needs to know of a tool; see :class:`kernl_rt.Tool` for what each means."""

    on_interrupt: Literal["keep", "cancel"] = "keep"
    on_done: Literal["reply", "silent", "when_idle"] = "reply"
    commit: Literal["now", "after_heard"] = "now"
    terminal: bool = False
    #: ``"predicate"``: a function of the user's decides for each call.
    approval: Literal["none", "always", "predicate"] = "none"
    approval_timeout: float = 60.0
    #: The number of the agent whose tool it is.
    agent: int = 0

    @property
    def waits_to_be_heard(self) -> bool:
        return self.terminal or self.commit == "after_heard"


@define(eq=False)
class Call:
    call_id: str
    name: str
    arguments: str
    traits: ToolTraits
    group: Group = field(repr=False)
    state: CallState = "held"
    outcome: ToolOutcome | None = None
    #: While asking: when the answer counts as no. ``None`` while a predicate is asked whether to ask.
    deny_at: float | None = None
    #: What the model was told, by which client event; and whether the provider refused to hear it.
    output: str = ""
    told_by: str | None = None
    refused: bool = False
    #: The human spoke while it was held: what came before it will never be heard.
    cut: bool = False

    def move(self, trigger: str) -> None:
        self.state = CALL[self.state, trigger]


@define(eq=False)
class Group:
    """The calls of one reply. ``asks`` are commands that wait for the final answer."""

    response_id: str | None
    calls: list[Call] = field(factory=list)
    closed: bool = False
    #: The reply was beside the conversation: nobody there waits for results.
    aside: bool = False
    #: A reply is owed; at once, or when nobody speaks.
    owed: Literal["no", "when_idle", "yes"] = "no"
    asks: tuple[int, ...] = ()
    response: Response | None = None

    @property
    def complete(self) -> bool:
        return self.closed and all(call.state == "settled" for call in self.calls)

    def owe(self, on_done: str) -> None:
        if self.aside:
            return
        if on_done == "reply":
            self.owed = "yes"
        elif on_done == "when_idle" and self.owed == "no":
            self.owed = "when_idle"


class ToolLedger:
    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._groups: dict[str | None, Group] = {}
        #: Calls of groups that are over, the oldest first.
        self._over: list[str] = []
        self._recent: list[tuple[float, str, str]] = []
        #: Tools whose calls a human has approved once and for all.
        self.approved: set[str] = set()

    def get(self, call_id: str) -> Call | None:
        return self._calls.get(call_id)

    def told_by(self, event_id: str) -> Call | None:
        """The call whose output that client event carried."""
        return next((call for call in self._calls.values() if call.told_by == event_id), None)

    def begin(
        self, call_id: str, name: str, arguments: str, response_id: str | None, traits: ToolTraits
    ) -> Call | None:
        """A call arrived. ``None`` if this id has been seen: it never runs twice."""
        if call_id in self._calls:
            return None
        group = self._groups.setdefault(response_id, Group(response_id))
        call = Call(call_id, name, arguments, traits, group)
        group.calls.append(call)
        self._calls[call_id] = call
        return call

    def loops(self, name: str, arguments: str, now: float) -> bool:
        """Whether the model repeats itself."""
        self._recent.append((now, name, arguments))
        while self._recent[0][0] <= now - LOOP_SECONDS:
            del self._recent[0]
        return sum(each[1:] == (name, arguments) for each in self._recent) > LOOP_CALLS

    def startable(self) -> list[Call]:
        """Calls that may start now; they count as running."""
        places = LIMIT - sum(call.state == "running" for call in self.open_calls())
        started = [call for call in self.open_calls() if call.state == "waiting"][: max(places, 0)]
        for call in started:
            call.move("started")
        return started

    def settle(self, call_id: str, outcome: ToolOutcome) -> Call | None:
        """A call ended. ``None`` if it is unknown or has an outcome already."""
        call = self._calls.get(call_id)
        if call is None or call.state == "settled":
            return None
        call.move("settle")
        call.outcome = outcome
        return call

    def close(self, response_id: str | None, asks: tuple[int, ...], response: Response) -> Group | None:
        """The reply is over: its group has all its calls. ``None`` if it made none."""
        group = self._groups.get(response_id)
        if group is not None:
            group.closed, group.asks, group.response = True, asks, response
        return group

    def owes_reply(self, response_id: str | None) -> bool:
        """Whether the calls of this reply bring, or may bring, another one."""
        group = self._groups.get(response_id)
        if group is None:
            return False
        speaking = (call for call in group.calls if call.traits.on_done != "silent" and not call.traits.terminal)
        return group.owed != "no" or any(call.state != "settled" for call in speaking)

    def finish(self, group: Group) -> bool:
        """Whether the group is complete; it then leaves the ledger."""
        if not group.complete or self._groups.pop(group.response_id, None) is None:
            return False
        self._over.extend(call.call_id for call in group.calls)
        while len(self._over) > _REMEMBERED:
            del self._calls[self._over.pop(0)]
        return True

    def drain_asks(self) -> list[int]:
        """Commands that wait for an answer which will not come any more."""
        waiting = [command for group in self._groups.values() for command in group.asks]
        for group in self._groups.values():
            group.asks = ()
        return waiting

    def open_calls(self) -> list[Call]:
        """In order of arrival, by group. A group with an open call never leaves the ledger, so this is all of them."""
        return [call for group in self._groups.values() for call in group.calls if call.state != "settled"]

    @property
    def any_held(self) -> bool:
        return bool(self._groups) and any(call.state == "held" for call in self.open_calls())

    @property
    def deadline(self) -> float | None:
        """When the next unanswered question for consent counts as a no."""
        if not self._groups:
            return None
        times = [call.deny_at for call in self.open_calls() if call.state == "asking" and call.deny_at is not None]
        return min(times, default=None)
