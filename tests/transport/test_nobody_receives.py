"""While nobody receives, a link of our own reads on by itself; the receiver then takes over again. In virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from transport.peers import BINARY, CLOSE, PING, PONG, TEXT, RawPeer, close_frame, frame, link

from kernl_rt._transport._queues import Outbox
from kernl_rt._transport._sansio import STAND_IN_AFTER
from kernl_rt.exceptions import ConnectionClosed

pytestmark = pytest.mark.anyio


def binary(messages: Sequence[str | bytes]) -> list[bytes]:
    return [bytes(message) for message in messages if isinstance(message, bytes)]


async def test_pings_are_answered_and_a_receiver_takes_over_again() -> None:
    answered: list[float] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"first"))
        await peer.send(frame(PING, b"there?"))
        assert await peer.read_until(PONG) == b"there?"
        answered.append(anyio.current_time())
        while True:
            _, payload = await peer.read_frame()
            await peer.send(frame(BINARY, payload.upper()))

    start = anyio.current_time()
    async with link(script, ping_interval=None) as stream:
        await anyio.sleep(10)
        assert answered == [pytest.approx(start + STAND_IN_AFTER)]
        assert binary(await stream.receive()) == [b"first"]
        for word in (b"one", b"two", b"three"):
            await stream.send(word)
            assert binary(await stream.receive()) == [word.upper()]
        assert anyio.current_time() == pytest.approx(start + 10)


async def test_who_stands_in_stays_until_the_receiver_has_something() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await anyio.sleep(10)
        await peer.send(frame(PING, b"nothing for the receiver"))
        await peer.read_until(PONG)
        await anyio.sleep(0.1)
        await peer.send(frame(TEXT, b"something"))
        await peer.gone()

    async with link(script, ping_interval=None) as stream:
        start = anyio.current_time()
        await anyio.sleep(5)
        assert binary(await stream.receive()) == [b"something"]
        assert anyio.current_time() == pytest.approx(start + 10.1)


async def test_the_answer_to_our_own_ping_is_read_though_nobody_receives() -> None:
    pings = 0

    async def script(peer: RawPeer) -> None:
        nonlocal pings
        await peer.upgrade()
        while True:
            payload = await peer.read_until(PING)
            pings += 1
            await peer.send(frame(PONG, payload))
            if pings == 5:
                await peer.send(frame(TEXT, b"alive"))

    # Both less than the link would wait for a receiver.
    async with link(script, ping_interval=1.0, ping_timeout=0.5) as stream:
        await anyio.sleep(60)
        assert pings >= 50
        assert binary(await stream.receive()) == [b"alive"]


async def test_a_receiver_learns_of_a_close_of_our_own_and_the_answer_is_read_without_it() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.read_until(CLOSE)
        await peer.send(frame(TEXT, b"what was on its way"))
        await anyio.sleep(0.1)
        await peer.send(close_frame(1000))
        await peer.gone()

    ends: list[ConnectionClosed] = []
    async with link(script, ping_interval=None) as stream, anyio.create_task_group() as group:

        async def receive() -> None:
            try:
                while True:
                    await stream.receive()
            except ConnectionClosed as closed:
                ends.append(closed)

        group.start_soon(receive)
        start = anyio.current_time()
        await anyio.sleep(0.5)
        await stream.aclose(1000, "enough")
        assert anyio.current_time() == pytest.approx(start + 0.6)
    assert [(end.code, end.reason) for end in ends] == [(1000, "enough")]


async def test_the_rest_of_a_message_is_written_before_an_answer_to_a_ping() -> None:
    written: list[bytes] = []

    async def write(data: str | bytes) -> None:
        await anyio.lowlevel.checkpoint()
        assert isinstance(data, bytes)
        written.append(data)

    outbox = Outbox(write)
    assert not outbox.idle
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.run)
        while not outbox.idle:
            await anyio.lowlevel.checkpoint()
        outbox.finish(b"rest")
        assert not outbox.idle
        outbox.urge(b"pong")
        outbox.finish(b" of it")
        assert await outbox.flush()
        group.cancel_scope.cancel()
    assert written == [b"rest of it", b"pong"]
