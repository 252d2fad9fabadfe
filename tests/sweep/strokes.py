"""Programs that are struck rather than cancelled: at any step the link is lost, the human leaves, somebody closes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from sweep.scenarios import chatty, say_reply, stage, talkative

from kernl_rt import RealtimeSession
from kernl_rt.events import ResponseCreate, StatusChanged, ToolResult
from kernl_rt.exceptions import ChannelError, CommandError, ConnectionClosed, SessionStateError
from kernl_rt.testing import Probe, ScriptedModel


@asynccontextmanager
async def struck(probe: Probe, stroke: Callable[[], object]) -> AsyncIterator[None]:
    """``stroke`` is called at some step of the body. By a task, since a session is called from its event loop."""
    now = anyio.Event()

    async def strike() -> None:
        await now.wait()
        stroke()

    async with anyio.create_task_group() as group:
        group.start_soon(strike, name="stroke")
        probe.target(now.set)
        try:
            yield
        finally:
            probe.release()
            group.cancel_scope.cancel()


async def closed_anywhere(probe: Probe) -> None:
    """``close()`` from another task, while connecting too."""
    async with stage(talkative, chatty) as it:

        def close() -> None:
            with contextlib.suppress(SessionStateError):  # it has not begun
                it.session.close()

        async with struck(probe, close):
            with contextlib.suppress(SessionStateError):  # it was closed while it connected, or before the message
                async with it.session as session:
                    session.send_message("Hello")
                    with anyio.move_on_after(0.45):
                        await session.wait_closed()
        it.check()


async def interrupted_anywhere(probe: Probe) -> None:
    """``interrupt()`` from another task: the session lives, and answers the next question."""
    async with stage(patient_provider, chatty) as it, it.session as session:
        session.send_message("Hello")
        async with struck(probe, session.interrupt):
            await anyio.sleep(0.45)
        await answered(session)
        session.close()
        await session.wait_closed()
        it.check()


async def human_leaves_anywhere(probe: Probe) -> None:
    """The human hangs up: the session ends by itself, without an error."""
    async with stage(talkative, chatty) as it:
        async with it.session as session:
            session.send_message("Hello")
            async with struck(probe, it.human.hang_up):
                with anyio.move_on_after(0.45):
                    await session.wait_closed()
        it.check()


async def channel_breaks_anywhere(probe: Probe) -> None:
    """The device fails: the session ends with that error."""
    async with stage(talkative, chatty) as it:
        with contextlib.suppress(ChannelError):
            async with it.session as session:
                session.send_message("Hello")
                async with struck(probe, it.human.fail):
                    with anyio.move_on_after(0.45):
                        await session.wait_closed()
        it.check()


async def patient_provider(model: ScriptedModel) -> None:
    """Each link gets an answer to whatever it asks, until it is gone; the first answer calls tools."""
    number = 0
    while True:
        peer = await model.accept()
        with contextlib.suppress(anyio.EndOfStream, ConnectionClosed):
            while True:
                await peer.hear(ResponseCreate)
                number += 1
                await say_reply(peer, number, tools=("slow", "raising") if number == 1 else ())


async def answered(session: RealtimeSession[Any]) -> None:
    """The session still works: a question gets its reply."""
    with anyio.fail_after(30):
        reply = await session.ask("Still there?")
    assert reply.status == "completed"
    assert session.status == "connected"


def cut(model: ScriptedModel) -> None:
    model.peer.hang_up(1006)


async def link_lost_for_good(probe: Probe) -> None:
    """The link is cut and nobody dials anew: the session ends with that error, and what was asked is told so."""
    async with stage(patient_provider, chatty, reconnect=None) as it:
        handle = None
        with contextlib.suppress(ConnectionClosed):
            async with it.session as session, struck(probe, lambda: cut(it.model)):
                handle = session.send_message("Hello")
                with anyio.move_on_after(0.6):
                    await session.wait_closed()
        it.check()
        assert handle is not None
        with contextlib.suppress(CommandError):
            await handle.settled()


async def link_lost_and_found(probe: Probe) -> None:
    """The link is cut and dialled anew: the session lives, and tools that ran have told their outcome somewhere."""
    async with stage(patient_provider, chatty) as it:
        async with it.session as session:
            async with struck(probe, lambda: cut(it.model)):
                handle = session.send_message("Hello")
                await anyio.sleep(0.6)
            await answered(session)
            with anyio.fail_after(20), contextlib.suppress(CommandError):
                await handle.settled()
        it.check()
        if probe.injected and len(it.model.peers) > 1:
            statuses = [event.status for event in it.checker.trace if isinstance(event, StatusChanged)]
            assert "reconnecting" in statuses


async def cancelled_while_reconnecting(probe: Probe) -> None:
    """The caller's scope is cancelled at any step from the loss of the link on, until the next one works."""
    async with stage(patient_provider, chatty) as it:
        with anyio.CancelScope() as scope:
            async with it.session as session:
                session.send_message("Hello")
                await anyio.sleep(0.05)
                cut(it.model)
                probe.target(scope)
                await anyio.sleep(2)
                await answered(session)
        probe.release()
        it.check()
        if not probe.injected:
            results: list[Any] = [result for peer in it.model.peers for result in peer.heard(ToolResult)]
            assert len(it.model.peers) == 2
            assert it.ran
            assert results


STROKES = [
    closed_anywhere,
    interrupted_anywhere,
    human_leaves_anywhere,
    channel_breaks_anywhere,
    link_lost_for_good,
    link_lost_and_found,
    cancelled_while_reconnecting,
]
