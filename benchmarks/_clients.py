"""One call with the fake provider, by hand (the floor) and as a session: the same script, the same figures."""

from __future__ import annotations

import time
from array import array
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pybase64
from _server import MAGIC, STAMP
from attrs import define, field
from websockets.asyncio.client import connect

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.providers import openai


@define
class Heard:
    """What one call's user got."""

    sounds: int = 0
    events: int = 0
    #: Nanoseconds from the server's stamp to the user's handler.
    latency: array[int] = field(factory=lambda: array("q"))
    #: What the server measured, in milliseconds.
    taken: list[float] = field(factory=list)
    ended: anyio.Event = field(factory=anyio.Event)

    def sound(self, pcm: bytes) -> None:
        magic, sent = STAMP.unpack_from(pcm)
        assert magic == MAGIC
        self.latency.append(time.monotonic_ns() - sent)
        self.sounds += 1
        self.events += 1

    def words(self, text: str) -> None:
        if text.startswith("["):
            self.taken = msgspec.json.decode(text)
            self.ended.set()


Start = Callable[[], Awaitable[None]]


@asynccontextmanager
async def by_hand(url: str, script: str, heard: Heard) -> Any:
    """The least that a program must do itself: `websockets`, msgspec, pybase64 and a loop. Yields how to start."""
    async with (
        connect(url.replace("http", "ws") + "/realtime", compression=None, max_size=None) as socket,
        anyio.create_task_group() as group,
    ):

        async def send(frame: dict[str, Any]) -> None:
            await socket.send(msgspec.json.encode(frame), text=True)

        async def listen() -> None:
            async for frame in socket:
                event = msgspec.json.decode(frame)
                heard.events += 1
                match event["type"]:
                    case "response.output_audio.delta":
                        heard.sound(pybase64.b64decode(event["delta"]))
                        heard.events -= 1
                    case "session.updated":
                        ready.set()
                    case "response.function_call_arguments.done":
                        item = {"type": "function_call_output", "call_id": event["call_id"], "output": "found"}
                        await send({"type": "conversation.item.create", "item": item})
                        await send({"type": "response.create"})
                    case "input_audio_buffer.speech_started":
                        await send({"type": "response.cancel"})
                    case "response.output_audio_transcript.done":
                        heard.words(event["transcript"])
                    case "response.done":
                        finished(heard, event["response"]["status"])

        ready = anyio.Event()
        group.start_soon(listen)
        await send({"type": "session.update", "session": {"type": "realtime", "instructions": script}})
        await ready.wait()

        async def start() -> None:
            await send({"type": "response.create"})

        yield start
        group.cancel_scope.cancel()


def finished(heard: Heard, status: str | None) -> None:
    """The scripts that have no figures of the server's end with their only reply."""
    if heard.sounds and not heard.ended.is_set() and status == "completed":
        heard.ended.set()


@tool
async def lookup(x: str) -> str:
    """Look something up."""
    return "found"


@asynccontextmanager
async def as_session(url: str, script: str, heard: Heard) -> Any:
    """The same with a session and plain listeners. Yields how to start; ``start.session`` is the session."""
    agent = RealtimeAgent(
        id="bench",
        name="Bench",
        instructions=script,
        model=openai.realtime("fake", api_key="bench", base_url=url),
        toolkits=[Toolkit(id="bench", tools=[lookup])],
    )
    session = RealtimeSession(agent)

    def count(_event: Any) -> None:
        heard.events += 1

    session.on("transcript.output.delta", count)
    session.on("audio", lambda event: heard.sound(event.audio))
    session.on("transcript", lambda event: heard.words(event.text))
    session.on("response.done", lambda event: finished(heard, event.response.status))

    async def start() -> None:
        session.request_reply()

    async with session:
        start.session = session  # type: ignore[attr-defined]
        yield start


#: How each client is called in the tables, what makes it, and its backend.
CLIENTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "websockets by hand": (by_hand, "asyncio", {}),
    "kernl_rt on asyncio": (as_session, "asyncio", {}),
    "kernl_rt on trio": (as_session, "trio", {}),
}
FLOOR = "websockets by hand"


def with_uvloop() -> dict[str, tuple[Any, str, dict[str, Any]]]:
    """The clients, and those of asyncio again on uvloop where it is installed."""
    import importlib.util

    if importlib.util.find_spec("uvloop") is None:
        return CLIENTS
    faster = {f"{name}, uvloop": (make, backend, {"use_uvloop": True}) for name, (make, backend, _) in CLIENTS.items()}
    return CLIENTS | {
        name.replace(" on asyncio", ""): client for name, client in faster.items() if client[1] == "asyncio"
    }
