"""The tasks of a session. Each awaits one thing and feeds; none decides anything."""

from __future__ import annotations

import random

import anyio

from kernl_rt._core import inputs
from kernl_rt._session.driver import Driver
from kernl_rt.abc import RealtimeChannel, RealtimeConnection
from kernl_rt.exceptions import ConnectionClosed, ProtocolError

__all__ = ["channel_in", "channel_out", "model_in", "model_out"]


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


async def model_out(driver: Driver, connection: RealtimeConnection) -> None:
    """Machine → model. The one task that writes."""
    outbox = driver.outbox
    try:
        while True:
            while (event := outbox.pop()) is not None:
                await connection.send(event)
                driver.room_gate.open()
            await driver.model_gate.wait()
    except ConnectionClosed as exc:
        driver.feed(inputs.ConnectionLost(exc, random.random()))


async def channel_in(driver: Driver, channel: RealtimeChannel) -> None:
    """Human → machine. A source that can wait is made to, when the link falls behind."""
    try:
        while True:
            event = await channel.receive()
            driver.feed(event)
            while not channel.live and not driver.has_room:
                await driver.room_gate.wait()
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
            await driver.channel_gate.wait()
    except Exception as exc:
        driver.feed(inputs.ChannelFailed(exc))
