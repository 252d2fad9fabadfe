"""P24: an error that stands alone comes out alone; only what is plural is a group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeConnection, RealtimeSession
from kernl_rt._session.errors import bare
from kernl_rt.exceptions import ConnectionClosed, ProviderError
from kernl_rt.testing import ScriptedModel
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import created, make_session, quiet, refusal

pytestmark = pytest.mark.anyio


class Mine(Exception):
    """The user's own."""


class Urgent(BaseException):
    """As Ctrl-C, but one that pytest and the event loops let through."""


async def body_raises(session: Any) -> None:
    raise Mine("body")


async def link_is_lost(session: Any) -> None:
    session.model.peer.hang_up(1011, "gone")
    await anyio.sleep(60)


async def link_is_lost_while_the_body_has_tasks(session: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        group.start_soon(anyio.sleep, 60)
        session.model.peer.hang_up(1011, "gone")


async def nobody_hears_an_error(session: Any) -> None:
    session.model.peer.say(refusal("odd", message="no"))
    await anyio.sleep(60)


async def body_and_link(session: Any) -> None:
    """Both at the same time: what the body raises then is what counts, it is the caller's own."""
    session.model.peer.hang_up(1011, "gone")
    raise Mine("body")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (body_raises, Mine),
        (link_is_lost, ConnectionClosed),
        (link_is_lost_while_the_body_has_tasks, ConnectionClosed),
        (nobody_hears_an_error, ProviderError),
        (body_and_link, Mine),
    ],
)
async def test_promise_24_one_error_comes_out_bare(
    end: Callable[[Any], Awaitable[None]], kind: type[Exception]
) -> None:
    session = make_session(**WITHOUT_RECONNECT)
    log: list[Any] = []
    session.on("status", log.append)
    with anyio.fail_after(100), nothing_left(session, log), pytest.raises(kind) as caught:
        async with session:
            await end(session)
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value.__context__, BaseExceptionGroup), "the group it came in is not shown"


async def test_promise_24_with_connect_the_caller_has_a_group_of_his_own() -> None:
    """The session's own groups are gone; the caller's stands."""
    session = make_session(**WITHOUT_RECONNECT)
    with pytest.RaisesGroup(ConnectionClosed):
        async with anyio.create_task_group() as group:
            await session.connect(group)
            session.model.peer.hang_up(1011)  # type: ignore[attr-defined]


class BreakingModel(ScriptedModel):
    """Its link cannot even be closed."""

    def connect(self, *arguments: Any, **options: Any) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._around(super().connect(*arguments, **options))

    @asynccontextmanager
    async def _around(self, link: AbstractAsyncContextManager[RealtimeConnection]) -> AsyncIterator[RealtimeConnection]:
        async with link as connection:
            try:
                yield connection
            finally:
                raise ZeroDivisionError


async def test_promise_24_two_errors_are_a_group() -> None:
    """The body fails and the link, too: both are told, in one group."""
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="-", model=BreakingModel())
    with pytest.RaisesGroup(Mine, ZeroDivisionError):
        async with RealtimeSession(agent, **WITHOUT_RECONNECT):
            raise Mine("body")
    with pytest.raises(ZeroDivisionError):
        async with RealtimeSession(agent, **WITHOUT_RECONNECT):
            pass


async def test_promise_24_ctrl_c_in_a_listener_wins_over_the_body() -> None:
    session = make_session(**WITHOUT_RECONNECT)

    async def bad(event: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Urgent("listener")

    session.on("response", bad)
    with anyio.fail_after(100), pytest.raises(Urgent):
        async with session:
            session.model.peer.say(created())  # type: ignore[attr-defined]
            await quiet()
            raise Mine("body")


@pytest.mark.parametrize("size", [1, 2])
async def test_promise_24_a_group_of_the_bodys_own_stays(size: int) -> None:
    """It is the caller's: ``except*`` or not is his choice."""
    own = ExceptionGroup("mine", [Mine(str(number)) for number in range(size)])
    with pytest.raises(ExceptionGroup) as caught:
        async with make_session():
            raise own
    assert caught.value is own
    assert [str(error) for error in own.exceptions] == [str(number) for number in range(size)]


async def test_promise_24_a_group_of_the_bodys_own_and_another_error() -> None:
    """Two: the body's group, and the link's error."""
    own = ExceptionGroup("mine", [Mine("one")])
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="-", model=BreakingModel())
    with pytest.raises(ExceptionGroup) as caught:
        async with RealtimeSession(agent, **WITHOUT_RECONNECT):
            raise own
    assert caught.value.subgroup(ZeroDivisionError) is not None
    assert [each.exceptions for each in caught.value.exceptions if isinstance(each, ExceptionGroup)] == [own.exceptions]


async def test_promise_24_ctrl_c_wins() -> None:
    with pytest.raises(Urgent, match="now"), bare():
        raise BaseExceptionGroup("a", [Mine("one"), BaseExceptionGroup("b", [Urgent("now"), Mine("two")])])


async def test_promise_24_two_stay_a_group_that_is_no_deeper_than_it_must_be() -> None:
    one, two = Mine("one"), Mine("two")
    with pytest.raises(ExceptionGroup) as caught, bare():
        raise ExceptionGroup("outer", [ExceptionGroup("middle", [ExceptionGroup("inner", [one, two])])])
    assert caught.value.exceptions == (one, two)
    assert caught.value.message == "inner"


async def test_promise_24_the_same_error_twice_is_one() -> None:
    one = Mine("one")
    with pytest.raises(Mine) as caught, bare():
        raise ExceptionGroup("a", [one, ExceptionGroup("b", [one])])
    assert caught.value is one


async def test_promise_24_cancellation_alone_is_not_touched() -> None:
    """``move_on_after`` around it works: what it sees is what it sent."""
    with anyio.move_on_after(1) as scope:
        with bare():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 60)
    assert scope.cancelled_caught
    with anyio.fail_after(10):
        with anyio.move_on_after(1) as scope:
            async with make_session():
                await anyio.sleep(60)
    assert scope.cancelled_caught
    assert anyio.current_time() >= 1


async def test_what_is_no_group_passes_as_it_is() -> None:
    error = Mine("one")
    error.__context__ = context = ValueError("before")
    with pytest.raises(Mine) as caught, bare():
        raise error
    assert caught.value is error
    assert caught.value.__context__ is context
