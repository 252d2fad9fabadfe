"""Promise 27 in a whole process: SIGTERM drains. Real clock, one interpreter for each test."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.children import SOON, Child

DRAIN = """
import random, time

timeout, longest = map(float, arguments)
chance = random.Random(5)

async def call(drain, seconds, results):
    agent = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    told = []
    session = RealtimeSession(agent)
    session.on("draining", told.append)
    async with drain.session(session):
        with anyio.move_on_after(seconds) as talk:
            await session.wait_closed()
        # Cut by the end of the session, or over by itself?
        results.append((seconds, talk.cancelled_caught, time.monotonic(), len(told)))

async def main():
    results, refused = [], []
    async with Drain(timeout) as drain, anyio.create_task_group() as calls:
        for _ in range(50):
            calls.start_soon(call, drain, chance.uniform(0.2, longest), results)
        await anyio.sleep(0.1)
        say("up")
        await drain.wait_started()
        say("stopping")
        try:
            await call(drain, 1, results)
        except SessionStateError as error:
            say("refused")
    for seconds, whole, at, told in results:
        say("call", f"{seconds:.3f}", whole, at, told)
    say("end")

anyio.run(main, backend=backend)
"""


def calls_of(said: list[str]) -> list[tuple[float, bool, float, int]]:
    rows = [line.split()[1:] for line in said if line.startswith("call ")]
    return [(float(row[0]), row[1] == "True", float(row[2]), int(row[3])) for row in rows]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_promise_27_no_call_is_cut_before_the_timeout(backend: str, number: signal.Signals) -> None:
    timeout = 1.0
    with Child(DRAIN, backend, str(timeout), "10") as child:
        child.until("up")
        sent = time.monotonic()  # the child's clock, too
        child.signal(number)
        code, said, errors, seconds = child.end()
    assert (code, errors) == (0, "")
    assert (said[0], said[1], said[-1]) == ("stopping", "refused", "end")
    calls = calls_of(said)
    assert len(calls) == 50
    cut = [call for call in calls if not call[1]]
    assert len(cut) not in (0, 50), "some were short enough, some were not"
    for length, whole, at, told in calls:
        # The drain cannot have begun before the signal was sent; the rest is what two clocks may differ by.
        assert whole or at - sent >= timeout - 0.01, f"a call of {length} s was cut {at - sent} s after the signal"
        assert told == 1
        assert at - sent < timeout + SOON
    assert seconds < timeout + SOON


def test_promise_27_the_second_signal_forces(backend: str) -> None:
    with Child(DRAIN, backend, "60", "60") as child:
        child.until("up")
        child.signal(signal.SIGTERM)
        child.until("refused")
        child.signal(signal.SIGTERM)
        code, said, errors, seconds = child.end()
    assert (code, errors) == (0, "")
    assert len([call for call in calls_of(said) if not call[1]]) > 40
    assert seconds < SOON


def test_promise_27_the_third_signal_has_its_usual_effect(backend: str) -> None:
    code = """
async def main():
    async with Drain(60) as drain:
        say("up")
        await drain.wait_started()
        say("first")
        while True:
            await anyio.sleep(0.05)
            if drain._over:
                break
        say("second")
        await anyio.sleep(60)

anyio.run(main, backend=backend)
"""
    with Child(code, backend) as child:
        for line in ("up", "first", "second"):
            child.until(line)
            child.signal(signal.SIGTERM)
        exit_code, *_ = child.end()
    assert exit_code == -signal.SIGTERM
