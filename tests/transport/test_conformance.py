"""One suite over every transport."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
import trustme
from transport.peers import FLAVOURS, MakeTransport, byte_pair

from kernl_rt._transport import Handler, MemoryTransport, Request, WebSocketTransport, serve_websocket
from kernl_rt._transport._scope import bare_task_group
from kernl_rt._transport.serve import serve_connection
from kernl_rt.abc import MessageStream
from kernl_rt.testing._check_transport import check_transport

pytestmark = pytest.mark.anyio


def _watched(handler: Handler) -> tuple[Handler, anyio.Event]:
    """``handler``, and an event that tells that it has ended by itself."""
    ended = anyio.Event()

    async def watched(stream: MessageStream, request: Request) -> None:
        try:
            await handler(stream, request)
        finally:
            ended.set()

    return watched, ended


async def _finish(ended: anyio.Event) -> None:
    with anyio.move_on_after(1, shield=True):
        await ended.wait()


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
            async with bare_task_group() as task_group:
                handler, ended = _watched(handler)
                port = await task_group.start(serve_websocket, handler)
                try:
                    async with make_transport().connect(f"ws://127.0.0.1:{port}/", max_message_size=limit) as stream:
                        yield stream
                finally:
                    await _finish(ended)
                    task_group.cancel_scope.cancel()

        await check_transport(connect_to)

    async def test_tls(self, make_transport: MakeTransport, real_clock: None, no_leak: None) -> None:
        ca = trustme.CA()
        server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
        ca.issue_cert("localhost").configure_cert(server)
        ca.configure_trust(client)

        @asynccontextmanager
        async def connect_to(handler: Handler, limit: int) -> AsyncIterator[MessageStream]:
            async with bare_task_group() as task_group:
                handler, ended = _watched(handler)
                port = await task_group.start(partial(serve_websocket, handler, ssl_context=server))
                try:
                    transport = make_transport(ssl_context=client)
                    async with transport.connect(f"wss://localhost:{port}/", max_message_size=limit) as stream:
                        yield stream
                finally:
                    await _finish(ended)
                    task_group.cancel_scope.cancel()

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
        async with bare_task_group() as task_group:
            handler, ended = _watched(handler)
            task_group.start_soon(serve_connection, far, handler)
            try:
                async with transport.connect("ws://x/", max_message_size=limit) as stream:
                    yield stream
            finally:
                await _finish(ended)
                task_group.cancel_scope.cancel()

    await check_transport(connect_to)

