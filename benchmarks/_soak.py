"""Does anything stay behind? Thousands of sessions one after the other, and consumers that do not consume.

Run ``nox -s soak`` (minutes), or one part: ``python benchmarks/_soak.py --part memory --backend trio --cycles 1000``.
Each part runs in a Python process of its own, so that no part inherits another's memory, and is held against the
promised limits. ``memory``: sessions with a scripted model. ``sockets``: sessions with the simulator over WebSockets on
loopback. ``slow``: an iterator that never comes back while 20,000 sounds arrive. ``absent``: an hour of virtual traffic
that nobody listens to.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from attrs import asdict, define, field

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.channels import memory_channel_pair
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    OutputTranscript,
    Response,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
)
from kernl_rt.providers import openai
from kernl_rt.simulator import Simulator
from kernl_rt.testing import ModelPeer, ScriptedModel, virtual_backend

#: What is promised: KiB of RSS that a session may leave behind, and MiB that stay flat in an hour.
KIB_PER_SESSION = 1.0
FLAT_MIB = 1.0
#: 1,024 sounds of 4,800 bytes may wait (4.9 MiB), and there is what the allocator does; 20,000 are 92 MiB.
SLOW_MIB = 10.0
#: trio forgets the scopes of deadlines that were met only in heaps, once a thousand have gathered; so many may be more.
TRIO_KEEPS = {"trio.CancelScope": 1_200, "trio._core._run.CancelReason": 1_200, "builtins.tuple": 1_200}
TENTH = b"\1\0" * 2_400


@define
class Sample:
    """What a process holds at one moment."""

    rss_kib: float
    tasks: int
    files: int


@define
class Result:
    part: str
    backend: str
    seconds: float
    #: What was measured, as (what, value, limit).
    figures: list[tuple[str, float, float]]
    #: Types of which there were more afterwards, with how many.
    grown: dict[str, int] = field(factory=dict)

    @property
    def kept(self) -> bool:
        return all(value <= limit for _, value, limit in self.figures)


def rss_kib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def sample(backend: str) -> Sample:
    if backend == "asyncio":
        tasks = len(asyncio.all_tasks())
    else:
        import trio

        tasks = trio.lowlevel.current_statistics().tasks_living
    return Sample(rss_kib(), tasks, len(os.listdir("/proc/self/fd")))


def objects() -> Counter[str]:
    """How many objects of each type are alive, those that the collector watches."""
    for _ in range(3):
        gc.collect()
    return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())


def slope(points: list[tuple[int, float]]) -> float:
    """Least squares: KiB per session."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


