"""An iterator that is opened and never asked: what it keeps, and whether an interruption waits for it.

``python benchmarks/slow_consumer.py``. 20,000 sounds (92 MiB) arrive as fast as TCP takes them, in seven replies. The
floor is the same session without that iterator. Each case has a process of its own, for its memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
from functools import partial

import anyio
from _clients import Heard, as_session
from _measure import Load, pin, rss_kib, show
from _server import provider

REPLIES = 7
SOUNDS = 2_900


async def memory(url: str, lazy: bool) -> float:
    """MiB by which the process grows."""
    heard = Heard()
    async with as_session(url, f"burst {SOUNDS}", heard) as start:
        stream = start.session.events() if lazy else None
        gc.collect()
        before, most = rss_kib(), 0.0
        for _ in range(REPLIES):
            heard.ended = anyio.Event()
            with anyio.fail_after(60):
                await start()
                await heard.ended.wait()
            most = max(most, rss_kib())
        assert stream is None or len(stream)
        return (most - before) / 1024


async def barge_in(url: str, lazy: bool) -> float:
    """Milliseconds from the human's speech to the message that stops the reply, beside a full iterator."""
    heard = Heard()
    async with as_session(url, "barge 8", heard) as start:
        stream = start.session.events(buffer=8) if lazy else None
        with anyio.fail_after(60):
            await start()
            await heard.ended.wait()
        assert stream is None or stream.dropped
    return statistics.median(heard.taken)


PARTS = {"memory": memory, "barge-in": barge_in}
CASES = {
    f"{what} iterator, {backend}": (backend, lazy)
    for backend in ("asyncio", "trio")
    for what, lazy in (("no", False), ("an unasked", True))
}


def apart(part: str, url: str, case: str) -> float:
    command = [sys.executable, __file__, part, url, case]
    return float(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", nargs="*", help="part, URL and case: run just this, here")
    asked = parser.parse_args().one
    pin(1)
    if asked:
        part, url, case = asked
        backend, lazy = CASES[case]
        print(json.dumps(anyio.run(partial(PARTS[part], url, lazy), backend=backend)))
        return
    load = Load()
    with provider() as url:
        for part, unit in (("memory", "MiB"), ("barge-in", "ms")):
            found = {case: [apart(part, url, case)] for case in CASES}
            show(f"slow consumer, {part}", found, next(iter(CASES)), unit=unit)
    print(load)


if __name__ == "__main__":
    main()
