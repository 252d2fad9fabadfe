"""Fault rows 14 to 18 at the layer of bytes: garbage, text that is none, and too much."""

from __future__ import annotations

import tracemalloc
import zlib

import anyio
import pytest

from kernl_rt.events import ResponseDone, SessionError
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from tests.faults.flavours import (
    AT_ONCE,
    anyio_backend as anyio_backend,
    flavour as flavour,
    in_memory,
)
from tests.faults.wire import (
    OpenAIPeer,
    call,
    grace,
    hear,
    link,
)
from tests.transport.peers import BINARY, CLOSE, TEXT, RawPeer, close_frame, frame

pytestmark = pytest.mark.anyio


# -- 14, 16: garbage --------------------------------------------------------------------------------------------------


@in_memory
@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"[]",
        b"null",
        b'{"type": []}',
        b'{"type": "response.created"}',
        b'{"type": "input_audio_buffer.speech_started", "audio_start_ms": NaN}',
        b'{"type": "input_audio_buffer.speech_started", "audio_start_ms": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
    ids=["text", "array", "null", "unhashable", "missing", "nan", "huge", "deep"],
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
async def test_fault_14_16_garbage_on_the_wire_is_one_error(flavour: str, garbage: bytes, opcode: int) -> None:
    async def script(peer: OpenAIPeer) -> None:
        await peer.greet()
        await peer.raw.send(frame(opcode, garbage))
        await peer.say({"type": "response.created", "response": {"id": "r1", "status": "in_progress"}})
        await peer.say({"type": "response.done", "response": {"id": "r1", "status": "completed", "output": []}})
        await peer.listen()

    async with call(flavour, script) as watch:
        with anyio.fail_after(5):
            async for event in watch.session:
                if isinstance(event, ResponseDone):
                    break
        assert watch.session.status == "connected"
    errors = [event for event in watch.log if isinstance(event, SessionError)]
    assert [event.source for event in errors] == ["protocol"]


# -- 17: text that is none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs_up", [True, False], ids=["answers", "ignores"])
async def test_fault_17_invalid_utf8_is_refused_with_1007(flavour: str, hangs_up: bool) -> None:
    heard: list[int] = []
    gone: list[float] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"before"))
        await peer.send(frame(TEXT, b"\xc3\x28"))
        heard.append(int.from_bytes((await peer.read_until(CLOSE))[:2], "big"))
        if hangs_up:
            await peer.send(close_frame(1007))
            await peer.stream.aclose()
        else:
            await peer.gone()
        gone.append(anyio.current_time())

    async with link(flavour, script) as stream:
        start = anyio.current_time()
        with anyio.fail_after(10):
            found, error = await hear(stream)
        assert anyio.current_time() - start <= AT_ONCE + grace(flavour)
        assert found == [b"before"]
        assert isinstance(error, ConnectionClosed)
        assert error.code == 1007
        with anyio.fail_after(10):
            while not gone:
                await anyio.sleep(0.01)
    assert heard == [1007]
    assert gone[0] - start <= (AT_ONCE if hangs_up else 2.25) + grace(flavour)


# -- 18: too much -----------------------------------------------------------------------------------------------------


async def test_promise_18_fault_18_fifty_megabytes_are_refused_not_buffered(flavour: str) -> None:
    """With the limit that is shipped. The sender's megabyte counts too, where it is in the same process."""
    heard: list[int] = []
    piece = bytes(2**20)

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        async with anyio.create_task_group() as group:

            async def pour() -> None:
                try:
                    await peer.send(frame(TEXT, b"", length=50 * 2**20))
                    for _ in range(50):
                        await peer.send(piece)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return  # Refused: what the test is about.

            group.start_soon(pour)
            heard.append(int.from_bytes((await peer.read_until(CLOSE))[:2], "big"))
            group.cancel_scope.cancel()

    async with link(flavour, script, limit=4 * 2**20) as stream:
        tracemalloc.start()
        try:
            with anyio.fail_after(10):
                _, error = await hear(stream)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert isinstance(error, MessageTooLarge)
        await anyio.sleep(0.1)
    assert peak <= 16 * 2**20, f"{peak / 2**20:.1f} MiB"
    if flavour.startswith(("memory", "sansio")):
        assert heard == [1009]
    else:
        # These libraries close the socket at once, and the reset may overtake their close frame.
        assert heard in ([], [1009])


async def test_fault_18_no_compression_is_offered_and_a_deflate_bomb_is_refused(flavour: str) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezed = bomb.compress(bytes(64 * 2**20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    heads: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        heads.append(peer.head)
        await peer.send(frame(BINARY, squeezed[:-4], rsv=4))
        await peer.read_until(CLOSE)
        await peer.stream.aclose()

    async with link(flavour, script) as stream:
        tracemalloc.start()
        try:
            with anyio.fail_after(10):
                found, error = await hear(stream)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert b"sec-websocket-extensions" not in heads[0].lower()
    assert found == []
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1002
    assert peak <= 16 * 2**20
