"""Forged bytes on real sockets: what each dialled implementation makes of them, and what it writes."""

from __future__ import annotations

import tracemalloc
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from transport.peers import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FLAVOURS,
    PING,
    PONG,
    TEXT,
    MakeTransport,
    RawPeer,
    close_frame,
    frame,
    raw_server,
)

from kernl_rt._transport._queues import READ_AHEAD
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock", "no_leak")]


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backend(flavour: str) -> str:
    return flavour.partition("-")[2]


async def receive_all(stream: object) -> tuple[list[bytes], ConnectionClosed | MessageTooLarge]:
    found: list[bytes] = []
    try:
        while True:
            burst = await stream.receive()  # type: ignore[attr-defined]
            found += [m.encode() if isinstance(m, str) else bytes(m) for m in burst]
    except (ConnectionClosed, MessageTooLarge) as error:
        return found, error


async def hear(
    make_transport: MakeTransport, data: bytes, *, reset: bool = False, early: bytes = b"", limit: int = 2**20
) -> tuple[list[bytes], Any, int | None]:
    """What a client hears of ``data``, and the close frame that it writes."""
    answers: list[bytes] = []
    heard = anyio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(early)
        if data:
            await peer.send(data)
        if reset:
            sock = peer.stream.extra(SocketAttribute.raw_socket)
            import socket
            import struct

            await anyio.sleep(0.02)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await anyio.aclose_forcefully(peer.stream)
            return
        answers.append(await peer.read_until(CLOSE))
        heard.set()

    async with raw_server(script) as port:
        transport = make_transport(ping_interval=None)
        async with transport.connect(f"ws://127.0.0.1:{port}/", max_message_size=limit) as stream:
            with anyio.fail_after(5):
                found, error = await receive_all(stream)
        with anyio.move_on_after(0 if reset else 1):
            await heard.wait()
    return found, error, int.from_bytes(answers[0][:2], "big") if answers and answers[0] else None


async def test_fragments_become_one_message_with_a_ping_between(make_transport: MakeTransport) -> None:
    data = (
        frame(TEXT, "grü".encode()[:3], fin=False)
        + frame(PING, b"now")
        + frame(CONTINUATION, "grü".encode()[3:], fin=False)
        + frame(CONTINUATION, b"", fin=False)
        + frame(CONTINUATION, b"!")
        + frame(BINARY, b"\xff")
        + close_frame(1000)
    )
    found, error, _ = await hear(make_transport, data)
    assert found == ["grü!".encode(), b"\xff"]
    assert error.code == 1000


async def test_frames_in_the_same_packet_as_the_upgrade_are_kept(make_transport: MakeTransport) -> None:
    found, error, code = await hear(make_transport, b"", early=frame(TEXT, b"early") + close_frame(4000, "why"))
    assert found == [b"early"]
    assert (error.code, error.reason, code) == (4000, "why", 4000)


async def test_a_close_frame_is_noticed_at_once_though_the_peer_never_hangs_up(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.send(close_frame(1001, "maintenance"))
        await anyio.sleep_forever()

    async with raw_server(script) as port:
        async with make_transport().connect(f"ws://127.0.0.1:{port}/") as stream:
            with anyio.fail_after(0.5):
                with pytest.raises(ConnectionClosed, match="maintenance") as caught:
                    await stream.receive()
        assert caught.value.code == 1001


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (close_frame(), 1005),
        (close_frame(1011, "broken"), 1011),
        (close_frame(4999), 4999),
    ],
)
async def test_close_codes_are_kept(make_transport: MakeTransport, data: bytes, code: int) -> None:
    _, error, _ = await hear(make_transport, data)
    assert error.code == code


async def test_a_cut_connection_is_1006(make_transport: MakeTransport) -> None:
    found, error, _ = await hear(make_transport, frame(TEXT, b"whole") + frame(TEXT, b"half", length=4000), reset=True)
    assert found == [b"whole"]
    assert error.code == 1006


