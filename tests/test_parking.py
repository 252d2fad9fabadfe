"""One place, one waiter: woken once, cancelled without a trace, and never left asleep."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt._parking import Parking

pytestmark = pytest.mark.anyio


async def quiet() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_it_waits_until_it_is_woken() -> None:
    parking, seen = Parking(), list[str]()

    async def wait() -> None:
        await parking.park()
        seen.append("woken")

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await quiet()
        assert (parking.taken, seen) == (True, [])
        parking.wake()
        assert not parking.taken
        parking.wake()  # nobody: nothing
        await quiet()
        assert seen == ["woken"]


async def test_a_wake_that_comes_before_is_not_remembered() -> None:
    parking = Parking()
    parking.wake()
    with anyio.move_on_after(1) as scope:
        await parking.park()
    assert scope.cancelled_caught
    assert not parking.taken


async def test_cancelling_leaves_the_place_free() -> None:
    parking = Parking()
    async with anyio.create_task_group() as group:
        group.start_soon(parking.park)
        await quiet()
        group.cancel_scope.cancel()
    assert not parking.taken
    parking.wake()
    await quiet()


async def test_woken_and_cancelled_at_once() -> None:
    """Whatever wins, the next waiter is not disturbed by the one before."""
    parking = Parking()
    for order in ("wake first", "cancel first"):
        async with anyio.create_task_group() as group:
            group.start_soon(parking.park)
            await quiet()
            if order == "wake first":
                parking.wake()
                group.cancel_scope.cancel()
            else:
                group.cancel_scope.cancel()
                parking.wake()
        assert not parking.taken


async def test_who_is_woken_does_not_evict_who_came_since() -> None:
    parking, seen = Parking(), list[str]()

    async def wait(name: str) -> None:
        await parking.park()
        seen.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "first")
        await quiet()
        group.start_soon(wait, "second")
        parking.wake()  # the first has not run yet when the second comes
        await quiet()
        assert seen == ["first"]
        assert parking.taken
        parking.wake()
        await quiet()
    assert seen == ["first", "second"]


async def test_a_cancelled_scope_is_noticed() -> None:
    parking = Parking()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await parking.park()
    assert scope.cancelled_caught
