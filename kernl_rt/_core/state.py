"""What the machine knows, and the few things every rule does with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from attrs import define, evolve, field, frozen

from kernl_rt._core.actions import Action, Emit, Lane, Send, Settle
from kernl_rt._core.arbiter import ECHO, LONG_PATIENCE, PATIENCE, Arbiter, Wish
from kernl_rt._core.backlog import LIMIT, Backlog
from kernl_rt._core.configuration import AgentTraits, Changes
from kernl_rt._core.conversation import Conversation, HistoryDelta
from kernl_rt._core.guardrails import Guardrails, GuardrailSettings
from kernl_rt._core.holdback import HoldBack
from kernl_rt._core.latency import Latency
from kernl_rt._core.lifecycle import Lifecycle
from kernl_rt._core.playback import Cut, Playback
from kernl_rt._core.redial import Redial
from kernl_rt._core.seeding import Seeding
from kernl_rt._core.toolcalls import ToolLedger, ToolTraits
from kernl_rt._core.turn import Turn
from kernl_rt._core.utterance import Utterance
from kernl_rt.config import PCM16_24K, AudioFormat, Capabilities, ResponseConfig, SessionConfig
from kernl_rt.events import (
    AudioDelta,
    ClientEvent,
    HistoryChanged,
    InputMute,
    InputUnmute,
    ResponseCreate,
    SessionError,
    StatusChanged,
    ToolCalled,
    ToolFinished,
    Usage,
)
from kernl_rt.exceptions import CommandError, CommandRejected
from kernl_rt.items import ConversationItem
from kernl_rt.policy import ReconnectPolicy

__all__ = ["Farewell", "Interruption", "Pause", "Reason", "Settings", "State"]

#: More malformed frames than this within so many seconds end the session.
MALFORMED = 20
MALFORMED_SECONDS = 10.0
#: So many finished replies are remembered, to know their late events.
_REMEMBERED = 64
_NEVER = float("inf")


@frozen
class Settings:
    """What is fixed for a session: the configuration, the model's flags, the channel's traits and the tools' names."""

    config: SessionConfig = field(factory=SessionConfig)
    capabilities: Capabilities = field(factory=Capabilities)
    has_channel: bool = False
    #: The channel says what was heard; where not, the clock is asked.
    marks: bool = False
    #: Seconds of silence after which what sounded like speech was none, and the reply plays on; ``None``: never.
    recover_after: float | None = None
    guardrails: tuple[GuardrailSettings, ...] = ()
    #: Seconds that a reply's sound may wait until its words have passed the guardrails; ``None``: it does not wait.
    hold_back: float | None = None
    tools: Mapping[str, ToolTraits] = field(factory=dict)
    #: What happens when the link is lost; ``None``: the session ends.
    reconnect: ReconnectPolicy | None = None
    #: Seconds that the provider may say nothing while it owes something; ``None``: for ever.
    dead_air: float | None = None
    #: The agent's id.
    agent: str = ""
    #: The conversation that the session begins with.
    history: Sequence[ConversationItem] = ()

    @property
    def input_format(self) -> AudioFormat:
        return self.config.input_format or PCM16_24K

    @property
    def output_format(self) -> AudioFormat:
        return self.config.output_format or PCM16_24K


Reason: TypeAlias = Literal["speech", "requested", "provider", "overflow", "guardrail", "connection_lost"]


@define
class Interruption:
    """An interruption that waits for the channel to say what was heard."""

    reason: Reason
    response_id: str | None
    #: It means this reply alone: what else plays goes on.
    alone: bool = False


@define
class Pause:
    """A reply that stands still until it is known whether the human spoke."""

    interruption: Interruption
    cancel: bool
    cuts: list[Cut] = field(factory=list)
    #: When silence proves that it was nothing; ``None`` while the noise goes on.
    resume_at: float | None = None


@frozen
class Farewell:
    """The session ends when the goodbye was heard, or at ``give_up_at``. ``commands`` settle with whether it did."""

    commands: tuple[int, ...]
    give_up_at: float


