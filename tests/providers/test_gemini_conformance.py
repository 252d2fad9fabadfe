"""The Gemini adapter through the conformance suite of models, with the simulator as its far end."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.providers import gemini
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import Prompts, check_model

pytestmark = pytest.mark.anyio

#: Half a second at 16 kHz.
PROMPTS = Prompts(speech=b"\0\1\0\2" * 4_000)


@pytest.mark.parametrize(
    "name", ["gemini-3.8-live", "gemini-2.5-flash-native-audio-preview-12-2025", "gemini-2.0-flash-live-001"]
)
async def test_in_memory(name: str) -> None:
    simulator = Simulator(protocol="gemini")
    with anyio.fail_after(10_000):
        await check_model(lambda: gemini.live(name, api_key="check"), transport=simulator.transport(), prompts=PROMPTS)


async def test_over_a_socket(real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it."""
    pace = Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001)
    simulator = Simulator(pace=pace, protocol="gemini")
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            await check_model(
                lambda: gemini.live("gemini-3.8-live", api_key="check", base_url=url), prompts=PROMPTS, timeout=10.0
            )
