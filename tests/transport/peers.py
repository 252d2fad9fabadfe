"""Far ends for the transport's tests: raw bytes over loopback, and byte streams without a network."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from websockets.server import ServerProtocol
from websockets.utils import apply_mask

from kernl_rt._transport import WebSocketTransport
from kernl_rt._transport._sansio import QUIET
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream, RealtimeTransport

#: Implementation and backend of everything that dials a socket.
FLAVOURS = ["sansio-trio", "sansio-asyncio", "picows-asyncio", "triows-trio"]
MakeTransport = Callable[..., RealtimeTransport]

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, length: int | None = None, rsv: int = 0) -> bytes:
    """A server's frame; ``length`` is the length that it claims."""
    size = len(payload) if length is None else length
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if size < 126:
        head = bytes([first, size])
    elif size < 65536:
        head = bytes([first, 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, 127]) + struct.pack("!Q", size)
    return head + payload


def close_frame(code: int | None = None, reason: str = "") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason.encode())


class RawPeer:
    """The server's end in bytes, after the upgrade."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._data = bytearray()
        self.head = b""

    async def upgrade(self, extra: bytes = b"") -> None:
        """Accept; ``extra`` goes out in the same write as the answer."""
        protocol = ServerProtocol(logger=QUIET)
        while not protocol.events:
            data = await self.stream.receive()
            self.head += data
            protocol.receive_data(data)
        request: Any = protocol.events[0]
        protocol.send_response(protocol.accept(request))
        await self.stream.send(b"".join(protocol.data_to_send()) + extra)

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def _exactly(self, size: int) -> bytes:
        while len(self._data) < size:
            self._data += await self.stream.receive()
        found = bytes(self._data[:size])
        del self._data[:size]
        return found

    async def read_frame(self) -> tuple[int, bytes]:
        """One masked frame of the client: ``(opcode, payload)``."""
        first, second = await self._exactly(2)
        assert first & 0x80, "the client must not fragment"
        assert not first & 0x70, "reserved bits"
        assert second & 0x80, "a client's frame must be masked"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._exactly(8))
        mask = await self._exactly(4)
        return first & 0x0F, bytes(apply_mask(await self._exactly(size), mask)) if size else b""

    async def read_until(self, opcode: int) -> bytes:
        while True:
            found, payload = await self.read_frame()
            if found == opcode:
                return payload

    async def gone(self) -> None:
        """Wait until the client has hung up."""
        try:
            while True:
                await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


Script = Callable[[RawPeer], Awaitable[None]]


@asynccontextmanager
async def raw_server(script: Script, *, tls: Any = None) -> AsyncIterator[int]:
    """Run ``script`` for each client on a loopback port."""
    from anyio.abc import SocketAttribute
    from anyio.streams.tls import TLSStream

    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = multi.extra(SocketAttribute.local_port)

    async def one(stream: ByteStream) -> None:
        async with stream:
            if tls is not None:
                try:
                    stream = await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)
                except Exception:
                    return  # The client refused our certificate: what some tests are about.
            try:
                await script(RawPeer(stream))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # The client left.

    async with multi, bare_task_group() as task_group:
        task_group.start_soon(multi.serve, one)
        try:
            yield port
        finally:
            task_group.cancel_scope.cancel()


async def http_answer(peer: RawPeer, status: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> None:
    while b"\r\n\r\n" not in peer.head:
        peer.head += await peer.stream.receive()
    lines = [f"HTTP/1.1 {status}", *(f"{k}: {v}" for k, v in headers.items()), f"Content-Length: {len(body)}"]
    await peer.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
    await peer.gone()


class MemoryBytes(ByteStream):
    """One end of a byte stream in memory; ``slice_size`` is the most that one receive gives."""

    def __init__(
        self,
        send: MemoryObjectSendStream[bytes],
        receive: MemoryObjectReceiveStream[bytes],
        slice_size: int | None,
    ) -> None:
        self._send, self._receive, self._slice = send, receive, slice_size
        self._left = memoryview(b"")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._left:
            self._left = memoryview(await self._receive.receive())
        else:
            await anyio.lowlevel.checkpoint()
        size = min(max_bytes, self._slice or max_bytes)
        found, self._left = bytes(self._left[:size]), self._left[size:]
        return found

    async def send(self, item: bytes) -> None:
        await self._send.send(bytes(item))

    async def send_eof(self) -> None:
        self._send.close()

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()
        await anyio.lowlevel.checkpoint()


def byte_pair(slice_size: int | None = None, buffer: int = 1000) -> tuple[MemoryBytes, MemoryBytes]:
    to_a, from_b = anyio.create_memory_object_stream[bytes](buffer)
    to_b, from_a = anyio.create_memory_object_stream[bytes](buffer)
    return MemoryBytes(to_b, from_b, slice_size), MemoryBytes(to_a, from_a, None)


@asynccontextmanager
async def link(
    script: Script, *, slice_size: int | None = None, buffer: int = 1000, **options: float | None
) -> AsyncIterator[MessageStream]:
    near, far = byte_pair(slice_size, buffer)
    transport = WebSocketTransport(implementation="sansio", **options)  # type: ignore[arg-type]

    async def dial(address: object) -> MemoryBytes:
        return near

    transport._dial = dial  # type: ignore[method-assign, assignment]

    async def run() -> None:
        async with far:
            try:
                await script(RawPeer(far))
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run)
        async with transport.connect("ws://x/") as stream:
            yield stream
        task_group.cancel_scope.cancel()
