"""No credential is ever printed: not in a repr, a log of ours or of a dependency's, an exception, an event, a dump.

Three canaries go through everything that a credential goes through: an API key, a key in a header of the user's
(``api-key``, as Azure wants it), and a minted one. The servers quote back what they were sent, as some real ones do.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme
from transport.peers import FLAVOURS, RawPeer, close_frame, frame, http_answer, raw_server

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._transport import TrioWebSocketTransport, WebSocketTransport
from kernl_rt.abc import RealtimeTransport
from kernl_rt.config import ConnectOptions, Secret
from kernl_rt.exceptions import RealtimeError
from kernl_rt.providers import openai
from kernl_rt.simulator import Simulator
from tests.security.watch import Canaries, Watch, watching

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

KEY = "sk-canary-4f0b7Xq93LmZt81vRw"
AZURE = "canary-azure-77aQz81PmnX20cdE"
MINTED = "ek_canary_9pQ2sLx7Tz5Wv38KdB"
CANARIES = Canaries(KEY, AZURE, MINTED)
NO_RECONNECT = {"reconnect": None}


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(flavour: str) -> str:
    return flavour.partition("-")[2]


def transport_of(flavour: str, context: ssl.SSLContext | None = None) -> RealtimeTransport:
    name = flavour.partition("-")[0]
    if name == "triows":
        return TrioWebSocketTransport(ssl_context=context)
    return WebSocketTransport(implementation=name, ssl_context=context)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's, so that only canaries are at work."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def model_at(base_url: str) -> openai.OpenAIModel:
    return openai.realtime("gpt-realtime", base_url=base_url, headers={"api-key": AZURE})


def session_at(base_url: str, flavour: str, *, timeout: float = 5.0, **options: Any) -> RealtimeSession[Any]:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Hm.", model=model_at(base_url))
    connecting = ConnectOptions(timeout=timeout, headers={"X-Api-Key": AZURE})
    transport = transport_of(flavour, options.pop("context", None))
    return RealtimeSession(agent, transport=transport, connect_options=connecting, **NO_RECONNECT, **options)


async def call(
    watch: Watch, session: RealtimeSession[Any], use: Callable[[RealtimeSession[Any]], Awaitable[None]] | None = None
) -> BaseException | None:
    """A whole session, with everything of it looked at; the error that it ended with."""
    events: list[object] = []
    session.on("event", events.append)
    watch.value(session, "new session")
    error: BaseException | None = None
    try:
        with anyio.fail_after(10):
            async with session:
                watch.value(session, "session")
                if use is not None:
                    await use(session)
    except Exception as caught:
        error = caught
        watch.error(caught)
    watch.value(session, "closed session")
    for event in events:
        watch.event(event)
    return error


# -- a session that works ---------------------------------------------------------------------------------------------


async def test_promise_25_a_call(flavour: str) -> None:
    async def use(session: RealtimeSession[Any]) -> None:
        await session.ask("hello")
        watch.value(session.statistics(), "statistics")

    with watching(CANARIES) as watch:
        async with Simulator(api_key=KEY, speed=50).serve() as url:
            assert await call(watch, session_at(url, flavour), use) is None


async def test_promise_25_a_minted_key(flavour: str) -> None:
    async with Simulator(api_key=KEY, speed=50).serve() as url:
        with watching(CANARIES) as watch:
            credential = await model_at(url.replace("ws://", "http://")).authenticate(expires_after=60)
            watch.value(credential, "credential")
        minted = Canaries(KEY, AZURE, credential.secret.reveal())

        async def use(session: RealtimeSession[Any]) -> None:
            await session.ask("hello")

        with watching(minted) as watch:
            assert await call(watch, session_at(url, flavour, credential=credential), use) is None


# -- handshakes that fail ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def quoting(status: str, **headers: str) -> AsyncIterator[int]:
    """Answers with what it was sent, credentials and all."""

    async def script(peer: RawPeer) -> None:
        message = f"Incorrect API key provided: {KEY}. Also {AZURE} and {MINTED}. Bearer {KEY}"
        body = json.dumps({"error": {"message": message, "code": f"bad_{KEY}"}}).encode()
        await http_answer(peer, status, headers, body)

    async with raw_server(script) as port:
        yield port


def minted() -> Any:
    from datetime import UTC, datetime

    from kernl_rt.config import Credential

    return Credential(MINTED, datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "429 Too Many", "500 Oops"])
@pytest.mark.parametrize("with_minted", [False, True], ids=["key", "minted"])
async def test_promise_25_a_refused_handshake(flavour: str, status: str, with_minted: bool) -> None:
    # What the server cannot know it cannot quote: of the two keys, one was sent.
    used = Canaries(MINTED if with_minted else KEY, AZURE)
    with watching(used) as watch:
        async with quoting(status) as port:
            options = {"credential": minted()} if with_minted else {}
            error = await call(watch, session_at(f"http://127.0.0.1:{port}/v1", flavour, **options))
    assert isinstance(error, RealtimeError)


async def test_promise_25_a_redirect_is_not_followed(flavour: str) -> None:
    reached: list[bytes] = []

    async def elsewhere(peer: RawPeer) -> None:
        reached.append(await peer.stream.receive())

    with watching(Canaries(KEY, AZURE)) as watch:
        async with raw_server(elsewhere) as other, quoting("302 Found", Location=f"http://127.0.0.1:{other}/") as port:
            error = await call(watch, session_at(f"http://127.0.0.1:{port}/v1", flavour))
            with pytest.raises(RealtimeError) as caught:
                await model_at(f"http://127.0.0.1:{port}/v1").authenticate()
            watch.error(caught.value)
    assert isinstance(error, RealtimeError)
    assert "redirect" in str(error)
    assert not reached, "a redirect took the credentials elsewhere"


async def _hang_up(peer: RawPeer) -> None:
    await peer.stream.receive()


async def _say_nothing(peer: RawPeer) -> None:
    await peer.gone()


async def _garbage(peer: RawPeer) -> None:
    await peer.stream.receive()
    await peer.send(b"\x16\x03\x01 what is this\r\n\r\n")
    await peer.gone()


async def _half(peer: RawPeer) -> None:
    await peer.stream.receive()
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso")


async def _wrong_accept(peer: RawPeer) -> None:
    await peer.stream.receive()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    await peer.send(f"{head}{KEY}\r\n\r\n".encode())
    await peer.gone()


@pytest.mark.parametrize("script", [_hang_up, _say_nothing, _garbage, _half, _wrong_accept])
async def test_promise_25_a_broken_handshake(flavour: str, script: Any) -> None:
    with watching(CANARIES) as watch:
        async with raw_server(script) as port:
            error = await call(watch, session_at(f"http://127.0.0.1:{port}/v1", flavour, timeout=0.3))
    assert isinstance(error, RealtimeError)


async def test_promise_25_tls_that_fails(flavour: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with watching(CANARIES) as watch:
        async with raw_server(_say_nothing, tls=context) as port:
            error = await call(watch, session_at(f"https://127.0.0.1:{port}/v1", flavour))
            with pytest.raises(RealtimeError) as caught:
                await model_at(f"https://127.0.0.1:{port}/v1").authenticate()
            watch.error(caught.value)
    assert isinstance(error, RealtimeError)


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("where", ["nobody", "no-such-host.invalid", "bad\u00adhost..name"])
async def test_promise_25_nobody_there(flavour: str, where: str) -> None:
    base = f"http://127.0.0.1:{_closed_port()}/v1" if where == "nobody" else f"http://{where}/v1"
    with watching(CANARIES) as watch:
        error = await call(watch, session_at(base, flavour))
        try:
            await model_at(base).authenticate()
        except RealtimeError as caught:
            watch.error(caught)
    assert isinstance(error, RealtimeError)


@pytest.mark.parametrize(
    "base", ["ftp://host/v1", f"https://user:{KEY}@host/v1", f"gopher://host/?api-key={KEY}", f"https://{KEY}:x/v1"]
)
async def test_promise_25_a_url_that_is_refused(flavour: str, base: str) -> None:
    with watching(CANARIES) as watch:
        if "://sk-" not in base:  # nothing tells this host from another
            watch.add("model", repr(model_at(base)))
        agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Hm.", model=model_at(base))
        error: Exception | None = None
        try:
            async with RealtimeSession(agent, transport=transport_of(flavour), **NO_RECONNECT):
                raise AssertionError("it connected")
        except RealtimeError as caught:
            error = caught
        # The variables of these frames hold the URL, which is where its author has put the key; the text does not.
        watch.add("error", f"{error!s} {error!r}")


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}é"])
async def test_promise_25_a_key_that_cannot_be_sent(flavour: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with watching(CANARIES) as watch:
        error = await call(watch, session_at("http://127.0.0.1:1/v1", flavour))
    assert error is not None
    assert "white space" in str(error)


async def test_promise_25_a_header_that_cannot_be_sent(flavour: str) -> None:
    with watching(CANARIES) as watch:
        transport = transport_of(flavour)
        bad = {"Authorization": Secret(f"Bearer {KEY}"), "X-Other": Secret(f"{AZURE}\r\nHost: evil")}
        with pytest.raises(RealtimeError) as caught:
            async with transport.connect("ws://127.0.0.1:1/", headers=bad):
                raise AssertionError("it connected")
        watch.error(caught.value)


# -- minting that fails -----------------------------------------------------------------------------------------------


async def _mint_hang_up(peer: RawPeer) -> None:
    await peer.stream.receive()


async def _mint_text(peer: RawPeer) -> None:
    await http_answer(peer, "200 OK", {}, f"your key was {KEY} and {AZURE}".encode())


async def _mint_half(peer: RawPeer) -> None:
    await peer.stream.receive()
    await peer.send(f'HTTP/1.1 200 OK\r\nContent-Length: 999\r\nX-Echo: {KEY}\r\n\r\n{{"value": "{MINTED}"'.encode())


async def _mint_garbage(peer: RawPeer) -> None:
    await peer.stream.receive()
    await peer.send(f"{KEY}\r\n\r\n".encode())


async def _mint_no_date(peer: RawPeer) -> None:
    await http_answer(peer, "200 OK", {}, json.dumps({"value": MINTED, "expires_at": None}).encode())


async def _mint_quoting(peer: RawPeer) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": KEY}}).encode()
    await http_answer(peer, "401 Unauthorized", {}, body)


@pytest.mark.parametrize("script", [_mint_hang_up, _mint_text, _mint_half, _mint_garbage, _mint_no_date, _mint_quoting])
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
async def test_promise_25_minting_that_fails(script: Any, backend: str) -> None:
    with watching(CANARIES) as watch:
        async with raw_server(script) as port:
            with pytest.raises(RealtimeError) as caught:
                await model_at(f"http://127.0.0.1:{port}/v1").authenticate()
            watch.error(caught.value)


# -- a call that goes wrong -------------------------------------------------------------------------------------------

_SESSION = json.dumps({"type": "session.created", "session": {"type": "realtime", "id": "s"}}).encode()
_UPDATED = json.dumps({"type": "session.updated", "session": {"type": "realtime", "id": "s"}}).encode()


def _mid_call(*then: bytes) -> Callable[[RawPeer], Awaitable[None]]:
    """Accepts, confirms the configuration, says ``then``, and hangs up."""

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(1, _SESSION))
        await peer.read_until(1)
        await peer.send(frame(1, _UPDATED) + b"".join(then))
        await anyio.sleep(0.1)

    return script


_QUOTE = f"Incorrect API key provided: {KEY} {AZURE}"
MID_CALL = {
    "hang up": _mid_call(),
    "close": _mid_call(close_frame(4001, f"bad key {KEY}")),
    "error": _mid_call(
        frame(1, json.dumps({"type": "error", "error": {"message": _QUOTE, "type": "x", "code": "y"}}).encode())
    ),
    "malformed": _mid_call(frame(1, json.dumps({"type": "response.output_text.delta", "delta": [_QUOTE]}).encode())),
    "garbage": _mid_call(frame(1, f"{{{_QUOTE}".encode())),
    "too large": _mid_call(frame(1, b"{}", length=2**40)),
    "reserved bits": _mid_call(frame(1, _QUOTE.encode(), rsv=4)),
}


@pytest.mark.parametrize("name", MID_CALL)
async def test_promise_25_a_call_that_goes_wrong(flavour: str, name: str) -> None:
    async def use(session: RealtimeSession[Any]) -> None:
        await session.wait_closed()

    with watching(CANARIES) as watch:
        async with raw_server(MID_CALL[name]) as port:
            error = await call(watch, session_at(f"http://127.0.0.1:{port}/v1", flavour), use)
    assert error is None or isinstance(error, RealtimeError)


# -- the watch itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio"])
async def test_the_watch_sees_what_dependencies_log(backend: str) -> None:
    """websockets writes the headers at DEBUG; ours must not, and this shows that it would have been seen."""
    from websockets.asyncio.client import connect

    seen = pytest.raises(AssertionError, match=r"log of websockets.client at DEBUG: \['canary 0'\]")
    with seen, watching(CANARIES):
        async with Simulator(api_key=KEY).serve() as url:
            headers = {"Authorization": f"Bearer {KEY}"}
            async with connect(f"{url}/realtime?model=m", additional_headers=headers, proxy=None):
                pass


@pytest.mark.parametrize("backend", ["asyncio"])
@pytest.mark.parametrize("how", ["log", "variable", "hidden", "event", "repr", "warning"])
async def test_the_watch_sees(how: str, backend: str) -> None:
    import warnings

    from kernl_rt.events import SessionError

    def fail() -> None:
        key = KEY
        raise ValueError(len(key))

    with pytest.raises(AssertionError, match="show a canary"), watching(CANARIES) as watch:
        match how:
            case "log":
                logging.getLogger("kernl_rt.deep.down").debug("sent %s", {"Authorization": KEY})
            case "variable":
                try:
                    fail()
                except ValueError as error:
                    watch.error(error)
            case "hidden":
                try:
                    try:
                        fail()
                    except ValueError:
                        raise TypeError from None
                except TypeError as error:
                    watch.error(error)
            case "event":
                watch.event(SessionError("no", code=KEY))
            case "repr":
                watch.value({"a": [KEY]}, "value")
            case "warning":
                warnings.warn(KEY, stacklevel=1)
