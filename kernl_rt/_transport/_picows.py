"""picows behind a message stream. asyncio only; imported only where it is used.

picows calls back once per frame, inside the event loop's read callback, so a message costs one wake of the receiver and
nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import picows
from anyio.abc import SocketAttribute, TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled

from kernl_rt._latch import Latch
from kernl_rt._transport._address import Address, Headers
from kernl_rt._transport._dial import tcp, tls_error
from kernl_rt._transport._errors import network_error, status_error
from kernl_rt._transport._frames import Assembler, Violation, check_close_code, clip_reason, valid_close_code
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._queues import Inbox
from kernl_rt._transport._sansio import QUIET
from kernl_rt._transport._scope import CLOSE_TIMEOUT, Link
from kernl_rt.exceptions import ConnectionClosed, HandshakeError, MessageTooLarge

__all__ = ["PicowsLink", "connect"]

_TEXT, _BINARY = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY
# Plain numbers (RFC 6455 section 5.2): looking up an enum member for each frame costs more than the comparison.
_CLOSE, _PING, _PONG = 8, 9, 10
#: Bytes that picows begins to read with: the larger part of what an idle link would hold.
_READ_BUFFER = 2048
#: Bytes that the system keeps for us. A second of sound is 64 KB on the wire; providers send some times faster.
_RECEIVE_BUFFER = 256 * 2**10
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|$)")

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class _Trouble(_Adapter):
    """What picows takes for its logger. It prints nothing, and says when the parser has refused a frame.

    Without it we would learn so only when the socket is closed, and what comes in until then would be buffered.
    """

    def __init__(self, refused: Callable[[], None]) -> None:
        super().__init__(QUIET, {})
        self._refused = refused

    def isEnabledFor(self, level: int) -> bool:
        return False

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self._refused()

    exception = error


class PicowsLink(Link, picows.WSListener):
    """An open WebSocket of picows, and the listener that picows calls."""

    def __init__(self, limit: int, heartbeat: Heartbeat) -> None:
        Link.__init__(self)
        self._limit = limit
        self._heartbeat = heartbeat
        self._assembler = Assembler(limit)
        self._inbox = Inbox()
        self._inbox.on_room = self._resume_reading
        self._reading = True
        self._transport: picows.WSTransport | None = None
        self._writable: anyio.Event | None = None
        self._owed_pong: bytes | None = None
        self._disconnected = Latch()
        #: Cancelled when a close frame has come, or when we have sent one because of what the peer did.
        self._open = anyio.CancelScope()
        self._parted = Latch()
        self._close_started = False
        self._released = Latch()
        self.subprotocol: str | None = None

    # -- called by picows

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        # 0: picows tells as soon as the system does not take everything at once, so that `send` waits for it.
        transport.underlying_transport.set_write_buffer_limits(0)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self._heartbeat.heard()
        opcode = int(frame.msg_type)  # type: ignore[call-overload]
        if opcode == _PING:
            self._answer_ping(transport, frame.get_payload_as_bytes())
        elif opcode == _CLOSE:
            self._on_close(transport, frame)
        elif opcode != _PONG and self._inbox.error is None:
            try:
                if frame.rsv1 or frame.rsv2 or frame.rsv3:
                    raise Violation(1002, "reserved bits must be 0")
                message = self._assembler.feed(opcode, frame.get_payload_as_bytes(), bool(frame.fin))
            except Violation as violation:
                self._fail(transport, violation.code, violation.reason)
                return
            if message is not None:
                self._inbox.put(message)
                if self._inbox.full and self._reading:
                    self._reading = False
                    transport.underlying_transport.pause_reading()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._refused()
        self._inbox.end(ConnectionClosed(1006, "the connection ended without a close frame"))
        self._disconnected.set()
        self._parted.set()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = anyio.Event()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set()
        if self._owed_pong is not None and self._transport is not None:
            payload, self._owed_pong = self._owed_pong, None
            self._answer_ping(self._transport, payload)

    # -- what they do

    def _answer_ping(self, transport: picows.WSTransport, payload: bytes) -> None:
        if self._writable is not None:
            # The peer does not read. Only the latest ping must be answered (RFC 6455 section 5.5.3).
            self._owed_pong = payload
        else:
            transport.send_pong(payload)

    def _on_close(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload and not valid_close_code(code):
            self._fail(transport, 1002, "invalid close code")
            return
        self._inbox.end(ConnectionClosed(code, payload[2:].decode("utf-8", "replace")))
        if not transport.is_close_frame_sent:
            self._send_close(1000 if code == 1005 else code, "")
        self._open.cancel()
        self._parted.set()

    def _fail(self, transport: picows.WSTransport, code: int, reason: str) -> None:
        if not transport.is_close_frame_sent:
            self._send_close(code, reason)
        self._refused()

    def _refused(self) -> None:
        """If a close frame of ours is what ended the link, say so to the receiver, and read no more."""
        handshake = None if self._transport is None else self._transport.close_handshake
        sent = None if handshake is None else handshake.sent
        if sent is None or self._inbox.error is not None:
            return
        self._open.cancel()
        code = int(sent.code)  # type: ignore[call-overload]
        if code == 1009:
            self._inbox.end(MessageTooLarge(f"the peer sent a message of more than {self._limit} bytes"))
        else:
            self._inbox.end(ConnectionClosed(code, sent.reason))

    def parser_failed(self) -> None:
        if self._transport is not None and self._inbox.error is None and not self._disconnected.is_set():
            # picows sends its close frame just after this call, and would go on reading for a moment.
            asyncio.get_running_loop().call_soon(self._refused)
            if self._reading:
                self._reading = False
                self._transport.underlying_transport.pause_reading()

    def _send_close(self, code: int, reason: str) -> None:
        assert self._transport is not None
        self._transport.send_close(code, clip_reason(reason).encode())  # type: ignore[arg-type]

    def _resume_reading(self) -> None:
        if not self._reading and self._inbox.error is None and self._transport is not None:
            self._reading = True
            if not self._transport.is_disconnected:
                self._transport.underlying_transport.resume_reading()

    # -- the message stream

    def start(self, task_group: TaskGroup) -> None:
        self.spawn(task_group, self._tend)

    async def receive(self) -> Sequence[str | bytes]:
        return await self._inbox.take()

    async def send(self, message: str | bytes) -> None:
        # Nobody else is given a turn first: what stops a reply must not wait for one.
        await checkpoint_if_cancelled()
        await self._drain()
        if self._inbox.error is not None or self._transport is None or self._transport.is_disconnected:
            raise self._closed_error()
        self.send_nowait(message)
        # From here on the frame is in the buffer and will be written whole, with or without us.
        if await self._drain() and self._disconnected.is_set():
            raise self._closed_error()

    @property
    def ready(self) -> bool:
        transport = self._transport
        return (
            self._writable is None
            and self._inbox.error is None
            and transport is not None
            and not transport.is_disconnected
        )

    def send_nowait(self, message: str | bytes) -> None:
        assert self._transport is not None
        self._transport.send(_TEXT if isinstance(message, str) else _BINARY, message)

    async def _drain(self) -> bool:
        """Wait until the system has taken everything. ``True``: it had to be waited for."""
        waited = False
        while self._writable is not None:
            waited = True
            await self._writable.wait()
        return waited

    def _closed_error(self) -> ConnectionClosed:
        error = self._inbox.fresh_error()
        return error if isinstance(error, ConnectionClosed) else ConnectionClosed(1009, str(error))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        check_close_code(code)
        if self._close_started:
            await self._released.wait()
            return
        self._close_started = True
        try:
            transport = self._transport
            assert transport is not None
            self._inbox.end(ConnectionClosed(code, clip_reason(reason)))
            with anyio.move_on_after(CLOSE_TIMEOUT):
                if not transport.is_close_frame_sent and not transport.is_disconnected:
                    self._send_close(code, reason)
                await self._drain()
                await self._parted.wait()
                transport.disconnect()
                await self._disconnected.wait()
        finally:
            self.stop()
            with anyio.CancelScope(shield=True):
                await self.release()

    def stop(self) -> None:
        super().stop()
        self._inbox.end(ConnectionClosed(1006, "the link was aborted"))

    async def release(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(False)
            try:
                await self._transport.wait_disconnected()
            except Exception:
                # The parser's complaint, which the receiver has heard; asyncio would log it if nobody took it here.
                QUIET.debug("disconnected by the parser")
        self._released.set()

    async def _tend(self) -> None:
        """Ping while the link is open. After the closing handshake: the peer may hang up, then the socket goes."""
        with self._open:
            await self._heartbeat.run(self._ping, lambda: self._inbox.full)
            self._inbox.end(ConnectionClosed(1006, "keepalive ping timeout"))
        if self._open.cancelled_caught:
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await self._disconnected.wait()
        assert self._transport is not None
        self._transport.disconnect(False)

    def _ping(self) -> None:
        if self._writable is None and self._transport is not None:
            self._transport.send_ping(b"kernl")


async def connect(
    address: Address,
    context: ssl.SSLContext | None,
    headers: Headers,
    subprotocols: Sequence[str],
    limit: int,
    heartbeat: Heartbeat,
) -> PicowsLink:
    """Dial with picows.

    Raises:
        ConnectError: the subclass says what failed. A cancelled call leaves nothing open.
    """
    raw = await _socket(address)
    link = PicowsLink(limit, heartbeat)

    async def upgrade() -> picows.WSTransport | None:
        transport, _ = await picows.ws_connect(
            lambda: link,
            address.url,
            ssl_context=context,
            websocket_handshake_timeout=None,
            logger_name=_Trouble(link.parser_failed),
            enable_auto_pong=False,
            max_frame_size=limit,
            # It grows with what comes; most of a session's life nothing does.
            read_buffer_init_size=_READ_BUFFER,
            # Made here: a variable that holds credentials would show in the traceback of whatever fails.
            extra_headers=_lines(headers, subprotocols),
            max_redirects=0,
            socket_factory=lambda _: raw,
        )
        return transport if link._transport is not None else None

    transport = await _uncancelled(upgrade, raw, address, headers)
    problem = _check_subprotocol(transport, link, subprotocols)
    if problem:
        await link.release()
        raise HandshakeError(f"{address} {problem}", status=101)
    return link


def _lines(headers: Headers, subprotocols: Sequence[str]) -> list[tuple[str, str]]:
    offer = [("Sec-WebSocket-Protocol", ", ".join(subprotocols))] if subprotocols else []
    return [*headers.items, *offer]


async def _socket(address: Address) -> socket.socket:
    """A connected socket. anyio dials, which tries all addresses; its stream gives way to a copy of the descriptor."""
    stream = await tcp(address)
    try:
        inner = stream.extra(SocketAttribute.raw_socket)
        raw = socket.fromfd(inner.fileno(), inner.family, inner.type)
        raw.setblocking(False)
        # All that the system has is read at once, and its own idea of enough is megabytes.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        return raw
    except OSError as error:
        raise network_error(error, str(address)) from error
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)


async def _uncancelled(
    upgrade: Callable[[], Awaitable[picows.WSTransport | None]], raw: socket.socket, address: Address, headers: Headers
) -> picows.WSTransport:
    """Run the handshake in a task that is never cancelled: picows would leave the socket open.

    When *we* are cancelled we cut the connection under it, which makes it end by itself.
    """
    outcome: list[picows.WSTransport | Exception | None] = []
    finished = anyio.Event()
    shield = anyio.CancelScope(shield=True)

    async def run() -> None:
        with shield:
            try:
                outcome.append(await upgrade())
            except Exception as error:
                outcome.append(error)
            finished.set()

    try:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(run)
            try:
                await finished.wait()
            except BaseException:  # the cancellation, which a dialling picows would outlive
                _cut(raw)
                # It ends within a turn of the loop; the bound is for what we do not know of.
                shield.deadline = anyio.current_time() + CLOSE_TIMEOUT
                raise
    except BaseException:  # cancelled, too: nobody gets the connection, should there be one by now
        if outcome and isinstance(outcome[0], picows.WSTransport):
            outcome[0].disconnect(False)
        raw.close()
        raise
    if isinstance(outcome[0], picows.WSTransport):
        return outcome[0]
    raw.close()
    raise _explain(outcome[0], address, headers)


def _cut(raw: socket.socket) -> None:
    # An error means that it is closed already: nothing more will come.
    with contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_RDWR)


def _explain(error: Exception | None, address: Address, headers: Headers) -> Exception:
    if error is None:
        return HandshakeError(f"{address} closed the connection instead of answering the WebSocket handshake")
    if isinstance(error, picows.WSHandshakeError):
        return _explain_answer(error, address, headers)
    if isinstance(error, (ssl.SSLError, OSError)):
        return tls_error(error, address) if address.secure else network_error(error, str(address))
    return HandshakeError(f"{address} did not complete the WebSocket handshake: {type(error).__name__}")


def _explain_answer(error: picows.WSHandshakeError, address: Address, headers: Headers) -> Exception:
    # The raw line, because picows takes a status that it does not know (Cloudflare's 520 to 530) for no HTTP at all.
    status_line = _STATUS_LINE.match(error.raw_header or b"")
    if status_line is None:
        return HandshakeError(f"{address} did not answer with HTTP: is it a WebSocket server?")
    status = int(status_line[1])
    if status == 101:
        fault = headers.redact(str(error))
        return HandshakeError(f"{address} answered with a faulty WebSocket upgrade: {fault}", status=101)
    answer = {} if error.response is None else {k.lower(): v for k, v in error.response.headers.items()}
    body = error.raw_body or b""
    if answer.get("transfer-encoding", "").lower() == "chunked":
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0] or body.partition(b"\r\n")[2]
    return status_error(status, answer, body, where=str(address), secrets=headers.secrets)


def _check_subprotocol(transport: picows.WSTransport, link: PicowsLink, wanted: Sequence[str]) -> str:
    """What is wrong with the server's choice, ``""`` for nothing. picows knows nothing of subprotocols."""
    answer = transport.response.headers
    chosen = answer.getall("Sec-WebSocket-Protocol", [])
    if len(chosen) > 1 or any(name not in wanted for name in chosen):
        return "chose a subprotocol that was not offered"
    if "Sec-WebSocket-Extensions" in answer:
        return "chose an extension that was not offered"
    link.subprotocol = chosen[0] if chosen else None
    return ""
