"""Twilio Media Streams (https://www.twilio.com/docs/voice/media-streams/websocket-messages).

In: ``connected``, ``start``, ``media``, ``dtmf``, ``mark``, ``stop``. Out: ``media``, ``mark``, ``clear``; anything
else would end the stream (error 31924). Sound is mu-law, 8 kHz, mono, in base64, both ways; messages come in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kernl_rt.channels._phone._codec import MediaStreamWire
from kernl_rt.channels._phone._wire import PhoneCall, read_number, read_parameters, read_text
from kernl_rt.config import G711_ULAW
from kernl_rt.exceptions import ChannelError

__all__ = ["TwilioWire"]


class TwilioWire(MediaStreamWire):
    """One stream of Twilio's."""

    stream_key: ClassVar[str] = "streamSid"

    def __init__(self) -> None:
        super().__init__()
        self._chunk = 0

    def read_start(self, frame: dict[str, Any], start: Any) -> PhoneCall:
        stream_id = read_text(start, "streamSid") or read_text(frame, "streamSid")
        call_id = read_text(start, "callSid")
        if not stream_id or not call_id:
            raise ChannelError("Twilio's 'start' names no stream and call: streamSid, callSid")
        media = start.get("mediaFormat")
        encoding, rate, channels = read_text(media, "encoding"), *(_number(media, key) for key in _FORMAT)
        if (encoding, rate, channels) != ("audio/x-mulaw", 8_000, 1):
            raise ChannelError(
                f"Twilio announced sound as {encoding[:40]!r} at {rate} Hz, {channels} channels: only mono "
                "audio/x-mulaw at 8000 Hz is documented"
            )
        return PhoneCall(
            carrier="twilio",
            call_id=call_id,
            stream_id=stream_id,
            input_format=G711_ULAW,
            output_format=G711_ULAW,
            account_id=read_text(start, "accountSid"),
            parameters=read_parameters(start.get("customParameters")),
        )

    def on_sound(self, audio: bytes, media: Any, now: float) -> Sequence[object]:
        chunk = read_number(media, "chunk")
        if chunk is not None:
            if 0 < self._chunk < chunk - 1:
                self.counts.lost += min(chunk - 1 - self._chunk, 1_000)
            self._chunk = chunk
        return (self.captured(audio, read_number(media, "timestamp"), now),)


_FORMAT = ("sampleRate", "channels")


def _number(media: Any, key: str) -> int:
    number = read_number(media, key)
    return -1 if number is None else number
