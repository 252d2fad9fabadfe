"""The Live adapter through the conformance suite of models, with the simulator as its far end."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt.config import G711_ULAW, PCM16_16K, AudioFormat, SessionConfig, ToolDefinition
from kernl_rt.providers import openai
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import Prompts, check_model

pytestmark = pytest.mark.anyio

#: Of a running session only the backend's settings change.
PROMPTS = Prompts(change=SessionConfig(tools=[ToolDefinition("other", "Another tool.", {"type": "object"})]))


@pytest.mark.parametrize("format", [None, PCM16_16K, G711_ULAW], ids=str)
async def test_in_memory(format: AudioFormat | None) -> None:
    simulator = Simulator(protocol="live")
    config = SessionConfig(input_format=format, output_format=format)
    with anyio.fail_after(10_000):
        await check_model(
            lambda: openai.live(backend="gpt-6", api_key="check"),
            transport=simulator.transport(),
            config=config,
            prompts=PROMPTS,
        )


async def test_the_model_dials_a_socket_by_itself(real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it; its timeline takes real time."""
    simulator = Simulator(pace=Pace(speed=20.0, token=0.001, first_output=0.001), api_key="right", protocol="live")
    with anyio.fail_after(30):
        async with simulator.serve() as url:
            from kernl_rt import RealtimeAgent, RealtimeSession

            model = openai.live(api_key="right", base_url=url, pause=0.3)
            agent = RealtimeAgent[None](id="a", name="A", instructions="Be brief.", model=model)
            async with RealtimeSession(agent) as session:
                reply = await session.ask("hello")
                assert reply.text
                assert reply.extra["inferred"] is True
        assert simulator.sessions == 0
