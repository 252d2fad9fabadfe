"""Closing: from everywhere, at every moment, any number of times. And what must not end a session."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kernl_rt import (
    ConnectOptions,
    Guardrail,
    RealtimeAgent,
    RealtimeChannel,
    RealtimeConnection,
    RealtimeSession,
    ToolContext,
    tool,
)
from kernl_rt.config import PCM16_24K, AudioFormat
from kernl_rt.events import (
    AudioInputAppend,
    Interrupted,
    LoopStalled,
    SessionError,
    SessionStuck,
    SessionUpdate,
    StatusChanged,
    ToolResult,
)
from kernl_rt.exceptions import ConnectionClosed, ConnectTimeout, SessionStateError
from kernl_rt.testing import ScriptedModel
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import TENTH, audio, calling, created, done, make_session, quiet, tool_call, transcript

pytestmark = pytest.mark.anyio

#: Virtual seconds in which everything but a tool that will not die must be over.
BOUND = 5.0


@asynccontextmanager
async def watched(*tools: Any, **options: Any) -> AsyncIterator[tuple[RealtimeSession[Any], list[Any]]]:
    """A session that is not connected, with its log; after the block nothing of it may be left."""
    session = make_session(*tools, **WITHOUT_RECONNECT, **options)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(1_000), nothing_left(session, log):
        yield session, log


def peer_of(session: RealtimeSession[Any]) -> Any:
    assert isinstance(session.model, ScriptedModel)
    return session.model.peer


# -- row 37: from everywhere ------------------------------------------------------------------------------------------


async def test_fault_37_close_twice_and_after_the_end() -> None:
    async with watched() as (session, log):
        async with session:
            session.close("first")
            session.close("second")
            assert await session.aclose()
            assert await session.aclose()
            session.close("third")
        session.close("fourth")
        assert await session.aclose()
        await session.wait_closed()
    assert {event.reason for event in log if isinstance(event, StatusChanged) and event.status == "closing"} == {
        "first"
    }


async def test_fault_37_close_from_three_tasks_at_once() -> None:
    ended: list[bool] = []

    async def close(session: RealtimeSession[Any]) -> None:
        ended.append(await session.aclose())

    async with watched() as (session, _):
        async with session, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(close, session)
        assert ended == [True, True, True]


async def test_fault_37_close_from_a_plain_listener() -> None:
    async with watched() as (session, _):
        start = anyio.current_time()
        session.on("audio", lambda event: session.close("enough"))
        async with session:
            peer_of(session).say(created(), audio(), audio())
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("verb", ["close", "aclose", "wait_closed"])
async def test_fault_37_close_from_an_awaited_listener(verb: str) -> None:
    """It must not wait for its own end."""
    result: list[Any] = []

    async with watched() as (session, _):

        async def stop(event: Any) -> None:
            if verb == "close":
                session.close()
                result.append(True)
            elif verb == "aclose":
                result.append(await session.aclose())
            else:
                session.close()
                await session.wait_closed()
                result.append(session.status == "closed")

        session.once("audio", stop)
        start = anyio.current_time()
        async with session:
            peer_of(session).say(created(), audio())
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)
    assert result == [True]


@pytest.mark.parametrize("verb", ["close", "aclose", "context"])
async def test_fault_37_close_from_inside_a_tool(verb: str) -> None:
    """``aclose`` in a tool is cancelled with the tool; its ``finally`` runs."""
    steps: list[str] = []

    @tool
    async def leave(context: ToolContext[Any]) -> str:
        try:
            if verb == "aclose":
                await session.aclose()
                steps.append("unreachable")
            elif verb == "close":
                session.close()
            else:
                context.session.close()
            await anyio.lowlevel.checkpoint()
        finally:
            steps.append("finally")
        return "bye"

    async with watched(leave) as (session, log):
        start = anyio.current_time()
        async with session:
            peer_of(session).say(tool_call("leave"))
            await session.wait_closed()
        assert anyio.current_time() - start == pytest.approx(0, abs=0.01)
    assert steps == ["finally"]
    assert [event.outcome for event in log if event.kind == "tool.finished"] == ["cancelled"]


async def test_fault_37_close_from_a_guardrail() -> None:
    checked: list[str] = []

    async def check(text: str, context: Any) -> None:
        checked.append(text)
        await context.session.aclose()
        checked.append("unreachable")

    guardrail: Guardrail[Any] = Guardrail("leaving", check)
    async with watched(guardrails=[guardrail]) as (session, _), session:
        peer_of(session).say(created(), audio(), transcript("Hello."), done())
        await session.wait_closed()
    assert checked == ["Hello."]


async def by_scope(session: RealtimeSession[Any]) -> None:
    with anyio.CancelScope() as scope:
        async with session:
            scope.cancel()
            await anyio.sleep(60)
    assert scope.cancelled_caught


async def by_fail_after(session: RealtimeSession[Any]) -> None:
    with pytest.raises(TimeoutError):
        with anyio.fail_after(1):
            async with session:
                await anyio.sleep(60)


async def by_sibling(session: RealtimeSession[Any]) -> None:
    async def fail() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            async with session:
                await anyio.sleep(60)


async def by_sibling_in_the_callers_group(session: RealtimeSession[Any]) -> None:
    """The same with ``connect``: the session is a sibling itself."""

    async def fail() -> None:
        await anyio.sleep(1)
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with anyio.create_task_group() as group:
            await session.connect(group)
            group.start_soon(fail)


async def by_body(session: RealtimeSession[Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session:
            raise ZeroDivisionError


async def by_hang_up(session: RealtimeSession[Any]) -> None:
    """In the middle of a reply even a goodbye is a loss, and raised; else it is none."""
    with suppress(ConnectionClosed):
        async with session:
            peer_of(session).hang_up(1000)
            await session.wait_closed()


@pytest.mark.parametrize(
    "end", [by_scope, by_fail_after, by_sibling, by_sibling_in_the_callers_group, by_body, by_hang_up]
)
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_promise_03_every_way_to_end_leaves_nothing(
    end: Callable[[RealtimeSession[Any]], Awaitable[None]], busy: bool
) -> None:
    steps: list[str] = []

    @tool
    async def work() -> str:
        try:
            await anyio.sleep(3_600)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.5)
            steps.append("finally")
        return "never"

    async def awaited(event: Any) -> None:
        await anyio.sleep(3_600)

    session = make_session(work, **WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("event", log.append)
    if busy:
        session.on("status", awaited)
        session.on("tool", lambda event: session.send_audio(TENTH) if event.kind == "tool.call" else None)

        def begin(event: Any) -> None:
            peer_of(session).say(created(), tool_call("work"))

        session.once("session.updated", begin)
    with anyio.fail_after(1_000), nothing_left(session, log):
        start = anyio.current_time()
        await end(session)
        assert anyio.current_time() - start <= BOUND
    if busy and end is not by_body:
        assert steps in (["finally"], []), steps
        outcomes = [event.outcome for event in log if event.kind == "tool.finished"]
        assert len(outcomes) == sum(event.kind == "tool.call" for event in log), "one outcome for each call"
        assert set(outcomes) <= {"cancelled"}


async def test_promise_03_a_tool_that_will_not_die_makes_aclose_say_so() -> None:
    @tool
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(30)
        return "late"

    async with calling(stubborn) as call:
        await call.says(tool_call("stubborn"))
        start = anyio.current_time()
        assert not await call.session.aclose()
        assert anyio.current_time() - start == pytest.approx(5)
        assert not await call.session.aclose(2.5)
        assert anyio.current_time() - start == pytest.approx(7.5)
        assert not await call.session.aclose(0)
        assert call.session.status == "closing"
        assert await call.session.aclose(30)
        assert anyio.current_time() - start == pytest.approx(30, abs=0.1)


async def test_fault_25_a_tool_that_ignores_cancellation() -> None:
    @tool
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(6)
        return "late"

    async with calling(stubborn) as call:
        await call.says(tool_call("stubborn"))
    [stuck] = call.seen(SessionStuck)
    assert (stuck.name, stuck.call_id, round(stuck.seconds)) == ("stubborn", "c1", 5)
    assert "stubborn" in stuck.stack
    assert [event.outcome for event in call.log if event.kind == "tool.finished"] == ["cancelled"]
    assert call.sent(ToolResult) == [], "what it gives too late is not said"


# -- row 38: at the wrong moment --------------------------------------------------------------------------------------


async def test_fault_38_close_before_connect() -> None:
    session = make_session()
    with pytest.raises(SessionStateError, match="before"):
        session.close()
    with pytest.raises(SessionStateError, match="before"):
        await session.aclose()


async def test_fault_38_connect_twice() -> None:
    async with watched() as (session, _), session:
        with pytest.raises(SessionStateError, match="once"):
            await session.__aenter__()
        async with anyio.create_task_group() as group:
            with pytest.raises(SessionStateError, match="once"):
                await session.connect(group)
        assert session.status == "connected", "the first is not harmed"
    with pytest.raises(SessionStateError, match="once"):
        await session.__aenter__()


async def test_fault_38_connect_twice_at_once() -> None:
    """The second is refused while the first still dials."""
    session = make_session(acknowledge=False, connect_options=ConnectOptions(timeout=3))
    refused: list[Exception] = []

    async def second() -> None:
        try:
            await session.__aenter__()
        except SessionStateError as error:
            refused.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(second)
        with pytest.raises((ConnectTimeout, SessionStateError)):
            await session.__aenter__()
    assert len(refused) <= 1
    assert len(session.model.peers) == 1  # type: ignore[attr-defined]


async def test_fault_38_use_after_close() -> None:
    async with watched() as (session, _), session:
        pass
    with pytest.raises(SessionStateError, match="while the session is closed"):
        session.send_message("hello")
    assert [event async for event in session] == [], "an iterator over what is over ends at once"


# -- row 39: while connecting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["resolving", "dialling", "configuring"])
@pytest.mark.parametrize("how", ["close", "aclose", "cancel"])
async def test_fault_39_close_while_connecting(when: str, how: str) -> None:
    dialling, resolving = anyio.Event(), anyio.Event()

    class SlowModel(ScriptedModel):
        def connect(self, *arguments: Any, **options: Any) -> AbstractAsyncContextManager[RealtimeConnection]:
            return self._around(super().connect(*arguments, **options))

        @asynccontextmanager
        async def _around(
            self, link: AbstractAsyncContextManager[RealtimeConnection]
        ) -> AsyncIterator[RealtimeConnection]:
            dialling.set()
            if when == "dialling":
                await anyio.sleep(3_600)
            async with link as connection:
                yield connection

    async def instructions(context: Any) -> str:
        resolving.set()
        if when == "resolving":
            await anyio.sleep(3_600)
        return "Be brief."

    model = SlowModel(acknowledge=False)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions=instructions, model=model)
    session = RealtimeSession(agent, connect_options=ConnectOptions(timeout=60), **WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("event", log.append)
    raised: list[BaseException] = []
    scope = anyio.CancelScope()

    async def enter() -> None:
        with scope:
            try:
                await session.__aenter__()
            except BaseException as error:
                raised.append(error)
                raise

    with anyio.fail_after(100):
        before = len(anyio.get_running_tasks())
        start = anyio.current_time()
        with suppressing(SessionStateError):
            async with anyio.create_task_group() as group:
                group.start_soon(enter)
                await (resolving if when == "resolving" else dialling).wait()
                await quiet()
                if how == "close":
                    session.close()
                elif how == "aclose":
                    assert await session.aclose()
                else:
                    scope.cancel()
        assert anyio.current_time() - start < 0.01
        assert len(anyio.get_running_tasks()) == before
    [error] = raised
    if how == "cancel":
        assert isinstance(error, anyio.get_cancelled_exc_class())
    else:
        assert isinstance(error, SessionStateError)
        assert "closed while it was connecting" in str(error)
    assert session.status == "closed"
    assert [peer.closed.is_set() for peer in model.peers] == [True] * (when == "configuring")
    if log:
        assert [event.status for event in log].count("closed") == 1


class suppressing:
    """Swallows the one error of that type that a task group wraps."""

    def __init__(self, kind: type[Exception]) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        return isinstance(error, ExceptionGroup) and error.subgroup(self._kind) is not None


async def test_fault_39_close_from_a_listener_while_connecting() -> None:
    session = make_session(acknowledge=False)
    log: list[Any] = []
    session.on("event", log.append)
    session.on("status", lambda event: session.close("changed my mind"))
    refused = pytest.raises(SessionStateError, match="changed my mind")
    with anyio.fail_after(100), nothing_left(session, log), refused:
        await session.__aenter__()


# -- rows 29 and 30: listeners ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["status", "audio", "response", "event"])
async def test_fault_29_a_listener_that_raises_harms_nobody(topic: str) -> None:
    async def trace(*bad: Callable[[Any], Any]) -> tuple[list[Any], int]:
        session = make_session()
        heard: list[Any] = []
        errors: list[SessionError] = []
        for listener in bad:
            session.on(topic, listener)
        session.on("event", lambda event: (errors if isinstance(event, SessionError) else heard).append(event))
        async with session:
            peer_of(session).say(created(), audio(), done())
            await quiet()
        assert {error.source for error in errors} <= {"listener"}
        return heard, len(errors)

    def bad(event: Any) -> None:
        if not isinstance(event, SessionError):
            raise ValueError("bad listener")

    good, none = await trace()
    same, failures = await trace(bad)
    assert none == 0
    assert same == good
    heard = [e for e in good if topic in (e.topic, "event")]
    # What the last event's listener raises cannot be told any more: that event is the last.
    assert failures == len(heard) - (topic in ("status", "event"))


@pytest.mark.parametrize("backend", ["trio"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("status", ["connecting", "connected", "closing", "closed"])
async def test_fault_29_what_is_no_ordinary_exception_passes_through(kind: type[BaseException], status: str) -> None:
    """And the session closes cleanly. asyncio's own loop stops at such an exception: see the tests with processes."""
    session = make_session()
    log: list[Any] = []
    session.on("event", log.append)
    ended: list[Any] = []

    def bad(event: StatusChanged) -> None:
        if event.status == status:
            raise kind("out")

    async def iterate() -> None:
        ended.extend([event async for event in session.events("status")])
        ended.append("end")

    session.on("status", bad)
    with anyio.fail_after(100), nothing_left(session, log):
        async with anyio.create_task_group() as group:
            group.start_soon(iterate)
            await quiet()
            with pytest.raises(kind, match="out"):
                async with session:
                    pass
    assert ended[-1] == "end", "iterators end, too"
    assert ended[-2].status == "closed"


