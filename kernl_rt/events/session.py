"""What the session says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from attrs import field, frozen

from kernl_rt.events._base import Event
from kernl_rt.events.records import Usage
from kernl_rt.items import NOTHING, ConversationItem

__all__ = [
    "AgentChanged",
    "CustomEvent",
    "Draining",
    "EventsDropped",
    "GuardrailTripped",
    "HistoryChanged",
    "Interrupted",
    "LatencyMeasured",
    "LoopStalled",
    "PlaybackPaused",
    "PlaybackResumed",
    "SessionEvent",
    "SessionStuck",
    "Status",
    "StatusChanged",
    "ToolApprovalRequired",
    "ToolFinished",
    "ToolOutcome",
    "UsageUpdated",
    "WaitingSince",
]

Status: TypeAlias = Literal["idle", "connecting", "connected", "reconnecting", "closing", "closed"]
#: What the human waits from: the end of speech, a commit, a written message, the bare wish for a reply.
WaitingSince: TypeAlias = Literal["speech", "commit", "message", "request"]
ToolOutcome: TypeAlias = Literal["result", "error", "timeout", "cancelled", "denied"]


@frozen(eq=False, repr=False)
class StatusChanged(Event):
    """The session's status. ``closed`` comes exactly once and is the last event of all."""

    kind: ClassVar[str] = "status"
    topic: ClassVar[str | None] = "status"
    status: Status
    previous: Status
    reason: str | None = None


@frozen(eq=False, repr=False)
class Interrupted(Event):
    """A reply was stopped. Nothing of it is heard, or reported as ``audio``, after this.

    ``item_id`` is the item that was playing and ``heard_ms`` how much of its audio the human had heard; ``None`` and 0
    where nothing was playing. ``reason`` says who did it.
    """

    kind: ClassVar[str] = "interrupted"
    topic: ClassVar[str | None] = "interrupted"
    response_id: str | None = None
    item_id: str | None = None
    heard_ms: int = 0
    reason: Literal["speech", "requested", "provider", "overflow", "guardrail", "connection_lost", "closed"] = "speech"


@frozen(eq=False, repr=False)
class PlaybackPaused(Event):
    """Something sounded like speech: the reply stands still until it is known what it was (``recover_after``)."""

    kind: ClassVar[str] = "playback.paused"
    topic: ClassVar[str | None] = "playback"
    item_id: str | None = None
    heard_ms: int = 0


@frozen(eq=False, repr=False)
class PlaybackResumed(Event):
    """It was no speech: the rest of the reply plays on."""

    kind: ClassVar[str] = "playback.resumed"
    topic: ClassVar[str | None] = "playback"


@frozen(eq=False, repr=False)
class ToolFinished(Event):
    """The one outcome of a tool call. ``output`` is what the model is told; ``duration`` is in seconds."""

    kind: ClassVar[str] = "tool.finished"
    topic: ClassVar[str | None] = "tool"
    call_id: str
    name: str
    outcome: ToolOutcome
    output: str
    duration: float | None = None


@frozen(eq=False, repr=False)
class ToolApprovalRequired(Event):
    """A call waits for a human: ``session.approve(call_id)`` or ``session.reject(call_id)``. The conversation goes
    on.
    """

    kind: ClassVar[str] = "tool.approval"
    topic: ClassVar[str | None] = "approval"
    call_id: str
    name: str
    arguments: str


@frozen(eq=False, repr=False)
class HistoryChanged(Event):
    """The conversation changed; ``items`` is the whole of it now, in order.

    ``added``, ``updated`` and ``removed`` are the items that are new, that have changed (more words, another status,
    less heard), and that are gone.
    """

    kind: ClassVar[str] = "history"
    topic: ClassVar[str | None] = "history"
    items: Sequence[ConversationItem] = field(repr=lambda items: f"<{len(items)} items>")
    added: Sequence[ConversationItem] = field(default=(), kw_only=True)
    updated: Sequence[ConversationItem] = field(default=(), kw_only=True)
    removed: Sequence[ConversationItem] = field(default=(), kw_only=True)


@frozen(eq=False, repr=False)
class AgentChanged(Event):
    """Another agent speaks, since the provider has accepted its configuration. The attributes are agents' ids.

    ``handoff``: the agent before did it, by a tool; else the program, by ``session.update_agent``.
    """

    kind: ClassVar[str] = "agent.changed"
    topic: ClassVar[str | None] = "agent"
    from_agent: str
    to_agent: str
    handoff: bool = False


