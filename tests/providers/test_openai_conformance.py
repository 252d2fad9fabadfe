"""The OpenAI adapter through the conformance suite of models, with the simulator as its far end."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.providers import openai
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import check_model

pytestmark = pytest.mark.anyio


async def test_in_memory() -> None:
    simulator = Simulator()
    with anyio.fail_after(10_000):
        await check_model(
            lambda: openai.realtime("gpt-realtime", api_key="check", base_url="ws://simulator/v1"),
            transport=simulator.transport(),
        )


async def test_the_simulated_model() -> None:
    simulator = Simulator()
    with anyio.fail_after(10_000):
        await check_model(simulator.realtime, transport=simulator.transport())


async def test_over_a_socket(real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it."""
    # Fast, but so that a story can still be cancelled in its midst.
    simulator = Simulator(pace=Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001))
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            await check_model(lambda: openai.realtime("gpt-realtime", api_key="check", base_url=url), timeout=10.0)
