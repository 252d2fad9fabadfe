"""Fault rows 12 and 13 and promise 22 at the layer of bytes: slow links, slices, and whole frames in order."""

from __future__ import annotations

import math
import re
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeSession
from kernl_rt.channels import memory_channel_pair
from kernl_rt.config import ConnectOptions, SessionConfig
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.simulator import Simulator
from kernl_rt.testing import FaultyTransport, Toxics
from tests.faults.flavours import (
    MEMORY,
    anyio_backend as anyio_backend,
    flavour as flavour,
    in_memory,
)
from tests.faults.wire import (
    FLAVOURS,
    URL,
    OpenAIPeer,
    link,
    nothing_left,
    session_over,
    watched,
)
from tests.transport.peers import BINARY, CLOSE, RawPeer, close_frame

pytestmark = pytest.mark.anyio


# -- 12: a slow uplink ------------------------------------------------------------------------------------------------


@in_memory
async def test_fault_12_a_slow_uplink_drops_the_oldest_sound_and_delays_no_command(flavour: str) -> None:
    seconds = 20
    arrived: list[tuple[float, int]] = []
    commands: list[float] = []

    async def script(raw: Any) -> None:
        import pybase64

        peer = OpenAIPeer(RawPeer(raw))
        await peer.greet()
        try:
            while True:
                message = await peer.hear()
                if message["type"] == "input_audio_buffer.append":
                    number = int.from_bytes(pybase64.b64decode(message["audio"])[:2], "little")
                    arrived.append((anyio.current_time(), number))
                elif message["type"] == "conversation.item.create":
                    commands.append(anyio.current_time())
        except anyio.EndOfStream:
            return

    # Frames of 20 ms, each with its number for a sample.
    sound = b"".join(number.to_bytes(2, "little") * 480 for number in range(50 * seconds))
    channel, human = memory_channel_pair(playback="realtime")
    # The transports keep so little unsent in the system: see test_fault_12_little_waits_in_the_system.
    slow = Toxics(bandwidth=8000)
    async with nothing_left(), FaultyTransport.over_bytes(script, capacity=4096, ping_interval=None) as transport:
        session = session_over(transport, URL, channel=channel)
        async with watched(session, 5) as watch, anyio.create_task_group() as group:
            transport.sending.bandwidth = slow.bandwidth
            start = anyio.current_time()
            group.start_soon(human.speak, sound)
            asked: list[float] = []
            for _ in range(5):
                await anyio.sleep(3.3)
                asked.append(anyio.current_time())
                watch.session.send_message("now")
                await anyio.sleep(1)
            dropped = watch.session.statistics().to_model.dropped_ms
            assert watch.session.statistics().to_model.audio_ms <= 500
            group.cancel_scope.cancel()
    assert len(commands) == 5
    delays = [done - wish for wish, done in zip(asked, commands, strict=True)]
    assert max(delays) <= 1, f"a command waited {max(delays):.2f} s"
    numbers = [number for _, number in arrived]
    assert numbers == sorted(set(numbers)), "sound out of order, or twice"
    assert dropped > 10_000, "an uplink of 8 kB/s cannot carry 64"
    # Half a second waits with us, half a second in the system. After the last word nothing displaces what waits.
    late = max(when - start - 0.02 * (number + 1) for when, number in arrived if when <= start + seconds)
    assert late <= 1.5, f"old sound was kept: {late:.2f} s"


@pytest.mark.parametrize("flavour", [name for name in FLAVOURS if name not in MEMORY], indirect=True)
async def test_fault_12_little_waits_in_the_system(flavour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        pytest.skip("this system cannot be told to keep little unsent")

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.read_until(CLOSE)
        await peer.send(close_frame(1000))

    async with link(flavour, script):
        found = []
        for number in _open_sockets():
            with socket.socket(fileno=_dup(number)) as sock:
                if sock.type == socket.SOCK_STREAM and sock.family == socket.AF_INET:
                    try:
                        sock.getpeername()
                    except OSError:
                        continue
                    found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))
    assert 4096 in found


def _open_sockets() -> list[int]:
    import os
    import stat

    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            continue
    return found


def _dup(number: int) -> int:
    import os

    return os.dup(number)


