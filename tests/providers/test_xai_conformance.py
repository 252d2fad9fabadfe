"""xAI's adapter through the conformance suite of models, with the simulator as its far end."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.providers import xai
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import check_model

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("resumption", [True, False])
async def test_in_memory(resumption: bool) -> None:
    simulator = Simulator(protocol="xai")
    with anyio.fail_after(10_000):
        await check_model(
            lambda: xai.realtime("grok-voice-latest", api_key="check", resumption=resumption),
            transport=simulator.transport(),
        )


async def test_over_a_socket(real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it."""
    simulator = Simulator(protocol="xai", pace=Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001))
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            await check_model(lambda: xai.realtime("grok-voice-latest", api_key="check", base_url=url), timeout=10.0)
