"""The conformance suite passes over the three phone channels."""

from __future__ import annotations

import pytest
from phone.lines import CARRIERS, LINES, channel_of, ramp

from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.config import PCM16_8K, PCM16_24K, AudioFormat
from kernl_rt.testing import FakeCarrier, check_channel
from kernl_rt.testing._carrier_words import Carrier

pytestmark = pytest.mark.anyio


class Lines:
    """Makes calls, and remembers which carrier each channel belongs to."""

    def __init__(self, carrier: Carrier, audio_format: AudioFormat | None, **troubles: float) -> None:
        self._carrier, self._format, self._troubles = carrier, audio_format, troubles
        self._calls: dict[int, FakeCarrier] = {}

    def __call__(self) -> PhoneChannel:
        carrier = FakeCarrier(self._carrier, audio_format=self._format, **self._troubles)  # type: ignore[arg-type]
        channel = channel_of(carrier)
        self._calls[id(channel)] = carrier
        return channel

    async def caller(self, channel: RealtimeChannel) -> None:
        carrier = self._calls[id(channel)]
        carrier.speak(ramp(carrier.audio_format, 600))
        await carrier.run()
        assert not carrier.wrong


@pytest.mark.parametrize(("carrier", "audio_format"), LINES)
async def test_phone(carrier: Carrier, audio_format: AudioFormat | None) -> None:
    lines = Lines(carrier, audio_format)
    await check_channel(lines, human=lines.caller)


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_over_a_bad_network(carrier: Carrier) -> None:
    lines = Lines(carrier, None, latency=0.05, jitter=0.03)
    await check_channel(lines, human=lines.caller)


@pytest.mark.parametrize("output_format", [PCM16_8K, PCM16_24K])
async def test_converted(output_format: AudioFormat) -> None:
    lines = Lines("twilio", None)
    await check_channel(lines, human=lines.caller, input_format=PCM16_24K, output_format=output_format)
