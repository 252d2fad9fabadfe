"""An open trio-websocket connection as a message stream. Imported only under trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled
from trio_websocket import ConnectionClosed as TheirConnectionClosed, WebSocketConnection
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection

from kernl_rt._transport._frames import check_close_code, clip_reason
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._queues import Inbox, Outbox
from kernl_rt._transport._scope import CLOSE_TIMEOUT, Link
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge

__all__ = ["Reader", "TrioLink"]

_TOO_LARGE = "Exceeded maximum message size"


class Reader:
    """Takes the place of the nursery that trio-websocket starts its reader in, so that the reader's failure is ours."""

    def __init__(self, task_group: TaskGroup) -> None:
        self._task_group = task_group
        self._scope = trio.CancelScope(shield=True)
        self._when_ended: Callable[[], None] | None = None
        self.ended = trio.Event()
        self.error: Exception | None = None

    def start_soon(self, read: Callable[[], Awaitable[Any]], *_: object) -> None:
        self._task_group.start_soon(self._run, read)

    async def _run(self, read: Callable[[], Awaitable[Any]]) -> None:
        with self._scope:
            try:
                await read()
            except Exception as error:
                self.error = error
        self.ended.set()
        if self._when_ended is not None:
            self._when_ended()

    def when_ended(self, call: Callable[[], None] | None) -> None:
        self._when_ended = call

    def cancel(self) -> None:
        self._scope.cancel()


class TrioLink(Link):
    """``reader`` where we have dialled; ``None`` for a connection that was handed over."""

    def __init__(
        self, connection: WebSocketConnection, heartbeat: Heartbeat, *, reader: Reader | None = None, close: bool = True
    ) -> None:
        super().__init__()
        self._connection = connection
        self._heartbeat = heartbeat
        self._reader = reader
        self._close = close
        self._inbox = Inbox()
        self._outbox = Outbox(self._write)
        self._close_started = False
        self._pumped = trio.Event()
        self._released = trio.Event()
        self._pings: trio.Nursery | None = None
        self.subprotocol: str | None = connection.subprotocol

    def start(self, task_group: TaskGroup) -> None:
        for task in (self._pump, self._run_outbox, self._beat):
            self.spawn(task_group, task)

    async def receive(self) -> Sequence[str | bytes]:
        return await self._inbox.take()

    async def send(self, message: str | bytes) -> None:
        await checkpoint_if_cancelled()
        if self._inbox.error is not None or not await self._outbox.send(message):
            error = self._inbox.fresh_error()
            raise error if isinstance(error, ConnectionClosed) else ConnectionClosed(1009, str(error))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        check_close_code(code)
        if self._close_started:
            await self._released.wait()
            return
        self._close_started = True
        self._inbox.end(ConnectionClosed(code, clip_reason(reason)))
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._outbox.flush()
                if self._close:
                    await self._connection.aclose(code, clip_reason(reason))
                    await self._pumped.wait()
        finally:
            self.stop()
            with trio.CancelScope(shield=True):
                await self.release()

    def stop(self) -> None:
        super().stop()
        self._inbox.end(ConnectionClosed(1006, "the link was aborted"))
        self._outbox.fail()

    async def release(self) -> None:
        if self._close:
            # Its own aclose leaves the socket open when the peer has closed first and never hangs up.
            await trio.aclose_forcefully(self._connection._stream)
        self._released.set()

    async def _pump(self) -> None:
        try:
            while True:
                self._inbox.put(await self._connection.get_message())
                self._heartbeat.heard()
                if self._inbox.full:
                    await self._inbox.room()
        except TheirConnectionClosed as closed:
            if self._reader is not None and closed.reason is None:
                await self._reader.ended.wait()
            self._on_closed(closed)
            await self._farewell()
        finally:
            self._pumped.set()
        await self._linger()

    async def _linger(self) -> None:
        """After the closing handshake: time for the peer to hang up, then the socket goes."""
        with trio.move_on_after(CLOSE_TIMEOUT):
            if self._reader is None:
                await trio.sleep_forever()
            else:
                await self._reader.ended.wait()
        await self.release()

    def _on_closed(self, closed: TheirConnectionClosed) -> None:
        if closed.reason is None:
            error = None if self._reader is None else self._reader.error
            why = f": {type(error).__name__}" if error is not None else ""
            self._inbox.end(ConnectionClosed(1006, f"the connection broke{why}"))
        elif closed.reason.code == 1009 and (closed.reason.reason or "").startswith(_TOO_LARGE):
            self._inbox.end(MessageTooLarge("the peer sent a message over the size limit"))
        else:
            self._inbox.end(ConnectionClosed(int(closed.reason.code), closed.reason.reason or ""))
        self._outbox.fail()

    async def _farewell(self) -> None:
        """After a peer's violation trio-websocket closes without a word to the peer: say it here."""
        reason = self._connection.closed
        if reason is None or self._connection._wsproto.state is not ConnectionState.OPEN:
            return
        with trio.move_on_after(CLOSE_TIMEOUT):
            try:
                text = clip_reason(reason.reason or "")
                await self._connection._send(CloseConnection(code=int(reason.code), reason=text))
            except TheirConnectionClosed:
                return  # The peer has gone: nobody to tell.

    async def _write(self, message: str | bytes) -> None:
        await self._connection.send_message(message)

    async def _run_outbox(self) -> None:
        try:
            await self._outbox.run()
        except TheirConnectionClosed as closed:
            self._outbox.fail()
            # Messages that came before the end may still be on their way to us.
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._pumped.wait()
            self._on_closed(closed)

    async def _beat(self) -> None:
        async with trio.open_nursery() as self._pings:
            await self._heartbeat.run(self._ping, lambda: self._inbox.full)
            self._inbox.end(ConnectionClosed(1006, "keepalive ping timeout"))
            self._outbox.fail()
            self._pings.cancel_scope.cancel()
        await self.release()

    def _ping(self) -> None:
        assert self._pings is not None
        self._pings.start_soon(self._ping_once)

    async def _ping_once(self) -> None:
        try:
            await self._connection.ping()
        except TheirConnectionClosed:
            return  # The pump says it.
        self._heartbeat.heard()
