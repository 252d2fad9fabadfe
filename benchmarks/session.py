"""A whole session against the least that a program must do itself, over loopback, with a fake provider.

``python benchmarks/session.py``. *Burst*: CPU per event (two sounds of 100 ms to one word) when all come at once.
*Paced*: the same at 100 sounds per second, one wake each. *Tool*: from the call's arguments to the request for the next
reply, as the provider sees it. *Barge-in*: from the human's speech to the first message that stops the reply.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import anyio
from _clients import CLIENTS, FLOOR, Heard, with_uvloop
from _measure import Load, interleaved, pin, show
from _server import provider


async def cpu(count: Callable[[Heard], int], make: Callable, url: str, script: str) -> float:
    """Microseconds for each of so many things as ``count`` finds that were heard."""
    heard = Heard()
    async with make(url, script, heard) as start:
        await anyio.sleep(0.05)
        before = time.process_time()
        with anyio.fail_after(60):
            await start()
            await heard.ended.wait()
        return (time.process_time() - before) / count(heard) * 1e6


async def milliseconds(make: Callable, url: str, script: str) -> float:
    heard = Heard()
    async with make(url, script, heard) as start:
        with anyio.fail_after(60):
            await start()
            await heard.ended.wait()
    return statistics.median(heard.taken)


def main() -> None:
    pin(1)
    load = Load()
    per_event = partial(cpu, lambda heard: heard.events)
    per_exchange = partial(cpu, lambda heard: len(heard.taken))
    parts: list[tuple[str, str, Callable, dict, int, str]] = [
        ("burst, CPU per event", "burst 3000", per_event, with_uvloop(), 5, "µs"),
        ("paced, CPU per event", "paced 100 2", per_event, with_uvloop(), 2, "µs"),
        ("tool call, CPU", "tools 50", per_exchange, CLIENTS, 3, "µs"),
        ("tool → next reply asked for", "tools 50", milliseconds, CLIENTS, 3, "ms"),
        ("speech → reply stopped", "barge 8", milliseconds, CLIENTS, 2, "ms"),
    ]
    with provider() as url:
        for title, script, measure, clients, rounds, unit in parts:
            cases = {
                name: partial(anyio.run, measure, make, url, script, backend=backend, backend_options=options)
                for name, (make, backend, options) in clients.items()
            }
            show(title, interleaved(cases, rounds), FLOOR, unit=unit)
    print(load)


if __name__ == "__main__":
    main()
