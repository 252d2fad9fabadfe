"""The connection for services that acknowledge nothing: echoes, the end, and what a close must not repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anyio
import pytest

from kernl_rt.abc import MessageStream
from kernl_rt.events import (
    AudioInputClear,
    AudioInputCommit,
    ClientEvent,
    RawClientEvent,
    RawServerEvent,
    ServerEvent,
    SessionError,
)
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError
from kernl_rt.providers._connection import EchoingConnection

pytestmark = pytest.mark.anyio

KEY = "sk-quoted-back"


class Link(MessageStream):
    """Takes what is written once ``open`` is set, and gives what is put into ``arriving``."""

    def __init__(self) -> None:
        self.put, self.arriving = anyio.create_memory_object_stream[str](math.inf)
        self.written: list[str | bytes] = []
        self.open = anyio.Event()
        self.open.set()

    async def receive(self) -> Sequence[str | bytes]:
        try:
            return [await self.arriving.receive()]
        except anyio.EndOfStream:
            raise ConnectionClosed(1008, f"refused {KEY}") from None

    async def send(self, message: str | bytes) -> None:
        await self.open.wait()
        if not self.put.statistics().open_send_streams:
            raise ConnectionClosed(1008, f"refused {KEY}")
        self.written.append(message)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self.put.close()
        self.arriving.close()


class Words:
    """Each event is written as two frames, and echoed by its kind; a clear needs no frame, a commit is impossible."""

    def __init__(self) -> None:
        self.told: list[ServerEvent] = []

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        return () if message == "nothing" else (RawServerEvent(str(message), {}),)

    def encode(self, event: ClientEvent) -> Sequence[str]:
        if isinstance(event, AudioInputCommit):
            raise MisconfiguredError("no")
        self.told.append(RawServerEvent(f"echo of {event.kind}", {}))
        return () if isinstance(event, AudioInputClear) else ("one", "two")

    def echoes(self) -> Sequence[ServerEvent]:
        told, self.told = self.told, []
        return told

    def last_words(self, error: ConnectionClosed) -> Sequence[ServerEvent]:
        return (SessionError(f"bye {error.code}"),)

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        return ConnectionClosed(error.code, error.reason.replace(KEY, "[redacted]"))


EVENT = RawClientEvent({})


def names(events: Sequence[ServerEvent]) -> list[str]:
    told = []
    for event in events:
        assert isinstance(event, (RawServerEvent, SessionError))
        told.append(event.message if isinstance(event, SessionError) else event.type)
    return told


def chain(error: BaseException | None) -> list[str]:
    return [] if error is None else [str(error), *chain(error.__cause__), *chain(error.__context__)]


async def test_an_echo_wakes_whoever_waits() -> None:
    link = Link()
    connection = EchoingConnection(link, Words())
    heard: list[str] = []

    async def receive() -> None:
        heard.extend(names(await connection.receive()))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await connection.send(EVENT)
    assert heard == [f"echo of {EVENT.kind}"]
    assert link.written == ["one", "two"]
    await link.aclose()


async def test_an_echo_is_told_once_all_is_written_and_before_what_came_after() -> None:
    link = Link()
    connection = EchoingConnection(link, Words())
    link.open = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connection.send, EVENT)
            await anyio.wait_all_tasks_blocked()
            link.put.send_nowait("early")
            assert names(await connection.receive()) == ["early"]
            link.open.set()
        for word in ("nothing", "late"):
            link.put.send_nowait(word)
        assert names(await connection.receive()) == [f"echo of {EVENT.kind}"]
        assert names(await connection.receive()) == ["late"]
    await link.aclose()


async def test_what_was_not_written_has_no_echo() -> None:
    link = Link()
    connection = EchoingConnection(link, Words())
    link.open = anyio.Event()
    with anyio.move_on_after(1) as scope:
        await connection.send(EVENT)
    assert scope.cancelled_caught
    with pytest.raises(MisconfiguredError):
        await connection.send(AudioInputCommit())
    link.put.send_nowait("word")
    assert names(await connection.receive()) == ["word"]
    await link.aclose()


async def test_a_cancelled_receive_loses_nothing() -> None:
    link = Link()
    connection = EchoingConnection(link, Words())
    with anyio.move_on_after(1):
        await connection.receive()
    await connection.send(AudioInputClear())
    link.put.send_nowait("word")
    assert names(await connection.receive()) == [f"echo of {AudioInputClear().kind}"]
    assert names(await connection.receive()) == ["word"]
    await link.aclose()


async def test_the_end_is_told_after_all_else_and_never_repeats_a_key() -> None:
    link = Link()
    connection = EchoingConnection(link, Words())
    await connection.send(EVENT)
    link.put.send_nowait("word")
    link.put.close()
    assert names(await connection.receive()) == [f"echo of {EVENT.kind}"]
    ends: list[ConnectionClosed] = []
    with pytest.raises(ConnectionClosed) as caught:
        await connection.send(EVENT)  # the link knows it first
    ends.append(caught.value)
    assert names(await connection.receive()) == ["word"]
    assert names(await connection.receive()) == ["bye 1008"]
    for _ in range(2):
        with pytest.raises(ConnectionClosed) as caught:
            await connection.receive()
        ends.append(caught.value)
    with pytest.raises(ConnectionClosed) as caught:
        await connection.send(AudioInputClear())  # also where it needs no frame
    ends.append(caught.value)
    assert len({id(each) for each in ends}) == 4
    for each in ends:
        assert (each.code, each.reason) == (1008, "refused [redacted]")
        assert not [text for text in chain(each) if KEY in text]
    await link.aclose()
