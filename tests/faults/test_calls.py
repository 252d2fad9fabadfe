"""The checker that every fault row relies on can fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kernl_rt.events import SessionError, StatusChanged, ToolCalled, ToolFinished
from tests.faults.calls import CANARY, Watch, under_fault, watching
from tests.scenarios.calls import make_session, quiet

pytestmark = pytest.mark.anyio

CLOSED = StatusChanged("closed", "closing")
CALLED = ToolCalled("c1", "t", "{}")
FINISHED = ToolFinished("c1", "t", "result", "ok")


def caused() -> SessionError:
    try:
        key = CANARY
        raise ValueError(f"a key of {len(key)} characters")
    except ValueError as error:
        return SessionError("harmless", cause=error)


PLANTED: dict[str, tuple[str, Callable[[list[Any]], None]]] = {
    "closed twice": ("P2", lambda log: log.append(CLOSED)),
    "never closed": ("P2", lambda log: log.pop() and None),
    "an event after closed": ("P2", lambda log: log.append(SessionError("late"))),
    "a call without an outcome": ("P8", lambda log: log.insert(0, CALLED)),
    "two outcomes": ("P8", lambda log: log.__setitem__(slice(0, 0), [CALLED, FINISHED, FINISHED])),
    "the key in an event": ("P25", lambda log: log.insert(0, SessionError(f"bad key {CANARY}"))),
    "the key among the locals of a cause": ("P25", lambda log: log.insert(0, caused())),
}


@pytest.mark.parametrize(("promise", "plant"), PLANTED.values(), ids=PLANTED)
async def test_what_is_planted_in_the_log_is_found(promise: str, plant: Callable[[list[Any]], None]) -> None:
    async with under_fault() as call:
        await quiet()
    call.watch.check(None)
    plant(call.log)
    with pytest.raises(AssertionError, match=rf"^{promise}:"):
        call.watch.check(None)


async def test_a_task_that_is_left_is_found() -> None:
    async with anyio.create_task_group() as group:
        with pytest.raises(AssertionError, match=r"^P1:"):
            async with under_fault():
                group.start_soon(anyio.sleep_forever)
                await quiet()
        group.cancel_scope.cancel()


async def test_a_slow_close_is_found() -> None:
    async with under_fault() as call:
        await quiet()
    call.watch.within = 0.5
    await anyio.sleep(1)
    with pytest.raises(AssertionError, match=r"^P3:"):
        call.watch.check(None)


async def test_a_key_in_the_log_is_found() -> None:
    with pytest.raises(AssertionError, match=r"^P25:"):
        async with under_fault():
            logging.getLogger("somebody.else").debug("Authorization: Bearer %s", CANARY)


async def test_a_key_among_the_locals_of_an_exception_is_found() -> None:
    async def fail() -> None:
        key = CANARY
        raise ValueError(len(key))

    with pytest.raises(AssertionError, match=r"^P25:"):
        async with under_fault():
            await fail()


async def test_each_watch_has_its_own_tasks() -> None:
    """What ran before is nobody's fault."""
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        await quiet()
        async with watching(make_session(), 2.0) as watch:
            assert isinstance(watch, Watch)
        group.cancel_scope.cancel()
