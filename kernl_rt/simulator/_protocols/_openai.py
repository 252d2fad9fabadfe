"""OpenAI's own protocol: nothing to translate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kernl_rt._transport.serve import Request
from kernl_rt.simulator._protocols._base import Protocol, Translation

__all__ = ["KEY_SUBPROTOCOL", "OpenAI", "Plain", "bearer", "parse"]

#: Where a browser puts the key.
KEY_SUBPROTOCOL = "openai-insecure-api-key."


def parse(message: str | bytes) -> object:
    """The JSON value in a client's message.

    Raises:
        ValueError: there is none.
    """
    try:
        return msgspec.json.decode(message)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise ValueError("The message is not valid JSON.") from None


def bearer(request: Request) -> str | None:
    """The key of an ``Authorization: Bearer`` header."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


class Plain(Translation):
    """JSON both ways."""

    def read(self, message: str | bytes, now: float) -> Sequence[object]:
        return (parse(message),)

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str | bytes]:
        return (msgspec.json.encode(frame).decode(),)


class OpenAI(Protocol):
    subprotocols = ("realtime",)
    base = "/v1"

    def session_path(self, path: str) -> bool:
        return path == "/v1/realtime"

    def key_of(self, request: Request) -> str | None:
        in_subprotocol = (
            name.removeprefix(KEY_SUBPROTOCOL) for name in request.subprotocols if name.startswith(KEY_SUBPROTOCOL)
        )
        return bearer(request) or next(in_subprotocol, None)

    def model_of(self, request: Request) -> str | None:
        return request.query.get("model")

    def translation(self, request: Request, *, duration: float, now: float) -> Translation:
        return Plain()
