"""Azure's adapters through the conformance suite of models, with the simulator as their far end."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from kernl_rt.abc import RealtimeModel
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_16K, SessionConfig
from kernl_rt.providers import azure
from kernl_rt.simulator import Pace, Simulator
from kernl_rt.testing import Prompts, check_model

pytestmark = pytest.mark.anyio

ENDPOINT = "wss://my-resource.openai.azure.com"
Factory = Callable[[], RealtimeModel]

GA: Factory = lambda: azure.realtime("my-deployment", endpoint=ENDPOINT, api_key="check")  # noqa: E731
PREVIEW: Factory = lambda: azure.realtime(  # noqa: E731
    "my-deployment", endpoint=ENDPOINT, api_key="check", api_version="2025-04-01-preview"
)
LIVE: Factory = lambda: azure.voice_live("gpt-realtime", endpoint=ENDPOINT, api_key="check")  # noqa: E731


@pytest.mark.parametrize(
    ("factory", "protocol"),
    [(GA, "azure"), (PREVIEW, "azure"), (LIVE, "voice-live")],
    ids=["ga", "preview", "voice-live"],
)
async def test_in_memory(factory: Factory, protocol: str) -> None:
    with anyio.fail_after(10_000):
        await check_model(factory, transport=Simulator(protocol=protocol).transport())


@pytest.mark.parametrize("format", [PCM16_16K, PCM16_8K, G711_ULAW], ids=str)
async def test_voice_live_at_other_rates(format: object) -> None:
    config = SessionConfig(input_format=format, output_format=format)  # type: ignore[arg-type]
    prompts = Prompts(speech=b"\0\1\0\2" * 4_000)
    with anyio.fail_after(10_000):
        await check_model(LIVE, transport=Simulator(protocol="voice-live").transport(), config=config, prompts=prompts)


@pytest.mark.parametrize("protocol", ["azure", "voice-live"])
async def test_over_a_socket(protocol: str, real_clock: None) -> None:
    """No transport is passed: the model's own, with a real WebSocket under it."""
    pace = Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001)
    simulator = Simulator(pace=pace, protocol=protocol, api_key="check")
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            if protocol == "azure":
                await check_model(lambda: azure.realtime("d", api_key="check", endpoint=url), timeout=10.0)
            else:
                await check_model(lambda: azure.voice_live("m", api_key="check", endpoint=url), timeout=10.0)
