"""FaultyStream: each toxic does what it says, in virtual time; and the transport that is made of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._transport import Request
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import ConnectionClosed, ConnectRefusedError, MisconfiguredError, SessionStateError
from kernl_rt.simulator import Simulator
from kernl_rt.testing import FaultyStream, FaultyTransport, Toxics, byte_streams, check_transport

pytestmark = pytest.mark.anyio


class Line:
    """A faulty stream and its far end."""

    def __init__(self, near: FaultyStream, far: ByteStream) -> None:
        self.near, self.far = near, far


@asynccontextmanager
async def line(**options: Any) -> AsyncIterator[Line]:
    near, far = byte_streams()
    with anyio.fail_after(10_000):
        async with FaultyStream(near, **options) as faulty:
            yield Line(faulty, far)
        with pytest.raises(anyio.ClosedResourceError):
            await near.send(b"it was left open")
        await far.aclose()


async def arrivals(stream: ByteStream, start: float, size: int | None = None) -> list[tuple[float, bytes]]:
    """What comes, and when, until the end or until ``size`` bytes are there."""
    found: list[tuple[float, bytes]] = []
    try:
        while size is None or sum(len(data) for _, data in found) < size:
            data = await stream.receive()
            found.append((round(anyio.current_time() - start, 6), data))
    except anyio.EndOfStream:
        found.append((round(anyio.current_time() - start, 6), b""))
    return found


async def test_a_sound_network_changes_nothing() -> None:
    async with line() as at:
        start = anyio.current_time()
        await at.near.send(b"up")
        await at.far.send(b"down")
        assert await at.far.receive() == b"up"
        assert await at.near.receive() == b"down"
        assert await_time(start) == 0
        await at.near.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await at.far.receive()
        await at.far.send(b"half closed")
        assert await at.near.receive() == b"half closed"
        await at.far.aclose()
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await at.near.receive()


def await_time(start: float) -> float:
    return round(anyio.current_time() - start, 6)


async def test_latency_delays_each_piece_and_is_pipelined() -> None:
    async with line(receiving=Toxics(latency=0.3), sending=Toxics(latency=1)) as at:
        start = anyio.current_time()
        await at.near.send(b"up")
        assert await_time(start) == 0, "send() waited for the network"
        for number in range(3):
            await at.far.send(bytes([number]))
            await anyio.sleep(0.02)
        assert await arrivals(at.near, start, 3) == [(0.3, b"\0"), (0.32, b"\1"), (0.34, b"\2")]
        assert await arrivals(at.far, start, 2) == [(1.0, b"up")]


async def jittered(seed: int) -> list[tuple[float, bytes]]:
    async with line(receiving=Toxics(latency=0.1, jitter=0.08), seed=seed) as at:
        start = anyio.current_time()
        async with anyio.create_task_group() as group:

            async def speak() -> None:
                for number in range(50):
                    await at.far.send(bytes([number]))
                    await anyio.sleep(0.01)

            group.start_soon(speak)
            return await arrivals(at.near, start, 50)
    raise AssertionError


async def test_jitter_comes_from_the_seed_and_keeps_the_order() -> None:
    first, again, other = await jittered(1), await jittered(1), await jittered(2)
    assert [data for _, data in first] == [bytes([number]) for number in range(50)]
    delays = [when - 0.01 * number for number, (when, _) in enumerate(first)]
    assert min(delays) >= 0.02
    assert max(delays) <= 0.18 + 1e-6
    assert max(delays) - min(delays) > 0.05
    assert first == again
    assert first != other


async def test_bandwidth_is_kept_to() -> None:
    async with line(sending=Toxics(bandwidth=8000)) as at:
        start = anyio.current_time()
        await at.near.send(bytes(40_000))
        found = await arrivals(at.far, start, 40_000)
        assert found[-1][0] == pytest.approx(5, abs=0.05)
        halfway = sum(len(data) for when, data in found if when <= 2.5)
        assert halfway == pytest.approx(20_000, rel=0.02)


async def test_the_capacity_holds_up_the_sender() -> None:
    async with line(sending=Toxics(bandwidth=1000), capacity=2000) as at:
        start = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(arrivals, at.far, start, 5000)
            await at.near.send(bytes(5000))
            assert await_time(start) == pytest.approx(3, abs=0.1)


async def test_a_cancelled_send_leaves_a_part_on_the_way_as_a_socket_does() -> None:
    async with line(capacity=10, sending=Toxics(timeout=math.inf)) as at:
        with anyio.move_on_after(1) as scope:
            await at.near.send(b"0123456789abcdef")
        assert scope.cancelled_caught
        at.near.sending.clear()
        assert await at.far.receive() == b"0123456789"


@pytest.mark.parametrize("size", [1, 3])
async def test_the_slicer_makes_small_pieces(size: int) -> None:
    async with line(sending=Toxics(slicer=size), receiving=Toxics(slicer=size)) as at:
        await at.near.send(b"hello world")
        await at.far.send(b"hello world")
        for stream in (at.far, at.near):
            pieces = [data for _, data in await arrivals(stream, 0, 11)]
            assert b"".join(pieces) == b"hello world"
            assert {len(data) for data in pieces[:-1]} == {size}


async def test_timeout_holds_everything_and_then_ends_the_link() -> None:
    async with line(receiving=Toxics(timeout=7)) as at:
        start = anyio.current_time()
        await at.far.send(b"never heard")
        assert await arrivals(at.near, start) == [(7.0, b"")]
        with pytest.raises(anyio.BrokenResourceError):
            await at.near.send(b"gone")


async def test_a_half_open_link_that_recovers_has_lost_nothing() -> None:
    async with line() as at:
        at.near.receiving.timeout = math.inf
        start = anyio.current_time()
        await at.far.send(b"late")
        with anyio.move_on_after(3600) as scope:
            await at.near.receive()
        assert scope.cancelled_caught
        await at.near.send(b"the other way is fine")
        assert await at.far.receive() == b"the other way is fine"
        at.near.receiving.timeout = None
        assert await at.near.receive() == b"late"
        assert await_time(start) == 3600


async def test_reset_peer_breaks_both_ends_and_loses_what_was_on_its_way() -> None:
    async with line(receiving=Toxics(latency=1), sending=Toxics(latency=1)) as at:
        await at.far.send(b"on its way")
        await at.near.send(b"on its way")
        start = anyio.current_time()
        at.near.sending.reset_peer = 0.5
        for stream in (at.near, at.far):
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
            with pytest.raises(anyio.BrokenResourceError):
                await stream.send(b"x")
        assert await_time(start) == 0.5


@pytest.mark.parametrize("way", ["sending", "receiving"])
async def test_limit_data_ends_the_link_after_so_many_bytes(way: str) -> None:
    async with line(**{way: Toxics(limit_data=100)}) as at:
        source, sink = (at.near, at.far) if way == "sending" else (at.far, at.near)
        await source.send(bytes(60))
        assert len(await sink.receive()) == 60
        await source.send(bytes(1000))
        found = [data for _, data in await arrivals(sink, 0)]
        assert [len(data) for data in found] == [40, 0]
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await at.near.send(b"x")


async def test_limit_data_counts_from_when_it_is_set() -> None:
    async with line() as at:
        await at.far.send(bytes(500))
        assert len(await at.near.receive()) == 500
        at.near.receiving.limit_data = 3
        await at.far.send(b"abcdef")
        assert await arrivals(at.near, anyio.current_time()) == [(0, b"abc"), (0, b"")]


async def test_down_ends_the_link() -> None:
    async with line() as at:
        async with anyio.create_task_group() as group:

            async def switch() -> None:
                await anyio.sleep(2)
                at.near.receiving.down = True

            start = anyio.current_time()
            group.start_soon(switch)
            assert await arrivals(at.near, start) == [(2.0, b"")]
        assert await arrivals(at.far, start) == [(2.0, b"")]


async def test_slow_close_delays_the_end_both_ways() -> None:
    near, far = byte_streams()
    with anyio.fail_after(100):
        async with FaultyStream(near, receiving=Toxics(slow_close=4), sending=Toxics(slow_close=9)) as faulty:
            start = anyio.current_time()
            await far.send(b"last")
            await far.send_eof()
            assert await arrivals(faulty, start) == [(0, b"last"), (4, b"")]
        assert await_time(start) == 4 + 9
        assert await arrivals(far, start) == [(13, b"")]


async def test_what_was_sent_before_the_close_still_arrives() -> None:
    near, far = byte_streams()
    with anyio.fail_after(100):
        async with FaultyStream(near, sending=Toxics(latency=2)) as faulty:
            start = anyio.current_time()
            await faulty.send(b"goodbye")
            await faulty.aclose()
            assert await_time(start) == 0
            for use in (faulty.receive, lambda: faulty.send(b"x")):
                with pytest.raises(anyio.ClosedResourceError):
                    await use()
        assert await_time(start) == 2
        assert await arrivals(far, start) == [(2, b"goodbye"), (2, b"")]


async def test_leaving_is_bounded_though_nothing_passes_and_at_once_when_cancelled() -> None:
    start = anyio.current_time()
    async with line(sending=Toxics(timeout=math.inf)) as at:
        await at.near.send(b"stuck")
    assert await_time(start) == 5
    with anyio.move_on_after(1) as scope:
        async with line(sending=Toxics(timeout=math.inf)) as at:
            await at.near.send(b"stuck")
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await_time(start) == 6


async def test_the_bodys_exception_comes_out_bare() -> None:
    class Mine(Exception):
        pass

    near, _ = byte_streams()
    with pytest.raises(Mine):
        async with FaultyStream(near):
            raise Mine


async def test_toxics_are_switched_while_it_runs() -> None:
    async with line(receiving=Toxics(latency=50)) as at:
        start = anyio.current_time()
        await at.far.send(b"1")
        await anyio.sleep(1)
        at.near.receiving.latency = 0
        await at.far.send(b"2")
        assert await arrivals(at.near, start, 2) == [(50, b"1"), (50, b"2")], "a piece overtook another"
        at.near.receiving.bandwidth = 1
        await at.far.send(b"345")
        assert (await arrivals(at.near, start, 3))[-1] == (52, b"5")
        at.near.receiving.clear()
        await at.far.send(b"678")
        assert await arrivals(at.near, start, 3) == [(52, b"678")]


@pytest.mark.parametrize(
    "options", [{"latency": -1}, {"bandwidth": 0}, {"slicer": 0}, {"down": 1}, {"timeout": "soon"}, {"limit_data": -1}]
)
def test_a_toxic_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(MisconfiguredError, match=next(iter(options))):
        Toxics(**options)
    toxics = Toxics()
    with pytest.raises(MisconfiguredError, match=next(iter(options))):
        setattr(toxics, *next(iter(options.items())))


async def test_it_works_inside_of_its_context_only() -> None:
    near, _ = byte_streams()
    faulty = FaultyStream(near)
    for use in (lambda: faulty.send(b"x"), faulty.receive, faulty.aclose):
        with pytest.raises(SessionStateError, match="async with"):
            await use()
    async with faulty:
        with pytest.raises(SessionStateError, match="once"):
            await faulty.__aenter__()
    with pytest.raises(SessionStateError, match="async with"):
        async with FaultyTransport(echo).connect("ws://x/"):
            raise AssertionError("it connected")


async def test_over_sockets_in_real_time_a_reset_is_a_real_one(real_clock: None) -> None:
    from anyio.abc import SocketAttribute

    seen: list[type[BaseException]] = []
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def serve(client: ByteStream) -> None:
        async with FaultyStream(client, receiving=Toxics(latency=0.05)) as faulty:
            assert await faulty.receive() == b"hello"
            faulty.reset()
        listening.cancel()

    with anyio.fail_after(5):
        async with listener, anyio.create_task_group() as group:
            listening = anyio.CancelScope()

            async def listen() -> None:
                with listening:
                    await listener.serve(serve)

            group.start_soon(listen)
            port = listener.extra(SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                start = anyio.current_time()
                await stream.send(b"hello")
                try:
                    await stream.receive()
                except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
                    seen.append(type(error))
                assert anyio.current_time() - start >= 0.05
    assert seen == [anyio.BrokenResourceError]


# -- the transport


async def echo(stream: MessageStream, request: Request) -> None:
    while True:
        for message in await stream.receive():
            await stream.send(message)


@pytest.mark.parametrize(
    "toxics",
    [Toxics(), Toxics(latency=0.02, jitter=0.01), Toxics(slicer=5000)],
    ids=["sound", "latency", "slicer"],
)
async def test_the_transport_keeps_every_promise_of_a_transport(toxics: Toxics) -> None:
    @asynccontextmanager
    async def connect_to(handler: Any, limit: int) -> AsyncIterator[MessageStream]:
        ended = anyio.Event()

        async def watched(stream: MessageStream, request: Request) -> None:
            try:
                await handler(stream, request)
            finally:
                ended.set()

        scope = anyio.CancelScope(shield=True)
        async with bare_task_group() as group:
            transports: list[FaultyTransport] = []
            ready = anyio.Event()

            async def network() -> None:
                with scope:
                    async with FaultyTransport(watched, sending=toxics, receiving=toxics) as transport:
                        transports.append(transport)
                        ready.set()
                        await anyio.sleep_forever()

            group.start_soon(network)
            await ready.wait()
            try:
                async with transports[0].connect("ws://x/", max_message_size=limit) as stream:
                    yield stream
            finally:
                with anyio.move_on_after(1, shield=True):
                    await ended.wait()
                scope.cancel()

    await check_transport(connect_to)


async def test_each_link_can_be_struck_alone_and_the_dials_are_noted() -> None:
    with anyio.fail_after(100):
        async with FaultyTransport(echo) as transport:
            start = anyio.current_time()
            async with transport.connect("ws://x/") as first, transport.connect("ws://x/") as second:
                transport.streams[0].reset()
                with pytest.raises(ConnectionClosed, match="broke"):
                    await first.receive()
                await second.send("alive")
                assert list(await second.receive()) == [b"alive"]
            assert transport.streams == ()
            transport.receiving.down = True
            await anyio.sleep(1)
            with pytest.raises(ConnectRefusedError, match="network is down"):
                async with transport.connect("ws://x/"):
                    raise AssertionError("it connected")
            transport.receiving.clear()
            async with transport.connect("ws://x/") as third:
                await third.send("back")
                assert list(await third.receive()) == [b"back"]
            assert [when - start for when in transport.dials] == [0, 0, 1, 1]


async def test_an_error_in_a_server_of_bytes_comes_out() -> None:
    async def wrong(stream: ByteStream) -> None:
        await stream.receive()
        raise AssertionError("not what I expected")

    with anyio.fail_after(100), pytest.raises(AssertionError, match="not what I expected"):
        async with FaultyTransport.over_bytes(wrong) as transport, transport.connect("ws://x/"):
            raise RuntimeError("it connected")


async def test_a_simulator_behind_a_bad_network() -> None:
    simulator = Simulator(speed=50, seed=1)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=simulator.realtime())
    bad = Toxics(latency=0.2, jitter=0.05, bandwidth=100_000)
    with anyio.fail_after(1000):
        async with FaultyTransport(simulator, sending=bad, receiving=bad) as transport:
            start = anyio.current_time()
            async with RealtimeSession(agent, transport=transport) as session:
                assert anyio.current_time() - start > 0.6, "handshake and configuration cost round trips"
                reply = await session.ask("hello")
            assert reply.text
            assert simulator.sessions == 0
            assert transport.streams == ()
