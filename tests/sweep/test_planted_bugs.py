"""The harness can fail: seven faults that real voice libraries have had, planted in the real session, are all found.

Each test says what the fault is called in the violation that it makes.
"""

from __future__ import annotations

import gc
import re
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from sweep import scenarios
from sweep.scenarios import clumsy_listener, conversation
from sweep.wires import over_a_wire

from kernl_rt._core import inputs
from kernl_rt._core.rules import tools as tool_rules
from kernl_rt._emitter import Emitter
from kernl_rt._session import pumps
from kernl_rt._session.driver import Driver
from kernl_rt._session.runner import Runner
from kernl_rt._session.session import RealtimeSession
from kernl_rt._session.tools import ToolRunner
from kernl_rt._transport import _dial
from kernl_rt._transport._sansio import SansioLink
from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import RealtimeConnection
from kernl_rt.events import CustomEvent
from kernl_rt.testing import SweepReport, sweep
from kernl_rt.testing._sweep import Backend, Scenario

Plant = Callable[[pytest.MonkeyPatch], None]


def unshielded_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The goodbye is awaited in a ``finally`` without a shield."""

    @asynccontextmanager
    async def opened(link: Any) -> AsyncIterator[Any]:
        async with bare_task_group() as task_group:
            link.start(task_group)
            try:
                yield link
            finally:
                await link.aclose()

    monkeypatch.setattr(_dial, "opened", opened)


def lost_tool_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that was cancelled leaves no record."""
    feed = Driver.feed

    def forgetful(self: Driver, input: inputs.Input) -> None:
        if not (isinstance(input, inputs.ToolReturned) and input.outcome == "cancelled"):
            feed(self, input)

    monkeypatch.setattr(Driver, "feed", forgetful)
    monkeypatch.setattr(tool_rules, "abandon_calls", lambda state: None)


def swallowed_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """``except Cancelled: continue`` around the receive loop."""
    model_in = pumps.model_in

    async def stubborn(driver: Driver, connection: RealtimeConnection) -> None:
        while not driver.stopped:
            try:
                await model_in(driver, connection)
            except anyio.get_cancelled_exc_class():
                continue

    monkeypatch.setattr(pumps, "model_in", stubborn)


def event_after_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener hears something after ``closed``."""
    run = Runner.run

    async def talkative(self: Runner, task_status: Any) -> None:
        try:
            await run(self, task_status)
        finally:
            self.emitter.emit(("event",), CustomEvent("late"), lambda listener, exc: None)

    monkeypatch.setattr(Runner, "run", talkative)


def task_in_a_foreign_nursery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools are started in a task group that the session does not own."""

    dispatch = ToolRunner.dispatch

    def astray(self: ToolRunner, group: TaskGroup) -> None:
        dispatch(self, scenarios.foreign[0])

    monkeypatch.setattr(ToolRunner, "dispatch", astray)


def torn_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame is written by the task that sends it, and so is cut with it."""

    async def send(self: SansioLink, message: str | bytes) -> None:
        self._protocol.send_text(message.encode() if isinstance(message, str) else message)
        await self._stream.send(b"".join(self._protocol.data_to_send()))

    monkeypatch.setattr(SansioLink, "send", send)
    monkeypatch.setattr(SansioLink, "ready", False)


def listener_kills_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listener raises goes up through the receive loop."""
    emit = Emitter.emit

    def trusting(self: Emitter, topics: Any, event: Any, *callbacks: Any) -> None:
        def failed(listener: Any, exc: Exception) -> None:
            raise exc

        emit(self, topics, event, failed)

    monkeypatch.setattr(Emitter, "emit", trusting)


#: What is planted, where it shows, and what the violation says (a regular expression).
BUGS: list[tuple[Plant, Scenario, str]] = [
    (unshielded_cleanup, over_a_wire, "without a goodbye|torn frame"),
    (lost_tool_outcome, conversation, "never ended"),
    (swallowed_cancellation, conversation, "the clock still stands"),
    (event_after_closed, conversation, "an event after the status 'closed'"),
    (task_in_a_foreign_nursery, conversation, "still runs"),
    (torn_frame, over_a_wire, "torn frame"),
    (listener_kills_the_loop, clumsy_listener, "of the listener"),
]


def planted(plant: Plant, scenario: Scenario, backend: Backend, *, every: int, stop_after: int | None) -> SweepReport:
    with pytest.MonkeyPatch.context() as monkeypatch:
        plant(monkeypatch)
        return sweep(scenario, backend=backend, every=every, stop_after=stop_after, step_limit=3_000)


def remains() -> list[str]:
    """Coroutines that have not ended, and sessions."""
    found: list[str] = []
    for each in gc.get_objects():
        if type(each) is types.CoroutineType and each.cr_frame is not None:
            found.append(each.__qualname__)
        elif type(each) is RealtimeSession:
            found.append(repr(each))
    return found


@pytest.mark.parametrize(("plant", "scenario", "word"), BUGS, ids=[plant.__name__ for plant, _, _ in BUGS])
def test_it_is_found(plant: Plant, scenario: Scenario, word: str, backend: Backend) -> None:
    """And nothing of it is left, not even while its report is kept: else it ends in the middle of a later run."""
    gc.collect()
    before = remains()
    report = planted(plant, scenario, backend, every=11, stop_after=3)
    assert report.violations, f"{plant.__name__} is not found"
    told = [str(violation) for violation in report.violations]
    assert any(re.search(word, text) for text in told), told
    gc.collect()  # of the runs that broke nothing
    assert remains() == before
