"""Fault rows 3 to 8 at the layer of bytes: the peer closes; and rows 1 to 7 with reconnecting."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio
import pytest

from kernl_rt import ReconnectPolicy
from kernl_rt.events import ResponseDone
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from tests.faults.flavours import (
    AT_ONCE,
    anyio_backend as anyio_backend,
    ends,
    faulty,
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
from tests.transport.peers import CLOSE, TEXT, RawPeer, close_frame, frame

pytestmark = pytest.mark.anyio


# -- 3 to 7: the peer closes ------------------------------------------------------------------------------------------


async def closes(flavour: str, code: int, reason: str) -> None:
    """Link: what was sent before arrives, the code is told at once, and answered."""
    answers: list[bytes] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade(frame(TEXT, b"delta 1"))
        await peer.send(frame(TEXT, b"delta 2") + close_frame(code, reason))
        answers.append(await peer.read_until(CLOSE))
        await peer.stream.aclose()

    found, error = await ends(flavour, script)
    assert found == [b"delta 1", b"delta 2"]
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason) == (code, reason)
    assert [int.from_bytes(answer[:2], "big") for answer in answers] == [code]


async def ends_the_session(flavour: str, code: int, reason: str) -> ConnectionClosed:
    """Session: with a reply in flight, and without reconnecting, the code comes out of ``async with``."""

    async def script(peer: OpenAIPeer) -> None:
        await peer.greet()
        await peer.hear("response.create")
        await peer.say({"type": "response.created", "response": {"id": "r1", "status": "in_progress"}})
        await peer.raw.send(close_frame(code, reason))
        await peer.listen()

    with pytest.raises(ConnectionClosed) as caught:
        async with call(flavour, script) as watch:
            watch.session.send_message("hello")
            with anyio.fail_after(5):
                await watch.session.wait_closed()
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert not [
        event for event in watch.log if isinstance(event, ResponseDone) and event.response.status == "completed"
    ]
    return caught.value


async def test_fault_03_close_1000_in_the_middle_of_a_reply(flavour: str) -> None:
    await closes(flavour, 1000, "")


@in_memory
async def test_fault_03_close_1000_is_no_ordinary_end_for_the_session(flavour: str) -> None:
    await ends_the_session(flavour, 1000, "")


async def test_fault_04_close_1001_at_the_time_limit(flavour: str) -> None:
    await closes(flavour, 1001, "Your session hit the maximum duration of 60 minutes.")


@in_memory
async def test_fault_04_close_1001_is_told_as_expired(flavour: str) -> None:
    error = await ends_the_session(flavour, 1001, "Your session hit the maximum duration of 60 minutes.")
    assert type(error) is SessionExpired


async def test_fault_05_close_1008(flavour: str) -> None:
    await closes(flavour, 1008, "policy")


@in_memory
async def test_fault_05_close_1008_ends_the_session(flavour: str) -> None:
    await ends_the_session(flavour, 1008, "policy")


async def test_fault_06_close_1011(flavour: str) -> None:
    await closes(flavour, 1011, "keepalive ping timeout")


@in_memory
async def test_fault_06_close_1011_ends_the_session(flavour: str) -> None:
    await ends_the_session(flavour, 1011, "internal error")


@pytest.mark.parametrize("code", [4000, 4401, 4999])
async def test_fault_07_close_4xxx_with_its_reason_verbatim(flavour: str, code: int) -> None:
    await closes(flavour, code, "Schlüssel gesperrt 🎙")


@in_memory
async def test_fault_07_close_4xxx_ends_the_session(flavour: str) -> None:
    await ends_the_session(flavour, 4401, "Schlüssel gesperrt 🎙")


# -- 1 to 7 with reconnecting, as sessions do by default ---------------------------------------------------------------


async def half_open(peer: RawPeer) -> None:
    faulty(peer).sending.timeout = faulty(peer).receiving.timeout = math.inf
    await anyio.sleep_forever()


async def reset(peer: RawPeer) -> None:
    await peer.send(frame(TEXT, b"{" * 100, length=1000))
    await anyio.sleep(0.01)
    faulty(peer).reset()


def closing(code: int, reason: str = "") -> Callable[[RawPeer], Awaitable[None]]:
    async def close(peer: RawPeer) -> None:
        await peer.send(close_frame(code, reason))
        await peer.read_until(CLOSE)

    return close


async def struck(flavour: str, fault: Callable[[RawPeer], Awaitable[None]]) -> tuple[list[str], list[float]]:
    """A call whose first link is struck in the middle of a reply; the statuses, and the times of the dials."""
    links: list[float] = []

    async def script(peer: OpenAIPeer) -> None:
        links.append(anyio.current_time())
        first = len(links) == 1
        await peer.greet()
        if first:
            await peer.hear("response.create")
            await peer.say({"type": "response.created", "response": {"id": "r1", "status": "in_progress"}})
            await anyio.sleep(1)
            await fault(peer.raw)
            return
        await peer.listen()

    statuses: list[str] = []
    try:
        async with call(flavour, script, reconnect=ReconnectPolicy()) as watch:
            watch.session.on("status", lambda event: statuses.append(event.status))
            watch.session.send_message("hello")
            with anyio.fail_after(40):
                while statuses != ["reconnecting", "connected"] and watch.session.status != "closed":
                    await anyio.sleep(0.05)
            if watch.session.status == "connected":
                # The new link is a sound one.
                await anyio.sleep(20)
                assert watch.session.status == "connected"
    except ConnectionClosed as error:
        statuses.append(f"{error.code} {error.reason}")
    return statuses, links


@in_memory
@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        pytest.param(reset, 0.01, id="fault_01-reset"),
        pytest.param(half_open, 12, id="fault_02-half-open"),
        pytest.param(closing(1000), 0, id="fault_03-1000"),
        pytest.param(closing(1001, "Your session hit the maximum duration of 60 minutes."), 0, id="fault_04-1001"),
        pytest.param(closing(1011, "internal error"), 0, id="fault_06-1011"),
    ],
)
async def test_fault_01_02_03_04_06_the_session_comes_back(
    flavour: str, fault: Callable[[RawPeer], Awaitable[None]], noticed: float
) -> None:
    statuses, links = await struck(flavour, fault)
    assert statuses[:2] == ["reconnecting", "connected"]
    assert len(links) == 2
    # One second into the reply; then to notice, at most two seconds to close, and the policy's first delay.
    assert links[1] - links[0] <= 1 + noticed + (2 if fault is half_open else 0) + 0.25 + 0.01


@in_memory
@pytest.mark.parametrize("code", [pytest.param(1008, id="fault_05"), pytest.param(4401, id="fault_07")])
async def test_fault_05_07_a_close_that_blames_us_is_not_tried_again(flavour: str, code: int) -> None:
    statuses, links = await struck(flavour, closing(code, "no such account"))
    assert len(links) == 1
    assert "reconnecting" not in statuses
    assert statuses[-1] == f"{code} no such account"


# -- 8: a close frame, and the connection stays up ---------------------------------------------------------------------


async def test_fault_08_a_close_frame_without_the_end_of_the_connection(flavour: str) -> None:
    freed: list[float] = []
    told: list[float] = []

    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.send(close_frame(1001, "maintenance"))
        told.append(anyio.current_time())
        await peer.gone()
        freed.append(anyio.current_time())

    async with link(flavour, script) as stream:
        with anyio.fail_after(10):
            _, error = await hear(stream)
        assert anyio.current_time() - told[0] <= AT_ONCE + grace(flavour), "noticed late"
        assert isinstance(error, ConnectionClosed)
        assert error.code == 1001
        with anyio.fail_after(10):
            while not freed:
                await anyio.sleep(0.01)
        assert freed[0] - told[0] <= 2.25 + grace(flavour), "the socket was open for long"


async def test_fault_08_leaving_does_not_wait_for_it_longer_than_the_bound(flavour: str) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.upgrade()
        await peer.send(close_frame(1000))
        await anyio.sleep_forever()

    async with link(flavour, script) as stream:
        with anyio.fail_after(1):
            await hear(stream)
        start = anyio.current_time()
    assert anyio.current_time() - start <= 2.25 + grace(flavour)
