"""The application over ASGI, in virtual time: how calls are limited, and how they are ended."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import anyio
import pytest
from channels.pages import Page
from serve.clients import ORIGIN, request
from serve.worlds import SOUND, World, paging, settle, visiting

from kernl_rt import Drain, RealtimeAgent, RealtimeSession
from kernl_rt.abc import RealtimeChannel
from kernl_rt.exceptions import ConnectRefusedError
from kernl_rt.serve import Calls

pytestmark = pytest.mark.anyio

# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "code"), [(64 * 1024, 1001), (64 * 1024 + 1, 1009)])
@pytest.mark.parametrize("text", [True, False])
async def test_a_message_of_64_kib_and_no_more(size: int, code: int, text: bool) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        async with visiting(visitor):
            await visitor.greet()
            await visitor.send("ä" * (size // 2) + "a" * (size % 2) if text else bytes(size))
            await anyio.sleep(1)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


@pytest.mark.parametrize(("count", "code"), [(499, 1001), (500, 1008)])
async def test_a_hundred_messages_a_second_and_no_more(count: int, code: int) -> None:
    """The hello is one of five seconds' five hundred: five hundred pass, and the next is one too many."""
    async with World().started() as world:
        visitor = await world.visitor()
        async with visiting(visitor):
            await visitor.hello()
            for _ in range(count):
                await visitor.send('{"type":"nonsense"}')
            await anyio.sleep(0.001)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


@pytest.mark.parametrize(("pace", "code"), [(1.9, 1001), (2.2, 1008)])
async def test_sound_at_twice_the_pace_and_no_more(pace: float, code: int) -> None:
    async with World().started() as world:
        visitor = await world.visitor()
        async with visiting(visitor):
            await visitor.hello()
            size = int(4_800 * pace) // 2 * 2
            for _ in range(1_000):  # two minutes
                if not visitor.closed.is_set():
                    await visitor.send(bytes(size))
                    await anyio.sleep(0.1)
            if code == 1001:
                assert not visitor.closed.is_set()
                visitor.leave()
        assert visitor.code == code


async def test_one_call_too_many_is_refused() -> None:
    async with World(max_sessions=2).started() as world:
        spare = await world.token()
        visitors = [await world.visitor() for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for visitor in visitors:
                tasks.start_soon(settle, visitor)
                await visitor.greet()
            answer = await request(world.app, "POST", "/session-token", [("origin", ORIGIN)])
            assert (answer.status, answer.headers["retry-after"]) == (503, "10")
            third = await world.visitor(spare)
            await settle(third)
            assert third.status == 503
            assert world.dials == 2
            visitors[0].leave()
            await anyio.sleep(1)
            fourth = await world.visitor(spare)  # its token was not used up
            tasks.start_soon(settle, fourth)
            await fourth.greet()
            fourth.leave()
            visitors[1].leave()


async def test_a_thousand_slow_hellos_cost_little_and_keep_nobody_out() -> None:
    """A thousand connections with good tokens say no hello, to a server with five lines."""
    async with World(max_sessions=5).started() as world:
        tokens = [await world.token() for _ in range(1_022)]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                warm = await world.visitor(tokens.pop())
                tasks.start_soon(settle, warm)
                await warm.answered.wait()
                warm.leave()
                await anyio.sleep(0.01)
                gc.collect()
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                slow_ones = [await world.visitor(tokens.pop()) for _ in range(1_000)]
                for visitor in slow_ones:
                    tasks.start_soon(settle, visitor)
                await anyio.sleep(0.5)
                size, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert size - before < 20 * 2**20, "with what the clients of this test need"
                assert world.dials == 0
                good = await world.visitor(tokens.pop())
                page = Page(good)
                tasks.start_soon(settle, good)
                tasks.start_soon(page.run)
                began = anyio.current_time()
                await good.answered.wait()
                late = [await world.visitor(tokens.pop()) for _ in range(20)]
                for visitor in late:  # who comes after it sends others away
                    tasks.start_soon(settle, visitor)
                await anyio.sleep(0.1)
                await good.hello()
                await page.wait_told("ready")
                assert anyio.current_time() - began < 1
                assert world.dials == 1
                await anyio.sleep(10)
                assert {visitor.code for visitor in slow_ones} == {1008, 1013}
                assert sum(visitor.code == 1013 for visitor in slow_ones) == 521
                assert not good.closed.is_set()
                good.leave()


async def test_a_page_whose_line_was_taken_while_it_said_hello() -> None:
    async with World(max_sessions=1).started() as world:
        late, first = [await world.visitor() for _ in range(2)]
        page = Page(late)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(settle, late)
            tasks.start_soon(page.run)
            await late.answered.wait()
            tasks.start_soon(settle, first)
            await first.greet()
            await late.hello()
            assert (await page.wait_told("error"))["message"] == "All lines are busy."
            await late.closed.wait()
            assert late.code == 1013
            assert world.dials == 1
            first.leave()


async def test_a_call_has_a_longest_time() -> None:
    async with World(max_minutes=1).started() as world:
        visitor = await world.visitor()
        async with paging(visitor) as page:
            began = anyio.current_time()
            assert (await page.wait_told("error"))["code"] == "time_limit"
            await visitor.closed.wait()
            assert 59 < anyio.current_time() - began < 62
        assert visitor.code == 1000


async def test_push_to_talk_turns_the_providers_turns_off() -> None:
    async with World("hello", push_to_talk=True).started() as world:
        visitor = await world.visitor()
        async with paging(visitor) as page:
            assert page.told("ready")[0]["push_to_talk"] is True
            await page.say("talk", pressed=True)
            await page.speak(SOUND)
            assert not page.told("transcript")
            await page.say("talk", pressed=False)
            await page.wait_told("transcript", role="user", final=True)
            visitor.leave()


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_draining_refuses_new_calls_and_ends_the_old_ones_in_time() -> None:
    world = World()
    async with Drain(10, signals=()) as drain:
        world = World(calls=Calls(world.answer, drain=drain))
        async with world.started(), anyio.create_task_group() as tasks:
            visitor = await world.visitor()
            spare = await world.token()
            tasks.start_soon(settle, visitor)
            await visitor.greet()
            drain.start()
            health = await request(world.app, "GET", "/healthz")
            assert (health.status, health.json()) == (503, {"status": "draining", "live": 1, "free": 0})
            refused = await world.visitor(spare)
            await settle(refused)
            assert refused.status == 503
            began = anyio.current_time()
            await visitor.closed.wait()
            assert 9 < anyio.current_time() - began < 12
            assert visitor.code == 1000


async def test_the_servers_shutdown_ends_calls_in_time() -> None:
    world = World(drain_seconds=3)
    async with anyio.create_task_group() as tasks:
        async with world.started():
            visitor = await world.visitor()
            tasks.start_soon(settle, visitor)
            await visitor.greet()
            began = anyio.current_time()
        assert 2 < anyio.current_time() - began < 6
        await visitor.closed.wait()


async def test_a_model_that_cannot_be_reached(caplog: pytest.LogCaptureFixture) -> None:
    def session(agent: RealtimeAgent[Any], channel: RealtimeChannel) -> RealtimeSession[Any]:
        raise ConnectRefusedError("nobody listens at wss://secret-host")

    async with World(calls=Calls(World().answer, session=session)).started() as world:
        visitor = await world.visitor()
        page = Page(visitor)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(page.run)
            await visitor.hello()
            await settle(visitor)
        assert visitor.code == 1011
        assert page.told("error")[0]["code"] == "unavailable"
        assert "secret-host" not in str(page.messages)
        assert "secret-host" in caplog.text
