"""The channel of a Vonage call."""

from __future__ import annotations

from typing import Self

from kernl_rt.abc import MessageStream
from kernl_rt.channels._phone._channel import PhoneChannel, read_start
from kernl_rt.channels.vonage._codec import VonageWire

__all__ = ["VonageChannel"]


class VonageChannel(PhoneChannel):
    """A caller on a Vonage WebSocket (NCCO ``connect``). Made by :meth:`accept`.

    Sound is linear, 16 bits, at the rate that the NCCO's ``content-type`` asked for. Vonage names no call by itself:
    :attr:`call_id` is the parameter ``call_id``, or ``uuid``, of the NCCO's ``headers``, and empty without.

    When the session closes, the link does too, and the NCCO goes on after ``connect``; where nothing follows, Vonage
    hangs up. To end the call otherwise, use Vonage's REST API.
    """

    @classmethod
    async def accept(
        cls,
        stream: MessageStream,
        *,
        timeout: float = 10.0,
        send_ahead_ms: float = 200.0,
        input_buffer_ms: float = 500.0,
    ) -> Self:
        """Wait for ``websocket:connected`` on a link that has been checked and accepted; ``timeout`` is in seconds.

        Raises:
            ChannelError: it did not come; the link has been closed.
        """
        wire = VonageWire()
        received = await read_start(stream, wire, timeout)
        return cls(stream, wire, received=received, send_ahead_ms=send_ahead_ms, input_buffer_ms=input_buffer_ms)
