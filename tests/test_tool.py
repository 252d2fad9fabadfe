"""Tools: functions of every sort, and where they run."""

from __future__ import annotations

import functools
import threading
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from anyio import from_thread, to_thread

from kernl_rt._tool import threads
from kernl_rt.context import Context, ToolContext
from kernl_rt.exceptions import MisconfiguredError, ToolArgumentsError, ToolError
from kernl_rt.tool import THREAD_LIMIT, Toolkit, tool
from tests.tool_kinds import call_context, forecast, taking

pytestmark = pytest.mark.anyio


# -- functions of every sort -----------------------------------------------------------------------------------------


class Home:
    def __init__(self) -> None:
        self.on = False

    @tool
    async def lights(self, on: bool) -> str:
        """Turn the lights on or off."""
        self.on = on
        return "done"

    @tool(timeout=5)
    async def greet(self, context: Context[str], loud: bool = False) -> str:
        return context.context.upper() if loud else context.context

    @staticmethod
    @tool
    async def outside(a: int) -> int:
        return a + 1

    @tool
    @staticmethod
    async def inside(a: int) -> int:
        return a + 2

    async def plain(self, a: int) -> int:
        return a + 3

    @classmethod
    async def made(cls, a: int) -> str:
        return f"{cls.__name__} {a}"

    async def __call__(self, a: int) -> int:
        return a + 4


async def test_functions_are_still_functions() -> None:
    assert await forecast(call_context("Ann"), "Paris", days=1) == "Ann: Paris 1 <Unit.C: 'celsius'> None None"
    assert forecast.function.__name__ == "forecast"


async def test_the_context_is_filled_in() -> None:
    text = '{"city": "Paris", "unit": "fahrenheit", "place": {"name": "X"}}'
    assert await forecast.call(call_context("Ann"), text) == (
        "Ann: Paris 3 <Unit.F: 'fahrenheit'> Place(name='X', position=(0.0, 0.0)) None"
    )


async def test_methods_are_taken_from_an_object() -> None:
    home, other = Home(), Home()
    assert await home.lights.call(call_context(), '{"on": true}') == "done"
    assert (home.on, other.on) == (True, False)
    assert list(home.lights.definition.parameters["properties"]) == ["on"]
    assert await home.lights(False) == "done"
    assert await home.greet.call(call_context("Ann"), '{"loud": true}') == "ANN"
    assert home.greet.timeout == 5
    assert dict(Toolkit(id="home", tools=[home.lights]).tools[0].definition.parameters["properties"]) == {
        "on": {"type": "boolean"}
    }


async def test_a_method_without_its_object_is_refused() -> None:
    for attempt in (lambda: Toolkit(id="home", tools=[Home.lights]),):
        with pytest.raises(MisconfiguredError, match=r"'lights' is a method without its object.*thing.lights"):
            attempt()
    with pytest.raises(MisconfiguredError, match="method without its object"):
        await Home.lights.call(call_context(), '{"on": true}')


@pytest.mark.parametrize(
    ("make", "name", "result"),
    [
        (lambda: Home.outside, "outside", "6"),
        (lambda: Home().inside, "inside", "7"),
        (lambda: tool(Home().plain), "plain", "8"),
        (lambda: tool(Home.made), "made", "Home 5"),
        (lambda: tool(Home()), "Home", "9"),
        (lambda: tool(functools.partial(Home().plain)), "plain", "8"),
    ],
)
async def test_every_sort_of_function(make: Any, name: str, result: str) -> None:
    one = make()
    assert one.name == name
    assert one.is_async
    assert await one.call(call_context(), '{"a": 5}') == result


async def test_what_a_partial_fixes_the_model_does_not_see() -> None:
    async def search(query: str, limit: int, database: object) -> str:
        return f"{query} {limit} {database}"

    one = tool(functools.partial(search, limit=3, database="db"))
    assert list(one.definition.parameters["properties"]) == ["query"]
    assert await one.call(call_context(), '{"query": "x"}') == "x 3 db"
    with pytest.raises(ToolArgumentsError, match="unknown argument 'limit'"):
        await one.call(call_context(), '{"query": "x", "limit": 4}')


async def test_wrappers_show_what_they_wrap() -> None:
    async def inner(a: int) -> int:
        """Inner."""
        return a

    @functools.wraps(inner)
    async def outer(*args: Any, **kwargs: Any) -> int:
        return await inner(*args, **kwargs) + 1

    one = tool(outer)
    assert one.description == "Inner."
    assert await one.call(call_context(), '{"a": 5}') == "6"


async def test_toolkits() -> None:
    def plain(a: int) -> int:
        return a

    kit = Toolkit(id="home", tools=[forecast, plain])
    assert [each.name for each in kit.tools] == ["forecast", "plain"]
    assert kit.tools[0] is forecast
    with pytest.raises(MisconfiguredError, match="toolkit 'home' has two tools named 'plain'"):
        Toolkit(id="home", tools=[plain, plain])
    with pytest.raises(MisconfiguredError, match="id must be text, not ''"):
        Toolkit(id="")
    with pytest.raises(MisconfiguredError, match="not a function"):
        Toolkit(id="home", tools=[5])  # type: ignore[list-item]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kit.id = "x"  # type: ignore[misc]


async def test_what_a_tool_raises_is_raised() -> None:
    failure = LookupError("no such city")

    @tool
    async def fails() -> None:
        raise failure

    with pytest.raises(LookupError) as caught:
        await fails.call(call_context(), "{}")
    assert caught.value is failure


