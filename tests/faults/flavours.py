"""Every transport that the fault rows run over, and how a link is seen to end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge
from kernl_rt.testing import FaultyStream
from tests.faults.wire import (
    FLAVOURS,
    backend_of,
    grace,
    hear,
    link,
)
from tests.transport.peers import RawPeer

#: Longest that noticing may take where it needs no timer; to it comes :func:`grace`.
AT_ONCE = 0.5


#: In these the peer's bytes come in memory and virtual time.
MEMORY = [flavour for flavour in FLAVOURS if flavour.startswith("memory")]


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(flavour: str) -> tuple[str, dict[str, Any]]:
    return backend_of(flavour)


in_memory = pytest.mark.parametrize("flavour", MEMORY, indirect=True)


def faulty(peer: RawPeer) -> FaultyStream:
    assert isinstance(peer.stream, FaultyStream)
    return peer.stream


async def ends(
    flavour: str, script: Callable[[RawPeer], Awaitable[None]], *, within: float = AT_ONCE, limit: int = 2**20
) -> tuple[list[bytes], ConnectionClosed | MessageTooLarge]:
    """Hear ``script`` out: the end comes in time, is told again at each call, and refuses what is sent after it."""
    async with link(flavour, script, limit=limit) as stream:
        start = anyio.current_time()
        with anyio.fail_after(100):
            found, error = await hear(stream)
        took = anyio.current_time() - start
        assert took <= within + grace(flavour), f"noticed after {took:.2f} s"
        assert (await hear(stream))[1].args == error.args
        with pytest.raises(ConnectionClosed):
            await stream.send("too late")
    return found, error
