"""The decoders of all the other protocols: whatever a frame holds, they give well-formed events or none."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from kernl_rt.events import SessionError
from kernl_rt.providers.azure import PreviewCodec, VoiceLiveCodec
from kernl_rt.providers.elevenlabs import AgentsCodec
from kernl_rt.providers.gemini import GeminiCodec
from kernl_rt.providers.openai import LiveCodec
from kernl_rt.providers.xai import XAICodec
from kernl_rt.testing import check_well_formed

__all__ = ["DECODERS", "TOGETHER", "Decoder"]

#: Frames that one codec reads: these codecs remember what came before.
TOGETHER = 100


@define
class Decoder:
    """One codec after the other, each for a session of frames. ``found`` names the good frames to start from."""

    make: Callable[[], Any]
    found: tuple[str, str]
    codec: Any = field(init=False, default=None)

    def templates(self) -> list[dict[str, Any]]:
        module, name = self.found
        frames: list[dict[str, Any]] = getattr(importlib.import_module(f"tests.providers.{module}"), name)
        return frames

    def begin(self) -> None:
        self.codec = self.make()

    def take(self, frame: str | bytes) -> None:
        for event in self.codec.decode(frame):
            check_well_formed(event)
            if isinstance(event, SessionError) and event.source == "protocol":
                assert len(event.message) < 400, "an error says what is wrong, and does not quote"
            elif len(frame) < 10_000:
                repr(event)


DECODERS: Mapping[str, Decoder] = {
    "xai": Decoder(XAICodec, ("test_xai_codec", "TEMPLATES")),
    "voice-live": Decoder(VoiceLiveCodec, ("voice_live_frames", "TYPED")),
    "preview": Decoder(PreviewCodec, ("voice_live_frames", "TYPED")),
    "gemini": Decoder(lambda: GeminiCodec("gemini-3.8-live"), ("test_gemini_codec", "TEMPLATES")),
    "elevenlabs": Decoder(AgentsCodec, ("test_elevenlabs_codec", "TEMPLATES")),
    "live": Decoder(lambda: LiveCodec("gpt-live-1"), ("live_frames", "FRAMES")),
}
