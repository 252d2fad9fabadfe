"""Links whose bytes go wrong: in memory and virtual time for the sans-I/O client, on loopback for the others."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
from anyio.abc import ByteStream
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._transport import TrioWebSocketTransport, WebSocketTransport
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import ConnectOptions
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from kernl_rt.providers import openai
from kernl_rt.testing import FaultyStream, FaultyTransport, virtual_backend
from tests.faults.calls import CANARY, Watch, _logged, no_reconnect
from tests.transport.peers import CLOSE, PING, PONG, TEXT, RawPeer, frame, raw_server

__all__ = [
    "FLAVOURS",
    "URL",
    "OpenAIPeer",
    "backend_of",
    "call",
    "grace",
    "hear",
    "link",
    "network",
    "nothing_left",
    "session_over",
    "watched",
]

#: Implementation and backend. "memory" is the sans-I/O client in virtual time, the others are on real sockets.
FLAVOURS = ["memory-trio", "memory-asyncio", "sansio-trio", "sansio-asyncio", "picows-asyncio", "triows-trio"]
URL = "ws://provider.test/v1/realtime"
Script = Callable[[RawPeer], Awaitable[None]]
_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


def backend_of(flavour: str) -> tuple[str, dict[str, Any]]:
    """What anyio's plugin takes."""
    name, _, backend = flavour.partition("-")
    return virtual_backend(backend) if name == "memory" else (backend, {})


def grace(flavour: str) -> float:
    """Seconds by which a busy machine may be late, less than any timer of a link; in virtual time it never is."""
    return 0.0 if flavour.startswith("memory") else 1.0


def _sockets() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        path = f"/proc/self/fd/{number}"
        if os.path.lexists(path) and "socket" in (name := os.readlink(path)):
            found.add(name)
    return found


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """P1 and P4: whatever happens inside, no task and no socket outlives it."""
    tasks, sockets = {task.id for task in anyio.get_running_tasks()}, _sockets()
    yield
    left = [task.name for task in anyio.get_running_tasks() if task.id not in tasks]
    assert not left, f"P1: still running: {left}"
    assert not (open_ := _sockets() - sockets), f"P4: left open: {open_}"


def _dialler(flavour: str, options: Mapping[str, Any]) -> RealtimeTransport:
    name = flavour.partition("-")[0]
    if name == "triows":
        return TrioWebSocketTransport(**options)
    return WebSocketTransport(implementation=name, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def network(flavour: str, script: Script, **options: Any) -> AsyncIterator[tuple[RealtimeTransport, str]]:
    """A transport of that flavour, and the URL at which ``script`` answers with raw bytes.

    The peer's stream is a :class:`FaultyStream`, so that the script can spoil the link. On leaving, the client must
    have hung up.
    """

    async def serve(stream: ByteStream) -> None:
        async with FaultyStream(stream) as faulty:
            await script(RawPeer(faulty))

    async with nothing_left():
        if flavour.startswith("memory"):
            async with FaultyTransport.over_bytes(serve, **options) as transport:
                yield transport, URL
                assert transport.streams == (), "P4: the client's end is still open"
        else:

            async def quietly(peer: RawPeer) -> None:
                try:
                    await serve(peer.stream)
                except _GONE:
                    return

            async with raw_server(quietly) as port:
                yield _dialler(flavour, options), f"ws://127.0.0.1:{port}/v1/realtime"


@asynccontextmanager
async def link(
    flavour: str, script: Script, *, limit: int = 2**20, headers: Mapping[str, Any] = {}, **options: Any
) -> AsyncIterator[MessageStream]:
    """One open link, closed within the bound when it is left."""
    async with network(flavour, script, **options) as (transport, url):
        async with transport.connect(url, max_message_size=limit, headers=headers) as stream:
            yield stream
            leaving = anyio.current_time()
        took = anyio.current_time() - leaving
        assert took <= 2.25 + grace(flavour), f"P3: closing took {took:.2f} s"


async def hear(stream: MessageStream) -> tuple[list[bytes], ConnectionClosed | MessageTooLarge]:
    """Everything until the end, and the end."""
    found: list[bytes] = []
    try:
        while True:
            burst = await stream.receive()
            found += [message.encode() if isinstance(message, str) else bytes(message) for message in burst]
    except (ConnectionClosed, MessageTooLarge) as error:
        return found, error


# -- a provider -------------------------------------------------------------------------------------------------------


@define
class OpenAIPeer:
    """The provider's end in bytes, with as much of the OpenAI protocol as a call needs."""

    raw: RawPeer
    #: What the session has sent, and when.
    frames: list[tuple[float, dict[str, Any]]] = field(factory=list)
    closed: int | None = None

    async def greet(self) -> None:
        """Upgrade and confirm the configuration."""
        await self.raw.upgrade()
        await self.say({"type": "session.created", "session": {"type": "realtime", "id": "s"}})
        await self.hear("session.update")
        await self.say({"type": "session.updated", "session": {"type": "realtime", "id": "s"}})

    async def say(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            await self.raw.send(frame(TEXT, message if isinstance(message, bytes) else msgspec.json.encode(message)))

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next frame of that kind; what comes before it is kept in ``frames`` only."""
        while True:
            opcode, payload = await self.raw.read_frame()
            if opcode == CLOSE:
                self.closed = int.from_bytes(payload[:2], "big")
                await self.raw.send(frame(CLOSE, payload))
                raise anyio.EndOfStream
            if opcode == PING:
                await self.raw.send(frame(PONG, payload))
            if opcode == TEXT:
                message: dict[str, Any] = msgspec.json.decode(payload)
                self.frames.append((anyio.current_time(), message))
                if kind is None or message["type"] == kind:
                    return message

    async def listen(self) -> None:
        """Until the session has said goodbye."""
        while True:
            await self.hear()


def session_over(transport: RealtimeTransport, url: str, **options: Any) -> RealtimeSession[Any]:
    """A session with the OpenAI adapter over ``transport``, with a key that must be found nowhere."""
    model = openai.realtime("gpt-realtime", api_key=CANARY, base_url=url.removesuffix("/realtime"))
    agent: RealtimeAgent[Any] = RealtimeAgent(id="test", name="Test", instructions="Be brief.", model=model)
    options = {"connect_options": ConnectOptions(), **no_reconnect(), **options}
    return RealtimeSession(agent, transport=transport, **options)


@asynccontextmanager
async def watched(session: RealtimeSession[Any], within: float) -> AsyncIterator[Watch]:
    """As ``watching`` for scripted calls; the network and its servers, which outlive a session, are no tasks of its."""
    watch = Watch(session, within)
    session.on("event", watch.hear)
    error: BaseException | None = None
    # Under a virtual clock a deadlock would hang for real: a timer somewhere turns it into a failure.
    with _logged() as watch.records, anyio.fail_after(100_000):
        try:
            async with session:
                yield watch
        except BaseException as exc:
            error = exc
            raise
        finally:
            for task in anyio.get_running_tasks():
                if any(word in (task.name or "") for word in ("Faulty", "raw_server", "Listener")):
                    watch.before.add(task.id)
            watch.check(error)


@asynccontextmanager
async def call(
    flavour: str, script: Callable[[OpenAIPeer], Awaitable[None]], *, within: float = 2.25, **options: Any
) -> AsyncIterator[Watch]:
    """A connected session whose provider is ``script``; afterwards all is checked that every fault leaves true."""
    async with (
        network(flavour, lambda raw: script(OpenAIPeer(raw))) as (transport, url),
        watched(session_over(transport, url, **options), within) as watch,
    ):
        yield watch
