"""A call over a carrier's media stream."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import anyio
from attrs import evolve

from kernl_rt.abc import MessageStream
from kernl_rt.channels._handshake import MessageReader
from kernl_rt.channels._link import LinkChannel
from kernl_rt.channels._phone._wire import PhoneCall, PhoneCounts
from kernl_rt.channels._wire import Message, Wire
from kernl_rt.exceptions import ChannelError, ConnectionClosed, MisconfiguredError, ProtocolError

__all__ = ["PhoneChannel", "PhoneWire", "read_start"]


class PhoneWire(Wire, Protocol):
    """The wire of a carrier: it learns from the first messages which call it carries."""

    call: PhoneCall | None
    counts: PhoneCounts


class PhoneChannel(LinkChannel):
    """What the channels of all carriers share. :attr:`call` says who is on the line.

    The call ends when the caller hangs up or the carrier ends the stream (``receive`` raises ``anyio.EndOfStream``, the
    session closes), or when the session closes and leaves the channel: then the link is closed, which ends the stream.
    What happens to the call after its stream is the carrier's matter; see the carrier's class.
    """

    def __init__(
        self,
        stream: MessageStream,
        wire: PhoneWire,
        *,
        received: Iterable[Message] = (),
        send_ahead_ms: float = 200.0,
        input_buffer_ms: float = 500.0,
    ) -> None:
        if wire.call is None:
            raise MisconfiguredError(f"the call has not started: use 'await {type(self).__name__}.accept(…)'")
        super().__init__(stream, wire, received=received, send_ahead_ms=send_ahead_ms, input_buffer_ms=input_buffer_ms)
        #: Who is on the line, as the carrier says.
        self.call: PhoneCall = wire.call
        self._counts = wire.counts

    @property
    def call_id(self) -> str:
        """The carrier's id of the call, for its REST API."""
        return self.call.call_id

    @property
    def stream_id(self) -> str:
        """The carrier's id of this media stream."""
        return self.call.stream_id

    @property
    def counts(self) -> PhoneCounts:
        """What was received and not used, so far."""
        return evolve(self._counts)


async def read_start(stream: MessageStream, wire: PhoneWire, timeout: float) -> tuple[Message, ...]:
    """Read until the call starts; gives the messages that came after that.

    Where it does not start, the link is closed with code 1008. Cancelling it leaves the link open.

    Raises:
        ChannelError: nothing usable came within ``timeout`` seconds, or the caller has left.
    """
    reader = MessageReader(stream)
    try:
        with anyio.fail_after(timeout):
            while wire.call is None:
                wire.decode(await reader.next(), anyio.current_time())
    except ConnectionClosed as error:
        raise ChannelError("the call was over before it started") from error
    except TimeoutError:
        await stream.aclose(1008, "no start")
        raise ChannelError(f"the carrier did not start the stream within {timeout:g} s") from None
    except (ChannelError, ProtocolError) as error:
        await stream.aclose(1008, "this stream cannot be served")
        if isinstance(error, ChannelError):
            raise
        raise ChannelError(str(error)) from error
    return reader.rest
