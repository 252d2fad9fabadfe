"""Calls with agents that are looked at: what they were told, and what the model makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.config import Capabilities, SessionConfig, ToolDefinition
from kernl_rt.events import (
    SessionInfo,
    SessionUpdate,
    SessionUpdated,
)
from kernl_rt.exceptions import (
    MisconfiguredError,
)
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import (
    Call,
    quiet,
    refusal,
)


class Choosy(ScriptedModel):
    """Refuses two tools of one name, as every real model does."""

    def check(self, config: SessionConfig) -> None:
        names = [each.name for each in config.tools or () if isinstance(each, ToolDefinition)]
        if len(names) != len(set(names)):
            raise MisconfiguredError("two tools have this name; rename one")


@tool
async def lookup() -> str:
    """Look something up."""
    return "from b"


def agent_b(**options: Any) -> RealtimeAgent[Any]:
    told: dict[str, Any] = {"instructions": "You are B.", "toolkits": [Toolkit(id="b", tools=[lookup])], **options}
    return RealtimeAgent(id="b", name="Bea", **told)


@asynccontextmanager
async def calling(
    *tools: Any,
    config: SessionConfig | None = None,
    capabilities: Capabilities | None = None,
    voice: str | None = None,
    quietly: bool = False,
    **options: Any,
) -> AsyncIterator[Call]:
    """A session of agent ``a``. After it is connected, the provider answers no ``session.update`` by itself
    (``quietly``: and nothing else).
    """
    model = Choosy(capabilities=capabilities)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="Al",
        instructions="You are A.",
        model=model,
        voice=voice,
        toolkits=[Toolkit(id="a", tools=tools)],
        config=config,
    )
    session = RealtimeSession(agent, **options)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(10_000):
        async with session:
            await quiet()
            model.peer._acknowledge = not quietly
            answer = model.peer._answer
            model.peer._answer = lambda event: None if isinstance(event, SessionUpdate) else answer(event)  # type: ignore[method-assign]
            yield Call(session, model.peer, log)


def updates(call: Call) -> list[SessionConfig]:
    """What was said after the session was configured."""
    return [event.config for event in call.sent(SessionUpdate)[1:]]


async def accepts(call: Call, **described: Any) -> None:
    await call.says(SessionUpdated(SessionInfo(id="s1", config=SessionConfig(**described))))


async def refuses(call: Call, message: str = "no", code: str | None = "invalid_value", *, named: bool = True) -> None:
    last = call.sent(SessionUpdate)[-1]
    await call.says(refusal(code, event_id=last.event_id if named else None, message=message))


def order(call: Call) -> list[type[Any]]:
    """The kinds of what was sent after the configuration."""
    return [type(event) for event in call.peer.sent[1:]]
