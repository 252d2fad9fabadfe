"""A server and who calls it, in one program: for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from channels.pages import Page
from serve.clients import ORIGIN, Visitor, request
from starlette.applications import Starlette

from kernl_rt import RealtimeAgent, SessionConfig
from kernl_rt.config import InputTranscription
from kernl_rt.serve import app
from kernl_rt.simulator import ScriptedEars, Simulator

SOUND = (b"\x00\x20" * 60 + b"\x00\xe0" * 60) * 100 + bytes(48_000)


class World:
    """An application, and how often a model was dialled."""

    def __init__(self, *lines: str, **options: Any) -> None:
        self.dials = 0
        simulator = Simulator(ears=ScriptedEars(lines))
        model = simulator.realtime()
        world = self

        def answer() -> RealtimeAgent[None]:
            world.dials += 1
            return RealtimeAgent(
                id="watson",
                name="Watson",
                instructions="Be brief.",
                model=model,
                config=SessionConfig(transcription=InputTranscription(model="whisper-1")),
            )

        self.answer = answer
        self.app: Starlette = app(options.pop("calls", None) or answer, origins=[ORIGIN], **options)

    @asynccontextmanager
    async def started(self) -> AsyncIterator[World]:
        async with self.app.router.lifespan_context(self.app):
            yield self

    async def token(self) -> str:
        answer = await request(self.app, "POST", "/session-token", [("origin", ORIGIN)])
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["expires_in"] == 60
        return str(answer.json()["token"])

    async def visitor(self, token: str | None = None, **options: Any) -> Visitor:
        token = await self.token() if token is None else token
        return Visitor(self.app, subprotocols=["kernl-rt.1", f"token.{token}"], **options)


async def settle(visitor: Visitor) -> None:
    with anyio.fail_after(120):
        await visitor.run()


@asynccontextmanager
async def visiting(visitor: Visitor) -> AsyncIterator[Visitor]:
    """``visitor`` calls. Afterwards its call has ended."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settle, visitor)
        yield visitor


@asynccontextmanager
async def paging(visitor: Visitor) -> AsyncIterator[Page]:
    """As :func:`visiting`, with a page, which has been told that the call is ready."""
    page = Page(visitor)
    async with visiting(visitor), anyio.create_task_group() as tasks:
        tasks.start_soon(page.run)
        await visitor.hello()
        await page.wait_told("ready")
        yield page
