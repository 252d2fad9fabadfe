"""From dialling to the last event: what the session's one task does, in order.

::

    dial ─▶ configure ─▶ open the channel ─▶ nursery: pumps, clock, tools ─▶ stop
                                                                              │
         last event ◀─ hang up ◀─ close the channel ◀─ tools' finally have run ◀┘

Each arrow back is the exit of a context, so the order holds however the session ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import anyio
from anyio.abc import TaskStatus
from attrs import define, field

from kernl_rt._core import inputs
from kernl_rt._core.machine import Settings
from kernl_rt._emitter import Emitter
from kernl_rt._session import pumps
from kernl_rt._session.changes import LiveChanges
from kernl_rt._session.driver import Driver
from kernl_rt._session.guardrails import GuardrailRunner, guardrail_settings
from kernl_rt._session.stream import Streams
from kernl_rt._session.tools import ToolRunner, traits_of
from kernl_rt.abc import RealtimeChannel, RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import AudioFormat, ConnectOptions, Credential, SessionConfig
from kernl_rt.context import Context
from kernl_rt.exceptions import (
    ConnectionClosed,
    ConnectTimeout,
    MisconfiguredError,
    ProtocolError,
    SessionStateError,
)
from kernl_rt.guardrail import Guardrail
from kernl_rt.items import ConversationItem

__all__ = ["Runner"]


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
    driver: Driver | None = field(default=None, init=False)
    _connecting: anyio.CancelScope | None = field(default=None, init=False)
    _close_reason: str | None = field(default=None, init=False)

    def close(self, reason: str) -> None:
        """End the session; while it is still connecting, give that up."""
        driver = self.driver
        if driver is not None and driver.machine.status in ("connected", "closing", "closed"):
            driver.feed(inputs.CloseRequested(reason))
            return
        self._close_reason = reason
        if self._connecting is not None:
            self._connecting.cancel()

    async def run(self, task_status: TaskStatus[None]) -> None:
        config = await self._configuration()
        self.model.check(config)
        driver = self._drive(config)
        try:
            # One scope around everything: its deadline bounds connecting, and is lifted once connected.
            with anyio.CancelScope(deadline=anyio.current_time() + self.options.timeout) as self._connecting:
                if self._close_reason is not None:
                    self._connecting.cancel()
                async with self._dial(config) as connection:
                    await self._configure(driver, connection)
                    self._connecting.deadline = float("inf")
                    async with self._open_channel(config):
                        await self._converse(driver, connection, task_status)
            self._conclude(driver)
        finally:
            driver.feed(inputs.Stopped())
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

    def _dial(self, config: SessionConfig) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self.model.connect(config, self.options, credential=self.credential, transport=self.transport)

    async def _configure(self, driver: Driver, connection: RealtimeConnection) -> None:
        """Say the configuration and hear the provider's yes. Nothing else runs yet."""
        driver.feed(inputs.ConnectionOpened())
        try:
            while driver.machine.status == "connecting":
                while (event := driver.outbox.pop()) is not None:
                    await connection.send(event)
                for received in await connection.receive():
                    driver.feed(received)
        except (ConnectionClosed, ProtocolError) as exc:
            driver.feed(inputs.ConnectionLost(exc))
        if driver.error is not None:
            raise driver.error

    def _open_channel(self, config: SessionConfig) -> AbstractAsyncContextManager[None]:
        if self.channel is None:
            return nullcontext()
        assert config.input_format is not None
        assert config.output_format is not None
        return self.channel.open(config.input_format, config.output_format)

    async def _converse(self, driver: Driver, connection: RealtimeConnection, task_status: TaskStatus[None]) -> None:
        """The nursery. Leaves when the machine says so, after every task has ended."""
        tools = ToolRunner(driver, self.changes.agents, self.context)
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(pumps.model_in, driver, connection, name="kernl_rt model in")
            nursery.start_soon(pumps.model_out, driver, connection, name="kernl_rt model out")
            nursery.start_soon(pumps.clock, driver, name="kernl_rt clock")
            nursery.start_soon(tools.dispatch, name="kernl_rt tools")
            if self.guardrails:
                guardrails = GuardrailRunner(driver, self.guardrails, self.context)
                nursery.start_soon(guardrails.dispatch, name="kernl_rt guardrails")
            nursery.start_soon(self.changes.serve, driver, name="kernl_rt agents")
            if self.channel is not None:
                nursery.start_soon(pumps.channel_in, driver, self.channel, name="kernl_rt channel in")
                nursery.start_soon(pumps.channel_out, driver, self.channel, name="kernl_rt channel out")
            task_status.started()
            if not driver.stopped:
                await driver.stopping.wait()
            nursery.cancel_scope.cancel()

    def _conclude(self, driver: Driver) -> None:
        """Say how it ended, where the tasks have not said so themselves."""
        if driver.error is not None:
            raise driver.error
        if driver.stopped or self._connecting is None or not self._connecting.cancelled_caught:
            return
        if self._close_reason is not None:
            raise SessionStateError(f"the session was closed while it was connecting: {self._close_reason}")
        raise ConnectTimeout(
            f"no session with {self.model.provider} within {self.options.timeout:g} seconds; "
            "raise ConnectOptions(timeout=…) if the network is that slow"
        )


def _common(side: str, able: Any, wanted: Any) -> AudioFormat:
    """The first format of the channel's that the model knows too."""
    for format in wanted or able:
        if format in able:
            chosen: AudioFormat = format
            return chosen
    raise MisconfiguredError(
        f"channel and model have no common {side} format: the channel has {', '.join(map(str, wanted))}, "
        f"the model {', '.join(map(str, able))}; convert in the channel"
    )
