"""A small WebSocket server on both backends: the simulator's, and the tests' peer.

It is made for loopback and for tests. It bounds everything a client can make it spend, but it does not know proxies,
compression or HTTP beyond one request per connection.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketListener, TaskStatus
from anyio.streams.stapled import MultiListener
from anyio.streams.tls import TLSStream
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._http_request import BadRequest, read_request, write_reply
from kernl_rt._transport._request import Handler, ProcessRequest, Reply, Request, refusal
from kernl_rt._transport._sansio import QUIET, STREAM_ERRORS, SansioLink
from kernl_rt._transport._scope import opened
from kernl_rt._transport.memory import serve_stream

__all__ = ["Handler", "ProcessRequest", "Reply", "Request", "serve_connection", "serve_websocket"]

_logger = logging.getLogger(__name__)
#: Seconds that a client has for TLS, its request and its body.
HANDSHAKE_TIMEOUT = 5.0
#: Seconds to wait when the system has no descriptor for another connection.
_BREATH = 0.1


async def serve_websocket(
    handler: Handler,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_message_size: int = 4 * 2**20,
    process_request: ProcessRequest | None = None,
    subprotocols: Sequence[str] = (),
    max_connections: int = 1000,
    ping_interval: float | None = 5.0,
    ping_timeout: float | None = 5.0,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled: ``port = await task_group.start(serve_websocket, handler)``.

    ``handler(stream, request)`` runs as one task per client; its return closes the link with 1000, its exception with
    1011 (and is logged), and harms no other client. ``process_request(request)``, a plain or a coroutine function, may
    answer with a :class:`Reply` before the upgrade; it also answers plain HTTP requests, bodies of up to 64 KiB
    included. The first of the client's subprotocols that is in ``subprotocols`` is chosen. Above ``max_connections``
    clients are refused with 503. Cancelling closes every link with 1001 and returns within the close bound.

    Raises:
        OSError: the port is taken or the host is not ours.
    """
    multi = await anyio.create_tcp_listener(local_host=host, local_port=port, reuse_port=False)
    assert isinstance(multi, MultiListener)
    count = 0
    # Twice the limit: the surplus gets its 503, beyond that clients wait in the system's queue.
    slots = anyio.Semaphore(2 * max_connections)

    async def connection(stream: ByteStream) -> None:
        nonlocal count
        count += 1
        try:
            await serve_connection(
                stream,
                handler,
                ssl_context=ssl_context,
                max_message_size=max_message_size,
                process_request=process_request if count <= max_connections else _too_many,
                subprotocols=subprotocols,
                heartbeat=Heartbeat(ping_interval, ping_timeout),
            )
        except Exception:
            _logger.exception("a connection failed")
        finally:
            count -= 1
            slots.release()

    async with multi, anyio.create_task_group() as task_group:

        async def accept(listener: SocketListener) -> None:
            while True:
                await slots.acquire()
                try:
                    accepted = await listener.accept()
                except (OSError, anyio.BrokenResourceError) as error:
                    # Out of descriptors, or the client left while it waited: no reason to stop serving the others.
                    _logger.warning("cannot accept a connection: %s", error.__cause__ or error)
                    slots.release()
                    await anyio.sleep(_BREATH)
                    continue
                task_group.start_soon(connection, accepted)

        for listener in multi.listeners:
            assert isinstance(listener, SocketListener)
            task_group.start_soon(accept, listener)
        task_status.started(multi.listeners[0].extra(SocketAttribute.local_port))


def _too_many(request: Request) -> Reply:
    return Reply(503, body=b"too many connections")


async def serve_connection(
    stream: ByteStream,
    handler: Handler,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_message_size: int = 4 * 2**20,
    process_request: ProcessRequest | None = None,
    subprotocols: Sequence[str] = (),
    heartbeat: Heartbeat | None = None,
) -> None:
    """Serve one client on any byte stream, and close the stream."""
    try:
        protocol: ServerProtocol | None = None
        request: Request | None = None
        with anyio.move_on_after(HANDSHAKE_TIMEOUT):
            if ssl_context is not None:
                stream = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=ssl_context, standard_compatible=False
                )
            head, rest, request = await read_request(stream)
            reply = await refusal(process_request, request)
            if reply is None and request.upgrade:
                protocol = await _upgrade(stream, head + rest, max_message_size, subprotocols)
            else:
                await write_reply(stream, reply or Reply(404, body=b"not found"))
        if protocol is None or request is None:
            return
        link = SansioLink(stream, protocol, max_message_size, heartbeat or Heartbeat(None, None))
        async with opened(link):
            await serve_stream(handler, link, request)
    except BadRequest as error:
        await _refuse(stream, error)
    except (*STREAM_ERRORS, anyio.EndOfStream) as error:
        # A scanner, a health check, a client that does not trust us: nothing that the others should feel.
        _logger.debug("a client left during the handshake: %s", type(error).__name__)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)


async def _refuse(stream: ByteStream, error: BadRequest) -> None:
    try:
        with anyio.move_on_after(HANDSHAKE_TIMEOUT):
            await write_reply(stream, Reply(error.status, body=str(error).encode()))
    except STREAM_ERRORS:
        _logger.debug("a client left before it was refused")


async def _upgrade(
    stream: ByteStream, received: bytes, limit: int, subprotocols: Sequence[str]
) -> ServerProtocol | None:
    """Answer the upgrade. ``None``: the request was faulty, and the client has been told."""

    def choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((name for name in offered if name in subprotocols), None)

    protocol = ServerProtocol(
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        select_subprotocol=choose,
        max_size=limit,
        logger=QUIET,
    )
    protocol.receive_data(received)
    if protocol.handshake_exc is not None or not protocol.events:
        raise BadRequest(400, "this is no WebSocket upgrade")
    request = protocol.events.pop(0)
    protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
    await stream.send(b"".join(protocol.data_to_send()))
    return None if protocol.handshake_exc is not None else protocol
