"""Telnyx media streaming (https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming).

In: ``connected``, ``start``, ``media``, ``dtmf``, ``mark``, ``error``, ``stop``. Out: ``media``, ``mark``, ``clear``.
Sound is the payload of RTP, in base64. ``media`` may come out of order, so it is put in order by ``chunk``.

``start`` says how the caller's sound is coded, which depends on the caller's network. How the sound sent back must be
coded was decided by whoever started the stream (``bidirectionalCodec``) and is not repeated here, so the channel is
told. PCMU, PCMA and L16 are served. L16 is in network byte order, as RTP has it (RFC 3551 section 4.5.11).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from kernl_rt.channels._phone._codec import MediaStreamWire
from kernl_rt.channels._phone._wire import PhoneCall, read_number, read_parameters, read_text
from kernl_rt.channels._wire import Message
from kernl_rt.channels.telnyx._order import Order
from kernl_rt.config import G711_ALAW, G711_ULAW, AudioFormat
from kernl_rt.exceptions import ChannelError, MisconfiguredError

__all__ = ["TelnyxWire"]

_LAWS = {"PCMU": G711_ULAW, "PCMA": G711_ALAW}
_L16_RATES = (8_000, 16_000, 22_050, 24_000, 48_000)


class TelnyxWire(MediaStreamWire):
    """One stream of Telnyx's. ``output_format`` is what its ``bidirectionalCodec`` asked for."""

    stream_key: ClassVar[str] = "stream_id"

    def __init__(self, output_format: AudioFormat = G711_ULAW) -> None:
        if output_format not in _LAWS.values() and output_format not in [
            AudioFormat("pcm16", rate) for rate in _L16_RATES
        ]:
            raise MisconfiguredError(
                f"Telnyx takes no {output_format}: use G.711 (PCMU, PCMA), or pcm16 (L16) at "
                + ", ".join(str(rate) for rate in _L16_RATES)
            )
        super().__init__()
        self._output = output_format
        self._order: Order[tuple[bytes, int | None]] = Order()
        self._readers["error"] = self._on_error

    def read_start(self, frame: dict[str, Any], start: Any) -> PhoneCall:
        stream_id, call_id = read_text(frame, "stream_id"), read_text(start, "call_control_id")
        if not stream_id or not call_id:
            raise ChannelError("Telnyx's 'start' names no stream and call: stream_id, call_control_id")
        return PhoneCall(
            carrier="telnyx",
            call_id=call_id,
            stream_id=stream_id,
            input_format=_read_format(start.get("media_format")),
            output_format=self._output,
            account_id=read_text(start, "user_id"),
            from_number=read_text(start, "from"),
            to_number=read_text(start, "to"),
            parameters=read_parameters(start.get("custom_parameters")),
        )

    def on_sound(self, audio: bytes, media: Any, now: float) -> Sequence[object]:
        if self.input_format.encoding == "pcm16":
            if len(audio) % 2:
                self.counts.malformed += 1
                return ()
            audio = _swapped(audio)
        item = (audio, read_number(media, "timestamp"))
        chunk = read_number(media, "chunk")
        ready = [item] if chunk is None else self._order.push(chunk, item, now)
        self.counts.lost, self.counts.repeated = self._order.lost, self._order.repeated
        return [self.captured(sound, timestamp, now) for sound, timestamp in ready]

    def _on_error(self, frame: dict[str, Any], now: float) -> Sequence[object]:
        # A stream that failed is ended with 'stop': an error alone is about one message.
        self.counts.errors += 1
        return ()

    def _on_stop(self, frame: dict[str, Any], now: float) -> Sequence[object]:
        found = super()._on_stop(frame, now)
        if not found:
            return ()
        rest = [self.captured(sound, timestamp, now) for sound, timestamp in self._order.flush()]
        return (*rest, *found)

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        # A message holds 20 ms at least: the last of a reply is filled up.
        missing = self._output.size(self.frame_ms) - len(audio)
        if missing > 0:
            audio += self._output.silence * (missing // self._output.sample_width)
        return super().encode_audio(_swapped(audio) if self._output.encoding == "pcm16" else audio)


def _read_format(media: Any) -> AudioFormat:
    encoding, rate = read_text(media, "encoding"), read_number(media, "sample_rate")
    if (read_number(media, "channels") or 1) == 1:
        if encoding in _LAWS and rate == 8_000:
            return _LAWS[encoding]
        if encoding == "L16" and rate in _L16_RATES:
            return AudioFormat("pcm16", rate)
    raise ChannelError(
        f"Telnyx announced sound as {encoding[:40]!r} at {rate} Hz: start the stream with codec PCMU, PCMA or L16, mono"
    )


def _swapped(audio: bytes) -> bytes:
    samples = array("h")
    samples.frombytes(audio)
    samples.byteswap()
    return samples.tobytes()
