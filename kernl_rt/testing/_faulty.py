"""A bad network around a byte stream: eight toxics, each way, switchable while it runs, in virtual time or real.

::

    send ─▶ [sending: Lane] ─▶ carry out ─▶ the wrapped stream ─▶ carry in ─▶ [receiving: Lane] ─▶ receive
                                               watch: cuts or resets it when its time has come
"""

from __future__ import annotations

import contextlib
import math
import random
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import anyio
from anyio.abc import ByteStream, SocketAttribute

from kernl_rt._transport._scope import bare_task_group
from kernl_rt.exceptions import MisconfiguredError, SessionStateError
from kernl_rt.testing._toxics import Lane, Toxics

__all__ = ["FaultyStream"]

_READ_SIZE = 65536
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError, OSError)


@runtime_checkable
class _Resettable(Protocol):
    """A stream in memory whose peer can be shown a reset."""

    def reset(self) -> None: ...


class _Countdown:
    """When a toxic that waits some seconds strikes."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._since = 0.0

    def due(self, seconds: float | None, now: float) -> float:
        if seconds != self._seconds:
            self._seconds, self._since = seconds, now
        return math.inf if seconds is None else self._since + seconds


class FaultyStream(ByteStream):
    """``stream`` behind a bad network: ``async with FaultyStream(stream) as faulty``.

    ``faulty.sending`` are the :class:`Toxics` of what is sent, ``faulty.receiving`` of what is received; they may be
    shared by several streams. ``seed`` decides the jitter: the same seed, the same network. ``capacity`` (bytes) may
    be on its way in each direction before :meth:`send` waits.

    As with a socket, :meth:`send` returns when the bytes are on their way, and closing lets them arrive: leaving the
    context waits for that, at most ``linger`` seconds (besides ``slow_close``), and closes ``stream``. Leaving it by
    cancellation does not wait.
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        sending: Toxics | None = None,
        receiving: Toxics | None = None,
        seed: int = 0,
        capacity: int = 65536,
        linger: float = 5.0,
    ) -> None:
        if capacity < 1:
            raise MisconfiguredError(f"capacity={capacity!r} must be at least 1 byte")
        self._stream = stream
        self.sending: Toxics = Toxics() if sending is None else sending
        self.receiving: Toxics = Toxics() if receiving is None else receiving
        self._seed = seed
        self._capacity = capacity
        self._linger = linger
        self._stack: AsyncExitStack | None = None
        self._scope: anyio.CancelScope | None = None
        self._changed = anyio.Event()
        self._striking: Callable[[], None] | None = None
        self._closed = anyio.Event()
        #: What was sent before the end has arrived, or never will.
        self._delivered = anyio.Event()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes

    # -- its life

    async def __aenter__(self) -> FaultyStream:
        if self._stack is not None:
            raise SessionStateError("a FaultyStream is entered once")
        seeds = random.Random(self._seed)
        self._out = Lane(self.sending, random.Random(seeds.random()), self._capacity, self.cut)
        self._in = Lane(self.receiving, random.Random(seeds.random()), self._capacity, self.cut)
        self.sending.watch(self._wake)
        self.receiving.watch(self._wake)
        self._stack = stack = AsyncExitStack()
        group = await stack.enter_async_context(bare_task_group())
        self._scope = group.cancel_scope
        for task in (self._carry_out, self._carry_in, self._watch):
            group.start_soon(task, name=f"FaultyStream {task.__name__.strip('_').replace('_', ' ')}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stack is not None
        assert self._scope is not None
        try:
            self._hang_up()
            with anyio.move_on_after(self._linger + self.sending.slow_close):
                await self._delivered.wait()
        finally:
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._close_stream()
            for toxics in (self.sending, self.receiving):
                toxics.unwatch(self._wake)
            self._out.forget()
            self._in.forget()
            await self._stack.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Close. Returns at once: what was sent still arrives."""
        self._hang_up()
        await anyio.lowlevel.checkpoint()

    def _hang_up(self) -> None:
        self._entered()
        if not self._closed.is_set():
            self._closed.set()
            self._in.fail(anyio.ClosedResourceError)
            self._out.end()

    async def wait_closed(self) -> None:
        """Wait until this end has been closed."""
        await self._closed.wait()

    def _entered(self) -> None:
        if self._stack is None:
            raise SessionStateError("a FaultyStream works inside of its context: async with FaultyStream(…) as stream")

    # -- the stream

    async def send(self, item: bytes) -> None:
        self._entered()
        if self._closed.is_set():
            raise anyio.ClosedResourceError
        await self._out.put(item)

    async def receive(self, max_bytes: int = _READ_SIZE) -> bytes:
        self._entered()
        return await self._in.take(max_bytes)

    async def send_eof(self) -> None:
        self._entered()
        self._out.end()
        await anyio.lowlevel.checkpoint()

    # -- what strikes all of it

    def cut(self) -> None:
        """End the link now, as if the peer had hung up: what was on its way is lost."""
        self._strike(anyio.EndOfStream, lambda: None)

    def reset(self) -> None:
        """Reset the link now (RST): both ends break, what was on its way is lost."""
        self._strike(anyio.BrokenResourceError, self._reset_stream)

    def _strike(self, failure: type[Exception], prepare: Callable[[], None]) -> None:
        self._entered()
        if self._striking is None:
            self._striking = prepare
            self._in.fail(failure)
            self._out.fail(anyio.BrokenResourceError)
            self._wake()

    def _reset_stream(self) -> None:
        if isinstance(self._stream, _Resettable):
            self._stream.reset()
            return
        raw = self._stream.extra(SocketAttribute.raw_socket, None)
        if raw is not None:
            # Linger for no time: the system then says goodbye with RST instead of FIN.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # -- its tasks

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _watch(self) -> None:
        timers = [(toxics, _Countdown(), _Countdown()) for toxics in (self.sending, self.receiving)]
        while self._striking is None:
            changed = self._changed
            now = anyio.current_time()
            reset_at = min(reset.due(toxics.reset_peer, now) for toxics, reset, _ in timers)
            cut_at = min(stall.due(toxics.timeout, now) for toxics, _, stall in timers)
            if reset_at <= now:
                self.reset()
            elif cut_at <= now or self.sending.down or self.receiving.down:
                self.cut()
            else:
                with anyio.CancelScope(deadline=min(reset_at, cut_at)):
                    await changed.wait()
        self._striking()
        await self._close_stream()
        self._delivered.set()

    async def _carry_out(self) -> None:
        try:
            while True:
                await self._stream.send(await self._out.take(_READ_SIZE))
        except anyio.EndOfStream:
            if not self._closed.is_set():
                with contextlib.suppress(*_GONE):
                    await self._stream.send_eof()
                await self._closed.wait()
            await self._close_stream()
        except _GONE:
            self._out.fail(anyio.BrokenResourceError)
        self._delivered.set()

    async def _carry_in(self) -> None:
        try:
            while True:
                await self._in.put(await self._stream.receive(_READ_SIZE))
        except anyio.EndOfStream:
            self._in.end()
        except _GONE:
            self._in.fail(anyio.BrokenResourceError)

    async def _close_stream(self) -> None:
        # An error means that it is closed already, which is all that was asked.
        with contextlib.suppress(*_GONE):
            await anyio.aclose_forcefully(self._stream)
