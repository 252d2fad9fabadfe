"""Connecting: what fails, how it is told, and that nothing stays open or is printed."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
import trustme
from transport.peers import FLAVOURS, MakeTransport, RawPeer, close_frame, frame, http_answer, raw_server

from kernl_rt._transport import Request, TrioWebSocketTransport, WebSocketTransport, serve_websocket
from kernl_rt.abc import MessageStream
from kernl_rt.config import Secret
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectRefusedError,
    HandshakeError,
    MisconfiguredError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    RateLimitedError,
    TLSError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock", "no_leak")]
KEY = "sk-canary-0123456789abcdef"


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(flavour: str) -> str:
    return flavour.partition("-")[2]


async def refused(transport: Any, url: str, **options: Any) -> ConnectError:
    with anyio.fail_after(5):
        with pytest.raises(ConnectError) as caught:
            async with transport.connect(url, **options):
                raise AssertionError("it connected")
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", AuthenticationError),
        ("403 Forbidden", PermissionDeniedError),
        ("404 Not Found", ModelNotFoundError),
        ("429 Too Many Requests", RateLimitedError),
        ("500 Internal Server Error", HandshakeError),
        ("530 Origin DNS Error", HandshakeError),
    ],
)
async def test_http_statuses(make_transport: MakeTransport, status: str, kind: type[ConnectError]) -> None:
    body = b'{"error": {"message": "you said %s, no", "code": "x"}}' % KEY.encode()

    async def script(peer: RawPeer) -> None:
        await http_answer(peer, status, {"Retry-After": "7", "X-Private": "internal"}, body)

    async with raw_server(script) as port:
        headers = {"Authorization": Secret(f"Bearer {KEY}")}
        error = await refused(make_transport(), f"ws://127.0.0.1:{port}/v1?access_token={KEY}", headers=headers)
    assert type(error) is kind
    assert error.status == int(status[:3])
    assert "you said …, no" in str(error)
    assert "internal" not in str(error)
    assert KEY not in "".join(traceback.format_exception(error))
    if isinstance(error, RateLimitedError):
        assert error.retry_after == 7


async def test_retry_after_as_a_date(make_transport: MakeTransport) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)

    async def script(peer: RawPeer) -> None:
        await http_answer(peer, "429 Too Many Requests", {"Retry-After": moment})

    async with raw_server(script) as port:
        error = await refused(make_transport(), f"ws://127.0.0.1:{port}/")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after is not None
    assert 80 < error.retry_after <= 90


async def test_a_redirect_is_not_followed(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await http_answer(peer, "302 Found", {"Location": "ws://127.0.0.1:1/"})

    async with raw_server(script) as port:
        error = await refused(make_transport(), f"ws://127.0.0.1:{port}/")
    assert isinstance(error, HandshakeError)
    assert "redirects are not followed" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"",
    ],
    ids=["no-http", "wrong-accept", "no-upgrade", "hang-up"],
)
async def test_an_answer_that_is_no_upgrade(make_transport: MakeTransport, answer: bytes) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.stream.receive()
        if answer:
            await peer.send(answer)
            await peer.gone()

    async with raw_server(script) as port:
        assert isinstance(await refused(make_transport(), f"ws://127.0.0.1:{port}/"), HandshakeError)


async def test_the_subprotocol_is_negotiated(make_transport: MakeTransport) -> None:
    async def pick(stream: MessageStream, request: Request) -> None:
        assert request.subprotocols == ("realtime", f"openai-insecure-api-key.{KEY}")
        await stream.receive()

    from functools import partial

    async with anyio.create_task_group() as task_group:
        port = await task_group.start(partial(serve_websocket, pick, subprotocols=["realtime"]))
        offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with make_transport().connect(f"ws://127.0.0.1:{port}/", subprotocols=offered) as stream:
            assert stream.subprotocol == "realtime"  # type: ignore[attr-defined]
        task_group.cancel_scope.cancel()


async def test_nobody_listens(make_transport: MakeTransport) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/"
        assert type(await refused(make_transport(), url)) is ConnectRefusedError


async def test_no_descriptors_left(make_transport: MakeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    transport = make_transport()
    monkeypatch.setattr(socket, "socket", full)
    monkeypatch.setattr("trio._socket._stdlib_socket.socket", full)
    try:
        error = await refused(transport, "ws://127.0.0.1:9/")
    finally:
        monkeypatch.setattr(socket, "socket", real)
    assert type(error) is ConnectRefusedError
    assert "Too many open files" in str(error)


async def test_an_unknown_host(make_transport: MakeTransport) -> None:
    with anyio.fail_after(10), pytest.raises(NameResolutionError, match=r"does-not-exist\.invalid"):
        async with make_transport().connect("ws://does-not-exist.invalid/"):
            raise AssertionError("it connected")


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://localhost/", {}),
        ("localhost:8000", {}),
        ("ws:///path", {}),
        ("ws://user:pw@localhost/", {}),
        ("ws://localhost:99999/", {}),
        ("ws://localhost/#part", {}),
        ("ws://localhost/a b", {}),
        ("ws://localhost/", {"X": f"{KEY}\r\nInjected: yes"}),
        ("ws://localhost/", {"X y": "1"}),
        ("ws://localhost/", {"Upgrade": "h2c"}),
    ],
)
async def test_mistakes_are_told_before_dialling(
    make_transport: MakeTransport, url: str, headers: Mapping[str, str]
) -> None:
    with pytest.raises(MisconfiguredError) as caught:
        async with make_transport().connect(url, headers=headers):
            raise AssertionError("it connected")
    assert KEY not in str(caught.value)


class TestTLS:
    ca = trustme.CA()

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    async def refusal(self, transport: Any, name: str) -> ConnectError:
        async def script(peer: RawPeer) -> None:
            raise AssertionError("the client went on")

        async with raw_server(script, tls=self.server(name)) as port:
            return await refused(transport, f"wss://localhost:{port}/")

    async def test_an_untrusted_certificate(self, make_transport: MakeTransport) -> None:
        error = await self.refusal(make_transport(), "localhost")
        assert type(error) is TLSError
        assert "certificate" in str(error)

    async def test_a_certificate_of_another_host(self, make_transport: MakeTransport) -> None:
        error = await self.refusal(make_transport(ssl_context=self.client()), "elsewhere.example")
        assert type(error) is TLSError
        assert "localhost" in str(error)

    async def test_a_server_without_tls(self, make_transport: MakeTransport) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.stream.receive()
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await peer.gone()

        async with raw_server(script) as port:
            assert type(await refused(make_transport(), f"wss://localhost:{port}/")) is TLSError

    async def test_a_server_that_hangs_up_in_the_handshake(self, make_transport: MakeTransport) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.stream.receive()

        async with raw_server(script) as port:
            assert type(await refused(make_transport(), f"wss://localhost:{port}/")) is TLSError


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_the_callers_timeout_passes_and_leaves_nothing_open(make_transport: MakeTransport, scheme: str) -> None:
    left = anyio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.gone()
        left.set()

    async with raw_server(script) as port:
        start = anyio.current_time()
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            async with make_transport().connect(f"{scheme}://127.0.0.1:{port}/"):
                raise AssertionError("it connected")
        # Far below what a peer that says nothing is waited for, far above what a busy machine takes.
        assert anyio.current_time() - start < 5
        with anyio.fail_after(5):
            await left.wait()


async def test_no_secret_in_logs_reprs_or_exceptions(
    make_transport: MakeTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    for name in ("websockets", "websockets.client", "picows", "picows.client", "trio-websocket", "asyncio", "anyio"):
        logging.getLogger(name).setLevel(1)
    seen: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        # Not through a server of `websockets`, which would itself log the request.
        while b"\r\n\r\n" not in peer.head:
            peer.head += await peer.stream.receive()
        seen.append(peer.head)
        from websockets.utils import accept_key

        key = peer.head.lower().partition(b"sec-websocket-key:")[2].split()[0]
        original = peer.head[peer.head.lower().index(key) :][: len(key)].decode()
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: "
            + accept_key(original).encode()
            + b"\r\n\r\n"
            + frame(1, b"hi")
            + close_frame(1011)
        )
        await peer.gone()

    transport = make_transport()
    async with raw_server(script) as port:
        headers = {"Authorization": Secret(f"Bearer {KEY}"), "X-Plain": "shown"}
        async with transport.connect(f"ws://127.0.0.1:{port}/?token={KEY}", headers=headers) as stream:
            await stream.receive()
            with pytest.raises(Exception) as caught:
                await stream.receive()
            printed = [repr(transport), repr(stream), str(stream), repr(caught.value), str(caught.value)]
    assert seen
    assert f"Bearer {KEY}".encode() in seen[0], "the secret was not sent"
    printed += [record.getMessage() + str(record.args) for record in caplog.records]
    assert KEY not in "\n".join(printed)


async def test_the_wrong_backend_is_told(flavour: str) -> None:
    transport = TrioWebSocketTransport() if flavour.endswith("asyncio") else WebSocketTransport(implementation="picows")
    with pytest.raises(MisconfiguredError, match="only"):
        async with transport.connect("ws://127.0.0.1:9/"):
            raise AssertionError("it connected")


async def test_a_missing_library_is_told(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_websocket", None)
    if flavour.endswith("trio"):
        with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[trio\]'"):
            async with TrioWebSocketTransport().connect("ws://127.0.0.1:9/"):
                raise AssertionError("it connected")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MisconfiguredError, match="picows"):
        async with WebSocketTransport(implementation="picows").connect("ws://127.0.0.1:9/"):
            raise AssertionError("it connected")
    assert isinstance(await refused(WebSocketTransport(), "ws://127.0.0.1:9/"), ConnectRefusedError)
