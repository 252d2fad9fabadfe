"""Verbs at the wrong moment, and closing while the session connects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from kernl_rt import ConnectOptions, RealtimeAgent, RealtimeConnection, RealtimeSession
from kernl_rt.exceptions import ConnectTimeout, SessionStateError
from kernl_rt.testing import ScriptedModel
from tests.faults.closing import watched
from tests.lifecycle.calls import WITHOUT_RECONNECT, nothing_left
from tests.scenarios.calls import make_session, quiet

pytestmark = pytest.mark.anyio


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
        with pytest.raises(ConnectTimeout):
            await session.__aenter__()
    assert len(refused) == 1
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
