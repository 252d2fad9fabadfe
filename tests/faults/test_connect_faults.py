"""Fault rows 9 to 11 and 39 to 41: a session that cannot be opened says why, in time, and leaves nothing open."""

from __future__ import annotations

import email.utils
import math
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream

from kernl_rt import ConnectOptions, ReconnectPolicy
from kernl_rt._transport import Reply, Request, TrioWebSocketTransport, WebSocketTransport
from kernl_rt._transport._errors import retry_after, status_error
from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectRefusedError,
    ConnectTimeout,
    NameResolutionError,
    PermissionDeniedError,
    RateLimitedError,
    SessionStateError,
    TLSError,
)
from kernl_rt.testing import FaultyTransport, Toxics
from tests.faults.calls import CANARY
from tests.faults.wire import FLAVOURS, URL, OpenAIPeer, backend_of, grace, network, nothing_left, session_over, watched
from tests.transport.peers import RawPeer, http_answer

pytestmark = pytest.mark.anyio

MEMORY = [flavour for flavour in FLAVOURS if flavour.startswith("memory")]
SOCKETS = [flavour for flavour in FLAVOURS if not flavour.startswith("memory")]


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(flavour: str) -> tuple[str, dict[str, Any]]:
    return backend_of(flavour)


in_memory = pytest.mark.parametrize("flavour", MEMORY, indirect=True)
on_sockets = pytest.mark.parametrize("flavour", SOCKETS, indirect=True)


def dialler(flavour: str, **options: Any) -> Any:
    name = flavour.partition("-")[0]
    if name == "triows":
        return TrioWebSocketTransport(**options)
    return WebSocketTransport(implementation=name, **options)  # type: ignore[arg-type]


async def fails(transport: Any, url: str, kind: type[ConnectError], *, timeout: float = 10.0) -> Any:
    """A session over ``transport`` fails with ``kind``, within its timeout, and everything is closed."""
    start = anyio.current_time()
    with anyio.fail_after(60), pytest.raises(ConnectError) as caught:
        async with watched(session_over(transport, url, connect_options=ConnectOptions(timeout=timeout)), 2.25):
            raise AssertionError("it connected")
    assert type(caught.value) is kind, repr(caught.value)
    assert anyio.current_time() - start <= timeout + 0.5
    assert CANARY not in str(caught.value)
    return caught.value


# -- 9: TLS -----------------------------------------------------------------------------------------------------------


def contexts(ca: trustme.CA, name: str, **options: Any) -> ssl.SSLContext:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name, **options).configure_cert(server)
    return server


@on_sockets
@pytest.mark.parametrize("fault", ["expired", "wrong host", "self-signed", "no TLS", "too old"])
async def test_fault_09_tls_is_refused_and_nothing_goes_out_in_the_clear(flavour: str, fault: str) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    client = ssl.create_default_context()
    ours.configure_trust(client)
    server = contexts(
        theirs if fault == "self-signed" else ours, "elsewhere.test" if fault == "wrong host" else "localhost"
    )
    if fault == "expired":
        server = contexts(ours, "localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    if fault == "too old":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1
    seen: list[bytes] = []

    async def script(stream: ByteStream) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = server.wrap_bio(incoming, outgoing, server_side=True)
        async with stream:
            try:
                while True:
                    seen.append(await stream.receive())
                    if fault == "no TLS":
                        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        continue
                    incoming.write(seen[-1])
                    try:
                        tls.do_handshake()
                    except ssl.SSLWantReadError:
                        await stream.send(outgoing.read())
                    except ssl.SSLError:
                        await stream.send(outgoing.read())
                        return
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return

    async with nothing_left():
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, script)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            url = f"wss://localhost:{port}/v1/realtime"
            error = await fails(dialler(flavour, ssl_context=client), url, TLSError)
            group.cancel_scope.cancel()
    assert error.status is None
    clear = [data for data in seen if CANARY.encode() in data or data[:4] in (b"GET ", b"get ")]
    assert not clear, "it fell back to plain text"
    assert seen
    assert all(data[0] in (0x14, 0x15, 0x16, 0x17) for data in seen), "no TLS record"


# -- 10: no way there -------------------------------------------------------------------------------------------------


