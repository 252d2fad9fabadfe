"""Whoever hears the session: slow, absent, abandoned, or two at once. Each has a bounded view of its own."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import anyio
import pytest

from kernl_rt._session.stream import BUFFER
from kernl_rt.events import (
    AudioDelta,
    CustomEvent,
    EventsDropped,
    OutputTranscriptDelta,
    SessionError,
    StatusChanged,
)
from kernl_rt.exceptions import SessionStateError, SlowConsumer
from tests.lanes.stalling import Call, calling
from tests.scenarios.calls import audio, created, done, quiet, transcript, word

pytestmark = pytest.mark.anyio


async def rest(events: Any) -> list[Any]:
    """What waits now."""
    found = []
    for _ in range(len(events) + 1):
        with anyio.move_on_after(0.001):
            found.append(await anext(events))
    return found


def numbers(found: list[Any]) -> list[int]:
    return [event.data for event in found if isinstance(event, CustomEvent)]


async def test_promise_15_partial_content_goes_first_in_one_counted_event() -> None:
    async with calling() as call:
        events = call.session.events()
        call.peer.say(created(), *(audio(ms=20) for _ in range(2_000)), *(word("so ") for _ in range(500)))
        call.peer.say(transcript("so so"), done())
        await quiet()
        assert len(events) == BUFFER == 1_024
        stream = call.session.statistics().streams[0]
        assert (stream.waiting, stream.peak, stream.policy, stream.limit) == (1_024, 1_024, "shed", 1_024)
        found = await rest(events)
        first = found[0]
        assert isinstance(first, EventsDropped), "one event, before what waits"
        assert sum(isinstance(event, EventsDropped) for event in found) == 1
        left = Counter(event.kind for event in found)
        assert first.counts.get("audio.output.delta", 0) + left["audio.output.delta"] == 2_000
        assert first.counts.get("transcript.output.delta", 0) + left["transcript.output.delta"] == 500
        assert set(first.counts) <= {"audio.output.delta", "transcript.output.delta"}
        assert left["transcript.output"] == left["response.created"] == left["response.done"] == 1
        kept = [event for event in found if isinstance(event, OutputTranscriptDelta)]
        assert len(kept) == 500, "the oldest goes first, and words are younger than sound here"
        assert call.session.statistics().dropped_events == first.counts


async def test_promise_15_past_the_bound_the_iterator_ends_and_the_session_lives() -> None:
    async with calling() as call:
        events = call.session.events("mine")
        for number in range(1_025):
            call.session.emit("mine", number)
        # It is no longer given anything: what waits stays within the bound.
        for number in range(10_000):
            call.session.emit("mine", number)
        assert len(events) == 1_024
        assert call.session.statistics().slow_consumers == 1
        assert call.session.statistics().streams == ()
        found = []
        with pytest.raises(SlowConsumer, match="consume faster"):
            async for event in events:
                found.append(event)  # noqa: PERF401 - what came before the error counts
        assert numbers(found) == list(range(1_024)), "what waited is delivered first, in order"
        fresh = call.session.events("mine")
        call.session.emit("mine", 7)
        assert (await anext(fresh)).data == 7
        assert call.session.status == "connected"


async def test_drop_oldest_drops_whatever_is_oldest_and_counts_it() -> None:
    async with calling() as call:
        events = call.session.events("mine", policy="drop_oldest", buffer=10)
        for number in range(100):
            call.session.emit("mine", number)
        found = await rest(events)
        assert isinstance(found[0], EventsDropped)
        assert found[0].counts == {"mine": 90} or sum(found[0].counts.values()) == 90
        assert numbers(found) == list(range(90, 100))
        assert call.session.statistics().streams[0].dropped == 90


async def test_block_loses_nothing_and_reads_no_further() -> None:
    async with calling() as call:
        events = call.session.events("audio.output.delta", policy="block", buffer=10)
        call.peer.say(created())
        await quiet()
        for number in range(300):
            call.peer.say(AudioDelta(bytes([number % 256, 0]), response_id="r1", item_id="i1", content_index=0))
            await quiet()
        assert len(events) <= 11, "the session reads on"
        found = []
        for _ in range(300):
            with anyio.fail_after(10):
                found.append((await anext(events)).audio[0])
        assert found == [number % 256 for number in range(300)]
        assert call.session.statistics().dropped_events == {}


async def fill(call: Call) -> weakref.ref[Any]:
    """A blocking iterator that is full, and abandoned when this returns."""
    events = call.session.events(policy="block", buffer=4)
    call.peer.say(created(), *(audio(ms=20) for _ in range(10)))
    await quiet()
    call.peer.say(transcript("at last"))
    await quiet()
    assert events.full
    assert [event.kind for event in call.log if event.kind == "transcript.output"] == []
    return weakref.ref(events)


async def test_fault_31_a_blocking_iterator_that_was_abandoned_blocks_nobody() -> None:
    async with calling() as call:
        gone = await fill(call)
        gc.collect()
        await anyio.sleep(1)
        assert gone() is None, "the session keeps the iterator that it waits for"
        assert [event.kind for event in call.log if event.kind == "transcript.output"] == ["transcript.output"]


async def test_a_session_that_is_blocked_can_be_closed() -> None:
    with anyio.fail_after(10):
        async with calling() as call:
            events = call.session.events(policy="block", buffer=4)
            call.peer.say(created(), *(audio(ms=20) for _ in range(10)))
            await quiet()
            assert events.full
    kinds = [type(event) async for event in events]
    assert kinds[-1] is StatusChanged


async def test_fault_31_break_and_iterate_again() -> None:
    async with calling() as call:
        call.session.emit("mine", 1)
        for turn in range(50):
            iterator = call.session.events("mine")
            call.session.emit("mine", turn)
            async for event in iterator:
                assert event.data == turn
                break
        del iterator, event
        gc.collect()
        assert call.session.statistics().streams == (), "what was abandoned is still given events"


async def test_fault_31_what_a_break_left_is_there_when_one_goes_on() -> None:
    async with calling() as call:
        events = call.session.events("mine")
        for number in range(10):
            call.session.emit("mine", number)
        async for event in events:
            if event.data == 3:
                break
        assert numbers(await rest(events)) == [4, 5, 6, 7, 8, 9]


async def test_fault_31_two_iterators_each_with_a_view_of_its_own() -> None:
    async with calling() as call:
        patient, hasty = call.session.events("mine"), call.session.events("mine", policy="drop_oldest", buffer=5)
        found: list[int] = []

        async def consume() -> None:
            async for event in patient:
                found.append(event.data)  # noqa: PERF401 - it is looked at while it grows

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            for number in range(3_000):
                call.session.emit("mine", number)
                if number % 500 == 0:
                    await quiet()
            await quiet()
            group.cancel_scope.cancel()
        assert found == list(range(3_000)), "the slow one cost the other something"
        assert numbers(await rest(hasty)) == list(range(2_995, 3_000))


async def test_two_tasks_on_one_iterator_are_told() -> None:
    async with calling() as call, anyio.create_task_group() as group:
        events = call.session.events("mine")
        group.start_soon(anext, events)
        await quiet()
        with pytest.raises(SessionStateError, match="another task"):
            await anext(events)
        group.cancel_scope.cancel()


async def test_a_slow_async_listener_is_bounded_and_told() -> None:
    async with calling() as call:
        seen: list[int] = []

        async def slow(event: Any) -> None:
            await anyio.sleep(1_000)
            seen.append(event.data)

        call.session.on("mine", slow)
        await quiet()
        for number in range(5_000):
            call.session.emit("mine", number)
        # Its stream has ended and is listed no more; it was within the bound.
        assert call.session.statistics().slow_consumers == 1
        call.session.off("mine", slow)
        await quiet()
        assert call.session.status == "connected"


async def test_a_slow_async_listener_hears_what_waited_and_is_then_an_error() -> None:
    async with calling() as call:
        seen: list[int] = []

        async def slow(event: Any) -> None:
            await anyio.sleep(0.1)
            seen.append(event.data)

        call.session.on("mine", slow)
        await quiet()
        for number in range(5_000):
            call.session.emit("mine", number)
        await anyio.sleep(200)
        assert len(seen) <= 1_025
        assert seen == list(range(len(seen)))
        [error] = call.seen(SessionError)
        assert error.source == "listener"
        assert isinstance(error.cause, SlowConsumer)


async def test_sound_of_an_interrupted_reply_no_longer_waits_for_anybody() -> None:
    async with calling() as call:
        events = call.session.events()
        call.peer.say(created(), *(audio(ms=1_000) for _ in range(100)))
        await quiet()
        call.session.interrupt()
        found = await rest(events)
        assert not any(isinstance(event, AudioDelta) for event in found)
        assert found[0].counts == {"audio.output.delta": 100}
