"""Calls for the tests of this folder."""

from __future__ import annotations

import math
from array import array
from typing import Any

from kernl_rt._audio.resample import convert
from kernl_rt.channels import TelnyxChannel, TwilioChannel, VonageChannel
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.channels.telnyx._codec import TelnyxWire
from kernl_rt.channels.twilio._codec import TwilioWire
from kernl_rt.channels.vonage._codec import VonageWire
from kernl_rt.config import G711_ALAW, AudioFormat
from kernl_rt.testing import FakeCarrier
from kernl_rt.testing._carrier_words import Carrier

CARRIERS: tuple[Carrier, ...] = ("twilio", "telnyx", "vonage")
CHANNELS: dict[str, type[PhoneChannel]] = {
    "twilio": TwilioChannel,
    "telnyx": TelnyxChannel,
    "vonage": VonageChannel,
}
#: Every carrier, with the formats that differ for it.
LINES: tuple[tuple[Carrier, AudioFormat | None], ...] = (
    ("twilio", None),
    ("telnyx", None),
    ("telnyx", G711_ALAW),
    ("telnyx", AudioFormat("pcm16", 16_000)),
    ("vonage", None),
    ("vonage", AudioFormat("pcm16", 8_000)),
    ("vonage", AudioFormat("pcm16", 24_000)),
)


def wire_of(carrier: FakeCarrier) -> TwilioWire | TelnyxWire | VonageWire:
    """A wire that has read this carrier's greeting."""
    name = type(carrier.words).__name__
    wire: TwilioWire | TelnyxWire | VonageWire
    if name == "TelnyxWords":
        wire = TelnyxWire(carrier.audio_format)
    else:
        wire = TwilioWire() if name == "TwilioWords" else VonageWire()
    for message in carrier.words.greeting():
        wire.decode(message, 0.0)
    return wire


def channel_of(carrier: FakeCarrier, **options: Any) -> PhoneChannel:
    """The channel at the end of ``carrier``'s stream, without waiting for its greeting."""
    wire = wire_of(carrier)
    assert wire.call is not None
    return CHANNELS[wire.call.carrier](carrier.stream, wire, **options)


async def accepted(carrier: FakeCarrier, **options: Any) -> PhoneChannel:
    """The channel, made as a program makes it."""
    name = type(carrier.words).__name__
    if name == "TelnyxWords":
        return await TelnyxChannel.accept(carrier.stream, output_format=carrier.audio_format, **options)
    cls = TwilioChannel if name == "TwilioWords" else VonageChannel
    return await cls.accept(carrier.stream, **options)


def tone(audio_format: AudioFormat, ms: int, hertz: float = 440.0) -> bytes:
    rate = audio_format.rate
    samples = array("h", (int(9_000 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(rate * ms // 1000)))
    return convert(AudioFormat("pcm16", rate), audio_format).push(samples.tobytes())


def ramp(audio_format: AudioFormat, ms: int) -> bytes:
    """Sound of which each part can be told from the others."""
    size = audio_format.size(ms)
    if audio_format.sample_width == 1:
        return bytes((index // 256 + index) % 256 for index in range(size))
    return array("h", (index % 30_011 for index in range(size // 2))).tobytes()
