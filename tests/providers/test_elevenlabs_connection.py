"""Pings of ElevenLabs Agents: answered beside the session, by whichever task may write."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import anyio
import pytest

from kernl_rt.abc import MessageStream
from kernl_rt.config import PCM16_16K
from kernl_rt.events import AudioInputAppend
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers.elevenlabs._codec import AgentsCodec
from kernl_rt.providers.elevenlabs._config import Options
from kernl_rt.providers.elevenlabs._connection import AgentsConnection

pytestmark = pytest.mark.anyio

SOUND = AudioInputAppend(bytes(2))


class Link(MessageStream):
    """Writes while it is ``open``, one message at a time."""

    def __init__(self) -> None:
        self.put, self.arriving = anyio.create_memory_object_stream[str](math.inf)
        self.written: list[object] = []
        self.open = anyio.Event()
        self.broken = False
        self.writing = False

    async def receive(self) -> Sequence[str | bytes]:
        try:
            return [await self.arriving.receive()]
        except anyio.EndOfStream:
            raise ConnectionClosed(1000) from None

    async def send(self, message: str | bytes) -> None:
        assert not self.writing, "two tasks write at the same time"
        self.writing = True
        try:
            await self.open.wait()
        finally:
            self.writing = False
        if self.broken:
            raise ConnectionClosed(1000)
        frame = json.loads(message)
        self.written.append(frame.get("event_id", "sound"))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self.put.close()
        self.arriving.close()

    def ping(self, number: int) -> None:
        self.put.send_nowait(json.dumps({"type": "ping", "ping_event": {"event_id": number}}))


def connected() -> tuple[Link, AgentsConnection]:
    link = Link()
    return link, AgentsConnection(link, AgentsCodec(Options(), input_format=PCM16_16K, output_format=PCM16_16K))


async def test_a_ping_is_answered_before_it_is_told() -> None:
    link, connection = connected()
    link.open.set()
    with anyio.fail_after(5):
        for number in (1, 2):
            link.ping(number)
            assert await connection.receive()
            assert link.written[-1] == number
    assert link.written == [1, 2]
    await link.aclose()


async def test_a_cancelled_answer_is_given_once_before_more_is_read() -> None:
    link, connection = connected()
    link.ping(1)
    with anyio.move_on_after(1) as scope:
        await connection.receive()
    assert scope.cancelled_caught
    assert link.written == []
    link.open.set()
    with anyio.fail_after(5):
        assert await connection.receive()
    assert link.written == [1]
    await link.aclose()


async def test_who_writes_gives_the_answers_too() -> None:
    link, connection = connected()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.send, SOUND)
            await anyio.wait_all_tasks_blocked()
            link.ping(1)
            with anyio.fail_after(1):
                assert await connection.receive()  # it does not wait for the link
            link.open.set()
    assert link.written == ["sound", 1]
    await link.aclose()


async def test_of_answers_that_cannot_be_given_the_latest_wait() -> None:
    link, connection = connected()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.send, SOUND)
            await anyio.wait_all_tasks_blocked()
            for number in range(100):
                link.ping(number)
                assert await connection.receive()
            link.open.set()
    assert link.written == ["sound", *range(36, 100)]
    await link.aclose()


async def test_an_answer_to_a_link_that_is_gone_hides_nothing_that_came_before() -> None:
    link, connection = connected()
    link.open.set()
    link.broken = True
    link.ping(1)
    link.ping(2)
    link.put.close()
    told = 0
    with anyio.fail_after(5), pytest.raises(ConnectionClosed):
        while True:
            told += bool(await connection.receive())
    assert told == 2
    await link.aclose()
