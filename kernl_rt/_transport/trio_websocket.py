"""trio-websocket under a session: dialled by us, or a connection that the user's own trio program has opened."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from kernl_rt._transport._address import Address, Headers, prepare_headers
from kernl_rt._transport._dial import keep_little_unsent
from kernl_rt._transport._errors import bare, network_error, status_error
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._redaction import TRIO_WEBSOCKET, redacting
from kernl_rt._transport._scope import bare_task_group, opened
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectRefusedError, HandshakeError, MisconfiguredError, TLSError

if TYPE_CHECKING:
    import trio
    import trio_websocket

__all__ = ["TrioWebSocketTransport"]

#: trio-websocket's own 4 KiB cost a read per 4 KiB: 140 µs instead of 56 for a message of 26 KB.
_RECEIVE_BUFFER = 64 * 1024


class TrioWebSocketTransport(RealtimeTransport):
    """Links over trio-websocket; only under trio, and only where ``kernl_rt[trio]`` is installed.

    With ``connection`` (an open ``WebSocketConnection`` of the user's) ``connect`` dials nothing: URL, headers and
    subprotocols are not looked at, and its ``max_message_size`` is the one it was opened with. Its nursery stays the
    user's; leaving the context closes the WebSocket unless ``close=False``. Such a transport connects once.
    ``ping_interval`` and ``ping_timeout`` as in :class:`~kernl_rt._transport.websocket.WebSocketTransport`. The size
    limit counts characters in a text message, as trio-websocket does.
    """

    def __init__(
        self,
        *,
        connection: trio_websocket.WebSocketConnection | None = None,
        close: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        ping_interval: float | None = 5.0,
        ping_timeout: float | None = 5.0,
    ) -> None:
        Heartbeat(ping_interval, ping_timeout)
        self._connection = connection
        self._used = False
        self._close = close
        self._ssl_context = ssl_context
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        """Open a link; see :meth:`RealtimeTransport.connect`.

        Raises:
            MisconfiguredError: not under trio, trio-websocket is not installed, a bad URL or header, or a handed-over
                connection that was used already.
            ConnectError: the subclass says what failed.
        """
        if self._connection is not None:
            return self._adopt(self._connection)
        return self._dial(Address.parse(url), headers, subprotocols, max_message_size)

    def _heartbeat(self) -> Heartbeat:
        return Heartbeat(self._ping_interval, self._ping_timeout)

    @asynccontextmanager
    async def _adopt(self, connection: trio_websocket.WebSocketConnection) -> AsyncIterator[MessageStream]:
        _require()
        from kernl_rt._transport._trio_link import TrioLink

        if self._used:
            raise MisconfiguredError("this connection was used already: hand over a new one to a new transport")
        self._used = True
        async with opened(TrioLink(connection, self._heartbeat(), close=self._close)) as stream:
            yield stream

    @asynccontextmanager
    async def _dial(
        self, address: Address, headers: Mapping[str, str | Secret], subprotocols: Sequence[str], limit: int
    ) -> AsyncIterator[MessageStream]:
        _require()
        from kernl_rt._transport._trio_link import Reader, TrioLink

        revealed = prepare_headers(headers, subprotocols)
        if address.secure and self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        raw = await _open_stream(address, self._ssl_context if address.secure else None)
        async with bare_task_group() as task_group:
            reader = Reader(task_group)
            try:
                with redacting(TRIO_WEBSOCKET, revealed):
                    connection = await _upgrade(reader, raw, address, revealed, subprotocols, limit)
                    async with opened(TrioLink(connection, self._heartbeat(), reader=reader)) as stream:
                        yield stream
            finally:
                reader.cancel()
                await _abandon(raw)


def _require() -> None:
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        raise MisconfiguredError(
            "TrioWebSocketTransport runs under trio only (pip install 'kernl_rt[trio]', then "
            "anyio.run(main, backend='trio') or trio.run(main)): use WebSocketTransport elsewhere"
        )
    try:
        import trio_websocket  # noqa: F401
    except ImportError:
        raise MisconfiguredError("trio-websocket is not installed: pip install 'kernl_rt[trio]'") from None


async def _open_stream(address: Address, context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect and finish the TLS handshake here: inside of trio-websocket its failure hangs (its issue 199)."""
    import trio

    try:
        stream = await trio.open_tcp_stream(address.host, address.port)
    except (OSError, UnicodeError) as error:
        raise network_error(error, str(address)) from error
    keep_little_unsent(stream.setsockopt)
    if context is None:
        return stream
    secure = trio.SSLStream(stream, context, server_hostname=address.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except trio.BrokenResourceError as error:
        await _abandon(stream)
        found = network_error(error, str(address))
        if isinstance(found, ConnectRefusedError):
            found = TLSError(f"no secure connection to {address}: the peer ended it during the TLS handshake")
        raise found from error
    except BaseException:  # cancelled, too: nobody else knows of the socket
        await _abandon(stream)
        raise
    return secure


async def _abandon(stream: trio.abc.Stream) -> None:
    import trio

    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)


async def _upgrade(
    reader: Any, raw: trio.abc.Stream, address: Address, headers: Headers, subprotocols: Sequence[str], limit: int
) -> trio_websocket.WebSocketConnection:
    import trio
    import trio_websocket

    found: list[trio_websocket.WebSocketConnection] = []
    with trio.CancelScope() as scope:
        # trio-websocket waits for ever for an answer that its reader will not bring.
        reader.when_ended(scope.cancel)
        found.append(
            await trio_websocket.wrap_client_stream(
                reader,
                raw,  # type: ignore[arg-type]
                address.host_header,
                address.resource,
                subprotocols=subprotocols,
                extra_headers=[(name.lower().encode(), value.encode()) for name, value in headers.items],
                # 0: a message goes straight to us, so none is lost in its queue when a later one is too large.
                message_queue_size=0,
                max_message_size=limit,
                receive_buffer_size=_RECEIVE_BUFFER,
            )
        )
    reader.when_ended(None)
    if found:
        return found[0]
    error = reader.error
    if isinstance(error, trio_websocket.ConnectionRejected):
        answer = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in error.headers or ()}
        raise status_error(
            error.status_code, answer, error.body or b"", where=str(address), secrets=headers.secrets
        ) from None
    if error is None:
        raise HandshakeError(f"{address} closed the connection instead of answering the WebSocket handshake")
    message = f"{address} did not complete the WebSocket handshake: is it a WebSocket server?"
    raise HandshakeError(message) from bare(error)
