"""What is written without waiting: whole, in order with the rest, and not at all once the link has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from transport.peers import BINARY, CLOSE, PING, PONG, MakeTransport, RawPeer, close_frame, frame, raw_server

from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import ConnectionClosed, SessionStateError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock", "no_leak")]

MIB = 2**20
#: Real seconds; a busy machine is slow.
SOON = 20


@pytest.fixture(params=["sansio-trio", "sansio-asyncio", "picows-asyncio"])
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(flavour: str) -> str:
    return flavour.partition("-")[2]


class Reader:
    """A far end that reads nothing until it is told to."""

    def __init__(self) -> None:
        self.may_read = anyio.Event()
        self.frames: list[tuple[int, bytes]] = []
        self.ended = anyio.Event()
        self.say: list[bytes] = []

    async def script(self, peer: RawPeer) -> None:
        await peer.upgrade()
        for data in self.say:
            await peer.send(data)
        await self.may_read.wait()
        while True:
            self.frames.append(await peer.read_frame())
            if self.frames[-1] == (BINARY, b"end"):
                self.ended.set()


@asynccontextmanager
async def linked(make_transport: MakeTransport, reader: Reader) -> AsyncIterator[MessageStream]:
    with anyio.fail_after(SOON):
        async with (
            raw_server(reader.script) as port,
            make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
        ):
            yield stream


async def becomes_ready(stream: MessageStream) -> None:
    while not stream.ready:
        await anyio.sleep(0.001)


async def test_a_message_of_which_the_system_takes_a_part_is_finished_before_anything_else(
    make_transport: MakeTransport,
) -> None:
    reader = Reader()
    # Answers to these want to be written while the large message is stuck: far more than are kept.
    reader.say = [frame(PING, str(number).encode()) for number in range(200)]
    async with linked(make_transport, reader) as stream, anyio.create_task_group() as group:
        await becomes_ready(stream)
        large = [bytes([number]) * (16 * MIB) for number in (1, 2)]
        for message in large:  # an event may be several frames
            stream.send_nowait(message)
        assert not stream.ready
        group.start_soon(stream.send, b"after")
        with anyio.move_on_after(0.05):
            await stream.receive()  # the pings are read
        reader.may_read.set()
        await becomes_ready(stream)
        stream.send_nowait(b"end")
        await reader.ended.wait()
    said = [payload for opcode, payload in reader.frames if opcode == BINARY]
    assert [(len(payload), set(payload)) for payload in said[:2]] == [(16 * MIB, {1}), (16 * MIB, {2})]
    assert said[2:] == [b"after", b"end"]
    pongs = [int(payload) for opcode, payload in reader.frames if opcode == PONG]
    assert pongs == sorted(pongs)
    assert pongs[-1] == 199, "the latest ping must be answered"


class Sipping:
    """A system that takes a few bytes at a time."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def send(self, data: bytes) -> int:
        return int(self._socket.send(data[:10]))


@pytest.mark.parametrize("flavour", ["sansio-trio"])
async def test_while_a_rest_waits_the_system_is_offered_nothing(make_transport: MakeTransport, flavour: str) -> None:
    reader = Reader()
    reader.may_read.set()
    async with linked(make_transport, reader) as stream:
        await becomes_ready(stream)
        stream._socket = Sipping(stream._socket)  # type: ignore[attr-defined]
        for message in (b"first" * 20, b"second" * 20, b"end"):
            stream.send_nowait(message)
        await reader.ended.wait()
    assert [payload for _, payload in reader.frames[:3]] == [b"first" * 20, b"second" * 20, b"end"]


async def test_a_link_that_has_ended_is_not_ready(make_transport: MakeTransport) -> None:
    reader = Reader()
    reader.say = [close_frame(1001, "away")]
    async with linked(make_transport, reader) as stream:
        with pytest.raises(ConnectionClosed) as caught:
            await stream.receive()
        assert caught.value.code == 1001
        assert not stream.ready


async def test_a_link_that_breaks_under_a_write_says_so_to_whoever_receives(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.read_frame()
        await anyio.aclose_forcefully(peer.stream)

    with anyio.fail_after(SOON):
        async with (
            raw_server(script) as port,
            make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
            anyio.create_task_group() as group,
        ):
            await becomes_ready(stream)
            broken = anyio.Event()

            async def write() -> None:
                while not broken.is_set():
                    if stream.ready:
                        stream.send_nowait(b"x" * 1_000)
                    await anyio.sleep(0.001)

            group.start_soon(write)
            with pytest.raises(ConnectionClosed) as caught:
                await stream.receive()
            broken.set()
            assert caught.value.code == 1006
            assert not stream.ready


@pytest.mark.parametrize("flavour", ["triows-trio"])
async def test_what_must_be_waited_for_is_never_ready(make_transport: MakeTransport, flavour: str) -> None:
    reader = Reader()
    reader.may_read.set()
    async with linked(make_transport, reader) as stream:
        assert not stream.ready
        with pytest.raises(SessionStateError, match=r"send\(\)"):
            stream.send_nowait(b"no")
        await stream.send(b"end")
        await reader.ended.wait()
    assert reader.frames[0] == (BINARY, b"end")
    assert reader.frames[-1][0] in (BINARY, CLOSE)
