"""The simulator as a model: the OpenAI adapter, unchanged, with the in-memory transport as its default."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from attrs import evolve

from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import ConnectOptions, Credential, SessionConfig
from kernl_rt.providers import openai

if TYPE_CHECKING:
    from kernl_rt.simulator._server import Simulator

__all__ = ["SimulatedModel"]


class SimulatedModel(RealtimeModel):
    """Connects to a :class:`~kernl_rt.simulator.Simulator` in the same process. Needs no key."""

    provider = "simulator"

    def __init__(self, simulator: Simulator, name: str = "simulator") -> None:
        self.simulator = simulator
        self.name = name
        # A base URL of its own, so that the environment's does not send it to another path.
        self._model = openai.realtime(name, api_key=simulator.api_key or "simulator", base_url="ws://simulator/v1")
        self.capabilities = evolve(self._model.capabilities, max_duration=simulator.duration)

    def check(self, config: SessionConfig) -> None:
        self._model.check(config)

    def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        return self._model.connect(
            config, options, credential=credential, transport=transport or self.simulator.transport()
        )
