from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from transport.peers import MakeTransport

from kernl_rt._transport import TrioWebSocketTransport, WebSocketTransport


@pytest.fixture
def make_transport(flavour: str) -> MakeTransport:
    name = flavour.partition("-")[0]
    if name == "triows":
        return TrioWebSocketTransport
    return lambda **options: WebSocketTransport(implementation=name, **options)  # type: ignore[arg-type]


@pytest.fixture
def no_leak() -> Iterator[None]:
    """No descriptor may be left open by the test."""
    before = _links()
    yield
    if _new(before):
        gc.collect()
    left = _new(before)
    assert not left, f"sockets are left open: {left}"


def _new(before: dict[str, str]) -> dict[str, str]:
    return {fd: name for fd, name in _links().items() if before.get(fd) != name and "socket" in name}


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def _links() -> dict[str, str]:
    return {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in _descriptors()}
