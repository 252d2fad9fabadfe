"""A page without a browser: speaks the wire over a memory link, plays by the clock, and counts what it played."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import anyio

from kernl_rt._transport.memory import memory_streams
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels.browser import BrowserChannel, BrowserWire
from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.exceptions import ConnectionClosed


class Line(Protocol):
    """A link, as much of it as a page needs."""

    async def receive(self) -> Sequence[str | bytes]: ...
    async def send(self, message: str | bytes) -> None: ...


class Page:
    """``heard`` is what came out of its loudspeaker, ``messages`` what the server told it."""

    def __init__(self, stream: Line, audio_format: AudioFormat = PCM16_24K) -> None:
        self.stream = stream
        self.audio_format = audio_format
        self.queue = bytearray()
        self.heard = bytearray()
        self.clears = 0
        self.cleared_at: list[float] = []
        self.messages: list[dict[str, Any]] = []
        self.closed: ConnectionClosed | None = None
        self._news = anyio.Event()

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._play)
            try:
                while True:
                    for message in await self.stream.receive():
                        await self._take(message)
            except ConnectionClosed as closed:
                self.closed = closed
                self._tell()
            tasks.cancel_scope.cancel()

    async def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.queue += message
        else:
            told = json.loads(message)
            self.messages.append(told)
            if told["type"] == "clear":
                self.queue.clear()
                self.clears = told["clears"]
                self.cleared_at.append(anyio.current_time())
                await self.report()
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _play(self) -> None:
        step = self.audio_format.size(10)
        told = 0
        while True:
            if not self.queue:
                if told != len(self.heard):
                    told = len(self.heard)
                    await self.report()
                await self._news.wait()
                continue
            size = min(step, len(self.queue))
            await anyio.sleep(self.audio_format.ms(size) / 1000)
            size = min(size, len(self.queue))
            self.heard += self.queue[:size]
            del self.queue[:size]
            if len(self.heard) - told >= self.audio_format.size(50):
                told = len(self.heard)
                await self.report()

    async def report(self) -> None:
        await self.say("played", samples=len(self.heard) // 2, clears=self.clears)

    async def say(self, kind: str, **fields: Any) -> None:
        try:
            await self.stream.send(json.dumps({"type": kind, **fields}))
        except ConnectionClosed as closed:
            self.closed = closed

    async def speak(self, pcm: bytes) -> None:
        frame = self.audio_format.size(20)
        for start in range(0, len(pcm), frame):
            await self.stream.send(pcm[start : start + frame])
            await anyio.sleep(0.02)

    def told(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return [each for each in self.messages if each["type"] == kind and fields.items() <= each.items()]

    async def wait_told(self, kind: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        while len(self.told(kind, **fields)) < count:
            await self._news.wait()
        return self.told(kind, **fields)[count - 1]


class Visited(BrowserChannel):
    """A browser channel with its page beside it."""

    def __init__(self, audio_format: AudioFormat = PCM16_24K, *, push_to_talk: bool = False) -> None:
        near, far = memory_streams()
        super().__init__(near, BrowserWire(audio_format, audio_format, push_to_talk=push_to_talk))
        self.page = Page(far, audio_format)


async def visitor(channel: RealtimeChannel) -> None:
    """Says 400 ms, and listens."""
    assert isinstance(channel, Visited)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.page.run)
        size = channel.page.audio_format.size(400)
        await channel.page.speak(bytes(index % 249 for index in range(size)))
