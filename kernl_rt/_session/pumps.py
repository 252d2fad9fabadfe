"""The tasks of a session. Each awaits one thing and feeds; none decides anything."""

from __future__ import annotations

import random

import anyio

from kernl_rt._core import inputs
from kernl_rt._session.driver import Driver
from kernl_rt.abc import RealtimeChannel, RealtimeConnection
from kernl_rt.events import ClientEvent
from kernl_rt.exceptions import ConnectionClosed, ProtocolError

__all__ = ["ModelOut", "channel_in", "channel_out", "model_in"]


async def model_in(driver: Driver, connection: RealtimeConnection) -> None:
    """Model → machine."""
    try:
        while True:
            driver.feed_all(await connection.receive())
            if driver.redial is not None:
                return
            while (stream := driver.streams.blocked) is not None:
                await stream.wait_room()
    except (ConnectionClosed, ProtocolError) as exc:
        driver.feed(inputs.ConnectionLost(exc, random.random()))


class ModelOut:
    """Machine → model. What the link takes at once is written within the step that asks for it, before anybody is told
    of that step; what has to wait, by a task.
    """

    def __init__(self, driver: Driver, connection: RealtimeConnection) -> None:
        self._driver = driver
        self._connection = connection
        #: The task is in the middle of an event, and nothing may come between its frames.
        self._sending = False
        self._error: Exception | None = None

    def write(self, *, urgent: bool) -> None:
        """Write what the link takes; with ``urgent`` only what overtakes the rest."""
        driver, connection = self._driver, self._connection
        outbox = driver.outbox
        try:
            while not self._sending and connection.ready and (event := outbox.pop(urgent=urgent)) is not None:
                connection.send_nowait(event)
        except Exception as exc:  # raised by the task: whoever fed this step may be a caller who has no part in it
            self._error = exc
        driver.room_gate.wake()
        if outbox or self._error is not None:
            driver.model_gate.wake()

    async def run(self) -> None:
        driver, outbox = self._driver, self._driver.outbox
        try:
            while self._error is None:
                event = outbox.pop()
                if event is None:
                    await driver.model_gate.park()
                else:
                    await self._send(event)
                    driver.room_gate.wake()
        except ConnectionClosed as exc:
            driver.feed(inputs.ConnectionLost(exc, random.random()))
        else:
            raise self._error

    async def _send(self, event: ClientEvent) -> None:
        self._sending = True
        await self._connection.send(event)
        self._sending = False  # not where it was cut half way: nothing may follow that


async def channel_in(driver: Driver, channel: RealtimeChannel) -> None:
    """Human → machine. A source that can wait is made to, when the link falls behind."""
    try:
        while True:
            event = await channel.receive()
            driver.feed(event)
            while not channel.live and not driver.has_room:
                await driver.room_gate.park()
    except anyio.EndOfStream:
        driver.feed(inputs.ChannelEnded())
    except Exception as exc:
        driver.feed(inputs.ChannelFailed(exc))


async def channel_out(driver: Driver, channel: RealtimeChannel) -> None:
    """Machine → human."""
    queue = driver.to_channel
    try:
        while True:
            while queue:
                audio = queue.popleft()
                if audio is None:
                    await channel.flush()
                else:
                    driver.channel_bytes -= len(audio)
                    await channel.send(audio)
            await driver.channel_gate.park()
    except Exception as exc:
        driver.feed(inputs.ChannelFailed(exc))
