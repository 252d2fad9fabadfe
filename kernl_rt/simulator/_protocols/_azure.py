"""Azure OpenAI: OpenAI's protocol at ``/openai/v1/realtime``, and its beta form at ``/openai/realtime``.

Recorded traffic differs from OpenAI's in one thing: what says ``part`` says it again as ``content``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._protocols._base import Protocol, Translation
from kernl_rt.simulator._protocols._openai import Plain
from kernl_rt.simulator._protocols._voice_live import Beta, azure_key

__all__ = ["Azure"]

_GA = "/openai/v1/realtime"
_PREVIEW = "/openai/realtime"


class _Azure(Plain):
    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str | bytes]:
        return super().write({**frame, "content": frame["part"]} if "part" in frame else frame, now)


class Azure(Protocol):
    subprotocols = ("realtime",)
    base = ""
    secrets_path = f"{_GA}/client_secrets"

    def session_path(self, path: str) -> bool:
        return path in (_GA, _PREVIEW)

    def key_of(self, request: Request) -> str | None:
        return azure_key(request)

    def model_of(self, request: Request) -> str | None:
        if request.path.rstrip("/") == _GA:
            return request.query.get("model")
        return request.query.get("deployment") if request.query.get("api-version") else None

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        return _Azure() if request.path.rstrip("/") == _GA else Beta(voice_live=False)