async def sessions(part: str, backend: str, cycles: int, one: Callable[[], Awaitable[None]]) -> Result:
    """``one()`` over and over; what it leaves behind after the first thousand is the result."""
    start = time.perf_counter()
    warm = min(max(cycles // 3, 1), 1_000)
    for _ in range(warm):
        await one()
    known, first = objects(), sample(backend)
    points = []
    for number in range(cycles - warm):
        await one()
        if number % max(cycles // 100, 1) == 0:
            points.append((number, rss_kib()))
    allowed = max(cycles // 100, 50)
    kept = TRIO_KEEPS if backend == "trio" else {}
    more = {name: count - known[name] for name, count in objects().items()}
    grown = {name: count for name, count in more.items() if count > kept.get(name, allowed)}
    last = sample(backend)
    figures = [
        ("KiB of RSS per session", slope(points), KIB_PER_SESSION),
        ("tasks left", last.tasks - first.tasks, 0.0),
        ("file descriptors left", last.files - first.files, 0.0),
        ("types that grow", len(grown), 0.0),
    ]
    return Result(part, backend, time.perf_counter() - start, figures, grown)


def agent(model: Any) -> RealtimeAgent[None]:
    return RealtimeAgent(id="soak", name="Soak", instructions="Be brief.", model=model)


def say(peer: ModelPeer, number: int, *, tenths: int = 2) -> None:
    """A whole reply of so many tenths of a second."""
    response, item = f"r{number}", f"i{number}"
    peer.say(ResponseCreated(Response(id=response, status="in_progress")))
    for _ in range(tenths):
        peer.say(AudioDelta(TENTH, response_id=response, item_id=item, content_index=0))
    peer.say(
        OutputTranscript("Well said.", response_id=response, item_id=item, content_index=0),
        AudioDone(response_id=response, item_id=item, content_index=0),
        ResponseDone(Response(id=response, status="completed")),
    )


async def memory(backend: str, cycles: int) -> Result:
    async def one() -> None:
        model = ScriptedModel()
        channel, human = memory_channel_pair(playback="instant")
        async with RealtimeSession(agent(model), channel=channel) as session:
            events = session.events("response.done")
            human.speak_nowait(TENTH)
            session.send_message("Hello")
            await model.peer.hear(ResponseCreate)
            say(model.peer, 1)
            await anext(events)

    return await sessions("memory", backend, cycles, one)


async def sockets(backend: str, cycles: int) -> Result:
    async with Simulator(speed=1_000).serve() as url:
        model = openai.realtime("simulator", api_key="soak", base_url=url)

        async def one() -> None:
            async with RealtimeSession(agent(model)) as session:
                await session.ask("hello")

        return await sessions("sockets", backend, cycles, one)


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[RealtimeSession[None], ModelPeer]]:
    model = ScriptedModel()
    async with RealtimeSession(agent(model)) as session:
        yield session, model.peer


async def slow(backend: str, cycles: int) -> Result:
    """One iterator that is opened and never asked."""
    start = time.perf_counter()
    async with talking() as (session, peer):
        session.on("error", print)
        events = session.events()
        gc.collect()
        before = rss_kib()
        for number in range(cycles // 10):
            # A sound of its own for each event, as from a socket; one object could be kept twenty thousand times.
            peer.say(ResponseCreated(Response(id=f"r{number}", status="in_progress")))
            for index in range(8):
                sound = bytes([number % 256, index]) * 2_400
                peer.say(AudioDelta(sound, response_id=f"r{number}", item_id=f"i{number}", content_index=0))
            peer.say(ResponseDone(Response(id=f"r{number}", status="completed")))
            await anyio.sleep(0.8)
        gc.collect()
        grown = (rss_kib() - before) / 1024
        figures = [("MiB of growth", grown, SLOW_MIB), ("events that wait", float(len(events)), 1_024.0)]
    return Result("slow", backend, time.perf_counter() - start, figures)


async def absent(backend: str, cycles: int) -> Result:
    """A turn of five seconds, over and over, for an hour; half of the replies are interrupted."""
    start = time.perf_counter()
    model = ScriptedModel()
    channel, human = memory_channel_pair()
    points = []
    async with RealtimeSession(agent(model), channel=channel), anyio.create_task_group() as group:
        group.start_soon(forget, human)
        group.start_soon(swallow, model.peer)
        for number in range(720):
            for _ in range(10):
                human.speak_nowait(TENTH)
                await anyio.sleep(0.1)
            model.peer.say(SpeechStarted(f"u{number}"), SpeechStopped(f"u{number}"))
            say(model.peer, number, tenths=30 if number % 2 else 60)
            await anyio.sleep(4.0)
            if number % 10 == 9:
                gc.collect()
                points.append(rss_kib())
        group.cancel_scope.cancel()
    warm = len(points) // 10
    figures = [("MiB after warm-up", (max(points[-3:]) - points[warm]) / 1024, FLAT_MIB)]
    return Result("absent", backend, time.perf_counter() - start, figures)


async def forget(human: Any) -> None:
    async for _ in human:
        pass


async def swallow(peer: ModelPeer) -> None:
    """The provider's own records are not the session's."""
    while True:
        await peer.hear()
        peer.sent.clear()


PARTS: dict[str, tuple[Callable[[str, int], Awaitable[Result]], int, bool]] = {
    # what, how often by default, in virtual time
    "memory": (memory, 10_000, False),
    "sockets": (sockets, 4_000, False),
    "slow": (slow, 20_000, True),
    "absent": (absent, 0, True),
}


def run_here(part: str, backend: str, cycles: int | None) -> Result:
    run, default, virtual = PARTS[part]
    options = virtual_backend(backend)[1] if virtual else {}
    what = partial(run, backend, default if cycles is None else cycles)
    return anyio.run(what, backend=backend, backend_options=options)


def run_apart(part: str, backend: str, cycles: int | None) -> Result:
    command = [sys.executable, __file__, "--part", part, "--backend", backend, "--json"]
    command += [] if cycles is None else ["--cycles", str(cycles)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def show(result: Result) -> None:
    for what, value, limit in result.figures:
        verdict = "kept" if value <= limit else "BROKEN"
        print(
            f"{result.part:8} {result.backend:8} {result.seconds:7.1f} s  {what:24} {value:9.3f}  "
            f"limit {limit:8.1f}  {verdict}",
            flush=True,
        )
    for name, count in sorted(result.grown.items(), key=lambda pair: -pair[1])[:10]:
        print(f"         {count:8} more {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--backend", choices=("trio", "asyncio"))
    parser.add_argument("--cycles", type=int)
    parser.add_argument("--json", action="store_true", help="run here, and print one line of JSON")
    asked = parser.parse_args()
    parts = [asked.part] if asked.part else list(PARTS)
    backends = [asked.backend] if asked.backend else ["trio", "asyncio"]
    kept = True
    for part in parts:
        for backend in backends:
            if asked.json:
                print(json.dumps(asdict(run_here(part, backend, asked.cycles))))
                continue
            result = run_apart(part, backend, asked.cycles)
            show(result)
            kept = kept and result.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
