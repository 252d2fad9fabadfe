"""Changing a session while it runs: its configuration, and the agent that speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import anyio
from anyio.abc import TaskGroup
from attrs import define, evolve, field

from kernl_rt._core import inputs
from kernl_rt._core.configuration import AgentTraits, Change
from kernl_rt._core.state import State
from kernl_rt._session.command import Command
from kernl_rt._session.driver import Driver
from kernl_rt._session.tools import traits_of
from kernl_rt.abc import RealtimeModel
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import (
    AudioFormat,
    ConnectOptions,
    InputTranscription,
    McpServer,
    Modality,
    NoiseReduction,
    PromptReference,
    Reasoning,
    SessionConfig,
    ToolChoice,
    ToolChoiceMode,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.context import Context
from kernl_rt.events import SessionError
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["ConfigChanges", "LiveChanges"]


class ConfigChanges(TypedDict, total=False):
    """The options of a :class:`~kernl_rt.SessionConfig`, by name."""

    instructions: str | None
    output_modality: Modality | None
    voice: Voice | str | None
    input_format: AudioFormat | None
    output_format: AudioFormat | None
    turn_detection: TurnDetection | None
    transcription: InputTranscription | Literal["off"] | None
    noise_reduction: NoiseReduction | None
    tools: Sequence[ToolDefinition | McpServer] | None
    tool_choice: ToolChoice | ToolChoiceMode | None
    parallel_tool_calls: bool | None
    max_output_tokens: int | Literal["inf"] | None
    reasoning: Reasoning | None
    truncation: Truncation | None
    tracing: Tracing | None
    prompt: PromptReference | None
    include: Sequence[str] | None
    extra: dict[str, Any]


@define
class LiveChanges:
    """What the caller asked for is checked here; the machine decides when it holds."""

    model: RealtimeModel
    options: ConnectOptions
    context: Context[Any]
    #: The session was given a model of its own: whichever the agents name does not count.
    overrides_model: bool
    #: Every agent so far, by number.
    agents: list[RealtimeAgent[Any]]
    current: RealtimeAgent[Any]
    _unprepared: list[tuple[int, RealtimeAgent[Any], Change]] = field(factory=list, init=False)
    _preparing: bool = field(default=False, init=False)

    # -- the configuration --------------------------------------------------------------------------------------------

    def update(self, driver: Driver, config: SessionConfig | None, changes: Any) -> Command[SessionConfig]:
        self._check_able("update")
        change = Change(None, _said(config, changes))
        state = driver.machine.state
        holds = state.changes.expected(state.settings.config)
        _check_frozen(state, change.config, holds)
        self.model.check(state.changes.apply(change, holds))
        return driver.command("update", lambda number: inputs.ChangeSubmitted(evolve(change, command=number)))

    def _check_able(self, verb: str) -> None:
        if not self.model.capabilities.can_update:
            raise MisconfiguredError(
                f"{verb}(): {self.model.provider} cannot change a session that runs; say it before connecting"
            )

    # -- the agent ----------------------------------------------------------------------------------------------------

    def update_agent(
        self, driver: Driver, agent: RealtimeAgent[Any], *, handoff: bool = False
    ) -> Command[SessionConfig]:
        self._check_able("update_agent")
        self._check_agent(agent)
        ready = isinstance(agent.instructions, str)
        change = Change(None, agent=self._traits(agent), handoff=handoff, ready=ready)
        if isinstance(agent.instructions, str):
            change = evolve(change, config=self._checked(driver, agent, agent.instructions, change))
        command: Command[SessionConfig] = driver.command(
            "update_agent", lambda number: inputs.ChangeSubmitted(evolve(change, command=number))
        )
        if not ready:
            self._unprepared.append((command.number, agent, change))
            driver.work_gate.wake()
        return command

    async def handoff(
        self, driver: Driver, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]]
    ) -> RealtimeAgent[Any]:
        """Change the agent and wait until it is so. A failure is an ``error`` event, too: else only the model knows."""
        try:
            if not isinstance(agent, RealtimeAgent) and callable(agent):
                agent = agent()
            await self.update_agent(driver, agent, handoff=True).settled()
        except Exception as exc:
            if driver.machine.state.lifecycle.live:
                to = agent.id if isinstance(agent, RealtimeAgent) else "another agent"
                message = f"the handoff to {to} failed, {self.current.id} goes on: {exc}"
                error = SessionError(message, code="handoff_failed", source="tool", cause=exc)
                driver.feed(inputs.ErrorNoticed(error))
            raise
        return agent

    def switched(self, number: int) -> None:
        """The provider has accepted the agent's configuration."""
        self.current = self.agents[number]
        # The session's own copy of the context: calls of the agent before have theirs.
        self.context._agent = self.current

    def _check_agent(self, agent: object) -> None:
        if not isinstance(agent, RealtimeAgent):
            raise MisconfiguredError(f"update_agent() takes a RealtimeAgent, not a {type(agent).__name__}")
        other = agent.model
        if other is None or self.overrides_model:
            return
        if (other.provider, other.name) != (self.model.provider, self.model.name):
            raise MisconfiguredError(
                f"agent {agent.id!r} wants the model {other.name!r}, but a session keeps its own, {self.model.name!r}; "
                "leave the agent's model out, or start a session with it"
            )

    def _traits(self, agent: RealtimeAgent[Any]) -> AgentTraits:
        numbers = [number for number, known in enumerate(self.agents) if known is agent]
        number = numbers[0] if numbers else len(self.agents)
        if not numbers:
            self.agents.append(agent)
        return AgentTraits(number, agent.id, traits_of(agent.tools, number))

    def _checked(self, driver: Driver, agent: RealtimeAgent[Any], instructions: str, change: Change) -> SessionConfig:
        """All that the agent says, if the model can do it."""
        config = agent.session_config(instructions)
        over = self.options.session_config
        if over is not None:
            # What was said for the session holds for every agent, except who that agent is.
            config = config.merged(evolve(over, instructions=None, tools=None, tool_choice=None))
        state = driver.machine.state
        holds = state.changes.expected(state.settings.config)
        self.model.check(state.changes.apply(evolve(change, config=config), holds))
        return config

    def dispatch(self, driver: Driver, group: TaskGroup) -> None:
        """Start the task that asks agents for their instructions, if there is something to ask."""
        if self._unprepared and not self._preparing:
            self._preparing = True
            group.start_soon(self._prepare_all, driver, name="kernl_rt agents")

    async def _prepare_all(self, driver: Driver) -> None:
        """One after the other: the change that was asked for last is the one that holds."""
        try:
            while self._unprepared:
                driver.feed(await self._prepare(driver, *self._unprepared.pop(0)))
        finally:
            self._preparing = False

    async def _prepare(
        self, driver: Driver, number: int, agent: RealtimeAgent[Any], change: Change
    ) -> inputs.ChangePrepared | inputs.ChangeFailed:
        limit = self.options.timeout
        try:
            context = self.context.bind(self.context.session, agent)
            with anyio.move_on_after(limit):
                instructions = await agent.resolve_instructions(context)
                return inputs.ChangePrepared(number, self._checked(driver, agent, instructions, change))
            message = f"agent {agent.id!r}: its instructions took more than {limit:g} seconds; make them faster"
            return inputs.ChangeFailed(number, MisconfiguredError(message))
        except Exception as exc:
            return inputs.ChangeFailed(number, exc)


