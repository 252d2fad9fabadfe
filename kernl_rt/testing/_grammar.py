"""The grammar of a legal trace: what a listener may rely on, as a table that a test can run.

A reply's life, as the session's stream tells it (``REPLY``)::

    unknown ──created──▶ running ──done──────▶ done ──interrupted──▶ over
                            │  ↺ partial, rest          (its tail still played)
                            └──interrupted──▶ stopped ──done──▶ over
                                                 ↺ rest (finals: all that was generated)

*partial* is what sounds or grows (audio, and every delta); *rest* is what tells of the reply otherwise (items, parts,
finals, tool calls). What is not in the table breaks a promise, and :class:`BrokenPromise` names it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    ContentPartAdded,
    ContentPartDone,
    Interrupted,
    McpArguments,
    McpArgumentsDelta,
    McpCallProgress,
    OutputItemAdded,
    OutputItemDone,
    OutputTranscript,
    OutputTranscriptDelta,
    ResponseCreated,
    ResponseDone,
    Status,
    StatusChanged,
    TextDelta,
    TextDone,
    ToolCalled,
    ToolDelta,
    ToolFinished,
    ToolStarted,
)

__all__ = ["REPLY", "BrokenPromise", "Promise", "TraceGrammar"]

#: What a trace promises. "nothing after done", "final once" and "deltas make the final" hold only where the provider
#: keeps its own order (``strict``).
Promise: TypeAlias = Literal[
    "created first",
    "created once",
    "done once",
    "silent after done",
    "silent after interrupted",
    "interrupted once",
    "final after its deltas",
    "one outcome per tool call",
    "status in a chain",
    "closed last and once",
    "nothing after done",
    "final once",
    "deltas make the final",
    # what the PromiseChecker sees beyond the trace
    "no task outlives",
    "closed in time",
    "everything released",
    "one reply at a time",
    "a call runs once",
    "truncated at what was heard",
    "played in order",
    "played without gaps",
    "whole frames in order",
]

ReplyState: TypeAlias = Literal["unknown", "running", "stopped", "done", "over"]
_Letter: TypeAlias = Literal["created", "partial", "rest", "interrupted", "done"]

_PARTIAL: Final = (AudioDelta, TextDelta, OutputTranscriptDelta, ToolDelta, McpArgumentsDelta)
_FINAL: Final = (AudioDone, TextDone, OutputTranscript, ToolCalled, McpArguments)
_REST: Final = (
    *_FINAL,
    OutputItemAdded,
    OutputItemDone,
    ContentPartAdded,
    ContentPartDone,
    ToolStarted,
    McpCallProgress,
)

REPLY: Final[dict[tuple[ReplyState, _Letter], ReplyState]] = {
    ("unknown", "created"): "running",
    ("running", "partial"): "running",
    ("running", "rest"): "running",
    ("running", "interrupted"): "stopped",
    ("running", "done"): "done",
    ("stopped", "rest"): "stopped",
    ("stopped", "done"): "over",
    ("done", "interrupted"): "over",
    # Late news that neither sounds nor grows: a disorderly provider's, see ``strict``.
    ("done", "rest"): "done",
    ("over", "rest"): "over",
}

#: What each step breaks that is not in ``REPLY``.
_BROKEN: Final[dict[tuple[ReplyState, _Letter], Promise]] = {
    ("unknown", "partial"): "created first",
    ("unknown", "rest"): "created first",
    ("unknown", "interrupted"): "created first",
    ("unknown", "done"): "created first",
    ("running", "created"): "created once",
    ("stopped", "created"): "created once",
    ("done", "created"): "created once",
    ("over", "created"): "created once",
    ("done", "done"): "done once",
    ("over", "done"): "done once",
    ("stopped", "partial"): "silent after interrupted",
    ("done", "partial"): "silent after done",
    ("over", "partial"): "silent after done",
    ("stopped", "interrupted"): "interrupted once",
    ("over", "interrupted"): "interrupted once",
}
#: Where a trace goes on after such a step, so that one broken promise is told once.
_GOES_ON: Final[dict[_Letter, ReplyState]] = {
    "created": "running",
    "partial": "running",
    "rest": "running",
    "interrupted": "stopped",
    "done": "done",
}


class BrokenPromise(AssertionError):
    """A trace that no listener should ever see. ``promise`` names what was broken, ``event`` is the one that did."""

    def __init__(self, promise: Promise, event: object, why: str) -> None:
        super().__init__(f"{promise}: {why}\n  at {event!r}")
        self.promise: Promise = promise
        self.event = event


class TraceGrammar:
    """Checks a session's events, in the order in which a listener gets them.

    >>> grammar = TraceGrammar()
    >>> session.on("event", grammar.feed)  # doctest: +SKIP

    Its promises hold whatever the provider sends. With ``strict`` three more are checked, which take a provider that
    keeps its own order: nothing at all of a reply comes after its ``response.done``, each final comes once, and the
    deltas joined are the final (where the reply was interrupted: its beginning).

    Events without a ``response_id`` belong to no reply that can be told apart; of the reply's promises only "final
    after its deltas" is checked for them. Events of other kinds than replies, tools and status are let pass.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._replies: dict[str, ReplyState] = {}
        #: Replies that were told of before they were created; that was said once.
        self._early: set[str] = set()
        self._finals: set[tuple[Any, ...]] = set()
        self._texts: dict[tuple[Any, ...], str] = {}
        self._calls: dict[str, ToolFinished | None] = {}
        self._status: Status | None = None

    def feed(self, event: object) -> None:
        """Take the next event. It counts even where this raises, so that a test may go on and collect.

        Raises:
            BrokenPromise: an ``AssertionError`` that names the promise.
        """
        if self._status == "closed":
            raise BrokenPromise("closed last and once", event, "an event after the status 'closed'")
        if isinstance(event, StatusChanged):
            self._change(event)
        elif isinstance(event, ToolFinished):
            self._finish(event)
        elif isinstance(event, (ResponseCreated, ResponseDone, Interrupted, *_PARTIAL, *_REST)):
            self._step(event)

    def end(self) -> None:
        """The session is over: its last event was the status ``closed``, and every tool call has its outcome.

        Raises:
            BrokenPromise: it was not, or one has none.
        """
        if self._status != "closed":
            raise BrokenPromise("closed last and once", None, f"the trace ends in the status {self._status!r}")
        for call_id, outcome in self._calls.items():
            if outcome is None:
                raise BrokenPromise("one outcome per tool call", None, f"the call {call_id!r} never ended")

    def check(self, events: Iterable[object]) -> None:
        """Take a whole trace: :meth:`feed` each of ``events``, then :meth:`end`.

        Raises:
            BrokenPromise: as those two.
        """
        for event in events:
            self.feed(event)
        self.end()

    # -- the session --------------------------------------------------------------------------------------------------

    def _change(self, event: StatusChanged) -> None:
        known, self._status = self._status, event.status
        if known is not None and event.previous != known:
            raise BrokenPromise("status in a chain", event, f"the status was {known!r}, not {event.previous!r}")

    def _finish(self, event: ToolFinished) -> None:
        if event.call_id not in self._calls:
            raise BrokenPromise("one outcome per tool call", event, "it ended and was never reported as called")
        earlier, self._calls[event.call_id] = self._calls[event.call_id], event
        if earlier is not None:
            raise BrokenPromise("one outcome per tool call", event, f"it had ended already, as {earlier.outcome!r}")

    # -- a reply ------------------------------------------------------------------------------------------------------

    def _step(self, event: Any) -> None:
        """One letter of a reply's word, then what holds within its parts."""
        broken: BrokenPromise | None = None
        if event.response_id is not None:
            broken = self._move(event.response_id, _letter(event), event)
        if isinstance(event, ToolCalled):
            self._calls.setdefault(event.call_id, None)
        if isinstance(event, (*_PARTIAL, *_FINAL)):
            broken = self._part(event) or broken
        if broken is not None:
            raise broken

    def _move(self, response_id: str, letter: _Letter, event: Any) -> BrokenPromise | None:
        state = self._replies.get(response_id, "unknown")
        following = REPLY.get((state, letter))
        if letter == "created" and response_id in self._early:
            self._early.discard(response_id)
            return None
        if following is None:
            if state == "unknown":
                self._early.add(response_id)
            self._replies[response_id] = _GOES_ON[letter] if state == "unknown" else state
            return BrokenPromise(_BROKEN[state, letter], event, f"{letter!r} of {response_id!r}, which is {state}")
        self._replies[response_id] = following
        if self._strict and letter == "rest" and state in ("done", "over"):
            return BrokenPromise("nothing after done", event, f"{response_id!r} is over")
        return None

    def _part(self, event: Any) -> BrokenPromise | None:
        """Deltas, then their final. Parts are told apart by reply, item and index; calls by their id."""
        key = _part(event)
        closed = key in self._finals
        if isinstance(event, _PARTIAL):
            if not isinstance(event, AudioDelta):
                self._texts[key] = self._texts.get(key, "") + _text(event)
            return BrokenPromise("final after its deltas", event, "its final came before it") if closed else None
        self._finals.add(key)
        if not self._strict:
            return None
        if closed:
            return BrokenPromise("final once", event, "there was one already")
        told = self._texts.get(key)
        if told is None or isinstance(event, AudioDone):
            return None
        text, whole = _text(event), self._replies.get(event.response_id or "") not in ("stopped", "over")
        if text != told if whole else not text.startswith(told):
            return BrokenPromise("deltas make the final", event, f"the deltas said {told!r}")
        return None


def _letter(event: Any) -> _Letter:
    if isinstance(event, ResponseCreated):
        return "created"
    if isinstance(event, ResponseDone):
        return "done"
    if isinstance(event, Interrupted):
        return "interrupted"
    return "partial" if isinstance(event, _PARTIAL) else "rest"


def _part(event: Any) -> tuple[Any, ...]:
    if isinstance(event, (ToolDelta, ToolCalled)):
        return "tool", event.call_id
    if isinstance(event, (McpArgumentsDelta, McpArguments)):
        return "mcp", event.response_id, event.item_id
    family = {AudioDone: "audio", AudioDelta: "audio", TextDelta: "text", TextDone: "text"}
    return family.get(type(event), "transcript"), event.response_id, event.item_id, event.content_index or 0


def _text(event: Any) -> str:
    return event.arguments if hasattr(event, "arguments") else event.text  # type: ignore[no-any-return]
