"""The official Live types as a judge: a frame must validate, and may hold no key that they do not declare."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

pytest.importorskip("openai.types.live", reason="the official SDK is not installed")

from openai.types.live import ClientEvent, ForkClientEvent, ServerEvent
from pydantic import TypeAdapter

from tests.simulator.strict import _undeclared


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter({"server": ServerEvent, "client": ClientEvent, "fork": ForkClientEvent}[kind])


def _check(kind: str, frame: dict[str, Any]) -> None:
    model = _adapter(kind).validate_python(frame)
    assert model.type == frame["type"]
    undeclared = _undeclared(model, "")
    assert not undeclared, f"{frame['type']} holds {undeclared}, which the official types do not declare"


def check_server_frame(frame: dict[str, Any]) -> None:
    _check("server", frame)


def check_client_frame(frame: dict[str, Any], *, fork: bool = False) -> None:
    _check("fork" if fork else "client", frame)