def _said(config: SessionConfig | None, changes: Any) -> SessionConfig:
    if config is not None and not isinstance(config, SessionConfig):
        raise MisconfiguredError(
            f"update() takes a SessionConfig, or its options by name, not a {type(config).__name__}"
        )
    unknown = sorted(set(changes) - set(ConfigChanges.__annotations__))
    if unknown:
        raise MisconfiguredError(f"update() has no option {unknown[0]!r}; the options are those of SessionConfig")
    return (config or SessionConfig()).merged(SessionConfig(**changes))


def _check_frozen(state: State, over: SessionConfig, holds: SessionConfig) -> None:
    """Refuse what cannot change any more: what was heard, and what a device was opened with."""
    spoken = state.changes.spoken
    for name in ("input_format", "output_format"):
        wanted = getattr(over, name)
        if wanted is None or wanted == getattr(holds, name):
            continue
        if state.settings.has_channel:
            raise MisconfiguredError(f"{name} cannot change: the channel is open with {getattr(holds, name)}")
        if spoken or state.turn.uncommitted:
            raise MisconfiguredError(f"{name} cannot change once audio has been heard or sent; start a new session")
    speaks = state.changes.voice(holds)
    if spoken and over.voice is not None and (speaks is None or speaks.id != over.voice.id):
        known = "" if speaks is None else f" {speaks.id!r}"
        raise MisconfiguredError(
            f"voice={over.voice.id!r}: the voice{known} was heard and stays; leave it out, or start a new session"
        )
