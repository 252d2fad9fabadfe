"""What the tests of closing share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kernl_rt import RealtimeSession
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import make_session

#: Virtual seconds in which everything but a tool that will not die must be over.
BOUND = 5.0


@asynccontextmanager
async def watched(*tools: Any, **options: Any) -> AsyncIterator[tuple[RealtimeSession[Any], list[Any]]]:
    """A session that is not connected, with its log; after the block nothing of it may be left."""
    session = make_session(*tools, **WITHOUT_RECONNECT, **options)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(1_000), nothing_left(session, log):
        yield session, log
