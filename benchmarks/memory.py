"""What one more session holds in memory, against one more bare WebSocket of `websockets`.

``python benchmarks/memory.py``. The RSS of a process with so many more connected sessions, before and after two seconds
of sound, divided by their number. Each case has a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from contextlib import AsyncExitStack

import anyio
from _clients import CLIENTS, FLOOR, Heard
from _measure import Load, pin, rss_kib, show
from _server import provider
from anyio.abc import TaskStatus

FIRST = 10
MORE = 60


async def measure(url: str, client: str) -> list[float]:
    """KiB per session: connected, and after traffic."""
    make = CLIENTS[client][0]
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        gone = anyio.Event()
        stack.callback(gone.set)

        async def one(*, task_status: TaskStatus[None]) -> None:
            heard = Heard()
            async with make(url, "paced 20 2", heard) as start:
                starts.append((start, heard))
                task_status.started()
                await gone.wait()

        async def open_all(number: int) -> None:
            for _ in range(number):
                await group.start(one)
            await anyio.sleep(0.2)
            gc.collect()

        starts: list = []
        await open_all(FIRST)
        before = rss_kib()
        await open_all(MORE)
        connected = (rss_kib() - before) / MORE
        for start, _heard in starts[FIRST:]:
            await start()
        for _start, heard in starts[FIRST:]:
            with anyio.fail_after(30):
                await heard.ended.wait()
        gc.collect()
        traffic = (rss_kib() - before) / MORE
        gone.set()
    return [connected, traffic]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", nargs="*", help="URL and client: run just this, here")
    asked = parser.parse_args().one
    pin(1)
    if asked:
        url, client = asked
        print(json.dumps(anyio.run(measure, url, client, backend=CLIENTS[client][1])))
        return
    load = Load()
    found: dict[str, list[list[float]]] = {client: [] for client in CLIENTS}
    with provider() as url:
        for _ in range(2):
            for client in CLIENTS:
                command = [sys.executable, __file__, url, client]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[client].append(json.loads(done.stdout))
    for index, when in enumerate(("connected", "after traffic")):
        each = {client: [run[index] for run in runs] for client, runs in found.items()}
        show(f"memory per session, {when}", each, FLOOR, unit="KiB", digits=0)
    print(load)


if __name__ == "__main__":
    main()