async def test_an_end_without_a_close_frame_is_1006(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"last") + frame(TEXT, b"half", length=4000))

    async with raw_server(script) as port, make_transport().connect(f"ws://127.0.0.1:{port}/") as stream:
        found, error = await receive_all(stream)
    assert (found, error.code) == ([b"last"], 1006)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xc3\x28"), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"), 1007),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
        (frame(3, b"x"), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(PING, b"x" * 126), 1002),
        (close_frame(1006), 1002),
        (close_frame(999), 1002),
    ],
    ids=["utf8", "utf8-split", "continuation", "interleaved", "opcode", "rsv", "long-ping", "close-1006", "close-999"],
)
async def test_a_violation_closes_with_its_code(make_transport: MakeTransport, data: bytes, code: int) -> None:
    found, error, sent = await hear(make_transport, frame(TEXT, b"before") + data)
    assert found == [b"before"]
    assert (error.code, sent) == (code, code)


async def test_fifty_megabytes_are_refused_and_not_buffered(make_transport: MakeTransport) -> None:
    limit = 2**20
    payload = b"x" * 2**20

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(BINARY, b"", length=50 * 2**20))
        for _ in range(50):
            await peer.send(payload)
        await anyio.sleep_forever()

    async with (
        raw_server(script) as port,
        make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/", max_message_size=limit) as stream,
    ):
        tracemalloc.start()
        with anyio.fail_after(5), pytest.raises(MessageTooLarge):
            await stream.receive()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * limit


async def test_a_message_of_endless_fragments_is_refused_at_the_limit(make_transport: MakeTransport) -> None:
    data = frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 400, fin=False)
    found, error, _ = await hear(make_transport, data + frame(CONTINUATION, b"y", fin=False), limit=1000)
    assert found == []
    assert isinstance(error, MessageTooLarge)
    found, _, _ = await hear(make_transport, data + frame(CONTINUATION, b"") + close_frame(1000), limit=1000)
    assert found == [b"x" * 1000]


async def test_pings_are_answered_while_nobody_receives(make_transport: MakeTransport) -> None:
    answered = anyio.Event()

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.send(frame(TEXT, b"x" * 1000) * 500 + frame(PING, b"there?"))
        assert await peer.read_until(PONG) == b"there?"
        answered.set()
        await peer.read_until(CLOSE)
        await peer.send(close_frame(1000))

    async with raw_server(script) as port, make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/"):
        with anyio.fail_after(3):
            await answered.wait()


