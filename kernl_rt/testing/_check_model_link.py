"""The link between a model that is checked and its transport: it can be forged and cut."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from attrs import define, field

from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectionClosed

__all__ = ["Meddler", "Meddling"]


@define
class Meddler(MessageStream):
    """A link between the model and its transport that can be forged and cut."""

    inner: MessageStream
    forged: deque[str | bytes] = field(factory=deque)
    cut: ConnectionClosed | None = None
    _changed: anyio.Event = field(factory=anyio.Event)

    def forge(self, frame: str | bytes) -> None:
        self.forged.append(frame)
        self._changed.set()

    def close(self, code: int) -> None:
        self.cut = ConnectionClosed(code, "cut by the check")
        self._changed.set()

    async def receive(self) -> Sequence[str | bytes]:
        while True:
            if self.forged:
                frames = list(self.forged)
                self.forged.clear()
                return frames
            if self.cut is not None:
                raise ConnectionClosed(self.cut.code, self.cut.reason)
            self._changed = anyio.Event()
            got: list[str | bytes] = []
            async with anyio.create_task_group() as group:
                group.start_soon(self._either, group.cancel_scope)
                got += await self.inner.receive()
                group.cancel_scope.cancel()
            if got:
                return got

    async def _either(self, scope: anyio.CancelScope) -> None:
        await self._changed.wait()
        scope.cancel()

    async def send(self, message: str | bytes) -> None:
        if self.cut is not None:
            raise ConnectionClosed(self.cut.code, self.cut.reason)
        await self.inner.send(message)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.inner.aclose(code, reason)


@define
class Meddling(RealtimeTransport):
    """Dials with another transport, and remembers its links."""

    inner: RealtimeTransport
    links: list[Meddler] = field(factory=list)
    open: int = 0
    refusal: Exception | None = None

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        return self._connect(url, headers, subprotocols, max_message_size)

    @asynccontextmanager
    async def _connect(self, url: str, headers: Any, subprotocols: Any, limit: int) -> AsyncIterator[MessageStream]:
        if self.refusal is not None:
            raise self.refusal
        dialled = self.inner.connect(url, headers=headers, subprotocols=subprotocols, max_message_size=limit)
        async with dialled as stream:
            self.links.append(link := Meddler(stream))
            self.open += 1
            try:
                yield link
            finally:
                self.open -= 1
