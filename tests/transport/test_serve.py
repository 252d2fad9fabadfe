from __future__ import annotations

import logging
import subprocess
import sys
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from kernl_rt._transport import Handler, Reply, Request, WebSocketTransport, serve_websocket
from kernl_rt._transport.http import post_json
from kernl_rt.abc import MessageStream
from kernl_rt.config import Secret
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    ConnectRefusedError,
    ConnectTimeout,
    HandshakeError,
    MisconfiguredError,
    ModelNotFoundError,
    RateLimitedError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock", "no_leak")]


class Server:
    """``async with Server(handler, **options) as port``."""

    def __init__(self, handler: Handler, **options: Any) -> None:
        self._serve = partial(serve_websocket, handler, **options)

    async def __aenter__(self) -> int:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        port: int = await self._group.start(self._serve)
        return port

    async def __aexit__(self, *exception: Any) -> bool | None:
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(*exception)


async def echo(stream: MessageStream, request: Request) -> None:
    while True:
        for message in await stream.receive():
            await stream.send(message)


async def works(port: int) -> bool:
    async with WebSocketTransport().connect(f"ws://127.0.0.1:{port}/") as stream:
        await stream.send("still there?")
        return list(await stream.receive()) == [b"still there?"]


async def talk(port: int, data: bytes) -> bytes:
    """Send raw bytes, return all that comes back."""
    answer = b""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        assert isinstance(stream, SocketStream)
        if data:
            await stream.send(data)
        with anyio.move_on_after(7):
            try:
                while True:
                    answer += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return answer
    raise AssertionError("the server did not hang up")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET /nothing HTTP/1.1\r\n\r\n", b"404"),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"4"),
        (b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
    ],
)
async def test_bad_requests_harm_nobody(data: bytes, status: bytes) -> None:
    async with Server(echo) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(data)
            answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert await works(port)


async def test_a_failing_handler_closes_with_1011_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: MessageStream, request: Request) -> None:
        if request.path == "/broken":
            raise RuntimeError("broken handler")
        await echo(stream, request)

    with caplog.at_level(logging.ERROR):
        async with Server(handler) as port:
            async with WebSocketTransport().connect(f"ws://127.0.0.1:{port}/broken") as stream:
                with pytest.raises(ConnectionClosed) as caught:
                    await stream.receive()
            assert await works(port)
    assert caught.value.code == 1011
    assert "broken handler" in caplog.text


async def test_a_returning_handler_closes_with_1000() -> None:
    async def handler(stream: MessageStream, request: Request) -> None:
        await stream.send(f"{request.query['a']} {request.headers['x-test']}")

    async with Server(handler) as port:
        transport = WebSocketTransport()
        async with transport.connect(f"ws://127.0.0.1:{port}/p?a=1", headers={"X-Test": "yes"}) as stream:
            assert list(await stream.receive()) == [b"1 yes"]
            with pytest.raises(ConnectionClosed) as caught:
                await stream.receive()
    assert caught.value.code == 1000


async def test_too_many_connections_are_refused() -> None:
    async with Server(echo, max_connections=1) as port:
        async with WebSocketTransport().connect(f"ws://127.0.0.1:{port}/"):
            with pytest.raises(HandshakeError) as caught:
                async with WebSocketTransport().connect(f"ws://127.0.0.1:{port}/"):
                    raise AssertionError("it connected")
        assert caught.value.status == 503
        await anyio.sleep(0.05)
        assert await works(port)


async def test_cancelling_tells_every_client_1001() -> None:
    async with anyio.create_task_group() as task_group:
        port = await task_group.start(serve_websocket, echo)
        async with WebSocketTransport().connect(f"ws://127.0.0.1:{port}/") as stream:
            start = anyio.current_time()
            task_group.start_soon(_cancel, task_group.cancel_scope)
            with anyio.CancelScope(shield=True), pytest.raises(ConnectionClosed) as caught:
                await stream.receive()
            assert caught.value.code == 1001
            assert anyio.current_time() - start < 1


async def _cancel(scope: anyio.CancelScope) -> None:
    scope.cancel()


async def mint(request: Request) -> Reply | None:
    if request.upgrade:
        return None
    if request.headers.get("authorization") != "Bearer sk-canary-right":
        return Reply(401, body=b'{"error": {"message": "got ' + request.headers["authorization"].encode() + b'"}}')
    answers = {
        "/secrets": Reply(200, {"Content-Type": "application/json"}, b'{"got": ' + request.body + b"}"),
        "/list": Reply(200, {}, b"[]"),
        "/text": Reply(200, {}, b"<html>"),
        "/busy": Reply(429, {"retry-after": "2"}),
        "/moved": Reply(307, {"location": "/secrets"}),
        "/huge": Reply(200, {}, b" " * (2**20 + 1)),
    }
    if request.path == "/slow":
        await anyio.sleep(3)
    return answers.get(request.path)


async def test_minting_over_http(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    right = {"Authorization": Secret("Bearer sk-canary-right")}
    async with Server(echo, process_request=mint) as port:
        base = f"http://127.0.0.1:{port}"
        assert await post_json(f"{base}/secrets", right, {"a": [1, "ü"]}) == {"got": {"a": [1, "ü"]}}
        with pytest.raises(AuthenticationError) as caught:
            await post_json(f"{base}/secrets", {"Authorization": Secret("Bearer sk-canary-wrong")}, {})
        with pytest.raises(ModelNotFoundError):
            await post_json(f"{base}/nothing", right, {})
        with pytest.raises(RateLimitedError) as limited:
            await post_json(f"{base}/busy", right, {})
        for path in ("/list", "/text", "/moved", "/huge"):
            with pytest.raises(HandshakeError):
                await post_json(base + path, right, {})
        with pytest.raises(ConnectTimeout):
            await post_json(f"{base}/slow", right, {}, 0.2)
        with pytest.raises(MisconfiguredError):
            await post_json("ftp://x/", right, {})
        assert await works(port)
    with pytest.raises(ConnectRefusedError):
        await post_json(f"{base}/secrets", right, {})
    assert limited.value.retry_after == 2
    assert "canary" not in str(caught.value)
    assert "canary" not in caplog.text


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with Server(echo, process_request=mint) as port:
        right = {"Authorization": Secret("Bearer sk-canary-right")}
        assert await post_json(f"http://127.0.0.1:{port}/secrets", right, {}) == {"got": {}}
        assert await works(port)


@pytest.mark.parametrize("module", ["websocket", "trio_websocket", "memory", "serve", "http"])
def test_importing_brings_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, kernl_rt._transport.{module}\n"
        "heavy = {'picows', 'trio', 'trio_websocket', 'wsproto', 'httpx', 'aiofastnet'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
