"""Fifty calls from browsers at once through ``kernl_rt.serve``: is any sound late?

``python benchmarks/calls.py --calls 50 --seconds 8``. Three processes on this machine: a fake provider, the server (the
application under anycorn), and the pages, which send 20 ms of sound every 20 ms, play what comes and report what they
have played. For each call: the longest pause between two frames that reach the provider, and how long the page had
nothing to play in the middle of the reply. The floor is an ASGI application that does nothing but send and receive.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.to_thread
from _measure import Load, Pauses, percentile
from _server import provider
from attrs import define
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from kernl_rt import RealtimeAgent
from kernl_rt.providers import openai

RATE = 24_000
#: 20 ms of PCM16.
FRAME = bytes(960)
#: What nobody may hear, in milliseconds.
LIMIT = 40.0


# -- the server's process ---------------------------------------------------------------------------------------------


async def serve(url: str, seconds: int) -> None:
    from kernl_rt.serve import _run, app

    own = _run.listening_socket("127.0.0.1", 0)
    here = f"http://127.0.0.1:{own.getsockname()[1]}"
    if url:
        model = openai.realtime("fake", api_key="bench", base_url=url)
        agent = RealtimeAgent(id="a", name="A", instructions=f"talk {seconds}", model=model)
        application: Any = app(agent, origins=[here], max_sessions=1_000)
    else:
        application = Bare(seconds)
    async with anyio.create_task_group() as group:
        stopped = anyio.Event()

        async def until_told() -> None:
            await anyio.to_thread.run_sync(sys.stdin.read)
            stopped.set()

        group.start_soon(until_told)
        await _run.run(application, own, stopped.wait, started=lambda: print(here, flush=True))
    print(time.process_time(), flush=True)


class Bare:
    """The floor: takes frames, and sends frames every 20 ms."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b'{"token":"none"}'})
        else:
            await receive()
            await send({"type": "websocket.accept", "subprotocol": "kernl-rt.1"})
            await send({"type": "websocket.send", "text": '{"type":"ready"}'})
            pauses = Pauses()
            async with anyio.create_task_group() as group:
                group.start_soon(self._talk, send, pauses)
                while (message := await receive())["type"] != "websocket.disconnect":
                    if message.get("bytes"):
                        pauses.frame()
                group.cancel_scope.cancel()

    async def _talk(self, send: Any, pauses: Pauses) -> None:
        start = anyio.current_time() + 1.0
        for index in range(self._seconds * 50):
            await anyio.sleep_until(start + index / 50)
            await send({"type": "websocket.send", "bytes": FRAME})
        text = json.dumps([pauses.longest * 1000])
        said = {"type": "transcript", "role": "agent", "final": True, "text": text}
        await send({"type": "websocket.send", "text": json.dumps(said)})


# -- the pages' process -----------------------------------------------------------------------------------------------


@define
class Player:
    """A page's speaker: it starts with 60 ms of sound in hand, and counts how long it then has none."""

    #: When it runs out, if nothing else comes.
    empty_at: float | None = None
    began: float = 0.0
    samples: int = 0
    missing: float = 0.0

    def sound(self, message: bytes) -> None:
        now, length = time.monotonic(), len(message) / 2 / RATE
        self.samples += len(message) // 2
        if self.empty_at is None:
            self.began, self.empty_at = now + 0.06, now + 0.06
        gap = now - self.empty_at
        self.missing = max(self.missing, gap)
        self.empty_at = max(self.empty_at, now) + length

    @property
    def played(self) -> int:
        if self.empty_at is None:
            return 0
        return max(self.samples - max(int((self.empty_at - time.monotonic()) * RATE), 0), 0)


