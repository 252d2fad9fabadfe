"""Does an event cost more when there are more calls in the process, or when a call has lasted for hours?

``nox -s bench-scale``, or one part: ``python benchmarks/_scale.py --part calls --most 200``.

*calls*: 1 to 400 calls in one process, each with 20 sounds and 10 words a second over loopback: CPU per event, and how
long a sound takes from the provider to the user's function. The floor is the same client by hand. *hours*: one call of
24 hours in virtual time, a turn with a tool call every minute and an interruption every fourth turn: CPU per event
in each stretch of it, against the first, and what the process holds.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anyio
from _clients import CLIENTS, FLOOR, Heard, lookup
from _measure import Load, percentile, pin, rss_kib
from _server import provider
from anyio.abc import TaskStatus

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit
from kernl_rt.channels import memory_channel_pair
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    InputTranscript,
    ItemCreated,
    OutputItemAdded,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolResult,
)
from kernl_rt.items import ContentPart, FunctionCall, Message
from kernl_rt.testing import ModelPeer, ScriptedModel, virtual_backend

NUMBERS = (1, 50, 100, 200, 400)
RATE = 20
SECONDS = 4
#: 100 ms of PCM16 at 24 kHz; 20 ms of it.
TENTH = bytes(4_800)
FRAME = bytes(960)
TURN = 60.0


# -- many calls -------------------------------------------------------------------------------------------------------


async def calls(url: str, client: str, number: int) -> dict[str, float]:
    """Microseconds of CPU per event, and milliseconds."""
    make = CLIENTS[client][0]
    heards = [Heard() for _ in range(number)]
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        gone = anyio.Event()
        stack.callback(gone.set)
        starts = []

        async def one(heard: Heard, *, task_status: TaskStatus[None]) -> None:
            async with make(url, f"paced {RATE} {SECONDS}", heard) as start:
                starts.append(start)
                task_status.started()
                await gone.wait()

        for heard in heards:
            await group.start(one, heard)
        await anyio.sleep(0.3)
        cpu, wall = time.process_time(), time.monotonic()
        for start in starts:
            await start()
        with anyio.fail_after(SECONDS + 60):
            for heard in heards:
                await heard.ended.wait()
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        events = sum(heard.events for heard in heards)
        # The first second is that in which all calls begin.
        late = [taken / 1e6 for heard in heards for taken in heard.latency[RATE:]]
        gone.set()
    return {
        "cpu": cpu / events * 1e6,
        "core": cpu / wall * 100,
        "p50": percentile(late, 0.5),
        "p99": percentile(late, 0.99),
    }


def many(most: int) -> None:
    print(
        f"{'calls in a process':28}{'calls':>6}{'µs/event':>10}{'% of core':>11}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>7}"
    )
    with provider() as url:
        for number in NUMBERS:
            if number > most:
                continue
            least = 0.0
            for client in CLIENTS:
                command = [sys.executable, __file__, "--one", url, client, str(number)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(done.stdout.splitlines()[-1])
                least = found["cpu"] if client == FLOOR else least
                ratio = "floor" if client == FLOOR else f"{found['cpu'] / least:.2f}"
                print(
                    f"  {client:26}{number:6}{found['cpu']:10.1f}{found['core']:11.1f}"
                    f"{found['p50']:9.2f}{found['p99']:9.2f}{ratio:>7}",
                    flush=True,
                )


# -- a long call ------------------------------------------------------------------------------------------------------


def reply(peer: ModelPeer, number: int, tenths: int, *, last: bool = True) -> int:
    """A reply of so many tenths of a second; how many events it was."""
    response, item = f"r{number}", f"i{number}"
    place: dict[str, Any] = {"response_id": response, "item_id": item, "content_index": 0}
    message = Message("assistant", id=item)
    events: list[Any] = [
        ResponseCreated(Response(id=response, status="in_progress")),
        OutputItemAdded(message, response_id=response, output_index=0),
        ItemCreated(message),
    ]
    for index in range(tenths):
        events.append(AudioDelta(TENTH, event_id=f"a{number}.{index}", **place))
        events.append(OutputTranscriptDelta("word ", event_id=f"t{number}.{index}", **place))
    if last:
        events += [
            OutputTranscript("word " * tenths, **place),
            AudioDone(**place),
            ResponseDone(Response(id=response, status="completed")),
        ]
    peer.say(*events)
    return len(events)


async def turn(peer: ModelPeer, human: Any, number: int) -> int:
    """A minute: the human speaks, a tool is called, the model answers, and now and then is interrupted."""
    events = 0
    for _ in range(25):
        human.speak_nowait(FRAME)
        await anyio.sleep(0.02)
    user = f"u{number}"
    peer.say(
        SpeechStarted(user),
        SpeechStopped(user),
        ItemCreated(Message("user", [ContentPart("input_audio")], id=user)),
        InputTranscript(text="Is it?", item_id=user),
    )
    call = f"c{number}"
    asked = FunctionCall(call, "lookup", '{"x":"y"}', id=f"f{number}")
    peer.say(
        ResponseCreated(Response(id=f"q{number}", status="in_progress")),
        OutputItemAdded(asked, response_id=f"q{number}", output_index=0),
        ItemCreated(asked),
        ToolCalled(call_id=call, name="lookup", arguments='{"x":"y"}', response_id=f"q{number}", item_id=f"f{number}"),
        ResponseDone(Response(id=f"q{number}", status="completed")),
    )
    with anyio.fail_after(5):
        await peer.hear(ToolResult)
        await peer.hear(ResponseCreate)
    interrupted = number % 4 == 3
    events += 34 + reply(peer, number, 30, last=not interrupted)
    await anyio.sleep(1.5)
    if interrupted:
        peer.say(SpeechStarted(f"b{number}"), SpeechStopped(f"b{number}"))
        await anyio.sleep(0.1)
        peer.say(ResponseDone(Response(id=f"r{number}", status="cancelled")))
        events += 3
    await anyio.sleep(TURN - 2.1)
    peer.sent.clear()
    return events


async def long_call(hours: float) -> list[dict[str, float]]:
    model = ScriptedModel()
    channel, human = memory_channel_pair()
    agent = RealtimeAgent(id="a", name="A", instructions="", model=model, toolkits=[Toolkit(id="t", tools=[lookup])])
    found = []
    async with RealtimeSession(agent, channel=channel) as session, anyio.create_task_group() as group:
        session.on("error", print)
        for topic in ("audio", "history"):
            session.on(topic, lambda event: None)
        group.start_soon(forget, human)
        turns = int(hours * 3600 / TURN)
        stretch = max(turns // 12, 1)
        cpu, events = time.process_time(), 0
        for number in range(turns):
            events += await turn(model.peer, human, number)
            if number % stretch == stretch - 1:
                spent = time.process_time() - cpu
                gc.collect()
                found.append(
                    {
                        "hour": (number + 1) * TURN / 3600,
                        "cpu": spent / events * 1e6,
                        "items": len(session.history),
                        "rss": rss_kib() / 1024,
                    }
                )
                cpu, events = time.process_time(), 0
        group.cancel_scope.cancel()
    return found


async def forget(human: Any) -> None:
    async for _ in human:
        pass


def long(hours: float) -> None:
    for backend in ("trio", "asyncio"):
        found = anyio.run(long_call, hours, backend=backend, backend_options=virtual_backend(backend)[1])
        print(f"{'one call, ' + backend:20}{'hour':>7}{'items':>8}{'µs/event':>10}{'RSS MiB':>9}{'ratio':>7}")
        for each in found:
            ratio = each["cpu"] / found[0]["cpu"]
            print(
                f"{'':20}{each['hour']:7.1f}{each['items']:8}{each['cpu']:10.1f}{each['rss']:9.1f}{ratio:7.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("calls", "hours"))
    parser.add_argument("--most", type=int, default=NUMBERS[-1], help="calls")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    random.seed(0)
    pin(1)
    if asked.one:
        url, client, number = asked.one
        print(json.dumps(anyio.run(partial(calls, url, client, int(number)), backend=CLIENTS[client][1])))
        return
    load = Load()
    if asked.part in (None, "calls"):
        many(asked.most)
    if asked.part in (None, "hours"):
        long(asked.hours)
    print(load)


if __name__ == "__main__":
    main()
