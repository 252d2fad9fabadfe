"""Message streams without a network: for tests in virtual time, and for a server in the same process."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt._transport._address import Address, prepare_headers
from kernl_rt._transport._errors import status_error
from kernl_rt._transport._frames import check_close_code, clip_reason
from kernl_rt._transport._queues import Inbox
from kernl_rt._transport._request import Handler, ProcessRequest, Request, refusal
from kernl_rt._transport._scope import CLOSE_TIMEOUT, bare_task_group
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge

__all__ = ["MemoryStream", "MemoryTransport", "memory_streams", "serve_stream"]

_logger = logging.getLogger(__name__)
_UNLIMITED = 2**62


class MemoryStream(MessageStream):
    """One end of a pair. ``send`` waits while the other end holds ``max_messages`` unreceived."""

    _peer: MemoryStream

    def __init__(self, max_messages: int, max_message_size: int) -> None:
        self._inbox = Inbox(budget=_UNLIMITED, max_messages=max_messages)
        self._limit = max_message_size
        self.subprotocol: str | None = None

    async def receive(self) -> Sequence[str | bytes]:
        return await self._inbox.take()

    async def send(self, message: str | bytes) -> None:
        await checkpoint()
        peer = self._peer
        while self._inbox.error is None and peer._inbox.full:
            await peer._inbox.room()
        if self._inbox.error is not None:
            error = self._inbox.fresh_error()
            raise error if isinstance(error, ConnectionClosed) else ConnectionClosed(1009, str(error))
        self.send_nowait(message)

    @property
    def ready(self) -> bool:
        return self._inbox.error is None and not self._peer._inbox.full

    def send_nowait(self, message: str | bytes) -> None:
        peer = self._peer
        if len(message.encode() if isinstance(message, str) else message) > peer._limit:
            peer._inbox.end(MessageTooLarge(f"the peer sent a message of more than {peer._limit} bytes"))
            self._inbox.end(ConnectionClosed(1009, "message too large"))
        else:
            peer._inbox.put(message)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        check_close_code(code)
        self._end(code, clip_reason(reason))
        await checkpoint()

    def abort(self) -> None:
        """End the link as a cut cable does: both ends see 1006."""
        self._end(1006, "")

    def _end(self, code: int, reason: str) -> None:
        self._inbox.end(ConnectionClosed(code, reason))
        self._peer._inbox.end(ConnectionClosed(code, reason))


def memory_streams(
    max_messages: int = 1024, *, max_message_size: int = _UNLIMITED
) -> tuple[MemoryStream, MemoryStream]:
    """Two connected ends. ``max_message_size`` (bytes) is the first end's limit for what it receives."""
    first, second = MemoryStream(max_messages, max_message_size), MemoryStream(max_messages, _UNLIMITED)
    first._peer, second._peer = second, first
    return first, second


async def serve_stream(handler: Handler, stream: MessageStream, request: Request) -> None:
    """Run ``handler`` for one client and close the stream after it: 1000, or 1011 where it raised."""
    code = 1000
    try:
        await handler(stream, request)
    except ConnectionClosed:
        pass  # The client has gone: the ordinary end of a handler that receives in a loop.
    except Exception:
        code = 1011
        _logger.exception("the handler of %s failed", request.path)
    except BaseException:  # the server goes away, by cancellation or Ctrl-C: the client is told so
        code = 1001
        raise
    finally:
        with anyio.move_on_after(CLOSE_TIMEOUT + 1, shield=True):
            await stream.aclose(code)


class MemoryTransport(RealtimeTransport):
    """A transport whose server is ``handler``, run as a task inside of the ``connect()`` context.

    ``process_request`` may refuse, as in :func:`~kernl_rt._transport.serve.serve_websocket`. When the client leaves,
    the handler sees the close and has ``grace`` seconds to finish before it is cancelled.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        process_request: ProcessRequest | None = None,
        subprotocols: Sequence[str] = (),
        max_messages: int = 1024,
        grace: float = CLOSE_TIMEOUT,
    ) -> None:
        self._handler = handler
        self._process_request = process_request
        self._subprotocols = tuple(subprotocols)
        self._max_messages = max_messages
        self._grace = grace

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        """Start the handler. ``url`` is only looked at for its path and query.

        Raises:
            MisconfiguredError: a bad URL or header.
            ConnectError: ``process_request`` refused.
        """
        return self._connect(Address.parse(url), headers, subprotocols, max_message_size)

    @asynccontextmanager
    async def _connect(
        self, address: Address, headers: Mapping[str, str | Secret], subprotocols: Sequence[str], limit: int
    ) -> AsyncIterator[MessageStream]:
        revealed = prepare_headers(headers, subprotocols)
        lower = {"host": address.host_header, **{name.lower(): value for name, value in revealed.items}}
        if subprotocols:
            lower["sec-websocket-protocol"] = ", ".join(subprotocols)
        request = Request.from_target(address.resource, lower)
        reply = await refusal(self._process_request, request)
        if reply is not None:
            answer = {name.lower(): value for name, value in reply.headers.items()}
            raise status_error(reply.status, answer, reply.body, where=str(address), secrets=revealed.secrets)
        client, server = memory_streams(self._max_messages, max_message_size=limit)
        client.subprotocol = next((name for name in subprotocols if name in self._subprotocols), None)
        server.subprotocol = client.subprotocol
        async with bare_task_group() as task_group:
            ended = anyio.Event()
            scope = anyio.CancelScope(shield=True)

            async def serve() -> None:
                try:
                    with scope:
                        await serve_stream(self._handler, server, request)
                finally:
                    ended.set()

            task_group.start_soon(serve)
            try:
                yield client
            finally:
                with anyio.move_on_after(self._grace, shield=True):
                    await client.aclose()
                    await ended.wait()
                scope.cancel()
