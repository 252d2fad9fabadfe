"""Sessions over Gemini's protocol for the tests: every frame that we say is judged strictly."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from attrs import define, field

from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.providers import gemini
from kernl_rt.simulator import ScriptedBrain, Simulator
from tests.providers.test_gemini_oracle import strict

NAME = "gemini-3.8-live"
#: A tenth of a second at 16 kHz.
LOUD = b"\x00\x40\x00\xc0" * 800
QUIET = bytes(3_200)


class Spying(MessageStream):
    def __init__(self, inner: MessageStream, spy: Spy) -> None:
        self.inner, self.spy = inner, spy

    async def receive(self) -> Sequence[str | bytes]:
        return await self.inner.receive()

    async def send(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        strict(message)
        self.spy.said.append(json.loads(message))
        await self.inner.send(message)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.inner.aclose(code, reason)


@define
class Spy(RealtimeTransport):
    """Keeps what we say, and holds it against the SDK's types."""

    inner: RealtimeTransport
    said: list[dict[str, Any]] = field(factory=list)
    dialled: list[str] = field(factory=list)

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AsyncIterator[MessageStream]:
        self.dialled.append(url)
        async with self.inner.connect(url, headers=headers, max_message_size=max_message_size) as stream:
            yield Spying(stream, self)

    def each(self, *path: str) -> list[Any]:
        found: list[Any] = list(self.said)
        for name in path:
            found = [each[name] for each in found if name in each]
        return found


@define
class Talk:
    session: RealtimeSession[Any]
    spy: Spy
    log: list[Any] = field(factory=list)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.log if isinstance(event, kind)]

    async def until(self, found: Callable[[], Any]) -> Any:
        with anyio.fail_after(60):
            while not (value := found()):
                await anyio.sleep(0.01)
        return value


@asynccontextmanager
async def talking(simulator: Simulator | RealtimeTransport, **options: Any) -> AsyncIterator[Talk]:
    transport = simulator.transport() if isinstance(simulator, Simulator) else simulator
    spy = Spy(transport)
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="A",
        instructions="Be brief.",
        model=gemini.live(options.pop("name", NAME), api_key="key"),
        toolkits=options.pop("toolkits", []),
        config=options.pop("config", SessionConfig()),
    )
    session = RealtimeSession(agent, transport=spy, **options)
    talk = Talk(session, spy)
    session.on("event", talk.log.append)
    with anyio.fail_after(600):
        async with session:
            yield talk


def scripted(*replies: Any, **options: Any) -> Simulator:
    return Simulator(ScriptedBrain(list(replies)), protocol="gemini", **options)