async def test_wrong_arguments_run_no_code() -> None:
    one = taking(int)
    with pytest.raises(ToolArgumentsError):
        await one.call(call_context(), '{"value": "x"}')
    seen = one.function.__dict__["seen"]
    assert seen == []
    await one.call(call_context(), '{"value": 1}')
    assert seen == [1]


async def test_cancelling_an_async_tool_runs_its_finally() -> None:
    ended: list[str] = []

    @tool
    async def waits() -> None:
        try:
            await anyio.sleep(1_000)
        finally:
            ended.append("finally")

    with anyio.move_on_after(5) as scope:
        await waits.call(call_context(), "{}")
    assert scope.cancelled_caught
    assert ended == ["finally"]


# -- threads ---------------------------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread(real_clock: None) -> None:
    release = threading.Event()
    where: list[int] = []

    @tool
    def blocks(context: ToolContext[str], n: int) -> str:
        where.append(threading.get_ident())
        from_thread.run_sync(started.set)
        assert release.wait(10)
        return f"{context.context} {n}"

    assert not blocks.is_async
    started = anyio.Event()
    results: list[str] = []

    async def run() -> None:
        results.append(await blocks.call(call_context("Ann"), '{"n": 1}'))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await started.wait()  # the loop runs while the function blocks
        assert results == []
        release.set()
    assert results == ["Ann 1"]
    assert where != [threading.get_ident()]


async def test_a_plain_function_uses_the_session_from_its_thread(real_clock: None) -> None:
    said: list[tuple[str, int]] = []

    class Session:
        def send_message(self, text: str, /) -> None:
            said.append((text, threading.get_ident()))

    @tool
    def says(context: ToolContext[None]) -> None:
        context.session.send_message("hi")

    bound = Context(None).bind(Session(), None)  # type: ignore[arg-type]
    await says.call(bound.for_call("c", "says"), "{}")
    assert said == [("hi", threading.get_ident())]


async def test_a_plain_wrapper_around_an_async_function(real_clock: None) -> None:
    async def inner(a: int) -> int:
        await anyio.lowlevel.checkpoint()
        return a + threading.get_ident()

    @tool(name="outer")
    def outer(a: int) -> Any:
        return inner(a)

    assert await outer.call(call_context(), '{"a": 5}') == str(5 + threading.get_ident())


async def test_a_plain_functions_exceptions(real_clock: None) -> None:
    @tool
    def fails(stop: bool) -> None:
        raise StopIteration if stop else LookupError("no such city")

    with pytest.raises(LookupError, match="no such city"):
        await fails.call(call_context(), '{"stop": false}')
    # Python cannot carry a StopIteration out of a coroutine; what matters is that the call ends.
    with pytest.raises(RuntimeError, match="StopIteration"):
        await fails.call(call_context(), '{"stop": true}')


async def abandon(release: threading.Event, ended: list[int]) -> None:
    """Start a plain tool that blocks until ``release``, and cancel the call."""
    started = anyio.Event()

    @tool
    def stuck() -> None:
        from_thread.run_sync(started.set)
        assert release.wait(20)
        ended.append(1)

    async with anyio.create_task_group() as group:
        group.start_soon(stuck.call, call_context(), "{}")
        with anyio.fail_after(10):
            await started.wait()
        group.cancel_scope.cancel()


async def until_none_is_abandoned() -> None:
    # Threads end when they end, and tell nobody.
    with anyio.fail_after(10):
        while threads.abandoned():
            await anyio.sleep(0.005)


async def test_cancelling_leaves_the_thread_and_counts_it(real_clock: None) -> None:
    release, ended = threading.Event(), list[int]()
    try:
        await abandon(release, ended)
        assert threads.abandoned() == 1
        assert ended == []
    finally:
        release.set()
        await until_none_is_abandoned()
    assert ended == [1]


async def test_functions_that_never_end_cost_a_bounded_number_of_threads(real_clock: None) -> None:
    ran: list[int] = []

    @tool
    def one_more() -> None:
        ran.append(1)

    release, ended = threading.Event(), list[int]()
    try:
        for _ in range(THREAD_LIMIT):
            await abandon(release, ended)
        with pytest.raises(ToolError, match="40 earlier calls were cancelled"):
            await one_more.call(call_context(), "{}")
        assert ran == []
    finally:
        release.set()
        await until_none_is_abandoned()
    assert len(ended) == THREAD_LIMIT
    await one_more.call(call_context(), "{}")
    assert ran == [1]


async def test_no_more_than_the_limit_run_at_once(real_clock: None) -> None:
    running, most, lock = 0, 0, threading.Lock()
    release = threading.Event()

    @tool
    def counts() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert release.wait(20)
        with lock:
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(THREAD_LIMIT + 5):
            group.start_soon(counts.call, call_context(), "{}")
        try:
            with anyio.fail_after(10):
                while running < THREAD_LIMIT:
                    await anyio.sleep(0.005)
            await anyio.wait_all_tasks_blocked()
            # The user's own threads do not wait for the tools'.
            assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
        finally:
            release.set()
    assert most == THREAD_LIMIT
    assert running == 0


async def test_a_call_cancelled_before_its_thread_began_never_begins() -> None:
    ran: list[int] = []
    run = threads._Run(lambda: ran.append(1))
    run.leave()
    with pytest.raises(ToolError):
        run()
    assert (ran, threads.abandoned()) == ([], 0)
