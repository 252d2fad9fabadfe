"""Closing is bounded whatever hangs: the channel, the link, or both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeChannel, RealtimeConnection, RealtimeSession
from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.events import SessionUpdate
from kernl_rt.testing import ScriptedModel
from tests.faults.closing import BOUND
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import audio, created

pytestmark = pytest.mark.anyio


class HangingChannel(RealtimeChannel):
    """Hangs in the place that is named, as a driver does whose device is gone."""

    input_formats = output_formats = (PCM16_24K,)
    reports_playback = False

    def __init__(self, where: str) -> None:
        self.where = where
        self.left = False

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.left = True
        if self.where == "close":
            await anyio.sleep_forever()

    async def receive(self) -> Any:
        await anyio.sleep_forever()

    async def send(self, audio: bytes) -> None:
        if self.where == "send":
            await anyio.sleep_forever()

    def clear(self) -> float:
        return 0.0


class HangingModel(ScriptedModel):
    """Its link hangs in the place that is named, as one does whose peer is gone."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def connect(self, *arguments: Any, **options: Any) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._around(super().connect(*arguments, **options))

    @asynccontextmanager
    async def _around(self, link: AbstractAsyncContextManager[RealtimeConnection]) -> AsyncIterator[RealtimeConnection]:
        async with link as connection:
            original = connection.send

            async def send(event: Any) -> None:
                if self._where == "send" and not isinstance(event, SessionUpdate):
                    await anyio.sleep_forever()
                await original(event)

            connection.send = send  # type: ignore[method-assign]
            yield connection
            if self._where == "close":
                await anyio.sleep_forever()


@pytest.mark.parametrize("channel", ["", "send", "close"])
@pytest.mark.parametrize("link", ["", "send", "close"])
@pytest.mark.parametrize("how", ["aclose", "leave", "scope", "body"])
async def test_promise_03_close_is_bounded_whatever_hangs(channel: str, link: str, how: str) -> None:
    model = HangingModel(link)
    human = HangingChannel(channel)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model)
    session = RealtimeSession(agent, channel=human, **WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("event", log.append)
    start = 0.0
    with anyio.fail_after(100), nothing_left(session, log):
        with suppress(ZeroDivisionError), anyio.CancelScope() as scope:
            async with session:
                model.peer.say(created(), audio(), audio())
                session.send_message("hello")
                await anyio.sleep(0.1)
                start = anyio.current_time()
                if how == "aclose":
                    assert await session.aclose()
                elif how == "scope":
                    scope.cancel()
                    await anyio.sleep(60)
                elif how == "body":
                    raise ZeroDivisionError
        assert anyio.current_time() - start <= BOUND
    assert human.left
