"""The WebSocket that measures best on the running backend.

picows where the event loop is asyncio, `websockets`' sans-I/O protocol over an anyio stream elsewhere and where picows
is not installed. Both pass the same conformance suite. Compression is never offered, redirects are never followed, and
the environment's proxies are not used.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Literal

from kernl_rt._transport._address import Address, prepare_headers
from kernl_rt._transport._backend import running_backend
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._scope import opened
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ["WebSocketTransport"]

Implementation = Literal["auto", "picows", "sansio"]


class WebSocketTransport(RealtimeTransport):
    """Dials ``ws://`` and ``wss://``.

    ``ssl_context`` replaces the default one (system certificates, host name checked). A ping goes out every
    ``ping_interval`` seconds; when nothing comes back within ``ping_timeout`` seconds, ``receive`` raises
    ``ConnectionClosed(1006, "keepalive ping timeout")``; ``None`` turns either off. ``implementation`` picks the
    library by hand. A transport is reusable and holds nothing open itself.
    """

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        ping_interval: float | None = 5.0,
        ping_timeout: float | None = 5.0,
        implementation: Implementation = "auto",
    ) -> None:
        if implementation not in ("auto", "picows", "sansio"):
            raise MisconfiguredError(f"unknown implementation {implementation!r}: use 'auto', 'picows' or 'sansio'")
        Heartbeat(ping_interval, ping_timeout)
        self._ssl_context = ssl_context
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._implementation = implementation

    def __repr__(self) -> str:
        return f"WebSocketTransport(implementation={self._implementation!r})"

    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        """Open a link; see :meth:`RealtimeTransport.connect`. Redirects raise :class:`HandshakeError`.

        Raises:
            MisconfiguredError: a bad URL or header, or ``implementation="picows"`` under trio or without picows.
            ConnectError: the subclass says what failed. A timeout of the caller's passes through as it is.
        """
        return self._connect(Address.parse(url), headers, subprotocols, max_message_size)

    @asynccontextmanager
    async def _connect(
        self, address: Address, headers: Mapping[str, str | Secret], subprotocols: Sequence[str], limit: int
    ) -> AsyncIterator[MessageStream]:
        revealed = prepare_headers(headers, subprotocols)
        heartbeat = Heartbeat(self._ping_interval, self._ping_timeout)
        if self._picows():
            from kernl_rt._transport._picows import connect

            picows_link = await connect(address, self._context(address), revealed, subprotocols, limit, heartbeat)
            async with opened(picows_link) as stream:
                yield stream
            return
        from kernl_rt._transport._dial import open_over

        raw = await self._dial(address)
        async with open_over(raw, address, revealed, subprotocols, limit, heartbeat) as sansio_link:
            yield sansio_link

    async def _dial(self, address: Address) -> ByteStream:
        """The byte stream under the sans-I/O protocol. Tests put a stream of their own here."""
        from kernl_rt._transport._dial import dial

        return await dial(address, self._context(address))

    def _context(self, address: Address) -> ssl.SSLContext | None:
        if not address.secure:
            return None
        if self._ssl_context is None:
            # Kept: reading the system's certificates takes tens of milliseconds.
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context

    def _picows(self) -> bool:
        library = running_backend()
        if self._implementation == "auto":
            return library == "asyncio" and importlib.util.find_spec("picows") is not None
        if self._implementation == "picows":
            if library != "asyncio":
                raise MisconfiguredError(f"picows runs under asyncio only, not {library}: use implementation='sansio'")
            if importlib.util.find_spec("picows") is None:
                raise MisconfiguredError("picows is not installed: pip install picows, or use implementation='sansio'")
        return self._implementation == "picows"
