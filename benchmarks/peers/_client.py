"""kernl_rt as a client of the peers' benchmark: what its two programs, one for each backend, have in common.

The harness (its ``common.py`` with ``Client`` and ``main``) is no part of this repository: put its folder on
``PYTHONPATH``. The handler is the one of the README, ``async for event in session``; KERNL_RT_HANDLER=listener measures
``session.on`` instead.
"""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import import_module
from typing import Any

from common import Client, Recorder

Start = Callable[[], Awaitable[None]]


class KernlClient(Client):
    sync_tools = True

    def imports(self) -> None:
        """The harness times this, so the library is imported here and nowhere above."""
        global RealtimeAgent, RealtimeSession, Toolkit, tool, openai, AudioDelta, Interrupted, create_task_group
        from anyio import create_task_group

        from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
        from kernl_rt.events import AudioDelta, Interrupted
        from kernl_rt.providers import openai

        # The first connection loads it; that is no part of what a session costs.
        import_module("picows" if self.backend == "asyncio" else "websockets.client")

    async def setup(self, a: Namespace) -> None:
        base = a.url.removesuffix("/realtime").replace("ws://", "http://")
        self.model = openai.realtime("gpt-realtime", api_key="x", base_url=base)

    @contextlib.asynccontextmanager
    async def session(self, url: str, rec: Recorder) -> AsyncIterator[Start]:
        agent = RealtimeAgent(
            id="bench",
            name="Bench",
            instructions="hi",
            model=self.model,
            toolkits=[Toolkit(id="bench", tools=[lookup_tool(rec)])],
        )
        session = RealtimeSession(agent)
        if os.environ.get("KERNL_RT_HANDLER") == "listener":
            listen(session, rec)

        async def start() -> None:
            session.request_reply()

        async with session, create_task_group() as group:
            if os.environ.get("KERNL_RT_HANDLER") != "listener":
                group.start_soon(consume, session, rec)
            yield start
            group.cancel_scope.cancel()


def lookup_tool(rec: Recorder) -> Any:
    if rec.a.tool_kind == "def":

        @tool
        def lookup(x: str) -> str:
            """Look something up."""
            return rec.tool_sync()

        return lookup

    @tool
    async def lookup(x: str) -> str:
        """Look something up."""
        return await rec.tool()

    return lookup


async def consume(session: Any, rec: Recorder) -> None:
    """The user's loop, as the README writes it."""
    async for event in session:
        match event:
            case AudioDelta(audio=sound):
                rec.audio(sound)
                if rec.delay:
                    await rec.slow()
            case Interrupted():
                rec.interrupted()
            case _:
                rec.other()


def listen(session: Any, rec: Recorder) -> None:
    """The same with listeners: a plain one is called at once, an ``async def`` one has a task."""

    @session.on("interrupted")
    def interrupted(_event: Any) -> None:
        rec.interrupted()

    if not rec.delay:
        session.on("audio", lambda event: rec.audio(event.audio))
        return

    @session.on("audio")
    async def audio(event: Any) -> None:
        rec.audio(event.audio)
        await rec.slow()