@frozen(eq=False, repr=False)
class UsageUpdated(Event):
    """What a reply cost (``usage``) and what the session has cost so far (``total``)."""

    kind: ClassVar[str] = "usage"
    topic: ClassVar[str | None] = "usage"
    usage: Usage
    total: Usage
    response_id: str | None = None


@frozen(eq=False, repr=False)
class GuardrailTripped(Event):
    """A guardrail refused a reply; at most one of these comes for each reply.

    ``text`` is what it had read and ``reason`` what it said. ``stopped`` is false where it came too late: the reply was
    over and heard, or the human had interrupted it already.
    """

    kind: ClassVar[str] = "guardrail.tripped"
    topic: ClassVar[str | None] = "guardrail"
    name: str
    response_id: str | None
    text: str
    reason: str
    stopped: bool = True


@frozen(eq=False, repr=False)
class LatencyMeasured(Event):
    """How long the human waited, in seconds.

    For a reply: from the end of the human's turn (``since`` says what ended it) to the reply's first sound, received
    (``to_first_audio``) and heard (``to_first_heard``; ``None`` where it never was). Where the provider says when
    speech stopped, the silence that it waited for lies before that. For an interruption by speech: from its beginning
    until the reply was stopped (``barge_in``), all else being ``None``.
    """

    kind: ClassVar[str] = "latency"
    topic: ClassVar[str | None] = "latency"
    response_id: str | None = None
    to_first_audio: float | None = None
    to_first_heard: float | None = None
    barge_in: float | None = None
    since: WaitingSince | None = None


@frozen(eq=False, repr=False)
class EventsDropped(Event):
    """This consumer fell behind: so many events of each kind were shed for it, oldest first."""

    kind: ClassVar[str] = "dropped"
    topic: ClassVar[str | None] = "dropped"
    counts: Mapping[str, int] = field(default=NOTHING)


@frozen(eq=False, repr=False)
class SessionStuck(Event):
    """The session closes, but something of yours does not end although it has been cancelled.

    The first comes 5 seconds after the close began, more every 5 seconds, one for each that is left. ``what`` it is,
    its ``name``, the ``call_id`` of a tool's call, the ``seconds`` since the close began, and the ``stack`` where it
    waits, as text in the form of a traceback.
    """

    kind: ClassVar[str] = "session.stuck"
    topic: ClassVar[str | None] = "stuck"
    what: Literal["tool", "guardrail"]
    name: str
    call_id: str | None
    seconds: float
    stack: str = field(repr=False)


@frozen(eq=False, repr=False)
class LoopStalled(Event):
    """A plain listener kept the whole program waiting: it did not return for ``milliseconds``, 50 or more.

    ``listener`` is its name and ``during`` the kind of the event that it was called for. Nothing else runs meanwhile:
    no sound moves, no interruption is noticed, no ping is answered.
    """

    kind: ClassVar[str] = "loop.stalled"
    topic: ClassVar[str | None] = "stall"
    sheddable: ClassVar[bool] = True
    listener: str
    milliseconds: float
    during: str


@frozen(eq=False, repr=False)
class Draining(Event):
    """The program is about to stop (:class:`~kernl_rt.Drain`): the session is closed ``seconds`` from now at the
    latest. Time to say goodbye.
    """

    kind: ClassVar[str] = "session.draining"
    topic: ClassVar[str | None] = "draining"
    seconds: float


@frozen(eq=False, repr=False)
class CustomEvent(Event):
    """An event of the user's own, put into the stream by ``session.emit(name, data)``; ``kind`` is its name."""

    name: str
    data: Any = None

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.name

    @property
    def topic(self) -> str | None:  # type: ignore[override]
        return self.name


SessionEvent: TypeAlias = (
    StatusChanged
    | Interrupted
    | ToolFinished
    | ToolApprovalRequired
    | PlaybackPaused
    | PlaybackResumed
    | HistoryChanged
    | AgentChanged
    | UsageUpdated
    | GuardrailTripped
    | LatencyMeasured
    | SessionStuck
    | LoopStalled
    | Draining
    | EventsDropped
    | CustomEvent
)
