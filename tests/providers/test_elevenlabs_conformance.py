"""The agents of ElevenLabs through the conformance suite of models, with the simulator as their far end."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.config import G711_ULAW, PCM16_24K, AudioFormat
from kernl_rt.providers import elevenlabs
from kernl_rt.providers.elevenlabs import ElevenLabsAgent
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import check_model

pytestmark = pytest.mark.anyio

WEATHER = {
    "name": "weather",
    "description": "The current weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def make(agent_id: str = "agent_1", base_url: str = "ws://simulator", **options: object) -> ElevenLabsAgent:
    """An agent whose tools are set up at its side."""
    tools = {"tools": [WEATHER]}
    return elevenlabs.agent(agent_id, public=True, base_url=base_url, custom_llm_extra_body=tools, **options)  # type: ignore[arg-type]


async def test_in_memory() -> None:
    simulator = Simulator(protocol="elevenlabs")
    with anyio.fail_after(10_000):
        await check_model(make, transport=simulator.transport())


@pytest.mark.parametrize(("agent_id", "format"), [("agent_pcm_24000", PCM16_24K), ("agent_ulaw_8000", G711_ULAW)])
async def test_in_the_formats_of_other_agents(agent_id: str, format: AudioFormat) -> None:
    simulator = Simulator(protocol="elevenlabs")
    with anyio.fail_after(10_000):
        await check_model(
            lambda: make(agent_id, input_format=format, output_format=format), transport=simulator.transport()
        )


async def test_over_a_socket(real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it."""
    pace = Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001)
    simulator = Simulator(pace=pace, protocol="elevenlabs")
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            await check_model(lambda: make(base_url=url), timeout=10.0)
