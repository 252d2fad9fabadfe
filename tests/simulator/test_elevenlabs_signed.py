"""The simulated agents of ElevenLabs give out signed addresses, as the service does for private ones."""

from __future__ import annotations

import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.exceptions import AuthenticationError
from kernl_rt.providers import elevenlabs
from kernl_rt.simulator import Simulator

pytestmark = pytest.mark.anyio


async def test_the_simulator_gives_out_signed_addresses(real_clock: None) -> None:
    simulator = Simulator(protocol="elevenlabs", speed=100, api_key="sesame")
    async with simulator.serve() as url:
        agent = RealtimeAgent(
            id="a", name="A", instructions="", model=elevenlabs.agent("agent_1", base_url=url, api_key="sesame")
        )
        async with RealtimeSession(agent) as session:
            assert (await session.ask("hello")).text == "Hello! This is the kernl_rt simulator."
        with pytest.raises(AuthenticationError):
            async with RealtimeSession(agent, model=elevenlabs.agent("agent_1", base_url=url, api_key="another")):
                pass
