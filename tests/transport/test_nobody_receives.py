"""While nobody receives, a link of our own reads on by itself; the receiver then takes over again."""

from __future__ import annotations

import anyio
import pytest
from transport.peers import BINARY, PING, PONG, TEXT, MakeTransport, RawPeer, frame, raw_server

from kernl_rt.exceptions import ConnectionClosed, SessionStateError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock", "no_leak")]

#: Real seconds; a busy machine is slow.
SOON = 20


@pytest.fixture(params=["sansio-trio", "sansio-asyncio"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(flavour: str) -> str:
    return flavour.partition("-")[2]


async def test_pings_are_answered_and_a_receiver_takes_over_again(make_transport: MakeTransport) -> None:
    answered = anyio.Event()
    said: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"first"))
        await peer.send(frame(PING, b"there?"))
        assert await peer.read_until(PONG) == b"there?"
        answered.set()
        while True:
            _, payload = await peer.read_frame()
            said.append(payload)
            await peer.send(frame(BINARY, payload.upper()))

    with anyio.fail_after(SOON):
        async with (
            raw_server(script) as port,
            make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
        ):
            await answered.wait()
            assert [bytes(m) for m in await stream.receive()] == [b"first"]  # type: ignore[arg-type]
            for word in (b"one", b"two", b"three"):
                await stream.send(word)
                assert [bytes(m) for m in await stream.receive()] == [word.upper()]  # type: ignore[arg-type]


async def test_the_answer_to_our_own_ping_is_read_though_nobody_receives(make_transport: MakeTransport) -> None:
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

    with anyio.fail_after(SOON):
        async with (
            raw_server(script) as port,
            # Less than the link would wait for a receiver.
            make_transport(ping_interval=0.1, ping_timeout=1.0).connect(f"ws://127.0.0.1:{port}/") as stream,
        ):
            while pings < 5:
                await anyio.sleep(0.01)
            assert [bytes(m) for m in await stream.receive()] == [b"alive"]  # type: ignore[arg-type]


async def test_a_second_receiver_is_refused_and_the_first_goes_on(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.read_frame()
        await peer.send(frame(TEXT, b"late"))
        await peer.gone()

    heard: list[object] = []
    with anyio.fail_after(SOON):
        async with (
            raw_server(script) as port,
            make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
            anyio.create_task_group() as group,
        ):

            async def first() -> None:
                heard.extend(await stream.receive())

            group.start_soon(first)
            await anyio.sleep(0.05)
            with pytest.raises(SessionStateError, match="another task"):
                await stream.receive()
            await stream.send(b"go")
    assert heard == [b"late"]


async def test_a_receiver_learns_of_a_close_of_our_own(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        while True:  # a peer that talks on beside the closing handshake, and never answers it
            await peer.send(frame(TEXT, b"more"))
            await anyio.sleep(0.005)

    ends: list[ConnectionClosed] = []
    with anyio.fail_after(SOON):
        async with (
            raw_server(script) as port,
            make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
            anyio.create_task_group() as group,
        ):

            async def receive() -> None:
                try:
                    while True:
                        await stream.receive()
                except ConnectionClosed as closed:
                    ends.append(closed)

            group.start_soon(receive)
            await anyio.sleep(0.05)
            await stream.aclose(1000, "enough")
    assert [(end.code, end.reason) for end in ends] == [(1000, "enough")]
