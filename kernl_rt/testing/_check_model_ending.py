"""Whether a model bears with its link: frames that nobody understands, a link that ends, leaving it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import evolve

from kernl_rt import events as ev
from kernl_rt.exceptions import ConnectionClosed, ConnectRefusedError, RealtimeError
from kernl_rt.testing._check_model_link import Meddler, Meddling
from kernl_rt.testing._check_model_setup import Setup
from kernl_rt.testing._check_model_talk import Talk
from kernl_rt.testing._checking import Bound, require

__all__ = ["LEAVING", "Ending"]

#: Leaving takes at most so long, in seconds: a polite goodbye is given two.
LEAVING = 3.0


class Ending(Setup):
    """The parts in which the link is forged, cut and left."""

    # -- strange and broken -------------------------------------------------------------------------------------------

    async def strange_frames(self) -> None:
        """Unknown and broken frames are events; the next frame is handled as ever."""
        async with self._meddled() as (talk, link):
            await talk.configure(self.text)
            for frame, wanted in ((self.unknown_frame, ev.RawServerEvent), (self.broken_frame, ev.SessionError)):
                link.forge(frame)
                event = await talk.until(wanted, errors=True)
                if isinstance(event, ev.SessionError):
                    require(event.source == "protocol", f"a broken frame is told as an error of {event.source}")
                await self.lives(talk)

    async def the_far_end_leaves(self) -> None:
        await self._ended(1000)
        await self._ended(1001)

    async def the_link_breaks(self) -> None:
        await self._ended(1006)

    async def _ended(self, code: int) -> None:
        """What came before is told first; then ``ConnectionClosed``, each time, also to who sends."""
        async with self._meddled() as (talk, link):
            await talk.configure(self.text)
            link.forge(self.unknown_frame)
            link.close(code)
            await talk.until(ev.RawServerEvent)
            for call in (talk.hear, talk.hear, lambda: talk.say(ev.ResponseCreate())):
                try:
                    with Bound(f"the end of a link that was closed with {code}", self.timeout):
                        await call()
                except ConnectionClosed as closed:
                    require(closed.code == code, f"the link was closed with {code}, and {closed.code} was told")
                    continue
                except RealtimeError as error:
                    raise AssertionError(f"the end of the link is a ConnectionClosed, not {error!r}") from error
                raise AssertionError("after the end of the link receive() and send() raise ConnectionClosed")

    async def a_refused_connection(self) -> None:
        """What the transport says comes out as it is, and nothing stays open."""
        assert self.transport is not None
        refusal = ConnectRefusedError("nobody listens")
        try:
            async with self.dial(self.factory(), Meddling(self.transport, refusal=refusal)):
                pass
        except ConnectRefusedError as error:
            require(error is refusal, "the transport's error comes out as it is")
            return
        raise AssertionError("connect() hid that nobody listens")

    @asynccontextmanager
    async def _meddled(self) -> AsyncIterator[tuple[Talk, Meddler]]:
        assert self.transport is not None
        meddling = Meddling(self.transport)
        checks = evolve(self, transport=meddling)
        async with checks.connected() as talk:
            require(len(meddling.links) == 1, "connect() dials with the transport that it is given, once")
            yield talk, meddling.links[0]
        require(meddling.open == 0, "leaving closes the link")

    # -- leaving ------------------------------------------------------------------------------------------------------

    async def leaving(self) -> None:
        """By an exception or a cancellation, which come out as they went in; soon, and with the link closed."""
        await self._left(lambda talk: talk.configure(self.text))

    async def leaving_in_the_midst_of_a_reply(self) -> None:
        await self._left(self.speaking)

    async def _left(self, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        meddling = Meddling(self.transport) if self.transport is not None else None
        for way in (self._by_an_exception, self._by_a_cancellation):
            model = self.factory()
            async with anyio.create_task_group() as tasks:
                if self.provider is not None:
                    tasks.start_soon(self.provider, model)
                await way(self.dial(model, meddling), first)
                tasks.cancel_scope.cancel()
            require(meddling is None or meddling.open == 0, "leaving closes the link")

    async def _by_an_exception(self, dialled: Any, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        mistake = LookupError("of the body")
        start = anyio.current_time()
        try:
            async with dialled as connection:
                await first(Talk(connection, self.able, self.timeout, connection.receive))
                start = anyio.current_time()
                raise mistake
        except LookupError as error:
            require(error is mistake, "an exception of the body comes out as it is")
        except BaseExceptionGroup as group:
            raise AssertionError("an exception of the body comes out as it is, not in a group") from group
        else:
            raise AssertionError("an exception of the body was swallowed")
        require(anyio.current_time() - start <= LEAVING, f"leaving took more than {LEAVING:g} seconds")

    async def _by_a_cancellation(self, dialled: Any, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        start = anyio.current_time()
        with anyio.CancelScope() as scope:
            async with dialled as connection:
                await first(Talk(connection, self.able, self.timeout, connection.receive))
                start = anyio.current_time()
                scope.cancel()
                while True:  # until the cancellation comes through, whatever is still said
                    await connection.receive()
                    await checkpoint()
        require(scope.cancelled_caught, "a cancellation was swallowed")
        require(anyio.current_time() - start <= LEAVING, f"leaving took more than {LEAVING:g} seconds")
