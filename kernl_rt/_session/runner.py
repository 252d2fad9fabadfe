"""From dialling to the last event: what the session's one task does, in order.

::

    link: dial, configure ─▶ channel: open ─▶ clock, tools, guardrails ─┐
                                                                        │ the machine says that it is over
    last event ◀─ link: hang up, channel: close ◀─ tools' finally ◀─────┘

The user's functions go first, so that they may still use what they were given; but they have ``GRACE`` seconds: one
that will not die keeps neither the telephone nor the provider's meter running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.util import find_spec
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from attrs import define, evolve, field

from kernl_rt._core import inputs
from kernl_rt._core.machine import Settings
from kernl_rt._emitter import Emitter
from kernl_rt._latch import Latch
from kernl_rt._session import pumps
from kernl_rt._session.changes import LiveChanges
from kernl_rt._session.driver import Driver
from kernl_rt._session.errors import hosted
from kernl_rt._session.guardrails import GuardrailRunner, guardrail_settings
from kernl_rt._session.link import Link
from kernl_rt._session.stream import Streams
from kernl_rt._session.tools import ToolRunner, traits_of
from kernl_rt.abc import RealtimeChannel, RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import AudioFormat, ConnectOptions, Credential, SessionConfig
from kernl_rt.context import Context
from kernl_rt.exceptions import ConnectTimeout, MisconfiguredError, SessionStateError
from kernl_rt.guardrail import Guardrail
from kernl_rt.items import ConversationItem
from kernl_rt.policy import ReconnectPolicy

__all__ = ["Runner"]

#: Seconds that the user's functions get to end before both sides are closed.
GRACE = 2.0
#: Seconds that the link and the channel then get to say goodbye.
PARTING = 2.0


@define
class Runner:
    agent: RealtimeAgent[Any]
    model: RealtimeModel
    channel: RealtimeChannel | None
    transport: RealtimeTransport | None
    credential: Credential | None
    options: ConnectOptions
    context: Context[Any]
    emitter: Emitter
    streams: Streams
    publish: Callable[[Driver], None]
    recover_after: float | None
    changes: LiveChanges
    history: Sequence[ConversationItem]
    guardrails: Sequence[Guardrail[Any]] = ()
    hold_back: float | None = None
    reconnect: ReconnectPolicy | None = None
    dead_air: float | None = None
    driver: Driver | None = field(default=None, init=False)
    _connecting: anyio.CancelScope | None = field(default=None, init=False)
    _close_reason: str | None = field(default=None, init=False)
    _human: anyio.CancelScope | None = field(default=None, init=False)
    #: The user's functions have ended.
    _quiet: Latch = field(factory=Latch, init=False)

    def close(self, reason: str) -> None:
        """End the session; while it is still connecting, give that up."""
        driver = self.driver
        if driver is not None and driver.machine.status in ("connected", "reconnecting", "closing", "closed"):
            driver.feed(inputs.CloseRequested(reason))
            return
        self._close_reason = reason
        if self._connecting is not None:
            self._connecting.cancel()

    async def run(self, task_status: TaskStatus[None]) -> None:
        # The agent's instructions may be a function that takes its time.
        with anyio.CancelScope() as self._connecting:
            config = await self._configuration()
        if self._connecting.cancelled_caught:
            raise self._closed_early()
        self.model.check(config)
        driver = self._drive(config)
        link = Link(driver, self.model, lambda resume: self._dial(driver, resume), self.options.timeout)
        try:
            async with anyio.create_task_group() as nursery:
                with anyio.CancelScope() as self._connecting:
                    driver.give_up = self._connecting.cancel
                    if self._close_reason is not None:
                        self._connecting.cancel()
                    await nursery.start(link.run, name="kernl_rt link")
                    if self.channel is not None:
                        with anyio.move_on_after(self.options.timeout) as opening:
                            await nursery.start(self._human_side, driver, self.channel, config, name="kernl_rt channel")
                        if opening.cancelled_caught:
                            raise ConnectTimeout(f"the channel did not open within {self.options.timeout:g} seconds")
                if self._connecting.cancelled_caught:
                    raise driver.error or self._closed_early()
                await self._converse(driver, task_status, nursery)
                self._quiet.set()
            if driver.error is not None:
                raise driver.error
        finally:
            try:
                driver.feed(inputs.Stopped())
            finally:  # also when a listener of the last event raises Ctrl-C
                self.streams.close()

    def _drive(self, config: SessionConfig) -> Driver:
        channel = self.channel
        settings = Settings(
            config=config,
            capabilities=self.model.capabilities,
            has_channel=channel is not None,
            marks=channel is not None and channel.reports_playback,
            tools=traits_of(self.agent.tools),
            recover_after=self.recover_after,
            guardrails=guardrail_settings(self.guardrails),
            hold_back=self.hold_back,
            reconnect=self.reconnect,
            dead_air=self.dead_air,
            agent=self.agent.id,
            history=self.history,
        )
        self.driver = driver = Driver(settings, self.emitter, self.streams, live=channel is None or channel.live)
        if channel is not None:
            driver.clear_channel = channel.clear
        driver.switch_agent = self.changes.switched
        self.publish(driver)
        return driver

    async def _configuration(self) -> SessionConfig:
        """The agent's configuration, with what was passed to the session over it, and the formats that all sides
        know.
        """
        config = self.agent.session_config(await self.agent.resolve_instructions(self.context))
        if self.options.session_config is not None:
            config = config.merged(self.options.session_config)
        able = self.model.capabilities
        channel = self.channel
        return config.merged(
            SessionConfig(
                input_format=config.input_format
                or _common("input", able.input_formats, channel and channel.input_formats),
                output_format=config.output_format
                or _common("output", able.output_formats, channel and channel.output_formats),
            )
        )

    def _dial(self, driver: Driver, resume: str | None) -> AbstractAsyncContextManager[RealtimeConnection]:
        options = self.options if resume is None else evolve(self.options, resume=resume)
        config = driver.machine.config
        return self.model.connect(config, options, credential=self.credential, transport=self.transport)

    async def _converse(self, driver: Driver, task_status: TaskStatus[None], everything: TaskGroup) -> None:
        """Until the session is over, and the user's functions have ended."""
        async with anyio.create_task_group() as nursery:
            try:
                task_status.started()
                await hosted(nursery, self._work(driver, nursery))
            finally:
                # From now on no function of the user's has an excuse, for whatever reason the session ends.
                driver.watchdog.watch()
            everything.start_soon(self._part, driver, everything.cancel_scope, name="kernl_rt farewell")
            nursery.cancel_scope.cancel()

    async def _work(self, driver: Driver, nursery: TaskGroup) -> None:
        """What the session's own task does while it lives: start the user's functions, and tell the machine the time.

        The functions run as tasks of ``nursery``. One task for all of this, since each of them is asleep nearly always
        and costs as much as what it does.
        """
        tools = ToolRunner(driver, self.changes.agents, self.context)
        guardrails = GuardrailRunner(driver, self.guardrails, self.context)
        while not driver.stopped:
            tools.dispatch(nursery)
            guardrails.dispatch(nursery)
            self.changes.dispatch(driver, nursery)
            deadline = driver.next_deadline()
            if deadline is None:
                await driver.work_gate.park()
                continue
            with anyio.CancelScope(deadline=deadline):
                await driver.work_gate.park()
            if anyio.current_time() >= deadline and not driver.stopped:
                driver.feed(inputs.Tick())

    async def _part(self, driver: Driver, everything: anyio.CancelScope) -> None:
        """Close both sides once the user's functions have ended, or have had their time."""
        with anyio.move_on_after(GRACE):
            await self._quiet.wait()
        everything.deadline = anyio.current_time() + PARTING
        driver.hang_up()
        if self._human is not None:
            self._human.cancel()

    async def _human_side(
        self, driver: Driver, channel: RealtimeChannel, config: SessionConfig, *, task_status: TaskStatus[None]
    ) -> None:
        assert config.input_format is not None
        assert config.output_format is not None
        async with channel.open(config.input_format, config.output_format), anyio.create_task_group() as group:
            self._human = group.cancel_scope
            group.start_soon(pumps.channel_in, driver, channel, name="kernl_rt channel in")
            task_status.started()
            await hosted(group, pumps.channel_out(driver, channel))

    def _closed_early(self) -> SessionStateError:
        reason = self._close_reason or (self.driver and self.driver.machine.state.lifecycle.reason)
        return SessionStateError(f"the session was closed while it was connecting: {reason}")


#: Channels offer other rates than their own where they can convert.
_FIX = "channels convert between rates with soxr: pip install 'kernl_rt[audio]'"


def _common(side: str, able: Any, wanted: Any) -> AudioFormat:
    """The first format of the channel's that the model knows too."""
    for format in wanted or able:
        if format in able:
            chosen: AudioFormat = format
            return chosen
    raise MisconfiguredError(
        f"channel and model have no common {side} format: the channel has {', '.join(map(str, wanted))}, "
        f"the model {', '.join(map(str, able))}; {_FIX if find_spec('soxr') is None else 'convert in the channel'}"
    )
