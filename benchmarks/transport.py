"""What a message costs in each WebSocket implementation, against raw sockets in the same run.

``python benchmarks/transport.py --size 8192 --count 20000``. The far end is a thread that writes ready-made frames;
only the receiving thread's CPU time is counted. Rounds are interleaved, and the median is printed. "burst" is one
connection with frames back to back; "paced" writes one frame,
waits until it was received, and so pays one wake per message.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable

import anyio

from kernl_rt._transport import TrioWebSocketTransport, WebSocketTransport
from kernl_rt.abc import RealtimeTransport

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def encode(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x81, size]) + payload
    return (b"\x81\x7e" + struct.pack("!H", size) if size < 65536 else b"\x81\x7f" + struct.pack("!Q", size)) + payload


class Sender:
    """Accepts one client, then writes ``count`` frames; paced by ``step``."""

    def __init__(self, frame: bytes, count: int, paced: bool) -> None:
        self._frame, self._count, self._paced = frame, count, paced
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.step = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        key = next(value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.step.acquire()
        for _ in range(self._count):
            client.sendall(self._frame)
            if self._paced:
                self.step.acquire()
        client.sendall(b"\x88\x02\x03\xe8")
        try:
            while client.recv(65536):
                pass
        except ConnectionError:
            pass  # The raw client leaves without reading the close frame.
        client.close()

    def close(self) -> None:
        self._thread.join(5)
        self._listener.close()


def over(transport: RealtimeTransport, backend: str, **options: object) -> Callable[[Sender, int, bool], float]:
    async def receive(sender: Sender, count: int, paced: bool) -> float:
        async with transport.connect(f"ws://127.0.0.1:{sender.port}/") as stream:
            sender.step.release()
            start, left = time.thread_time(), count
            while left:
                left -= len(await stream.receive())
                if paced:
                    sender.step.release()
            return time.thread_time() - start

    def run(sender: Sender, count: int, paced: bool) -> float:
        return anyio.run(receive, sender, count, paced, backend=backend, backend_options=options)

    return run


def raw(sender: Sender, count: int, paced: bool) -> float:
    """The floor: one blocking ``recv_into`` per frame, no parsing."""
    with socket.create_connection(("127.0.0.1", sender.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        client.recv(4096)
        sender.step.release()
        buffer, left = memoryview(bytearray(262144)), count * len(sender._frame)
        start, pending = time.thread_time(), 0
        while left > 0:
            size = client.recv_into(buffer)
            left -= size
            pending += size
            while paced and pending >= len(sender._frame):
                pending -= len(sender._frame)
                sender.step.release()
        return time.thread_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="bytes per message")
    parser.add_argument("--count", type=int, default=10_000, help="messages per round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    runs: dict[str, Callable[[Sender, int, bool], float]] = {
        "raw socket": raw,
        "picows, asyncio": over(WebSocketTransport(implementation="picows"), "asyncio"),
        "sans-I/O, asyncio": over(WebSocketTransport(implementation="sansio"), "asyncio"),
        "sans-I/O, trio": over(WebSocketTransport(implementation="sansio"), "trio"),
        "trio-websocket, trio": over(TrioWebSocketTransport(), "trio"),
    }
    found: dict[tuple[str, bool], list[float]] = {}
    frame = encode(b"x" * arguments.size)
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            for paced in (False, True):
                sender = Sender(frame, arguments.count, paced)
                cost = run(sender, arguments.count, paced) / arguments.count * 1e6
                sender.close()
                found.setdefault((name, paced), []).append(cost)
    print(f"{arguments.size} bytes, µs of CPU per message, median (min) of {arguments.rounds}")
    print(f"{'':24}{'burst':>16}{'paced':>16}")
    for name in runs:
        cells = (found[name, paced] for paced in (False, True))
        print(f"{name:24}" + "".join(f"{statistics.median(c):9.1f} ({min(c):.1f})" for c in cells))


if __name__ == "__main__":
    main()
