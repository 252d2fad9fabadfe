"""The official types as a judge: a frame must validate, and may hold no key that they do not declare.

The recordings show a few keys that the types do not know; those are allowed, each where it was seen.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

pytest.importorskip("openai.types.realtime", reason="the official SDK is not installed")

from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

RECORDED = {"session.id", "session.object", "session.expires_at", "obfuscation"}


@cache
def _adapter(server: bool) -> TypeAdapter[Any]:
    return TypeAdapter(RealtimeServerEvent if server else RealtimeClientEvent)


def _undeclared(value: Any, path: str) -> list[str]:
    if isinstance(value, BaseModel):
        dot = f"{path}." if path else ""
        extra = [dot + name for name in value.model_extra or ()]
        fields = [(dot + name, getattr(value, name)) for name in type(value).model_fields]
        return extra + [found for name, inner in fields for found in _undeclared(inner, name)]
    if isinstance(value, (list, tuple)):
        return [found for inner in value for found in _undeclared(inner, path)]
    return []


def check_server_frame(frame: dict[str, Any]) -> None:
    model = _adapter(True).validate_python(frame)
    assert model.type == frame["type"]
    undeclared = [path for path in _undeclared(model, "") if path not in RECORDED]
    assert not undeclared, f"{frame['type']} holds {undeclared}, which the official types do not declare"


def check_client_frame(frame: dict[str, Any]) -> None:
    model = _adapter(False).validate_python(frame)
    undeclared = _undeclared(model, "")
    assert not undeclared, f"{frame['type']} holds {undeclared}, which the official types do not declare"
