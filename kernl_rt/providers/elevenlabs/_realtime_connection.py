"""A link that its service closes when nobody says anything: it is kept alive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream
from kernl_rt.events import ClientEvent
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.providers._connection import Codec, CodecConnection

__all__ = ["KeptAlive", "kept_alive"]


class KeptAlive(CodecConnection):
    """Says ``beat`` whenever nothing has been said for ``interval`` seconds, while :meth:`run` runs."""

    def __init__(self, stream: MessageStream, codec: Codec, *, beat: str, interval: float) -> None:
        super().__init__(stream, codec)
        self._beat = beat
        self._interval = interval
        self._said_at = anyio.current_time()
        self._sending = False
        #: A beat is being written: the one who sends must not write at the same time.
        self._beating: anyio.Event | None = None

    async def send(self, event: ClientEvent) -> None:
        self._sending = True
        try:
            if self._beating is not None:
                await self._beating.wait()
            await super().send(event)
        finally:
            self._sending = False
            self._said_at = anyio.current_time()

    async def run(self) -> None:
        """Returns when the link has ended: whoever receives is told."""
        while True:
            await anyio.sleep_until(self._said_at + self._interval)
            if anyio.current_time() < self._said_at + self._interval:
                continue
            if self._sending:
                self._said_at = anyio.current_time()
                continue
            self._beating = written = anyio.Event()
            try:
                await self._stream.send(self._beat)
            except ConnectionClosed:
                return
            finally:
                self._beating = None
                written.set()
            self._said_at = anyio.current_time()


@asynccontextmanager
async def kept_alive(connection: KeptAlive) -> AsyncIterator[KeptAlive]:
    async with bare_task_group() as tasks:
        tasks.start_soon(connection.run)
        try:
            yield connection
        finally:
            tasks.cancel_scope.cancel()
