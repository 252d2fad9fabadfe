"""A WebSocket over any anyio byte stream: websockets' sans-I/O protocol, for both ends and both backends.

Whoever waits for a message reads the stream himself: a hop for each message would cost as much as the rest. While
nobody does, one of the three tasks here reads in his place; the others write and ping. Who reads never writes, so that
a peer which does not read cannot stop us from reading, and who is cancelled while he sends tears no frame.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup
from anyio.lowlevel import checkpoint_if_cancelled
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from kernl_rt._latch import Latch
from kernl_rt._parking import Parking
from kernl_rt._transport._frames import Assembler, Slicer, Violation, check_close_code, clip_reason
from kernl_rt._transport._heartbeat import Heartbeat
from kernl_rt._transport._queues import Inbox, Outbox
from kernl_rt._transport._scope import CLOSE_TIMEOUT, Link
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge, SessionStateError

__all__ = ["QUIET", "READ_SIZE", "SansioLink"]

#: Part of no logging tree, so nothing can turn it on: at DEBUG, websockets writes headers, keys included.
QUIET = logging.Logger("kernl_rt.silent", logging.CRITICAL + 1)
READ_SIZE = 65536
#: Seconds without a receiver after which the link reads on by itself, so that pings are answered.
STAND_IN_AFTER = 2.0
_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0, 1, 2, 8
#: How a stream says that it is of no more use. "Busy": a TLS stream that must answer a key update while it writes.
STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.BusyResourceError, ssl.SSLError, OSError)


def _plain_socket(stream: ByteStream) -> socket.socket | None:
    """The socket that takes exactly what ``stream`` would write, where we may write to it past the stream: under trio,
    and without TLS. asyncio does not give it out of its hands.
    """
    if not isinstance(stream, SocketStream):
        return None
    found = stream.extra(SocketAttribute.raw_socket, None)
    return found if isinstance(found, socket.socket) else None


class SansioLink(Link):
    """An open WebSocket: ``protocol`` has finished its handshake on ``stream``."""

    def __init__(self, stream: ByteStream, protocol: Protocol, limit: int, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._stream = stream
        self._protocol = protocol
        self._limit = limit
        self._heartbeat = heartbeat
        self._assembler = Assembler(limit)
        #: A client's frames are masked, and left to the library.
        self._slicer = Slicer(limit) if protocol.side is CLIENT else None
        self._inbox = Inbox()
        self._outbox = Outbox(self._write)
        self._socket = _plain_socket(stream)
        self._close_started = False
        self._released = Latch()
        #: Somebody reads the stream; it is the receiver.
        self._reading = self._receiving = False
        self._receives = 0
        #: How many there had been when the link last looked whether somebody receives.
        self._seen = -1
        #: For the task that stands in for the receiver.
        self._stand_in = Parking()
        #: Nothing more is to be learned from the peer.
        self._read_all = False
        #: The closing handshake is over, or the peer has gone.
        self._parted = Latch()
        self.subprotocol: str | None = protocol.subprotocol

    def start(self, task_group: TaskGroup) -> None:
        # What came in one packet with the handshake is already inside the protocol.
        self._advance()
        self.spawn(task_group, self._read)
        self.spawn(task_group, self._run_outbox)
        self.spawn(task_group, self._beat)

    async def receive(self) -> Sequence[str | bytes]:
        inbox = self._inbox
        self._receives += 1
        if self._receiving:
            raise SessionStateError("another task is already receiving from this stream")
        if not (inbox.settled or self._reading):
            self._reading = self._receiving = True
            try:
                while not inbox.settled:
                    await self._read_some()
            finally:
                self._reading = self._receiving = False
                if self._close_started or self._parted.is_set() or self._read_all:
                    self._stand_in.wake()
        return await inbox.take()

    async def send(self, message: str | bytes) -> None:
        await checkpoint_if_cancelled()
        if self._protocol.state is not OPEN or self._inbox.error is not None:
            raise self._closed_error()
        if not await self._outbox.send(self._framed(message)):
            raise self._closed_error()

    @property
    def ready(self) -> bool:
        return self._outbox.idle and self._protocol.state is OPEN and self._inbox.error is None

    def send_nowait(self, message: str | bytes) -> None:
        data = self._framed(message)
        taken = 0
        if self._socket is not None and self._outbox.idle:
            # The writer finds out what is wrong, as it does where there is no socket to write to.
            with contextlib.suppress(OSError):
                taken = self._socket.send(data)
        if taken < len(data):
            self._outbox.finish(data[taken:])

    def _framed(self, message: str | bytes) -> bytes:
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        return b"".join(self._protocol.data_to_send())

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
            self._inbox.end(ConnectionClosed(code, clip_reason(reason)))
            self._stand_in.wake()
            with anyio.move_on_after(CLOSE_TIMEOUT):
                if self._protocol.state is OPEN:
                    self._protocol.send_close(code, clip_reason(reason))
                    await self._outbox.send(b"".join(self._protocol.data_to_send()))
                await self._outbox.flush()
                await self._parted.wait()
        finally:
            self.stop()
            with anyio.CancelScope(shield=True):
                await self.release()

    def stop(self) -> None:
        super().stop()
        self._inbox.end(ConnectionClosed(1006, "the link was aborted"))
        self._outbox.fail()

    async def release(self) -> None:
        # An error means that it is closed already, which is all that was asked.
        with contextlib.suppress(*STREAM_ERRORS):
            await anyio.aclose_forcefully(self._stream)
        self._released.set()

    async def _write(self, data: str | bytes) -> None:
        assert isinstance(data, bytes)
        await self._stream.send(data)

    async def _run_outbox(self) -> None:
        try:
            await self._outbox.run()
        except STREAM_ERRORS:
            # What the peer sent last says why: a close frame may still be waiting to be read.
            self._outbox.fail()
            self._read_on()
            with anyio.move_on_after(CLOSE_TIMEOUT):
                await self._parted.wait()
            self._lost("writing failed")
            await self._hang_up()  # a receiver waits for the socket

    async def _read_some(self) -> None:
        try:
            data = await self._stream.receive(READ_SIZE)
        except anyio.EndOfStream:
            self._lost("the connection ended without a close frame")
        except STREAM_ERRORS as error:
            self._lost(f"the connection broke: {type(error.__cause__ or error).__name__}")
        else:
            self._heartbeat.heard()
            self._take(data)

    async def _read(self) -> None:
        """Read while nobody receives; then see the closing handshake through."""
        while not (self._read_all or self._parted.is_set()):
            if not self._reading and (self._seen == self._receives or self._close_started):
                await self._read_alone()
            else:
                self._seen = self._receives
                with anyio.move_on_after(STAND_IN_AFTER):
                    await self._stand_in.park()
        if self._read_all:
            await self._linger()

    def _read_on(self) -> None:
        """What comes now must be read, whoever does."""
        self._seen = self._receives
        self._stand_in.wake()

    async def _read_alone(self) -> None:
        """Read until somebody receives again, and has something."""
        self._reading = True
        try:
            while not (self._read_all or self._parted.is_set()):
                if self._inbox.full:
                    await self._inbox.room()
                elif self._close_started or self._seen == self._receives or self._inbox.wanted:
                    await self._read_some()
                else:
                    return
        finally:
            self._reading = False

    def _take(self, data: bytes) -> None:
        """Whole messages go past the library, which would look at each of their bytes; it has seen all that was before
        them, so the order is kept.
        """
        for opcode, part in ((None, data),) if self._slicer is None else self._slicer.feed(data):
            if self._read_all:
                return
            if opcode is None:
                self._protocol.receive_data(part)
                self._advance()
            else:
                self._complete(opcode, part)

    def _complete(self, opcode: int, data: bytes) -> None:
        try:
            message = self._assembler.feed(opcode, data, True)
        except Violation as violation:
            self._violated(violation)
            self._speak()
        else:
            if message is not None:
                self._inbox.put(message)

    def _violated(self, violation: Violation) -> None:
        self._protocol.fail(violation.code, violation.reason)
        self._failed(violation.code, violation.reason)

    def _speak(self) -> None:
        """Write what the library wants to say."""
        for data in self._protocol.data_to_send():
            if data:
                self._outbox.urge(data)

    def _advance(self) -> None:
        """Act on what the protocol has read, then on what it wants to say."""
        try:
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame):
                    self._on_frame(frame)
        except Violation as violation:
            self._violated(violation)
        problem = self._protocol.parser_exc
        if problem is not None and self._protocol.close_sent is not None:
            self._failed(self._protocol.close_sent.code, self._protocol.close_sent.reason)
        self._speak()

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode <= _BINARY:
            message = self._assembler.feed(opcode, bytes(frame.data), frame.fin)
            if message is not None:
                self._inbox.put(message)
        elif opcode == _CLOSE:
            close = self._protocol.close_rcvd
            assert close is not None
            self._inbox.end(ConnectionClosed(close.code, close.reason))
            self._read_all = True
            self._parted.set()

    def _failed(self, code: int, reason: str) -> None:
        """We close because of what the peer did."""
        if code == 1009 or isinstance(self._protocol.parser_exc, PayloadTooBig):
            self._inbox.end(MessageTooLarge(f"the peer sent a message of more than {self._limit} bytes"))
        else:
            self._inbox.end(ConnectionClosed(code, reason))
        # Not parted yet: a socket that is closed while data still comes in is reset, and our close frame with it.
        self._read_all = True

    async def _linger(self) -> None:
        """After the closing handshake: let our answer out, and give the peer time to read it before the socket goes."""
        with anyio.move_on_after(CLOSE_TIMEOUT):
            await self._outbox.flush()
            if self._protocol.side is not SERVER or self._protocol.parser_exc is not None:
                # However it ends: there is nothing more to be learned.
                with contextlib.suppress(anyio.EndOfStream, *STREAM_ERRORS):
                    while True:
                        await self._stream.receive(READ_SIZE)
        await self._hang_up()

    async def _hang_up(self) -> None:
        self._outbox.fail()
        self._parted.set()
        await self.release()

    def _lost(self, reason: str) -> None:
        self._inbox.end(ConnectionClosed(1006, reason))
        self._outbox.fail()
        self._parted.set()

    async def _beat(self) -> None:
        await self._heartbeat.run(self._ping, lambda: self._inbox.full)
        self._lost("keepalive ping timeout")
        await self._hang_up()

    def _ping(self) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"kernl")
            for data in self._protocol.data_to_send():
                self._outbox.urge(data)
            self._read_on()
