"""From nothing to a session that may be used, and back: dialling, configuring, closing. Over loopback.

``python benchmarks/connect.py``. The floor dials with `websockets` and waits for ``session.updated``, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import anyio
from _clients import CLIENTS, FLOOR, Heard
from _measure import Load, interleaved, pin, show
from _server import provider

TIMES = 8


async def opened(make: Callable, url: str) -> float:
    """Milliseconds; the first of a process imports what it needs, and is not counted."""
    taken = 0.0
    for number in range(TIMES + 1):
        start = time.perf_counter()
        async with make(url, "burst 1", Heard()):
            taken += (time.perf_counter() - start) if number else 0.0
    return taken / TIMES * 1000


async def whole(make: Callable, url: str) -> float:
    start = time.process_time()
    for _ in range(TIMES):
        async with make(url, "burst 1", Heard()):
            pass
    return (time.process_time() - start) / TIMES * 1000


def main() -> None:
    pin(1)
    load = Load()
    with provider() as url:
        for title, measure in (("connect, wall", opened), ("connect and close, CPU", whole)):
            cases = {
                name: partial(anyio.run, measure, make, url, backend=backend)
                for name, (make, backend, _) in CLIENTS.items()
            }
            show(title, interleaved(cases, 5), FLOOR, unit="ms")
    print(load)


if __name__ == "__main__":
    main()