@pytest.mark.usefixtures("real_clock")
@pytest.mark.parametrize("seconds", [0.2, 1.0])
async def test_fault_30_a_listener_that_blocks(seconds: float) -> None:
    """It is named; what waited meanwhile is dealt with; the session lives and can be interrupted."""
    async with calling() as call:

        def block(event: Any) -> None:
            time.sleep(seconds)

        call.session.once("audio", block)
        with anyio.fail_after(20):
            call.peer.say(created(), audio(), audio())
            while not call.seen(LoopStalled):
                await anyio.sleep(0.005)
            start = anyio.current_time()
            call.session.send_audio(TENTH)
            await call.session.interrupt().settled()
            assert anyio.current_time() - start < 1
            while not call.sent(AudioInputAppend):
                await anyio.sleep(0.005)
    [stall] = [event for event in call.seen(LoopStalled) if event.during == "audio.output.delta"]
    assert stall.milliseconds >= seconds * 1_000
    assert stall.listener.endswith("block")
    assert len(call.seen(Interrupted)) == 1
    assert len(call.sent(AudioInputAppend)) == 1
    assert call.seen(SessionError) == []


# -- promise 3: whatever hangs ----------------------------------------------------------------------------------------


class HangingChannel(RealtimeChannel):
    """Hangs in the place that is named, as a driver does whose device is gone."""

    input_formats = output_formats = (PCM16_24K,)
    reports_playback = False

    def __init__(self, where: str) -> None:
        self.where = where
        self.left = False

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.left = True
        if self.where == "close":
            await anyio.sleep_forever()

    async def receive(self) -> Any:
        await anyio.sleep_forever()

    async def send(self, audio: bytes) -> None:
        if self.where == "send":
            await anyio.sleep_forever()

    def clear(self) -> float:
        return 0.0