@define
class Page:
    url: str
    seconds: int
    #: Milliseconds.
    uplink: float = float("nan")
    downlink: float = float("nan")
    sounds: int = 0

    async def call(self, token: str) -> None:
        offered: Any = ["kernl-rt.1", f"token.{token}"]
        address = self.url.replace("http", "ws", 1) + "/voice"
        player = Player()
        async with (
            connect(address, origin=self.url, subprotocols=offered, compression=None, open_timeout=30) as socket,  # type: ignore[arg-type]
            anyio.create_task_group() as group,
        ):
            hello = {"type": "hello", "version": 1, "input_rates": [RATE], "output_rates": [RATE]}
            await socket.send(json.dumps(hello))
            async for message in socket:
                if isinstance(message, bytes):
                    player.sound(message)
                    self.sounds += 1
                    continue
                told = json.loads(message)
                if told["type"] == "ready":
                    group.start_soon(self._speak, socket, player)
                    await socket.send(json.dumps({"type": "text", "text": "go"}))
                elif told["type"] == "transcript" and told["role"] == "agent" and told["final"]:
                    self.uplink = json.loads(told["text"])[0]
                    break
            self.downlink = player.missing * 1000
            group.cancel_scope.cancel()

    async def _speak(self, socket: Any, player: Player) -> None:
        start = anyio.current_time()
        for index in range(50 * (self.seconds + 30)):
            await anyio.sleep_until(start + index / 50)
            try:
                await socket.send(FRAME)
                if index % 3 == 0 and player.samples:
                    await socket.send(json.dumps({"type": "played", "samples": player.played, "clears": 0}))
            except ConnectionClosed:
                return


def token_of(url: str) -> str:
    asked = urllib.request.Request(f"{url}/session-token", method="POST", headers={"Origin": url})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(json.load(answer)["token"])


async def dial(url: str, calls: int, seconds: int) -> list[Page]:
    pages = [Page(url, seconds) for _ in range(calls)]
    async with anyio.create_task_group() as group:
        group.cancel_scope.deadline = anyio.current_time() + 30 + seconds * 3
        for page in pages:
            token = await anyio.to_thread.run_sync(token_of, url)
            group.start_soon(page.call, token)
    return pages


# -- all of it --------------------------------------------------------------------------------------------------------


@contextmanager
def server(backend: str, url: str, seconds: int, cpu: list[float]) -> Iterator[str]:
    """Its address; afterwards ``cpu`` has the seconds that it used, its start included."""
    command = [sys.executable, __file__, "--serve", backend, "--provider", url, "--seconds", str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            cpu.append(float(process.stdout.readline() or "nan"))
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--serve", choices=("asyncio", "trio"), help=argparse.SUPPRESS)
    parser.add_argument("--provider", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        anyio.run(serve, asked.provider, asked.seconds, backend=asked.serve)
        return
    print(f"{asked.calls} calls at once, ms{'':11}{'to the provider':>22}{'to the page':>22}")
    heads = f"{'median':>11}{'worst':>11}" * 2 + f"{'server CPU':>12}"
    print(f"{'':24}{heads}   calls later than {LIMIT:.0f} ms")
    for name, backend, whole in (
        ("bare ASGI, asyncio", "asyncio", False),
        ("kernl_rt on asyncio", "asyncio", True),
        ("bare ASGI, trio", "trio", False),
        ("kernl_rt on trio", "trio", True),
    ):
        load, cpu = Load(), list[float]()
        with provider() as url, server(backend, url if whole else "", asked.seconds, cpu) as here:
            pages = anyio.run(dial, here, asked.calls, asked.seconds)
        # A frame every 20 ms is no gap.
        if not all(page.uplink == page.uplink for page in pages):
            raise SystemExit(f"{name}: a call did not come to its end")
        up, down = [page.uplink - 20 for page in pages], [page.downlink for page in pages]
        late = sum(max(pair) > LIMIT for pair in zip(up, down, strict=True))
        cells = (percentile(up, 0.5), max(up), percentile(down, 0.5), max(down))
        print(
            f"  {name:22}" + "".join(f"{cell:11.1f}" for cell in cells) + f"{cpu[0]:10.1f} s{late:8}   {load}",
            flush=True,
        )


if __name__ == "__main__":
    main()
