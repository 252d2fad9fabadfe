"""Open a byte stream to an address and speak the opening handshake over it."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from websockets.client import ClientProtocol
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from kernl_rt._transport._address import Address, Headers
from kernl_rt._transport._errors import bare, network_error, status_error
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._sansio import QUIET, READ_SIZE, STREAM_ERRORS, SansioLink
from kernl_rt._transport._scope import opened
from kernl_rt.exceptions import HandshakeError, TLSError

__all__ = ["dial", "keep_little_unsent", "open_over", "shake_hands", "tcp", "tls_error", "upgrade_error"]

#: Bytes that may wait in the system, unsent: half a second at 8 kB/s.
_UNSENT = 4096


async def tcp(address: Address) -> SocketStream:
    """Connect, trying every address of the host.

    Raises:
        NameResolutionError: the host is unknown.
        ConnectRefusedError: nobody listens, it cannot be reached, or we are out of file descriptors.
    """
    try:
        stream = await anyio.connect_tcp(address.host, address.port)
    except TimeoutError:
        raise
    except (OSError, UnicodeError) as error:
        raise network_error(error, str(address)) from error
    keep_little_unsent(stream.extra(SocketAttribute.raw_socket).setsockopt)
    return stream


def keep_little_unsent(setsockopt: Callable[[int, int, int], object]) -> None:
    """Have the system take only a little more than it can send.

    Its buffers grow to megabytes; on a slow uplink that is many seconds of sound, behind which an interruption would
    wait although its lane overtakes sound. So the sound waits with us, where the oldest can be dropped.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        # Some systems know the name and not the option; nothing but promptness is lost then.
        with contextlib.suppress(OSError):
            setsockopt(socket.IPPROTO_TCP, option, _UNSENT)


async def dial(address: Address, context: ssl.SSLContext | None) -> ByteStream:
    """Connect, and secure the connection where ``context`` is given.

    Raises:
        TLSError: the certificate or the handshake was refused.
        ConnectError: as :func:`tcp`.
    """
    stream = await tcp(address)
    if context is None:
        return stream
    try:
        return await TLSStream.wrap(
            stream, server_side=False, hostname=address.host, ssl_context=context, standard_compatible=False
        )
    except (*STREAM_ERRORS, anyio.EndOfStream) as error:
        await _abandon(stream)
        raise tls_error(error, address) from error
    except BaseException:  # cancelled, too: nobody else knows of the socket
        await _abandon(stream)
        raise


def tls_error(error: BaseException, address: Address) -> Exception:
    """The error for a TLS handshake that failed for whatever reason."""
    found = network_error(error, str(address))
    if isinstance(found, TLSError):
        return found
    return TLSError(f"no secure connection to {address}: the peer ended it during the TLS handshake")


async def _abandon(stream: ByteStream) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.aclose_forcefully(stream)


@asynccontextmanager
async def open_over(
    stream: ByteStream,
    address: Address,
    headers: Headers,
    subprotocols: Sequence[str],
    limit: int,
    heartbeat: Heartbeat,
) -> AsyncIterator[SansioLink]:
    """A WebSocket over ``stream``, which is closed in every case.

    Raises:
        ConnectError: as :func:`shake_hands`.
    """
    protocol = await shake_hands(stream, address, headers, subprotocols, limit)
    async with opened(SansioLink(stream, protocol, limit, heartbeat)) as link:
        yield link


async def shake_hands(
    stream: ByteStream, address: Address, headers: Headers, subprotocols: Sequence[str], limit: int
) -> ClientProtocol:
    """Upgrade ``stream``, or close it and raise what the server's answer means.

    Raises:
        ConnectError: the subclass says what the server answered.
    """
    uri = WebSocketURI(address.secure, address.host, address.port, *_split(address.resource))
    wanted = [Subprotocol(name) for name in subprotocols] or None
    protocol = ClientProtocol(uri, subprotocols=wanted, max_size=limit, logger=QUIET)
    _write_request(protocol, headers)
    try:
        await stream.send(b"".join(protocol.data_to_send()))
        response = await _answer(stream, protocol)
        if protocol.handshake_exc is not None or response is None:
            refusal = upgrade_error(response, protocol.handshake_exc, address, headers)
            # Its body may quote the credentials, and variables show in tracebacks.
            del response
            raise refusal
    except (*STREAM_ERRORS, anyio.EndOfStream) as error:
        await _abandon(stream)
        message = f"{address} closed the connection instead of answering the WebSocket handshake"
        raise HandshakeError(message) from bare(error)
    except BaseException:  # a refusal, a cancellation: nobody else knows of the socket
        await _abandon(stream)
        raise
    return protocol


def _write_request(protocol: ClientProtocol, headers: Headers) -> None:
    """In a frame of its own, which is gone when something fails: its variables hold credentials."""
    request = protocol.connect()
    for name, value in headers.items:
        if name.lower() == "host":
            del request.headers["Host"]
        request.headers[name] = value
    protocol.send_request(request)


def _split(resource: str) -> tuple[str, str]:
    path, _, query = resource.partition("?")
    return path, query


async def _answer(stream: ByteStream, protocol: ClientProtocol) -> Response | None:
    """Read until the answer is complete; ``None`` where it is none."""
    while protocol.handshake_exc is None:
        if protocol.events and isinstance(protocol.events[0], Response):
            break
        try:
            data = await stream.receive(READ_SIZE)
        except anyio.EndOfStream:
            protocol.receive_eof()
            if not protocol.events and protocol.handshake_exc is None:
                raise
            break
        protocol.receive_data(data)
    # The answer alone is taken: frames that came in the same packet stay for the link.
    if protocol.events and isinstance(protocol.events[0], Response):
        answer = protocol.events.pop(0)
        assert isinstance(answer, Response)
        return answer
    return None


def upgrade_error(
    response: Response | None, problem: Exception | None, address: Address, headers: Headers
) -> Exception:
    """What an answer that is no upgrade means."""
    if response is not None and response.status_code != 101:
        lower = {name.lower(): value for name, value in response.headers.raw_items()}
        return status_error(
            response.status_code, lower, bytes(response.body or b""), where=str(address), secrets=headers.secrets
        )
    if response is not None:
        fault = headers.redact(str(problem))
        return HandshakeError(f"{address} answered with a faulty WebSocket upgrade: {fault}", status=101)
    cause = f" ({problem.__cause__})" if problem is not None and isinstance(problem.__cause__, EOFError) else ""
    return HandshakeError(f"{address} did not answer with HTTP{cause}: is it a WebSocket server?")