async def test_keepalive_notices_a_silent_peer(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.read_until(PING)
        await anyio.sleep_forever()

    async with raw_server(script) as port:
        transport = make_transport(ping_interval=0.05, ping_timeout=0.1)
        start = anyio.current_time()
        async with transport.connect(f"ws://127.0.0.1:{port}/") as stream:
            with anyio.fail_after(2), pytest.raises(ConnectionClosed) as caught:
                await stream.receive()
            with pytest.raises(ConnectionClosed):
                await stream.send("anybody?")
        assert (caught.value.code, caught.value.reason) == (1006, "keepalive ping timeout")
        assert anyio.current_time() - start < 1.5, "a dead peer was waited for"


async def test_keepalive_leaves_a_living_peer_alone(make_transport: MakeTransport) -> None:
    pings = 0

    async def script(peer: RawPeer) -> None:
        nonlocal pings
        await peer.upgrade()
        while True:
            opcode, payload = await peer.read_frame()
            if opcode == CLOSE:
                await peer.send(close_frame(1000))
                return
            if opcode == PING:
                pings += 1
                await peer.send(frame(PONG, payload))

    async with raw_server(script) as port:
        transport = make_transport(ping_interval=0.03, ping_timeout=2.0)
        async with transport.connect(f"ws://127.0.0.1:{port}/") as stream:
            with anyio.move_on_after(0.5) as scope:
                await stream.receive()
            assert scope.cancelled_caught
            with anyio.fail_after(10):
                while pings < 5:
                    await anyio.sleep(0.01)


async def test_a_stalled_peer_tears_no_frame_and_holds_up_nobody(make_transport: MakeTransport) -> None:
    """A cancelled send returns at once; what it began is whole on the wire; the close is bounded."""
    big = bytes(range(256)) * 40_000
    go = anyio.Event()
    found: list[tuple[int, bytes]] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await go.wait()
        while True:
            opcode, payload = await peer.read_frame()
            found.append((opcode, payload))
            if opcode == CLOSE:
                await peer.send(close_frame(1000))
                return

    async with (
        raw_server(script) as port,
        make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
    ):
        start = anyio.current_time()
        for _ in range(3):
            with anyio.move_on_after(0.1) as scope:
                await stream.send(big)
            assert scope.cancelled_caught, "the peer does not read, and yet it was sent"
        assert anyio.current_time() - start < 0.6, "a cancelled send did not return"
        go.set()
        await stream.send("after")
    assert found[-1][0] == CLOSE
    assert found[-2] == (TEXT, b"after")
    assert all(entry == (BINARY, big) for entry in found[:-2])
    assert 1 <= len(found[:-2]) <= 3


async def test_a_peer_that_ignores_our_close_costs_two_seconds(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        while True:
            await peer.read_frame()

    async with raw_server(script) as port:
        async with make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/"):
            start = anyio.current_time()
        assert 1.9 < anyio.current_time() - start < 2.5


async def test_a_peer_that_reads_nothing_cannot_hold_up_the_close(make_transport: MakeTransport) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await anyio.sleep_forever()

    async with raw_server(script) as port:
        async with make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream:
            with anyio.move_on_after(0.1):
                await stream.send(bytes(20_000_000))
            start = anyio.current_time()
        assert anyio.current_time() - start < 2.5


async def test_many_sends_of_which_some_are_cancelled_parse_exactly(make_transport: MakeTransport) -> None:
    found: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        while True:
            opcode, payload = await peer.read_frame()
            if opcode == CLOSE:
                await peer.send(close_frame(1000))
                return
            found.append(payload)
            if len(found) % 8 == 0:
                await anyio.sleep(0.003)

    async with (
        raw_server(script) as port,
        make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
    ):
        kept: list[int] = []
        for index in range(300):
            with anyio.move_on_after(0.0005 * (index % 3)) as scope:
                await stream.send(index.to_bytes(2, "big") * 20_000)
            if not scope.cancelled_caught:
                kept.append(index)
    numbers = [int.from_bytes(payload[:2], "big") for payload in found]
    assert all(payload == payload[:2] * 20_000 for payload in found)
    assert numbers == sorted(set(numbers))
    assert set(kept) <= set(numbers)
    assert len(kept) < 300


async def test_reading_stops_at_the_budget_while_nobody_receives(make_transport: MakeTransport) -> None:
    sent = 0
    data = frame(BINARY, bytes(2**18))

    async def script(peer: RawPeer) -> None:
        nonlocal sent
        await peer.upgrade()
        for _ in range(400):
            await peer.send(data)
            sent += 2**18

    async with (
        raw_server(script) as port,
        make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/") as stream,
    ):
        before = -1
        while before != sent:  # Until the peer is held up.
            before = sent
            await anyio.sleep(0.3)
        # The budget, and what the two sockets' buffers hold.
        assert READ_AHEAD <= sent <= READ_AHEAD + 16 * 2**20
        found = 0
        while found < 400:
            found += len(await stream.receive())


async def test_a_peer_that_goes_on_sending_hears_why_it_was_refused(
    make_transport: MakeTransport, flavour: str
) -> None:
    if not flavour.startswith("sansio"):
        pytest.skip("picows and trio-websocket close the socket themselves, which may reset it before this is read")
    heard: list[int] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(BINARY, b"", length=50 * 2**20))
        async with anyio.create_task_group() as task_group:

            async def read() -> None:
                # Late, as a peer does that first sends and then looks.
                await anyio.sleep(0.2)
                heard.append(int.from_bytes((await peer.read_until(CLOSE))[:2], "big"))
                task_group.cancel_scope.cancel()

            task_group.start_soon(read)
            for _ in range(30):
                await peer.send(bytes(2**20))
                await anyio.sleep(0.02)

    async with (
        raw_server(script) as port,
        make_transport(ping_interval=None).connect(f"ws://127.0.0.1:{port}/", max_message_size=2**20) as stream,
    ):
        with pytest.raises(MessageTooLarge):
            await stream.receive()
        await stream.aclose()
    assert heard == [1009]
