"""The sans-I/O implementation over a byte stream in memory: faults that take minutes, in no time."""

from __future__ import annotations

import anyio
import pytest
from transport.peers import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawPeer,
    close_frame,
    frame,
    link,
)

from kernl_rt._transport import WebSocketTransport
from kernl_rt._transport._queues import READ_AHEAD
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError

pytestmark = pytest.mark.anyio


async def read_for_ever(peer: RawPeer) -> None:
    await peer.upgrade()
    await peer.gone()


async def test_a_half_open_link_is_noticed_within_ten_seconds() -> None:
    async with link(read_for_ever) as stream:
        start = anyio.current_time()
        with anyio.fail_after(60), pytest.raises(ConnectionClosed) as caught:
            await stream.receive()
        assert 9.9 <= anyio.current_time() - start <= 10.1
        assert (caught.value.code, caught.value.reason) == (1006, "keepalive ping timeout")


async def test_no_keepalive_where_none_is_wanted() -> None:
    async with link(read_for_ever, ping_interval=None) as stream:
        with anyio.move_on_after(3600) as scope:
            await stream.receive()
        assert scope.cancelled_caught


async def test_an_hour_of_silence_from_a_peer_that_answers_pings() -> None:
    pings: list[float] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        while True:
            opcode, payload = await peer.read_frame()
            if opcode == PING:
                pings.append(anyio.current_time())
                await anyio.sleep(4)
                await peer.send(frame(PONG, payload))

    async with link(script) as stream:
        with anyio.move_on_after(3600) as scope:
            await stream.receive()
        assert scope.cancelled_caught
    assert len(pings) == pytest.approx(3600 / 9, abs=2)


async def test_a_peer_that_is_busy_sending_is_alive_without_pongs() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        while True:
            await anyio.sleep(3)
            await peer.send(frame(TEXT, b"audio"))

    async with link(script) as stream:
        for _ in range(20):
            assert list(await stream.receive()) == [b"audio"]


async def test_nobody_receives_for_an_hour_and_the_peer_floods() -> None:
    """Read ahead up to the budget, then stop reading; the link lives and nothing is lost."""
    sent = 0

    async def script(peer: RawPeer) -> None:
        nonlocal sent
        await peer.upgrade()
        while True:
            await peer.send(frame(BINARY, sent.to_bytes(4, "big") + bytes(2**20 - 4)))
            sent += 1
            await anyio.sleep(0.1)  # Virtual time stands still while somebody is busy.

    async with link(script, buffer=1) as stream:
        await anyio.sleep(3600)
        read_ahead = sent
        assert READ_AHEAD // 2**20 <= read_ahead <= READ_AHEAD // 2**20 + 4
        numbers: list[int] = []
        while len(numbers) < 2 * read_ahead:
            numbers += [int.from_bytes(bytes(m[:4]), "big") for m in await stream.receive() if isinstance(m, bytes)]
        assert numbers == list(range(len(numbers)))


async def test_a_peer_that_ignores_our_close_costs_two_seconds() -> None:
    async with link(read_for_ever) as stream:
        start = anyio.current_time()
        await stream.aclose(1001, "bye")
        assert anyio.current_time() - start == pytest.approx(2)
        with pytest.raises(ConnectionClosed, match="bye"):
            await stream.receive()


async def test_a_cancelled_aclose_frees_the_socket_at_once() -> None:
    async with link(read_for_ever) as stream:
        start = anyio.current_time()
        with anyio.move_on_after(0.5):
            await stream.aclose()
        assert anyio.current_time() - start == pytest.approx(0.5)
    assert anyio.current_time() - start == pytest.approx(0.5)


async def test_a_peer_that_pings_without_end_and_reads_nothing_costs_bounded_memory() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        for number in range(20_000):
            await peer.send(frame(PING, number.to_bytes(4, "big")))
        await peer.send(frame(TEXT, b"done"))
        await anyio.sleep_forever()

    async with link(script, buffer=1, ping_interval=None) as stream:
        assert list(await stream.receive()) == [b"done"]
        assert len(stream._outbox._control) <= 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("slice_size", [1, 7])
async def test_slicing_changes_nothing(slice_size: int) -> None:
    text = "grüße 🎙 " * 30
    data = (
        frame(TEXT, b"")
        + frame(TEXT, text.encode())
        + frame(PING, b"p")
        + frame(BINARY, bytes(range(256)) * 20, fin=False)
        + frame(PONG, b"unasked")
        + frame(CONTINUATION, b"tail")
        + frame(BINARY, bytes(70_000))
        + close_frame(4001, "Ende 🎙")
    )

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(data)
        await peer.gone()

    async def hear(size: int | None) -> tuple[list[str | bytes], int, str]:
        found: list[str | bytes] = []
        async with link(script, slice_size=size) as stream:
            try:
                while True:
                    found += await stream.receive()
            except ConnectionClosed as closed:
                return found, closed.code, closed.reason
        raise AssertionError

    whole = await hear(None)
    assert whole[1:] == (4001, "Ende 🎙")
    assert [bytes(m) for m in whole[0] if isinstance(m, bytes)][1] == text.encode()
    assert len(whole[0]) == 4
    assert await hear(slice_size) == whole


async def test_two_receivers_are_told() -> None:
    async with link(read_for_ever) as stream, anyio.create_task_group() as task_group:
        task_group.start_soon(stream.receive)
        await anyio.sleep(0.1)
        with pytest.raises(Exception, match="another task is already receiving"):
            await stream.receive()
        task_group.cancel_scope.cancel()


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 2000, 5000])
async def test_a_close_code_that_may_not_be_sent(code: int) -> None:
    async with link(read_for_ever) as stream:
        with pytest.raises(MisconfiguredError):
            await stream.aclose(code)


@pytest.mark.parametrize("options", [{"ping_interval": 0}, {"ping_timeout": -1}, {"implementation": "magic"}])
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(MisconfiguredError):
        WebSocketTransport(**options)  # type: ignore[arg-type]