@on_sockets
async def test_fault_10_nobody_listens(flavour: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/v1/realtime"
        async with nothing_left():
            await fails(dialler(flavour), url, ConnectRefusedError)


@in_memory
async def test_fault_10_the_network_is_down(flavour: str) -> None:
    async def unreached(stream: MessageStream, request: Request) -> None:
        raise AssertionError("it was reached")

    async with nothing_left(), FaultyTransport(unreached, sending=Toxics(down=True)) as transport:
        await fails(transport, URL, ConnectRefusedError)
        assert len(transport.dials) == 1
        assert transport.streams == ()


@on_sockets
async def test_fault_10_the_name_is_unknown(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with nothing_left():
        error = await fails(dialler(flavour), "ws://provider.invalid/v1/realtime", NameResolutionError)
    assert "provider.invalid" in str(error)


@on_sockets
async def test_fault_10_a_name_server_that_does_not_answer_is_bounded(
    flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def stuck(host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if not flags & socket.AI_NUMERICHOST:  # Asked first, and not in a thread: it needs no name server.
            answer.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    start = time.monotonic()
    try:
        await fails(dialler(flavour), "ws://provider.invalid/v1/realtime", ConnectTimeout, timeout=0.2)
        assert time.monotonic() - start < 5
    finally:
        answer.set()  # The thread cannot be killed, in no program; it ends by itself.


@in_memory
async def test_fault_10_a_host_that_answers_nothing_is_bounded(flavour: str) -> None:
    async def silent(stream: MessageStream, request: Request) -> None:
        raise AssertionError("the request arrived")

    async with (
        nothing_left(),
        FaultyTransport(silent, sending=Toxics(timeout=math.inf), receiving=Toxics(timeout=math.inf)) as transport,
    ):
        start = anyio.current_time()
        await fails(transport, URL, ConnectTimeout)
        assert anyio.current_time() - start == pytest.approx(10)
        assert transport.streams == ()


@in_memory
async def test_fault_10_a_network_that_comes_back_is_dialled_again(flavour: str) -> None:
    """Lost, then refused at each dial: every attempt is counted, and the session is back with the network."""

    async def script(stream: ByteStream) -> None:
        peer = OpenAIPeer(RawPeer(stream))
        await peer.greet()
        await peer.listen()

    async with nothing_left(), FaultyTransport.over_bytes(script) as transport:
        session = session_over(transport, URL, reconnect=ReconnectPolicy(attempts=20, longest=2.0))
        statuses: list[str] = []
        session.on("status", lambda event: statuses.append(event.status))
        async with watched(session, 2.25):
            await anyio.sleep(1)
            transport.receiving.down = True
            with anyio.fail_after(60):
                await anyio.sleep(5)
                assert statuses[-1] == "reconnecting"
                assert 2 <= len(transport.dials) <= 20
                transport.receiving.clear()
                while session.status != "connected":
                    await anyio.sleep(0.1)
            assert transport.dials[-1] - transport.dials[0] <= 8.1
        assert statuses.count("reconnecting") == 1, statuses
        assert transport.streams == ()


# -- 11: a slow server ------------------------------------------------------------------------------------------------


async def dribble(peer: RawPeer, pause: float) -> None:
    """Answer a byte at a time, and never come to the end of the headers."""
    await peer.stream.receive()
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
    while True:
        await anyio.sleep(pause)
        await peer.send(b"x")


@in_memory
@pytest.mark.parametrize("way", ["sending", "receiving"])
async def test_fault_11_a_handshake_of_one_byte_a_second_is_given_up_after_ten(flavour: str, way: str) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.gone()

    async with network(flavour, script) as (transport, url):
        getattr(transport, way).bandwidth = 1
        start = anyio.current_time()
        await fails(transport, url, ConnectTimeout)
        assert anyio.current_time() - start == pytest.approx(10, abs=0.01)


async def test_fault_11_a_handshake_that_never_ends(flavour: str) -> None:
    scale = 1.0 if flavour in MEMORY else 0.03
    left: list[float] = []

    async def script(peer: RawPeer) -> None:
        try:
            await dribble(peer, scale)
        finally:
            left.append(anyio.current_time())

    async with network(flavour, script) as (transport, url):
        start = anyio.current_time()
        await fails(transport, url, ConnectTimeout, timeout=10 * scale)
        # A server on a socket hears of it at its second write after.
        with anyio.fail_after(3 if flavour in MEMORY else 10):
            while not left:
                await anyio.sleep(0.01)
        assert 9 * scale <= left[0] - start <= 12 * scale + grace(flavour)


# -- 39: closed while it connects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["handshake", "configuration"])
async def test_fault_39_close_during_connect_aborts_at_once(flavour: str, stage: str) -> None:
    reached = anyio.Event()
    gone: list[float] = []

    async def script(peer: RawPeer) -> None:
        if stage == "handshake":
            await peer.stream.receive()
        else:
            await peer.upgrade()
            # The client's configuration is never answered; its goodbye is.
            await peer.read_frame()
        reached.set()
        if stage == "configuration":
            payload = await peer.read_until(8)
            await peer.send(bytes([0x88, len(payload)]) + payload)
            await peer.stream.aclose()
        else:
            await peer.gone()
        gone.append(anyio.current_time())

    async with network(flavour, script) as (transport, url):
        session = session_over(transport, url)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                raised: list[BaseException] = []

                async def connect() -> None:
                    try:
                        async with watched(session, 0.5):
                            raise AssertionError("it connected")
                    except SessionStateError as error:
                        raised.append(error)
                    ended.append(anyio.current_time())

                ended: list[float] = []
                group.start_soon(connect)
                await reached.wait()
                start = anyio.current_time()
                session.close("changed my mind")
            assert "changed my mind" in str(raised[0])
            assert ended[0] - start <= grace(flavour)
            while not gone:
                await anyio.sleep(0.01)
        assert gone[0] - start <= 0.2 + grace(flavour)


@in_memory
async def test_fault_39_close_while_dialling(flavour: str) -> None:
    async def unreached(stream: MessageStream, request: Request) -> None:
        raise AssertionError("it was reached")

    async with nothing_left(), FaultyTransport(unreached, sending=Toxics(timeout=math.inf)) as transport:
        session = session_over(transport, URL)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:

                async def connect() -> None:
                    with pytest.raises(SessionStateError, match="while it was connecting"):
                        async with watched(session, 0.5):
                            raise AssertionError("it connected")

                start = anyio.current_time()
                group.start_soon(connect)
                await anyio.sleep(1)
                session.close()
            assert anyio.current_time() - start == 1
        assert transport.streams == ()


# -- 40, 41: the server says no ---------------------------------------------------------------------------------------


def refusing(status: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> Callable[[RawPeer], Awaitable[None]]:
    async def script(peer: RawPeer) -> None:
        await http_answer(peer, status, headers, body)

    return script


@pytest.mark.parametrize(
    ("status", "kind"), [("401 Unauthorized", AuthenticationError), ("403 Forbidden", PermissionDeniedError)]
)
async def test_fault_40_a_refused_key_is_told_once_and_never_shown(
    flavour: str, status: str, kind: type[ConnectError]
) -> None:
    body = b'{"error": {"code": "invalid_api_key", "message": "Incorrect API key provided: %s."}}' % CANARY.encode()
    dials = 0

    async def script(peer: RawPeer) -> None:
        nonlocal dials
        dials += 1
        await http_answer(peer, status, {}, body)

    async with network(flavour, script) as (transport, url):
        error = await fails(transport, url, kind)
        await anyio.sleep(1 if flavour in MEMORY else 0.1)
    assert dials == 1, "it was tried again"
    assert (error.status, error.code) == (int(status[:3]), "invalid_api_key")
    assert "Incorrect API key provided" in str(error)


@pytest.mark.parametrize("form", ["seconds", "date", "rfc850", "asctime", "nonsense", "absent"])
async def test_fault_41_too_many_requests_says_when_to_come_back(flavour: str, form: str) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    said = {
        "seconds": "7",
        "date": email.utils.format_datetime(moment, usegmt=True),
        "rfc850": moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        "asctime": moment.strftime("%a %b %d %H:%M:%S %Y"),
        "nonsense": "soon",
    }
    headers = {"Retry-After": said[form]} if form in said else {}
    body = b'{"error": {"type": "requests", "code": "rate_limit_exceeded", "message": "slow down"}}'
    async with network(flavour, refusing("429 Too Many Requests", headers, body)) as (transport, url):
        error = await fails(transport, url, RateLimitedError)
    assert error.code == "rate_limit_exceeded"
    if form == "seconds":
        assert error.retry_after == 7
    elif form in ("nonsense", "absent"):
        assert error.retry_after is None
    else:
        assert 75 < error.retry_after <= 90


def test_fault_41_an_http_date_is_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        moment = datetime.now(UTC) + timedelta(seconds=90)
        for form in ("%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S -0000"):
            assert retry_after(moment.strftime(form)) == pytest.approx(90, abs=2)
        assert retry_after((moment - timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e999", "", "Mon, 99 Foo 2026 00:00:00 GMT", "0x10"])
def test_fault_41_nonsense_is_no_waiting_time(value: str) -> None:
    assert retry_after(value) is None


def test_fault_41_the_providers_word_for_it_is_kept() -> None:
    body = b'{"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "pay"}}'
    error = status_error(429, {}, body, where="there")
    assert isinstance(error, RateLimitedError)
    assert (error.code, error.retry_after) == ("insufficient_quota", None)
    for hostile in (b"[" * 100_000, b'{"error": {"code": 7}}', b'{"error": []}', b"\xff", b'{"code": {"a": 1}}'):
        assert status_error(429, {}, hostile, where="there").code is None
    assert status_error(401, {}, b'{"code": "%s"}' % CANARY.encode(), where="x", secrets=[CANARY]).code == "…"


@in_memory
async def test_fault_40_a_handlers_refusal_in_memory(flavour: str) -> None:
    def admit(request: Request) -> Reply:
        return Reply(403, body=b"not you")

    async def unreached(stream: MessageStream, request: Request) -> None:
        raise AssertionError("it was let in")

    async with nothing_left(), FaultyTransport(unreached, process_request=admit) as transport:
        error = await fails(transport, URL, PermissionDeniedError)
        assert "not you" in str(error)
        assert len(transport.dials) == 1
