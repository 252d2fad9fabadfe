"""What the models of our adapters can do: the machine keeps its promises with each of them."""

from __future__ import annotations

from hypothesis import strategies as st

from kernl_rt.abc import RealtimeModel
from kernl_rt.config import Capabilities
from kernl_rt.providers import azure, elevenlabs, gemini, openai, xai

__all__ = ["CAPABILITIES", "PROFILES"]

_MODELS: tuple[RealtimeModel, ...] = (
    openai.realtime("gpt-realtime"),
    openai.live("gpt-live-1"),
    azure.realtime("deployment", endpoint="https://example.openai.azure.com"),
    azure.voice_live("gpt-realtime", endpoint="https://example.services.ai.azure.com"),
    gemini.live("gemini-3.8-live"),
    gemini.live("gemini-2.5-flash-native-audio-preview-12-2025"),
    xai.realtime("grok-voice-latest"),
    elevenlabs.agent("agent_1", public=True),
    elevenlabs.realtime("eleven_realtime_v1_mini"),
)
PROFILES: dict[str, Capabilities] = {f"{model.provider} {model.name}": model.capabilities for model in _MODELS}
CAPABILITIES = st.sampled_from(list(PROFILES.values()))