class HangingModel(ScriptedModel):
    """Its link hangs in the place that is named, as one does whose peer is gone."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def connect(self, *arguments: Any, **options: Any) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._around(super().connect(*arguments, **options))

    @asynccontextmanager
    async def _around(self, link: AbstractAsyncContextManager[RealtimeConnection]) -> AsyncIterator[RealtimeConnection]:
        async with link as connection:
            original = connection.send

            async def send(event: Any) -> None:
                if self._where == "send" and not isinstance(event, SessionUpdate):
                    await anyio.sleep_forever()
                await original(event)

            connection.send = send  # type: ignore[method-assign]
            yield connection
            if self._where == "close":
                await anyio.sleep_forever()


@pytest.mark.parametrize("channel", ["", "send", "close"])
@pytest.mark.parametrize("link", ["", "send", "close"])
@pytest.mark.parametrize("how", ["aclose", "leave", "scope", "body"])
async def test_promise_03_close_is_bounded_whatever_hangs(channel: str, link: str, how: str) -> None:
    model = HangingModel(link)
    human = HangingChannel(channel)
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=model)
    session = RealtimeSession(agent, channel=human, **WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("event", log.append)
    start = 0.0
    with anyio.fail_after(100), nothing_left(session, log):
        with suppress(ZeroDivisionError), anyio.CancelScope() as scope:
            async with session:
                model.peer.say(created(), audio(), audio())
                session.send_message("hello")
                await anyio.sleep(0.1)
                start = anyio.current_time()
                if how == "aclose":
                    assert await session.aclose()
                elif how == "scope":
                    scope.cancel()
                    await anyio.sleep(60)
                elif how == "body":
                    raise ZeroDivisionError
        assert anyio.current_time() - start <= BOUND
    assert human.left
