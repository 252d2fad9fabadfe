"""How a session reaches a model, and how to serve one: the transports, and what it takes to write or test another.

A session finds its transport by itself; pass one to use your own socket, your own TLS settings, or memory. A web
application of yours hands its WebSockets to the channels of callers as an :class:`AsgiStream`.
"""

from kernl_rt._transport._request import Handler as Handler, Reply as Reply, Request as Request
from kernl_rt._transport.memory import (
    MemoryStream as MemoryStream,
    MemoryTransport as MemoryTransport,
    memory_streams as memory_streams,
)
from kernl_rt._transport.serve import serve_connection as serve_connection, serve_websocket as serve_websocket
from kernl_rt._transport.trio_websocket import TrioWebSocketTransport as TrioWebSocketTransport
from kernl_rt._transport.websocket import WebSocketTransport as WebSocketTransport
from kernl_rt.channels._asgi import AsgiStream as AsgiStream
