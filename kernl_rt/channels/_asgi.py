"""A message stream over the two callables that an ASGI server hands to a WebSocket application.

Starlette's and FastAPI's ``WebSocket.receive`` and ``.send``, and litestar's raw ``receive`` and ``send``, are the same
two; nothing is imported from any of them. The protocol: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import anyio

from kernl_rt._transport._frames import clip_reason
from kernl_rt._transport._scope import CLOSE_TIMEOUT
from kernl_rt.abc import MessageStream
from kernl_rt.channels._limits import Allowance
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge, ProtocolError

__all__ = ["AsgiMessage", "AsgiReceive", "AsgiSend", "AsgiStream", "refuse"]

_logger = logging.getLogger(__name__)

AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]

#: A message that the server cannot hand on within this, in seconds, ends the link: its peer reads nothing.
_SEND_TIMEOUT = 2.0


async def refuse(
    scope: Mapping[str, Any], receive: AsgiReceive, send: AsgiSend, status: int = 403, reason: str = "Forbidden"
) -> None:
    """Refuse a WebSocket before it is accepted, with an HTTP ``status`` where the server can say one, else 403."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    extensions = scope.get("extensions") or {}
    if "websocket.http.response" not in extensions:
        await send({"type": "websocket.close", "code": 1008, "reason": clip_reason(reason)})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": reason.encode()})


class AsgiStream(MessageStream):
    """The WebSocket of an ASGI application (Starlette, FastAPI, litestar …) as a link for a channel.

    ``receive`` and ``send`` are the two callables of the application, or ``websocket.receive`` and ``websocket.send``.
    :meth:`accept` the link first, unless the framework has done so; whoever calls must have been checked before. From
    then on it is the channel's, which closes it. Nothing is imported from any framework.

    ``max_message_size`` is in bytes; a larger message closes the link with code 1009. More than ``messages_per_second``
    or ``bytes_per_second``, averaged over five seconds so that a stalled network may catch up, closes it with 1008.
    """

    def __init__(
        self,
        receive: AsgiReceive,
        send: AsgiSend,
        *,
        max_message_size: int = 64 * 1024,
        messages_per_second: float = 100.0,
        bytes_per_second: float = 2.0 * 48_000 * 2,
    ) -> None:
        self._receive = receive
        self._send = send
        self._max_message_size = max_message_size
        self._messages = Allowance(messages_per_second)
        self._bytes = Allowance(bytes_per_second)
        self._ended: tuple[int, str] | ProtocolError | None = None
        self._closed = False

    def allow(self, bytes_per_second: float) -> None:
        """From now on at most so much, on the average: known when the formats are."""
        self._bytes = Allowance(bytes_per_second)

    async def accept(self, subprotocol: str | None = None) -> None:
        """Answer the handshake.

        Raises:
            ConnectionClosed: the client has gone.
        """
        message = await self._receive()
        if message["type"] != "websocket.connect":
            self._ended = (1006, "")
            raise ConnectionClosed(1006, "the client left during the handshake")
        await self._write({"type": "websocket.accept", "subprotocol": subprotocol})

    async def receive(self) -> Sequence[str | bytes]:
        self._raise_end()
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                self._closed = True
                self._end(event.get("code") or 1005, event.get("reason") or "")
                self._raise_end()
            if event["type"] != "websocket.receive":
                continue  # a websocket.connect that the framework has answered
            message: str | bytes | None = event.get("bytes")
            if message is None:
                message = event.get("text")
            if message is not None:
                await self._admit(message)
                return (message,)

    async def _admit(self, message: str | bytes) -> None:
        # Characters are at most as many as bytes: only a text near the limit has to be encoded to know.
        size = len(message)
        if isinstance(message, str) and size * 4 > self._max_message_size:
            size = len(message.encode("utf-8", "surrogatepass"))
        if size > self._max_message_size:
            await self._refuse(1009, MessageTooLarge(f"the peer sent a message of {size} bytes, over the limit"))
        now = anyio.current_time()
        if not self._messages.take(1, now):
            await self._refuse(1008, ProtocolError("the peer sends too many messages"))
        if not self._bytes.take(size, now):
            await self._refuse(1008, ProtocolError("the peer sends sound faster than it can be spoken"))

    async def _refuse(self, code: int, error: ProtocolError) -> None:
        if self._ended is None:
            self._ended = error
        await self.aclose(code, str(error))
        raise error

    async def send(self, message: str | bytes) -> None:
        self._raise_end()
        if isinstance(message, str):
            await self._write({"type": "websocket.send", "text": message})
        else:
            await self._write({"type": "websocket.send", "bytes": message})

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        self._end(code, reason)
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            try:
                await self._send({"type": "websocket.close", "code": code, "reason": clip_reason(reason)})
            except Exception:  # each server has its own error for a peer that has gone, which was wanted
                _logger.debug("the peer was gone before the close", exc_info=True)

    async def _write(self, message: AsgiMessage) -> None:
        # Servers do not promise that a cancelled send writes the whole frame or nothing.
        with anyio.CancelScope(deadline=anyio.current_time() + _SEND_TIMEOUT, shield=True) as scope:
            try:
                await self._send(message)
            except Exception as error:
                self._end(1006, "")
                raise ConnectionClosed(1006, "the peer has gone") from error
        if scope.cancelled_caught:
            self._closed = True
            self._end(1006, "")
            raise ConnectionClosed(1006, f"the peer has read nothing for {_SEND_TIMEOUT:g} s")

    def _end(self, code: int, reason: str) -> None:
        if self._ended is None:
            self._ended = (code, reason)

    def _raise_end(self) -> None:
        if isinstance(self._ended, ProtocolError):
            raise self._ended
        if self._ended is not None:
            raise ConnectionClosed(*self._ended)
