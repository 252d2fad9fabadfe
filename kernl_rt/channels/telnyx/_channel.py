"""The channel of a Telnyx call."""

from __future__ import annotations

from typing import Self

from kernl_rt.abc import MessageStream
from kernl_rt.channels._phone._channel import PhoneChannel, read_start
from kernl_rt.channels.telnyx._codec import TelnyxWire
from kernl_rt.config import G711_ULAW, AudioFormat

__all__ = ["TelnyxChannel"]


class TelnyxChannel(PhoneChannel):
    """A caller on a Telnyx media stream (TeXML ``<Connect><Stream>``, or Call Control). Made by :meth:`accept`.

    Sound comes as the caller's network has it (PCMU in America, PCMA elsewhere, or L16), and goes as the stream was
    started with: ``output_format`` must be what ``bidirectionalCodec`` and ``bidirectionalSamplingRate`` said.

    When the session closes, the stream does too, and TeXML goes on after ``<Connect>``. To end the call otherwise, use
    Telnyx's REST API with :attr:`call_id`, which is its ``call_control_id``.
    """

    @classmethod
    async def accept(
        cls,
        stream: MessageStream,
        *,
        output_format: AudioFormat = G711_ULAW,
        timeout: float = 10.0,
        send_ahead_ms: float = 200.0,
        input_buffer_ms: float = 500.0,
    ) -> Self:
        """Wait for the stream's ``start`` on a link that has been checked and accepted; ``timeout`` is in seconds.

        Raises:
            ChannelError: it did not come; the link has been closed.
            MisconfiguredError: an ``output_format`` that Telnyx does not take.
        """
        wire = TelnyxWire(output_format)
        received = await read_start(stream, wire, timeout)
        return cls(stream, wire, received=received, send_ahead_ms=send_ahead_ms, input_buffer_ms=input_buffer_ms)
