"""A session over a real WebSocket, byte for byte, without a network: what is cancelled half way shows on the wire."""

from __future__ import annotations

from collections import deque
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._transport import WebSocketTransport
from kernl_rt._transport.serve import serve_connection
from kernl_rt.channels.memory import memory_channel_pair
from kernl_rt.providers import openai
from kernl_rt.simulator import Simulator
from kernl_rt.testing import Probe, PromiseChecker

CLOSE = 8


class Pipe:
    """One direction. ``tape`` is everything that was ever written."""

    def __init__(self) -> None:
        self.tape = bytearray()
        self.pieces: deque[bytes] = deque()
        self.arrived = anyio.Event()
        self.closed = False

    def write(self, data: bytes) -> None:
        if self.closed:
            raise anyio.BrokenResourceError
        self.tape += data
        self.pieces.append(data)
        self.arrived.set()

    def close(self) -> None:
        self.closed = True
        self.arrived.set()

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self.pieces:
            if self.closed:
                raise anyio.EndOfStream
            self.arrived = anyio.Event()
            await self.arrived.wait()
        return self.pieces.popleft()


class SlowEnd(ByteStream):
    """An end that needs two steps for each write, as a full socket does."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.incoming.read()

    async def send(self, item: bytes) -> None:
        half = len(item) // 2
        self.outgoing.write(bytes(item[:half]))
        await anyio.sleep(0.00037)
        self.outgoing.write(bytes(item[half:]))

    async def send_eof(self) -> None:
        self.outgoing.close()

    async def aclose(self) -> None:
        self.closed = True
        self.incoming.close()
        self.outgoing.close()
        await anyio.lowlevel.checkpoint()


def whole_frames(tape: bytes) -> list[int]:
    """The opcodes of what a client wrote after its upgrade request; every frame must be there to its last byte."""
    _, _, data = tape.partition(b"\r\n\r\n")
    opcodes: list[int] = []
    while data:
        assert len(data) >= 2, "torn frame: it ends within its head"
        assert data[0] & 0x80, "torn frame: a client does not fragment"
        assert not data[0] & 0x70, "torn frame: reserved bits are set"
        assert data[1] & 0x80, "torn frame: a client masks"
        size, start = data[1] & 0x7F, 6
        if size >= 126:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(data[2 : 2 + width]), 6 + width
        assert len(data) >= start + size, f"torn frame: it has {len(data) - start} of {size} bytes"
        opcodes.append(data[0] & 0x0F)
        assert opcodes[-1] in (1, 2, CLOSE, 9, 10), f"torn frame: there is no opcode {opcodes[-1]}"
        data = data[start + size :]
    return opcodes


async def over_a_wire(probe: Probe) -> None:
    """The real adapter, the real WebSocket client and the simulator behind a real WebSocket server."""
    checker = PromiseChecker()
    up, down = Pipe(), Pipe()
    near, far = SlowEnd(down, up), SlowEnd(up, down)
    transport = WebSocketTransport(implementation="sansio")

    dialled: list[SlowEnd] = []

    async def dial(address: object) -> SlowEnd:
        await anyio.lowlevel.checkpoint()
        dialled.append(near)
        return near

    transport._dial = dial  # type: ignore[method-assign]
    simulator = Simulator(api_key="key", speed=4.0)
    channel, _ = memory_channel_pair()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="wired",
        name="Wired",
        instructions="Be brief.",
        model=checker.model(openai.realtime("simulator", api_key="key", base_url="ws://simulator/v1")),
    )
    session: RealtimeSession[Any] = RealtimeSession(agent, channel=checker.channel(channel), transport=transport)
    checker.watch(session)
    async with anyio.create_task_group() as others:

        async def serve() -> None:
            await serve_connection(far, simulator.handle, subprotocols=("realtime",))

        others.start_soon(serve, name="server")
        with probe.victim():
            async with session:
                session.send_message("Hello")
                await anyio.sleep(0.31)
        await anyio.sleep(3)  # the server notices
        opcodes = whole_frames(bytes(up.tape))
        assert all(end.closed for end in dialled), "the socket was never closed"
        if opcodes:
            assert opcodes.count(CLOSE) == 1, "the link was left without a goodbye"
            assert opcodes[-1] == CLOSE, "something was written after the goodbye"
        checker.check(running=["server"])
        others.cancel_scope.cancel()
    assert simulator.sessions == 0, "the simulator still serves"
