"""The event that is made when somebody waits for it."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt._latch import Latch

pytestmark = pytest.mark.anyio


async def test_all_who_wait_go_on_when_it_is_set() -> None:
    latch, gone = Latch(), list[int]()

    async def wait(number: int) -> None:
        await latch.wait()
        gone.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(wait, number)
            await anyio.sleep(1)
            assert (gone, latch.is_set()) == ([], False)
            latch.set()
            latch.set()
    assert (sorted(gone), latch.is_set()) == ([0, 1, 2], True)


async def test_who_comes_later_does_not_wait_but_others_have_a_turn() -> None:
    latch, turns = Latch(), list[str]()
    latch.set()

    async def other() -> None:
        turns.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        with anyio.fail_after(1):
            for _ in range(2):  # trio draws lots within a turn, not across turns
                await latch.wait()
        turns.append("waiter")
    assert turns == ["other", "waiter"]


async def test_a_waiter_that_is_cancelled_takes_nothing_with_it() -> None:
    latch = Latch()
    with anyio.move_on_after(1) as scope:
        await latch.wait()
    assert scope.cancelled_caught
    latch.set()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await latch.wait()
    assert scope.cancelled_caught, "a wait is a checkpoint, also when there is nothing to wait for"


def test_it_needs_no_event_loop() -> None:
    latch = Latch()
    latch.set()
    assert latch.is_set()
