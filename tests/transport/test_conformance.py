"""One suite over every transport."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
import trustme
from anyio.abc import TaskStatus
from transport.peers import FLAVOURS, MakeTransport, byte_pair

from kernl_rt._transport import (
    Handler,
    MemoryTransport,
    Request,
    TrioWebSocketTransport,
    WebSocketTransport,
    serve_websocket,
)
from kernl_rt._transport._scope import bare_task_group
from kernl_rt._transport.serve import serve_connection
from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.testing._check_transport import check_transport

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def far_end(handler: Handler, serve: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    """Run ``serve(handler)`` until the link is closed, also when what is around is cancelled first."""
    ended = anyio.Event()
    scope = anyio.CancelScope(shield=True)

    async def watched(stream: MessageStream, request: Request) -> None:
        try:
            await handler(stream, request)
        finally:
            ended.set()

    async def shielded(*, task_status: TaskStatus[int]) -> None:
        with scope:
            await serve(watched, task_status=task_status)

    async with bare_task_group() as task_group:
        port = await task_group.start(shielded)
        try:
            yield port
        finally:
            with anyio.move_on_after(1, shield=True):
                await ended.wait()
            scope.cancel()


class TestSockets:
    @pytest.fixture(params=FLAVOURS)
    def flavour(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def backend(self, flavour: str) -> str:
        return flavour.partition("-")[2]

    async def test_plain(self, make_transport: MakeTransport, real_clock: None, no_leak: None) -> None:
        @asynccontextmanager
        async def connect_to(handler: Handler, limit: int) -> AsyncIterator[MessageStream]:
            async with (
                far_end(handler, serve_websocket) as port,
                make_transport().connect(f"ws://127.0.0.1:{port}/", max_message_size=limit) as stream,
            ):
                yield stream

        await check_transport(connect_to)

    async def test_tls(self, make_transport: MakeTransport, real_clock: None, no_leak: None) -> None:
        ca = trustme.CA()
        server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        ca.issue_cert("localhost").configure_cert(server)
        ca.configure_trust(client)

        @asynccontextmanager
        async def connect_to(handler: Handler, limit: int) -> AsyncIterator[MessageStream]:
            transport = make_transport(ssl_context=client)
            async with (
                far_end(handler, partial(serve_websocket, ssl_context=server)) as port,
                transport.connect(f"wss://localhost:{port}/", max_message_size=limit) as stream,
            ):
                yield stream

        await check_transport(connect_to)


async def test_memory() -> None:
    await check_transport(lambda handler, limit: MemoryTransport(handler).connect("ws://x/", max_message_size=limit))


@pytest.mark.parametrize("slice_size", [None, 1000])
async def test_sansio_in_virtual_time(slice_size: int | None) -> None:
    @asynccontextmanager
    async def connect_to(handler: Handler, limit: int) -> AsyncIterator[MessageStream]:
        near, far = byte_pair(slice_size)
        transport = WebSocketTransport(implementation="sansio")

        async def dial(address: object) -> object:
            return near

        transport._dial = dial  # type: ignore[method-assign, assignment]

        async def serve(handler: Handler, *, task_status: TaskStatus[int]) -> None:
            task_status.started(0)
            await serve_connection(far, handler)

        async with far_end(handler, serve), transport.connect("ws://x/", max_message_size=limit) as stream:
            yield stream

    await check_transport(connect_to)


class TestTrioWebSocketHandedOver:
    """The user's own connection, opened in the user's own nursery."""

    @pytest.fixture
    def backend(self) -> str:
        return "trio"

    @staticmethod
    @asynccontextmanager
    async def connect_to(handler: Handler, limit: int) -> AsyncIterator[MessageStream]:
        import trio
        import trio_websocket

        async with (
            far_end(handler, serve_websocket) as port,
            bare_task_group() as task_group,
        ):
            # Shielded as the user's program is that outlives one session.
            scope = anyio.CancelScope(shield=True)
            opened: list[trio_websocket.WebSocketConnection] = []
            ready, leave = trio.Event(), trio.Event()

            async def users_program() -> None:
                with scope:
                    async with trio_websocket.open_websocket_url(
                        f"ws://127.0.0.1:{port}/", max_message_size=limit, message_queue_size=0, disconnect_timeout=3
                    ) as connection:
                        opened.append(connection)
                        ready.set()
                        await leave.wait()

            task_group.start_soon(users_program)
            await ready.wait()
            try:
                async with TrioWebSocketTransport(connection=opened[0]).connect("ws://ignored/") as stream:
                    yield stream
            finally:
                leave.set()

    async def test_handed_over(self, real_clock: None, no_leak: None) -> None:
        await check_transport(self.connect_to)

    async def test_it_is_left_open_on_request_and_used_once(self, real_clock: None, no_leak: None) -> None:
        import trio_websocket

        async def echo(stream: MessageStream, request: Request) -> None:
            while True:
                for message in await stream.receive():
                    await stream.send(message)

        async with (
            far_end(echo, serve_websocket) as port,
            trio_websocket.open_websocket_url(f"ws://127.0.0.1:{port}/") as connection,
        ):
            transport = TrioWebSocketTransport(connection=connection, close=False)
            async with transport.connect("ws://ignored/") as stream:
                await stream.send(b"one")
                assert list(await stream.receive()) == [b"one"]
            await connection.send_message(b"two")
            assert await connection.get_message() == b"two"
            with pytest.raises(MisconfiguredError, match="used already"):
                async with transport.connect("ws://ignored/"):
                    raise AssertionError("it connected twice")