# -- 13: slices -------------------------------------------------------------------------------------------------------


async def trace(**toxics: Any) -> list[str]:
    """A whole call with the simulator: everything the session told, but for how long it took."""
    simulator = Simulator(speed=1000, seed=7)
    log: list[str] = []
    async with nothing_left(), FaultyTransport(simulator, **toxics) as transport:
        # In words, not sound: one byte at a time, sound takes long.
        options = ConnectOptions(session_config=SessionConfig(output_modality="text"))
        session: RealtimeSession[Any] = session_over(transport, URL, connect_options=options)
        session.on("event", lambda event: log.append(repr(event)))
        with anyio.fail_after(10_000):
            async with session:
                await session.ask("hello")
                await session.ask("Grüße 🎙")
        assert transport.streams == ()
    # Latencies depend on the moment, and the wall clock's time of expiry on when the test runs.
    return [re.sub(r"expires_at=\d+", "", line) for line in log if not line.startswith("LatencyMeasured")]


@in_memory
async def test_fault_13_segments_of_one_byte_change_nothing(flavour: str) -> None:
    whole = await trace()
    assert len(whole) > 20
    assert await trace(sending=Toxics(slicer=1), receiving=Toxics(slicer=1)) == whole


# -- P22 --------------------------------------------------------------------------------------------------------------


def frames_of(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The client's frames in ``data``, and what is left of the last one."""
    found: list[tuple[int, bytes]] = []
    while len(data) >= 2:
        size, at = data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if len(data) < at + 4 + size:
            break
        mask, payload = data[at : at + 4], data[at + 4 : at + 4 + size]
        key = (mask * (size // 4 + 1))[:size]
        clear = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
        found.append((data[0], clear))
        data = data[at + 4 + size :]
    return found, data


@in_memory
@pytest.mark.parametrize(
    "toxics",
    [
        {},
        {"latency": 0.1, "jitter": 0.09},
        {"bandwidth": 100_000.0},
        {"slicer": 100},
        {"timeout": 0.5},
        {"timeout": math.inf},
        {"reset_peer": 0.3},
        {"limit_data": 50_001},
        {"down": True},
    ],
    ids=lambda toxics: "-".join(toxics) or "sound",
)
async def test_promise_22_whole_frames_in_the_order_of_submission_at_every_fault(
    flavour: str, toxics: dict[str, Any]
) -> None:
    """Messages are sent, some are cancelled at different moments, the network fails in between: parse the bytes."""
    received = bytearray()

    async def script(raw: Any) -> None:
        peer = RawPeer(raw)
        await peer.upgrade()
        with anyio.move_on_after(100):
            while True:
                received.extend(await raw.receive())

    sent: list[int] = []
    async with nothing_left(), FaultyTransport.over_bytes(script, seed=3, capacity=5000) as transport:
        async with transport.connect(URL) as stream:
            try:
                for number in range(120):
                    if number == 40:
                        for name, value in toxics.items():
                            setattr(transport.sending, name, value)
                    with anyio.move_on_after(0.007 * (number % 4)) as scope:
                        await stream.send(number.to_bytes(2, "big") * (1 + 700 * (number % 3)))
                    if not scope.cancelled_caught:
                        sent.append(number)
            except ConnectionClosed:
                assert toxics
        assert transport.streams == ()
    frames, rest = frames_of(bytes(received))
    texts = [(head, payload) for head, payload in frames if head & 0x0F == BINARY]
    assert all(head == 0x80 | (head & 0x0F) for head, _ in frames), "a torn frame"
    numbers = [int.from_bytes(payload[:2], "big") for _, payload in texts]
    for number, (_, payload) in zip(numbers, texts, strict=True):
        assert payload == number.to_bytes(2, "big") * (1 + 700 * (number % 3)), f"frame {number} is torn"
    assert numbers == sorted(set(numbers)), "another order, or twice"
    assert len(numbers) > 20
    lasting = not toxics.keys() & {"timeout", "reset_peer", "limit_data", "down"}
    if lasting:
        assert rest == b""
        assert set(sent) <= set(numbers)
        assert frames[-1][0] == 0x80 | CLOSE
