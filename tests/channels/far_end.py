"""A far end of a link for tests: plays sound by the clock, and confirms it by counting or by echoing marks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence

import anyio

from kernl_rt._transport.memory import MemoryStream, memory_streams
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._link import LinkChannel
from kernl_rt.channels._wire import Answer, Echoed, Left, Message, Played
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, DtmfPressed
from kernl_rt.exceptions import ChannelError, ConnectionClosed


class PlainWire:
    """Sound is binary, all else JSON. ``counting``: the far end counts; else it echoes marks."""

    frame_ms = 20.0

    def __init__(self, audio_format: AudioFormat, *, counting: bool) -> None:
        self.input_format = audio_format
        self.output_format = audio_format
        self.counting = counting

    def decode(self, message: Message, now: float) -> Sequence[object]:
        if isinstance(message, bytes):
            return [AudioCaptured(message)]
        value = json.loads(message)
        match value["type"]:
            case "played":
                return [Played(value["size"], value.get("clears"))]
            case "mark":
                return [Echoed(value["name"])]
            case "ping":
                return [Answer(['{"type":"pong"}'])]
            case "key":
                return [DtmfPressed(value["key"])]
            case "bye":
                return [Left()]
            case "nonsense":
                raise ChannelError("nonsense")
            case _:
                return [value]

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        return [audio]

    def encode_mark(self, name: str) -> Sequence[Message]:
        return [] if self.counting else [json.dumps({"type": "mark", "name": name})]

    def encode_clear(self, clears: int) -> Sequence[Message]:
        return [json.dumps({"type": "clear", "clears": clears})]

    def encode_goodbye(self) -> Sequence[Message]:
        return ['{"type":"bye"}']


class FarEnd:
    """Reads the link and plays. ``heard`` is what really came out of its loudspeaker."""

    def __init__(self, stream: MemoryStream, audio_format: AudioFormat, *, counting: bool, delay: float = 0.0) -> None:
        self.stream = stream
        self.audio_format = audio_format
        self.counting = counting
        self.delay = delay
        self.queue: deque[bytes | str] = deque()
        self.heard = bytearray()
        self.texts: list[dict[str, object]] = []
        self.clears = 0
        self._news = anyio.Event()

    async def run(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read)
                tasks.start_soon(self._play)
        except* ConnectionClosed:
            pass

    async def _read(self) -> None:
        while True:
            for message in await self.stream.receive():
                if isinstance(message, bytes):
                    self.queue.append(message)
                else:
                    await self._obey(json.loads(message))
                self._news.set()

    async def _obey(self, value: dict[str, object]) -> None:
        if value["type"] == "mark":
            self.queue.append(str(value["name"]))
            return
        self.texts.append(value)
        if value["type"] != "clear":
            return
        marks = [entry for entry in self.queue if isinstance(entry, str)]
        self.queue.clear()
        self.clears = int(str(value["clears"]))
        await self._confirm()
        for name in marks:  # as the carriers do: echoed at once, though nobody heard what was before them
            await self.stream.send(json.dumps({"type": "mark", "name": name}))

    async def _play(self) -> None:
        while True:
            if not self.queue:
                self._news = anyio.Event()
                await self._news.wait()
                await anyio.sleep(self.delay)
                continue
            entry = self.queue.popleft()
            if isinstance(entry, str):
                await self.stream.send(json.dumps({"type": "mark", "name": entry}))
                continue
            await anyio.sleep(self.audio_format.ms(len(entry)) / 1000)
            self.heard += entry
            await self._confirm()

    async def _confirm(self) -> None:
        if self.counting:
            await self.stream.send(json.dumps({"type": "played", "size": len(self.heard), "clears": self.clears}))


class Call(LinkChannel):
    """A link channel with its far end beside it."""

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        counting: bool,
        delay: float = 0.0,
        window: int = 1_024,
        limit: int = 2**20,
        **options: float,
    ) -> None:
        near, far = memory_streams(window, max_message_size=limit)
        super().__init__(near, PlainWire(audio_format, counting=counting), **options)  # type: ignore[arg-type]
        self.far = FarEnd(far, audio_format, counting=counting, delay=delay)
        self.controls: list[object] = []

    def on_control(self, value: object) -> None:
        self.controls.append(value)


async def talkative(channel: RealtimeChannel) -> None:
    """Plays what is sent, and says 400 ms."""
    assert isinstance(channel, Call)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(channel.far.run)
        frame = channel.far.audio_format.size(20)
        for number in range(20):
            await anyio.sleep(0.02)
            await channel.far.stream.send(bytes((number * 7 + index) % 251 for index in range(frame)))
