"""What comes all at once is told in pieces, with a turn for everybody else between them, on every connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
import pytest

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.events import ClientEvent, RawServerEvent, ServerEvent
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers._connection import BURST, CodecConnection, EchoingConnection

pytestmark = pytest.mark.anyio

MESSAGES = [f"m{number}" for number in range(2 * BURST + 5)]
Connect = Callable[[MessageStream, "Words"], RealtimeConnection]


class Flood(MessageStream):
    """Gives all of ``MESSAGES`` at once, then ends."""

    def __init__(self) -> None:
        self.left: list[str] = list(MESSAGES)

    async def receive(self) -> Sequence[str]:
        if not self.left:
            raise ConnectionClosed(1000)
        left, self.left = self.left, []
        return left

    async def send(self, message: str | bytes) -> None:
        raise AssertionError("nothing is said here")

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        pass


class Words:
    """Each message is one event, but for those that are ``silent``."""

    def __init__(self, silent: Sequence[str] = ()) -> None:
        self.silent = silent
        self.decoded = 0

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        self.decoded += 1
        return () if message in self.silent else (RawServerEvent(str(message), {}),)

    def encode(self, event: ClientEvent) -> Sequence[str]:
        return ()

    def echoes(self) -> Sequence[ServerEvent]:
        return ()

    def last_words(self, error: ConnectionClosed) -> Sequence[ServerEvent]:
        return ()

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        return error


connections = pytest.mark.parametrize("connect", [CodecConnection, EchoingConnection])


def names(events: Sequence[ServerEvent]) -> list[str]:
    return [event.type for event in events if isinstance(event, RawServerEvent)]


@connections
async def test_a_burst_comes_in_pieces_and_the_end_after_them(connect: Connect) -> None:
    connection = connect(Flood(), Words())
    with anyio.fail_after(5):
        pieces = [names(await connection.receive()) for _ in range(3)]
        with pytest.raises(ConnectionClosed):
            await connection.receive()
    assert pieces == [MESSAGES[:BURST], MESSAGES[BURST : 2 * BURST], MESSAGES[2 * BURST :]]


@connections
async def test_everybody_has_a_turn_between_the_pieces(connect: Connect) -> None:
    words = Words()
    connection = connect(Flood(), words)
    seen: list[int] = []

    async def look() -> None:
        while words.decoded < len(MESSAGES):
            seen.append(words.decoded)
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            for _ in range(3):
                await connection.receive()
    # trio says only that each task has one turn in each round, not who is first.
    assert {BURST, 2 * BURST} & set(seen)


@connections
async def test_whoever_is_cancelled_between_the_pieces_loses_nothing(connect: Connect) -> None:
    connection = connect(Flood(), Words())
    with anyio.fail_after(5):
        told = names(await connection.receive())
        with anyio.CancelScope() as scope:
            scope.cancel()
            told += names(await connection.receive())
        assert scope.cancelled_caught
        told += names(await connection.receive()) + names(await connection.receive())
    assert told == MESSAGES


@connections
async def test_a_piece_that_says_nothing_is_passed_over(connect: Connect) -> None:
    connection = connect(Flood(), Words(silent=MESSAGES[: 2 * BURST]))
    with anyio.fail_after(5):
        assert names(await connection.receive()) == MESSAGES[2 * BURST :]