class State:
    """All ledgers of one session, and ``out``: the actions that the current input has brought so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lifecycle = Lifecycle()
        self.turn = Turn(settings.config.turn_detection)
        inferred = settings.capabilities.synthesises_turns
        self.arbiter = Arbiter(LONG_PATIENCE if inferred else PATIENCE)
        self.playback = Playback(settings.output_format, marks=settings.marks)
        self.conversation = Conversation()
        self.tools = ToolLedger()
        self.changes = Changes(AgentTraits(0, settings.agent, settings.tools))
        self.seeding = Seeding()
        self.backlog = Backlog()
        self.redial = Redial(settings.reconnect, settings.capabilities.max_duration)
        self.utterance = Utterance(settings.input_format.bytes_per_second)
        #: What was said while there was no link, and what was said before and not acknowledged.
        self.unsaid: list[ClientEvent] = []
        #: The handle with which the provider would go on where it stopped, and whether the next link uses it.
        self.resume_handle: str | None = None
        self.resuming = False
        #: What the provider says it has kept, while a session is resumed.
        self.kept: list[ConversationItem] = []
        #: What was told again stands behind what was kept: on this link the provider's order is not ours.
        self.reordered = False
        #: The newest of the provider's events.
        self.last_event: Any = None
        #: When malformed frames came, the newest.
        self.malformed: list[float] = []
        #: When the provider was last heard of.
        self.model_heard_at = 0.0
        self.session_id: str | None = None
        self.provider_expired: str | None = None
        self.muted = False
        self.usage = Usage()
        #: Replies that were interrupted: nothing more of them is played or reported.
        self.fenced: set[str] = set()
        #: Replies that are over, the newest.
        self.finished: list[str] = []
        #: The running reply names the conversation that it belongs to.
        self.in_conversation = False
        #: Parts of the running reply whose final was told, with the class of their deltas.
        self.finals: set[tuple[type, tuple[str | None, int]]] = set()
        #: Calls of the running reply to tool servers of the provider's own, which are at work.
        self.provider_calls: set[str] = set()
        #: Replies beside the conversation, by id, and the requests for them, by event id.
        self.asides: dict[str, int | None] = {}
        self.asked_asides: dict[str, int] = {}
        self.interruption: Interruption | None = None
        self.farewell: Farewell | None = None
        self.pause: Pause | None = None
        self.guardrails = Guardrails(settings.guardrails)
        self.holdback = HoldBack(settings.hold_back)
        self.latency = Latency()
        self.counts: Counter[str] = Counter()
        self.out: list[Action] = []
        self._ids = 0

    # -- said by every rule -------------------------------------------------------------------------------------------

    def next_id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids}"

    @property
    def last_id(self) -> int:
        return self._ids

    def finish(self, response_id: str) -> None:
        """Remember that this reply is over."""
        self.finished.append(response_id)
        del self.finished[:-_REMEMBERED]

    def reserve_ids(self, highest: int) -> None:
        """Ids up to this number are taken."""
        self._ids = max(self._ids, highest)

    def reply_key(self, response_id: str | None) -> str:
        """The name of a reply, also where the provider gives it none."""
        return response_id or self.arbiter.running or ""

    def send(self, event: ClientEvent, lane: Lane = Lane.COMMAND, *, captured: bool = False) -> None:
        """Say it to the provider. Without a link it waits for the next, unless it was about what the last one said."""
        if lane is Lane.AUDIO and type(event) is not ResponseCreate:
            self.utterance.add(event, brief=self.turn.idle, offline=not self.lifecycle.linked)
        if self.lifecycle.status != "reconnecting":
            self.out.append(Send(event, lane, captured))
        elif lane is Lane.COMMAND:
            self.unsaid.append(event)

    @property
    def full(self) -> bool:
        """No more commands are taken until the provider answers some."""
        return self.backlog.full or self.changes.full or len(self.unsaid) >= LIMIT

    def emit(self, event: Any) -> None:
        self.out.append(Emit(event))
        # The history holds every call with its outcome, also where the provider has no items for them.
        if type(event) is ToolCalled:
            self.conversation.called(event)
            self.history_changed()
        elif type(event) is ToolFinished:
            self.conversation.finished(event)
            self.history_changed()

    def say_muted(self) -> None:
        """Tell the provider whether the human is muted, where it can be told."""
        if self.settings.capabilities.mutes_on_wire:
            event_id = self.next_id("event")
            self.send(InputMute(event_id=event_id) if self.muted else InputUnmute(event_id=event_id))

    def settle(self, command: int | None, error: Exception | None = None, result: Any = None) -> None:
        if command is not None:
            self.out.append(Settle(command, error, result))

    def move(self, trigger: str, reason: str | None = None) -> None:
        """Change the status, and say so."""
        previous, status = self.lifecycle.move(trigger)
        if reason is not None and self.lifecycle.reason is None and trigger == "close":
            self.lifecycle.reason = reason
        if status != previous:
            self.emit(StatusChanged(status, previous, reason if trigger == "drop" else self.lifecycle.reason))

    def history_changed(self) -> None:
        """Say what became of the history, if anything did."""
        delta = self.conversation.delta()
        if delta != HistoryDelta():
            items = self.conversation.snapshot()
            self.emit(HistoryChanged(items, added=delta.added, updated=delta.updated, removed=delta.removed))

    def ask_for_replies(self, now: float) -> None:
        """Send the next request for a reply, if one may go out."""
        if not self.lifecycle.linked:
            return
        idle = not self.turn.speaking and self.silent and self.pause is None
        create = self.arbiter.next(self.next_id("event"), now, idle=idle)
        if create is not None and not create.unasked:
            lane = Lane.AUDIO if create.after_audio else Lane.COMMAND
            config = create.config
            if self.settings.capabilities.echoes_metadata:
                config = config or ResponseConfig()
                config = evolve(config, metadata={**(config.metadata or {}), ECHO: create.event_id})
            self.send(ResponseCreate(config, event_id=create.event_id), lane)

    @property
    def silent(self) -> bool:
        """Whether nothing waits to be heard."""
        return self.playback.pending == 0 and self.holdback.size == 0

    @property
    def waiting(self) -> bool:
        """Whether something waits for quiet, or to be heard."""
        return bool(self.arbiter.waiting) or self.farewell is not None or self.tools.any_held

    @property
    def deadline(self) -> float | None:
        """When time alone will change something. Worked out after every input: what is idle costs next to nothing."""
        due = _NEVER
        for at in (
            self.arbiter.deadline,
            self.tools.deadline,
            self.changes.deadline,
            self.redial.rotate_at,
            self.holdback.deadline,
            self.dead_air_at,
            None if self.pause is None else self.pause.resume_at,
            None if self.farewell is None else self.farewell.give_up_at,
            self.playback.begins_at() if self.latency.any_unheard else None,
            self.playback.heard_at() if self.waiting else None,
        ):
            if at is not None and at < due:
                due = at
        return None if due == _NEVER else due

    @property
    def dead_air_at(self) -> float | None:
        """When the provider has been silent for too long, while it owes something."""
        limit = self.settings.dead_air
        if limit is None or not self.lifecycle.linked:
            return None
        inferred = self.settings.capabilities.synthesises_turns
        running = self.arbiter.running is not None
        if self.turn.awaiting is not None:
            silent = running and bool(self.provider_calls)
            return None if silent else self.model_heard_at + limit
        if running:
            # Its sound is complete, and the provider waits until it has been heard; or a tool server is at work.
            said = inferred and any(part is AudioDelta for part, _ in self.finals)
            return None if said or self.provider_calls else self.model_heard_at + limit
        # A reply that is only inferred is owed from the moment in which it was asked for.
        asked_at = self.arbiter.asked_at if inferred and self.redial.on else None
        if asked_at is None or self.tools.open_calls():
            return None
        return max(self.model_heard_at, asked_at) + limit

    def settle_wishes(self, wishes: tuple[Wish, ...] | list[Wish], error: CommandError) -> bool:
        """Replies that will not come. Returns whether anybody is told."""
        told = False
        for wish in wishes:
            for command in (*wish.commands, *wish.asks):
                self.settle(command, error)
                told = True
        return told

    def settle_everything(self, error: CommandError) -> None:
        """Nothing that waits will be answered any more."""
        for pending in self.backlog.drain():
            self.settle(pending.command, error)
        self.settle_wishes(self.arbiter.drain(), error)
        for command in (*self.asked_asides.values(), *self.asides.values()):
            self.settle(command, error)
        self.asked_asides.clear()
        self.asides.clear()
        if self.farewell is not None:
            for command in self.farewell.commands:  # the session ends, as they asked, if not as they meant
                self.settle(command, result=True)
            self.farewell = None
        for command in self.tools.drain_asks():
            self.settle(command, error)
        for change in self.changes.drain():
            self.settle(change.command, error)

    def refuse(self, event: SessionError, wishes: tuple[Wish, ...]) -> None:
        """The provider refused a request for a reply. Who asked is told; where nobody waits, everybody is."""
        if not self.settle_wishes(wishes, CommandRejected(event.message, code=event.code)):
            self.emit(event)
