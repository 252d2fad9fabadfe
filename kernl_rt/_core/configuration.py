"""The ledger of live changes: what configuration holds, and which changes wait for the provider's yes.

A change is on its way only while no other is: the provider confirms without saying what, so two at once could not be
told apart. What is sent is the difference to what holds at that moment; where there is none, nothing is sent::

    queued ──sent──▶ asked ──confirmed──▶ holds
       │               ├──refused──▶ dropped
       └──no difference, or no confirmations──▶ holds

A change that is neither confirmed nor refused within ``PATIENCE`` seconds is given up, so that one lost frame cannot
hold up all later ones.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, fields, frozen

from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.config import SessionConfig, ToolChoice, Voice

__all__ = ["LIMIT", "PATIENCE", "SUSPICION", "AgentTraits", "Change", "Changes", "Sent", "difference"]

#: Seconds until an unanswered change counts as lost.
PATIENCE = 10.0
#: Seconds after an error that names no event, but may have been meant for our change.
SUSPICION = 1.0
#: So many changes may wait.
LIMIT = 64


@frozen
class AgentTraits:
    """What the machine needs to know of an agent. ``number`` is the session's own count of its agents."""

    number: int
    id: str
    toolbox: Mapping[str, ToolTraits] = field(factory=dict)


@frozen
class Change:
    """``config`` is laid over what holds; for another ``agent`` it is all that the agent says.

    ``ready``: the configuration is known (an agent's instructions may have to be fetched first). ``raw``: sent as it
    is, also where it changes nothing.
    """

    command: int | None
    config: SessionConfig = field(factory=SessionConfig)
    agent: AgentTraits | None = None
    handoff: bool = False
    ready: bool = True
    raw: bool = False
    event_id: str | None = None

    def applied(self, holds: SessionConfig, frozen_voice: bool, voice: Voice | None) -> SessionConfig:
        """What is to hold afterwards. ``voice`` is the one that speaks, ``None`` where that is not known."""
        if self.agent is None:
            return holds.merged(self.config)
        return holds.merged(_of_agent(self.config, holds, frozen_voice, voice))


def _of_agent(config: SessionConfig, holds: SessionConfig, frozen_voice: bool, voice: Voice | None) -> SessionConfig:
    """What an agent says, so that nothing of the one before it is left that was about its tools.

    The session keeps its formats, and the voice that has been heard.
    """
    choice = config.tool_choice
    if choice is None and holds.tool_choice is not None:
        choice = ToolChoice("auto")
    keeps = frozen_voice and config.voice is not None and (voice is None or voice.id != config.voice.id)
    return evolve(
        config,
        tools=config.tools or (),
        tool_choice=choice,
        voice=None if keeps else config.voice,
        input_format=None,
        output_format=None,
    )


@frozen
class Sent:
    """A change that waits for the provider's word."""

    change: Change
    wanted: SessionConfig
    event_id: str
    give_up_at: float
    #: An error that named nobody came meanwhile.
    suspicion: str | None = None
    code: str | None = None


class Changes:
    def __init__(self, agent: AgentTraits) -> None:
        #: Who speaks.
        self.agent = agent
        #: What the provider says that holds, its defaults included.
        self.described = SessionConfig()
        #: The model has been heard: its voice is fixed.
        self.spoken = False
        self.sent: Sent | None = None
        self._queue: list[Change] = []
        #: The tools of replies that began under an earlier agent.
        self._toolboxes: dict[str, Mapping[str, ToolTraits]] = {}

    @property
    def full(self) -> bool:
        return len(self._queue) >= LIMIT

    @property
    def deadline(self) -> float | None:
        return self.sent.give_up_at if self.sent is not None else None

    def describe(self, config: SessionConfig) -> None:
        """The provider says what holds, whole or in part."""
        self.described = self.described.merged(evolve(config, extra={}))

    def voice(self, holds: SessionConfig) -> Voice | None:
        """Who speaks, as far as it is known."""
        return holds.voice or self.described.voice

    def apply(self, change: Change, holds: SessionConfig) -> SessionConfig:
        return change.applied(holds, self.spoken, self.voice(holds))

    def expected(self, holds: SessionConfig) -> SessionConfig:
        """What will hold if everything that waits is accepted."""
        if self.sent is not None:
            holds = self.sent.wanted
        for change in self._queue:
            if change.ready:
                holds = self.apply(change, holds)
        return holds

    def add(self, change: Change) -> None:
        self._queue.append(change)

    def prepare(self, command: int, config: SessionConfig) -> None:
        """The agent's configuration is known now."""
        for index, change in enumerate(self._queue):
            if change.command == command and not change.ready:
                self._queue[index] = evolve(change, config=config, ready=True)

    def withdraw(self, command: int) -> Change | None:
        for change in self._queue:
            if change.command == command:
                self._queue.remove(change)
                return change
        return None

    def next(self) -> Change | None:
        """The change to send now, if one may be sent."""
        if self.sent is not None or not self._queue or not self._queue[0].ready:
            return None
        return self._queue.pop(0)

    def confirmed(self) -> Sent | None:
        sent, self.sent = self.sent, None
        return sent

    def refused(self, event_id: str) -> Sent | None:
        """The provider's error names our change."""
        if self.sent is None or self.sent.event_id != event_id:
            return None
        return self.confirmed()

    def suspect(self, message: str, code: str | None, now: float) -> None:
        """An error that names nobody proves nothing: the change is given up soon, unless it is confirmed after all."""
        if self.sent is not None and self.sent.suspicion is None:
            give_up_at = min(self.sent.give_up_at, now + SUSPICION)
            self.sent = evolve(self.sent, give_up_at=give_up_at, suspicion=message, code=code)

    def expire(self, now: float) -> Sent | None:
        """Give up a change that nobody answered."""
        if self.sent is None or now < self.sent.give_up_at:
            return None
        return self.confirmed()

    def disconnect(self) -> None:
        """The link is gone: what waited for the provider's word is asked for again."""
        sent = self.confirmed()
        if sent is not None:
            self._queue.insert(0, sent.change)

    def drain(self) -> list[Change]:
        """Every change that will not be answered any more."""
        sent = self.confirmed()
        left = [*([sent.change] if sent is not None else []), *self._queue]
        self._queue.clear()
        return left

    def switch(self, agent: AgentTraits, running: list[str]) -> None:
        """``agent`` speaks from now on. The replies that run keep the tools that the model was shown for them."""
        self._toolboxes = {reply: self.toolbox(reply) for reply in running}
        self.agent = agent

    def toolbox(self, response_id: str | None) -> Mapping[str, ToolTraits]:
        """The tools that a reply may call, by name."""
        return self._toolboxes.get(response_id or "", self.agent.toolbox)


_OPTIONS = tuple(attribute.name for attribute in fields(SessionConfig) if attribute.name != "extra")


def difference(wanted: SessionConfig, holds: SessionConfig, described: SessionConfig) -> SessionConfig | None:
    """What has to be said so that ``wanted`` holds; ``None`` where nothing has to.

    ``described`` counts for what ``holds`` leaves to the provider: asking for its default changes nothing.
    """
    said = {}
    for name in _OPTIONS:
        new, old = getattr(wanted, name), getattr(holds, name)
        known = getattr(described, name) if old is None else old
        if new is not None and new != known and not (name == "tools" and not new and not known):
            said[name] = new
    extra = {key: value for key, value in wanted.extra.items() if key not in holds.extra or holds.extra[key] != value}
    return SessionConfig(**said, extra=extra) if said or extra else None
