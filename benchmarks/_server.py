"""A fake provider in a process of its own: it does what the session's instructions say, and nothing else.

``burst N``             N sounds of 100 ms and N/2 words, as fast as TCP takes them
``paced RATE SECONDS``  the same, so many sounds per second
``tools N``             N calls of the tool ``lookup``, one after the other
``barge N``             N replies at 50 sounds per second, each interrupted by speech after five
``talk SECONDS``        a reply that lasts so long, sent twice as fast; its last transcript is the longest pause
                        between two frames of the human's sound meanwhile, in milliseconds

A sound begins with the server's monotonic clock (``STAMP``). The last transcript of ``tools`` and ``barge`` is a JSON
list: the milliseconds from what the server said to the answer that it waited for. Prints its port first; ends with its
standard input.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import msgspec
import pybase64
from _measure import Pauses, pin
from anyio.abc import TaskGroup
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

#: A magic word, and nanoseconds of the monotonic clock, which all processes of a machine share.
STAMP = struct.Struct("<4sqxxx")
MAGIC = b"KRTB"
#: Bytes of PCM16 in 100 ms at 24 kHz.
SOUND = 4_800
_TAIL = pybase64.b64encode(bytes(index * 7 & 255 for index in range(SOUND - STAMP.size)))
#: What is waited for, after which the answer counts as never given.
_PATIENCE = 5.0


class Provider(WSListener):  # type: ignore[misc]
    """One connection."""

    group: TaskGroup

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.open = True
        self.writable = anyio.Event()
        self.writable.set()
        self.session: dict[str, Any] = {"type": "realtime", "id": "sess_1", "model": "fake", "instructions": ""}
        self.replies = 0
        self.running = False
        self.pauses = Pauses()
        self.metadata: dict[str, str] | None = None
        self.awaited: dict[str, anyio.Event] = {}
        self.say("session.created", session=self.session)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.open = False
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable = anyio.Event()

    def resume_writing(self) -> None:
        self.writable.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self.heard(msgspec.json.decode(frame.get_payload_as_bytes()))

    def heard(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self.pauses.frame()
        elif kind == "session.update":
            self.session |= event["session"]
            self.say("session.updated", session=self.session)
        elif kind == "conversation.item.create":
            item = {"id": f"item_{time.monotonic_ns()}", "status": "completed", **event["item"]}
            self.say("conversation.item.added", previous_item_id=None, item=item)
            self.say("conversation.item.done", previous_item_id=None, item=item)
        elif kind == "conversation.item.truncate":
            told = {key: event[key] for key in ("item_id", "content_index", "audio_end_ms")}
            self.say("conversation.item.truncated", **told)
        elif kind == "response.create":
            self.metadata = (event.get("response") or {}).get("metadata")
            if not self.running:
                self.running = True
                self.group.start_soon(self.run)
        if kind in self.awaited:
            self.awaited.pop(kind).set()

    async def answer(self, *kinds: str) -> None:
        """Wait until the client has said one of them."""
        said = anyio.Event()
        self.awaited = dict.fromkeys(kinds, said)
        with anyio.fail_after(_PATIENCE):
            await said.wait()

    # -- what is said -------------------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        if self.open:
            self.transport.send(WSMsgType.TEXT, frame)

    def say(self, kind: str, **fields: Any) -> int:
        now = time.monotonic_ns()
        self.send(msgspec.json.encode({"type": kind, "event_id": f"event_{now}", **fields}))
        return now

    def begin(self) -> None:
        self.replies += 1
        self.response, self.item = f"resp_{self.replies}", f"item_{self.replies}"
        self.place = {"response_id": self.response, "item_id": self.item, "output_index": 0, "content_index": 0}
        self.where = msgspec.json.encode(self.place)[1:-1]
        response = {"id": self.response, "object": "realtime.response", "status": "in_progress", "output": []}
        self.say("response.created", response={**response, "metadata": self.metadata})
        self.metadata = None

    def open_message(self) -> None:
        item = {"id": self.item, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self.say("response.output_item.added", response_id=self.response, output_index=0, item=item)
        self.say("conversation.item.added", previous_item_id=None, item=item)
        self.say("response.content_part.added", **self.place, part={"type": "audio", "transcript": ""})

    def sound(self) -> None:
        now = time.monotonic_ns()
        stamp = pybase64.b64encode(STAMP.pack(MAGIC, now))
        self.send(
            b'{"type":"response.output_audio.delta","event_id":"event_%d",%b,"delta":"%b%b"}'
            % (now, self.where, stamp, _TAIL)
        )

    def word(self) -> None:
        self.send(
            b'{"type":"response.output_audio_transcript.delta","event_id":"event_%d",%b,"delta":"word "}'
            % (time.monotonic_ns(), self.where)
        )

    def end(self, status: str = "completed", transcript: str = "word") -> None:
        content = [{"type": "output_audio", "transcript": transcript}]
        item = {"id": self.item, "type": "message", "status": status, "role": "assistant", "content": content}
        self.say("response.output_audio.done", **self.place)
        self.say("response.output_audio_transcript.done", **self.place, transcript=transcript)
        self.say("response.output_item.done", response_id=self.response, output_index=0, item=item)
        self.say("conversation.item.done", previous_item_id=None, item=item)
        self.done([item], "completed" if status == "completed" else "cancelled")

    def done(self, output: list[dict[str, Any]], status: str = "completed") -> None:
        self.say("response.done", response={"id": self.response, "status": status, "output": output})

    def call(self, number: int) -> int:
        self.begin()
        call = {"id": self.item, "type": "function_call", "name": "lookup", "call_id": f"call_{number}"}
        self.say(
            "response.output_item.added", response_id=self.response, output_index=0, item={**call, "arguments": ""}
        )
        call |= {"status": "completed", "arguments": '{"x":"y"}'}
        told = {"response_id": self.response, "item_id": self.item, "output_index": 0, "call_id": call["call_id"]}
        at = self.say("response.function_call_arguments.done", **told, name="lookup", arguments=call["arguments"])
        self.say("response.output_item.done", response_id=self.response, output_index=0, item=call)
        self.say("conversation.item.done", previous_item_id=None, item=call)
        self.done([call])
        return at

    # -- scripts ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        name, *numbers = self.session["instructions"].split()
        await getattr(self, f"run_{name}")(*map(int, numbers))
        self.running = False

    async def run_burst(self, count: int) -> None:
        self.begin()
        self.open_message()
        for index in range(count):
            self.sound()
            if index % 2:
                self.word()
            if index % 64 == 63:
                await anyio.lowlevel.checkpoint()
            if not self.writable.is_set():
                await self.writable.wait()
            if not self.open:
                return
        self.end()

    async def pace(self, rate: int, count: int) -> None:
        start = anyio.current_time()
        for index in range(count):
            self.sound()
            if index % 2:
                self.word()
            await anyio.sleep_until(start + (index + 1) / rate)
            if not self.open:
                return

    async def run_paced(self, rate: int, seconds: int) -> None:
        self.begin()
        self.open_message()
        await anyio.sleep(random.random() / rate)  # so that not all connections speak at once
        await self.pace(rate, rate * seconds)
        self.end()

    async def run_talk(self, seconds: int) -> None:
        self.begin()
        self.open_message()
        self.pauses = Pauses()
        await self.pace(20, 10 * seconds)
        await anyio.sleep(seconds / 2)
        self.end(transcript=msgspec.json.encode([self.pauses.longest * 1000]).decode())

    async def run_tools(self, count: int) -> None:
        taken = []
        for number in range(count):
            start = self.call(number)
            await self.answer("response.create")
            taken.append((time.monotonic_ns() - start) / 1e6)
        self.begin()
        self.open_message()
        self.end(transcript=msgspec.json.encode(taken).decode())

    async def run_barge(self, count: int) -> None:
        taken = []
        for number in range(count):
            self.begin()
            self.open_message()
            await self.pace(50, 5)
            start = self.say("input_audio_buffer.speech_started", audio_start_ms=0, item_id=f"user_{number}")
            await self.answer("conversation.item.truncate", "response.cancel")
            taken.append((time.monotonic_ns() - start) / 1e6)
            self.end("incomplete")
            self.say("input_audio_buffer.speech_stopped", audio_end_ms=20, item_id=f"user_{number}")
            await anyio.sleep(0.01)
        self.begin()
        self.open_message()
        self.end(transcript=msgspec.json.encode(taken).decode())


async def main() -> None:
    pin(0)
    async with anyio.create_task_group() as group:

        class Here(Provider):
            pass

        Here.group = group
        server = await ws_create_server(lambda _request: Here(), "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
        group.cancel_scope.cancel()
        server.close()


@contextmanager
def provider() -> Iterator[str]:
    """Its base URL, while it runs."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    anyio.run(main)
