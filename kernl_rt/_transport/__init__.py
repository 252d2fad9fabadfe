"""Raw links: dialled, served, or in memory. Nothing heavy is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernl_rt._transport._request import (
        Handler as Handler,
        ProcessRequest as ProcessRequest,
        Reply as Reply,
        Request as Request,
    )
    from kernl_rt._transport.http import post_json as post_json
    from kernl_rt._transport.memory import (
        MemoryStream as MemoryStream,
        MemoryTransport as MemoryTransport,
        memory_streams as memory_streams,
    )
    from kernl_rt._transport.serve import serve_connection as serve_connection, serve_websocket as serve_websocket
    from kernl_rt._transport.trio_websocket import TrioWebSocketTransport as TrioWebSocketTransport
    from kernl_rt._transport.websocket import WebSocketTransport as WebSocketTransport

_HOMES = {
    "Handler": "_request",
    "MemoryStream": "memory",
    "MemoryTransport": "memory",
    "ProcessRequest": "_request",
    "Reply": "_request",
    "Request": "_request",
    "TrioWebSocketTransport": "trio_websocket",
    "WebSocketTransport": "websocket",
    "memory_streams": "memory",
    "post_json": "http",
    "serve_connection": "serve",
    "serve_websocket": "serve",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
