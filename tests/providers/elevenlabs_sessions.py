"""A live session with an agent of ElevenLabs, for the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.providers.elevenlabs import ElevenLabsAgent
from kernl_rt.simulator import Simulator
from tests.providers.test_elevenlabs_conformance import make

asked: list[str] = []


@tool
async def weather(city: str) -> str:
    """The current weather in a city."""
    asked.append(city)
    return f"Sunny in {city}"


def agent_of(model: ElevenLabsAgent, *tools: Any, instructions: str = "") -> RealtimeAgent[Any]:
    return RealtimeAgent(
        id="a", name="A", instructions=instructions, model=model, toolkits=[Toolkit(id="t", tools=tools)]
    )


@asynccontextmanager
async def talking(
    simulator: Simulator, *tools: Any, model: ElevenLabsAgent | None = None, **options: Any
) -> AsyncIterator[tuple[RealtimeSession[Any], list[Any]]]:
    session: RealtimeSession[Any] = RealtimeSession(
        agent_of(model or make(), *tools), transport=simulator.transport(), reconnect=None, **options
    )
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(1_000):
        async with session:
            yield session, log


def seen(log: list[Any], kind: type[Any]) -> list[Any]:
    return [event for event in log if isinstance(event, kind)]
