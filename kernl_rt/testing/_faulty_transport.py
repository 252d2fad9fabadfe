"""A whole network in memory: the real WebSocket client and a real server, with a bad line between them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Protocol

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from kernl_rt._transport._address import Address, prepare_headers
from kernl_rt._transport._dial import open_over
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._request import Handler, ProcessRequest, Reply, Request
from kernl_rt._transport._scope import bare_task_group
from kernl_rt._transport.serve import serve_connection
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectRefusedError, SessionStateError
from kernl_rt.testing._faulty import FaultyStream
from kernl_rt.testing._toxics import Toxics

__all__ = ["FaultyTransport", "byte_streams"]

#: What one end of a pair keeps for a reader that does not come, in bytes.
_KEPT = 65536


class _End(ByteStream):
    """One end of a pair of byte streams in memory."""

    peer: _End

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._closed = False
        self._changed = anyio.Event()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._broken:
                raise anyio.BrokenResourceError
            if self._pieces:
                break
            if self._ended:
                raise anyio.EndOfStream
            await self._changed.wait()
        piece = self._pieces.popleft()
        if len(piece) > max_bytes:
            self._pieces.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self._size -= len(piece)
        self.peer._wake()
        return piece

    async def send(self, item: bytes) -> None:
        await checkpoint()
        left = memoryview(bytes(item))
        while left:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._broken or self.peer._closed:
                raise anyio.BrokenResourceError
            room = _KEPT - self.peer._size
            if room <= 0:
                await self._changed.wait()
                continue
            piece, left = bytes(left[:room]), left[room:]
            self.peer._pieces.append(piece)
            self.peer._size += len(piece)
            self.peer._wake()

    async def send_eof(self) -> None:
        self.peer._ended = True
        self.peer._wake()
        await checkpoint()

    def reset(self) -> None:
        """Both ends break at once, what was on its way is lost."""
        for end in (self, self.peer):
            end._broken = True
            end._pieces.clear()
            end._wake()

    async def aclose(self) -> None:
        self._closed = True
        self.peer._ended = True
        self._wake()
        self.peer._wake()
        await checkpoint()


def byte_streams() -> tuple[ByteStream, ByteStream]:
    """Two connected byte streams in memory. Each keeps 64 KiB for a reader that does not come; then ``send`` waits."""
    first, second = _End(), _End()
    first.peer, second.peer = second, first
    return first, second


class Server(Protocol):
    """What :class:`~kernl_rt.simulator.Simulator` has: it admits requests and handles clients."""

    def admit(self, request: Request) -> Reply | None: ...

    async def handle(self, stream: MessageStream, request: Request) -> None: ...


class FaultyTransport(RealtimeTransport):
    """A transport to ``server`` in memory: ``async with FaultyTransport(server) as transport``.

    The WebSocket client is the one that is dialled with on sockets, so handshake, keepalive, closing and size limits
    are real; so is the server's end. ``server`` is a :class:`~kernl_rt.simulator.Simulator`, or a handler
    ``async def handler(stream, request)`` as in :class:`~kernl_rt.transports.MemoryTransport`;
    :meth:`over_bytes` takes a server that speaks bytes itself. URL and TLS are not looked at, but for the path.

    ``transport.sending`` and ``transport.receiving`` are the :class:`Toxics` of all its links, seen from the client:
    set them at any time. :attr:`streams` are the open links, to reset or cut one alone. ``dials`` holds the moment
    (``anyio.current_time()``) of each dial, refused ones included. The servers run inside of the transport's context,
    which outlives links as a network does; leaving it ends them.

    Args:
        server: who answers.
        sending: toxics to begin with; so ``receiving``.
        seed: of the jitter. Each link draws from a seed of its own.
        capacity: bytes that may be on their way in each direction before the sender waits.
        process_request: may refuse a request, as in :class:`~kernl_rt.transports.MemoryTransport`.
        subprotocols: which the server knows.
        ping_interval: seconds, as in :class:`~kernl_rt.transports.WebSocketTransport`; so ``ping_timeout``.
    """

    def __init__(
        self,
        server: Handler | Server,
        *,
        sending: Toxics | None = None,
        receiving: Toxics | None = None,
        seed: int = 0,
        capacity: int = 65536,
        process_request: ProcessRequest | None = None,
        subprotocols: Sequence[str] = ("realtime",),
        ping_interval: float | None = 5.0,
        ping_timeout: float | None = 5.0,
    ) -> None:
        if not callable(server):
            process_request = process_request or server.admit
            handler: Handler = server.handle
        else:
            handler = server

        async def serve(stream: ByteStream) -> None:
            await serve_connection(
                stream,
                handler,
                max_message_size=_SERVER_LIMIT,
                process_request=process_request,
                subprotocols=subprotocols,
            )

        self._serve: Callable[[ByteStream], Awaitable[None]] = serve
        Heartbeat(ping_interval, ping_timeout)
        self.sending: Toxics = sending or Toxics()
        self.receiving: Toxics = receiving or Toxics()
        self._seed = seed
        self._capacity = capacity
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._open: list[FaultyStream] = []
        self._group: TaskGroup | None = None
        self._stack: AsyncExitStack | None = None
        self._failure: Exception | None = None
        self.dials: list[float] = []

    @classmethod
    def over_bytes(
        cls,
        serve: Callable[[ByteStream], Awaitable[None]],
        *,
        sending: Toxics | None = None,
        receiving: Toxics | None = None,
        seed: int = 0,
        capacity: int = 65536,
        ping_interval: float | None = 5.0,
        ping_timeout: float | None = 5.0,
    ) -> FaultyTransport:
        """With a server that speaks bytes: ``serve(stream)`` runs once per link and does the WebSocket handshake too.

        What it raises ends the transport's context and is raised out of it, except that the link is gone.
        """

        async def unused(stream: MessageStream, request: Request) -> None:
            raise NotImplementedError

        transport = cls(
            unused,
            sending=sending,
            receiving=receiving,
            seed=seed,
            capacity=capacity,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
        )
        transport._serve = serve
        return transport

    @property
    def streams(self) -> tuple[FaultyStream, ...]:
        """The client's ends of the links that are open, oldest first."""
        return tuple(self._open)

    async def __aenter__(self) -> FaultyTransport:
        if self._stack is not None:
            raise SessionStateError("a FaultyTransport is entered once")
        self._stack = AsyncExitStack()
        self._group = await self._stack.enter_async_context(bare_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stack is not None
        assert self._group is not None
        group, self._group = self._group, None
        try:
            group.cancel_scope.cancel()
            await self._stack.__aexit__(kind, error, traceback)
        finally:
            if self._failure is not None:
                # What the body met then only follows from it.
                raise self._failure

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        """Open a link; see :meth:`RealtimeTransport.connect`.

        Raises:
            SessionStateError: outside of the transport's context.
            MisconfiguredError: a bad URL or header.
            ConnectRefusedError: the network is ``down``.
            ConnectError: the server's answer; the subclass says what.
        """
        return self._connect(Address.parse(url), headers, subprotocols, max_message_size)

    @asynccontextmanager
    async def _connect(
        self, address: Address, headers: Mapping[str, str | Secret], subprotocols: Sequence[str], limit: int
    ) -> AsyncIterator[MessageStream]:
        revealed = prepare_headers(headers, subprotocols)
        heartbeat = Heartbeat(self._ping_interval, self._ping_timeout)
        stream = await self._dial(address)
        async with open_over(stream, address, revealed, subprotocols, limit, heartbeat) as link:
            yield link

    async def _dial(self, address: Address) -> FaultyStream:
        if self._group is None:
            raise SessionStateError(
                "a FaultyTransport works inside of its context: async with FaultyTransport(…) as transport"
            )
        self.dials.append(anyio.current_time())
        if self.sending.down or self.receiving.down:
            await checkpoint()
            raise ConnectRefusedError(f"cannot connect to {address}: the network is down")
        near, far = byte_streams()
        self._group.start_soon(self._answer, far, name="FaultyTransport server")
        found: FaultyStream = await self._group.start(self._carry, near, name="FaultyTransport link")
        return found

    async def _carry(self, near: ByteStream, *, task_status: TaskStatus[FaultyStream]) -> None:
        stream = FaultyStream(
            near,
            sending=self.sending,
            receiving=self.receiving,
            seed=self._seed * 1_000_003 + len(self.dials),
            capacity=self._capacity,
        )
        async with stream:
            self._open.append(stream)
            task_status.started(stream)
            try:
                await stream.wait_closed()
            finally:
                self._open.remove(stream)

    async def _answer(self, far: ByteStream) -> None:
        try:
            await self._serve(far)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return  # The client, or the network, has gone.
        except Exception as error:
            self._failure = self._failure or error
            if self._group is not None:
                self._group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(far)


#: The simulator takes 15 MiB of sound in base64, and the JSON around it.
_SERVER_LIMIT = 24 * 2**20
