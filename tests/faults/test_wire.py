"""Fault rows 1 and 2 at the layer of bytes: the connection is torn, or half-open.

Each row runs over the sans-I/O client in virtual time on both backends and, where the transports could differ, over
every implementation on real sockets. Rows 9 to 11 are in test_connect_faults.py.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import anyio
import pytest

from kernl_rt._transport import TrioWebSocketTransport, WebSocketTransport
from kernl_rt.channels import memory_channel_pair
from kernl_rt.config import PCM16_24K
from kernl_rt.events import SessionError
from kernl_rt.exceptions import ConnectionClosed
from tests.faults.flavours import (
    MEMORY,
    anyio_backend as anyio_backend,
    ends,
    faulty,
    flavour as flavour,
    in_memory,
)
from tests.faults.wire import (
    FLAVOURS,
    OpenAIPeer,
    call,
    grace,
    hear,
    link,
)
from tests.transport.peers import PING, TEXT, RawPeer, frame

pytestmark = pytest.mark.anyio


# -- 1: the connection is torn ----------------------------------------------------------------------------------------


async def test_fault_01_reset_in_the_middle_of_a_frame(flavour: str) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"whole"))
        await peer.send(frame(TEXT, b"x" * 100, length=1000))
        await anyio.sleep(0.1)
        faulty(peer).reset()
        await anyio.sleep_forever()

    found, error = await ends(flavour, script)
    assert found == [b"whole"], "a part of a frame was handed on"
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1006


async def test_fault_01_the_connection_ends_in_the_middle_of_a_frame(flavour: str) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await anyio.sleep(0.05)
        faulty(peer).sending.limit_data = len(frame(TEXT, b"whole")) + 100
        await peer.send(frame(TEXT, b"whole") + frame(TEXT, b"x" * 1000))
        await anyio.sleep_forever()

    found, error = await ends(flavour, script)
    assert found == [b"whole"]
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1006


async def test_fault_01_a_reset_ends_the_session(flavour: str) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.greet()
        await peer.say({"type": "response.created", "response": {"id": "r1", "status": "in_progress"}})
        await peer.raw.send(frame(TEXT, b'{"type": "response.done"', length=1000))
        await anyio.sleep(0.1)
        faulty(peer.raw).reset()
        await anyio.sleep_forever()

    with pytest.raises(ConnectionClosed) as caught:
        async with call(flavour, script) as watch:
            with anyio.fail_after(5):
                await watch.session.wait_closed()
    assert caught.value.code == 1006
    assert not [event for event in watch.log if isinstance(event, SessionError) and event.source == "protocol"]


# -- 2: half-open -----------------------------------------------------------------------------------------------------


async def falls_silent(peer: RawPeer, after: float = 0.0) -> None:
    """Answers pings for ``after`` seconds, then neither sends nor reads, and TCP stays up."""
    await peer.upgrade()
    with anyio.move_on_after(after):
        while True:
            opcode, payload = await peer.read_frame()
            if opcode == PING:
                await peer.send(frame(0xA, payload))
    faulty(peer).sending.timeout = faulty(peer).receiving.timeout = math.inf
    await anyio.sleep_forever()


def test_fault_02_the_shipped_defaults() -> None:
    for transport in (WebSocketTransport, TrioWebSocketTransport):
        shipped = inspect.signature(transport).parameters
        assert (shipped["ping_interval"].default, shipped["ping_timeout"].default) == (5, 5)


@in_memory
@pytest.mark.parametrize("talking", [False, True], ids=["silent", "talking"])
async def test_fault_02_half_open_is_noticed_in_twelve_seconds(flavour: str, talking: bool) -> None:
    async def talk(stream: Any) -> None:
        try:
            while True:
                await stream.send(bytes(2000))
                await anyio.sleep(0.02)
        except ConnectionClosed:
            return

    async with link(flavour, falls_silent) as stream:
        start = anyio.current_time()
        async with anyio.create_task_group() as group:
            if talking:
                group.start_soon(talk, stream)
            with anyio.fail_after(100):
                _, error = await hear(stream)
        assert 5 <= anyio.current_time() - start <= 12
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason) == (1006, "keepalive ping timeout")


@pytest.mark.parametrize("flavour", [name for name in FLAVOURS if name not in MEMORY], indirect=True)
async def test_fault_02_half_open_on_sockets(flavour: str) -> None:
    async with link(flavour, falls_silent, ping_interval=0.1, ping_timeout=0.1) as stream:
        start = anyio.current_time()
        with anyio.fail_after(5):
            _, error = await hear(stream)
        assert 0.15 <= anyio.current_time() - start <= 0.7 + grace(flavour)
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1006


async def test_fault_02_leaving_a_half_open_link_does_not_wait_until_it_is_noticed(flavour: str) -> None:
    async with link(flavour, falls_silent) as stream:
        await anyio.sleep(0.2)
        start = anyio.current_time()
        await stream.aclose()
        # As long as a peer may take to answer our goodbye, and no longer.
        assert 1.9 <= anyio.current_time() - start <= 2.25 + grace(flavour)


@in_memory
async def test_promise_19_a_dead_peer_is_noticed_in_twelve_seconds_in_every_phase(flavour: str) -> None:
    slowest = 0.0
    for tenth in range(0, 110, 7):

        async def script(peer: RawPeer, after: float = tenth / 10) -> None:
            await falls_silent(peer, after)

        async with link(flavour, script) as stream:
            start = anyio.current_time()
            with anyio.fail_after(100):
                await hear(stream)
            slowest = max(slowest, anyio.current_time() - start - tenth / 10)
    assert 9 <= slowest <= 12


@in_memory
async def test_fault_02_a_half_open_link_ends_the_session_and_the_sound_of_the_gap_is_bounded(flavour: str) -> None:
    second = PCM16_24K.bytes_per_second

    async def script(peer: OpenAIPeer) -> None:
        await peer.greet()
        await anyio.sleep(0.05)
        faulty(peer.raw).receiving.timeout = faulty(peer.raw).sending.timeout = math.inf
        await anyio.sleep_forever()

    channel, human = memory_channel_pair(playback="realtime")
    with pytest.raises(ConnectionClosed, match="keepalive"):
        async with call(flavour, script, channel=channel) as watch, anyio.create_task_group() as group:
            start = anyio.current_time()
            group.start_soon(human.speak, b"\1\0" * (second // 2) * 60)
            await anyio.sleep(8)
            waiting = watch.session.statistics().to_model
            assert waiting.audio_ms <= 500
            assert waiting.dropped_ms > 3000
            with anyio.fail_after(10):
                await watch.session.wait_closed()
            # To notice takes at most 12 seconds; to close a link that answers nothing, two more.
            assert anyio.current_time() - start <= 14.25
            group.cancel_scope.cancel()
