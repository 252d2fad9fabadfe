"""What each further consumer of a session's events costs, against calling functions and anyio's memory streams.

``python benchmarks/fanout.py``. Events come in bursts of ten, as a busy socket gives them. CPU per event, with all its
consumers.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
from _measure import Load, compare, cpu_per, pin

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.events import CustomEvent
from kernl_rt.testing import ScriptedModel

COUNT = 2_000
BURST = 10
EVENT = CustomEvent("tick", None)


class Ear:
    """A consumer: counts."""

    heard = 0

    def __call__(self, _event: Any) -> None:
        self.heard += 1

    async def iterate(self, stream: Any) -> None:
        async for event in stream:
            self(event)


async def burst(send: Any, ears: list[Ear]) -> float:
    """CPU per event; each burst waits until all ears have heard the one before."""
    start = time.process_time()
    sent = 0
    for _ in range(COUNT // BURST):
        for _ in range(BURST):
            send(EVENT)
        sent += BURST
        while any(ear.heard < sent for ear in ears):
            await anyio.lowlevel.checkpoint()
    return (time.process_time() - start) / COUNT * 1e6


def called(number: int) -> float:
    ears = [Ear() for _ in range(number)]

    def work() -> None:
        for _ in range(COUNT):
            for ear in ears:
                ear(EVENT)

    return cpu_per(COUNT, work)


async def memory_streams(number: int) -> float:
    ears = [Ear() for _ in range(number)]
    async with anyio.create_task_group() as group:
        ends = []
        for ear in ears:
            sender, receiver = anyio.create_memory_object_stream[Any](1_024)
            ends += [sender, receiver]
            group.start_soon(ear.iterate, receiver)

        def send(event: Any) -> None:
            for sender in ends[::2]:
                sender.send_nowait(event)

        await anyio.lowlevel.checkpoint()
        cost = await burst(send, ears)
        group.cancel_scope.cancel()
    for end in ends:
        end.close()
    return cost


async def of_session(listeners: int, iterators: int) -> float:
    ears = [Ear() for _ in range(listeners + iterators)]
    agent = RealtimeAgent(id="a", name="A", instructions="", model=ScriptedModel())
    async with RealtimeSession(agent) as session, anyio.create_task_group() as group:
        for ear in ears[:listeners]:
            session.on("tick", ear)
        for ear in ears[listeners:]:
            group.start_soon(ear.iterate, session.events("tick"))
        await anyio.sleep(0.01)
        cost = await burst(session.emit, ears)
        group.cancel_scope.cancel()
    return cost


def main() -> None:
    pin(1)
    load = Load()
    for backend in ("asyncio", "trio"):
        run = partial(anyio.run, backend=backend)
        cases = {
            "4 functions, called": partial(called, 4),
            "4 anyio memory streams": partial(run, memory_streams, 4),
            "session, nobody listens": partial(run, of_session, 0, 0),
            "session, 1 listener": partial(run, of_session, 1, 0),
            "session, 4 listeners": partial(run, of_session, 4, 0),
            "session, 1 iterator": partial(run, of_session, 0, 1),
            "session, 4 iterators": partial(run, of_session, 0, 4),
        }
        compare(f"fan-out on {backend}, CPU", cases, "4 anyio memory streams", rounds=5)
    print(load)


if __name__ == "__main__":
    main()
