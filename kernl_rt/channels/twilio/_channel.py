"""The channel of a Twilio call."""

from __future__ import annotations

from typing import Self

from kernl_rt.abc import MessageStream
from kernl_rt.channels._phone._channel import PhoneChannel, read_start
from kernl_rt.channels.twilio._codec import TwilioWire

__all__ = ["TwilioChannel"]


class TwilioChannel(PhoneChannel):
    """A caller on a Twilio media stream (``<Connect><Stream>``). Made by :meth:`accept`.

    Sound is G.711 mu-law, 8 kHz: a model that speaks it is asked for it, and nothing is converted.

    When the session closes, the stream does too, and Twilio goes on with the TwiML after ``<Connect>``; where nothing
    follows, it hangs up. To end the call otherwise, use Twilio's REST API with :attr:`call_id`.
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
        """Wait for the stream's ``start`` on a link that has been checked and accepted; ``timeout`` is in seconds.

        Raises:
            ChannelError: it did not come; the link has been closed.
        """
        wire = TwilioWire()
        received = await read_start(stream, wire, timeout)
        return cls(stream, wire, received=received, send_ahead_ms=send_ahead_ms, input_buffer_ms=input_buffer_ms)
