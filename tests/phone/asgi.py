"""A small ASGI server without a network: HTTP requests, and a carrier's WebSocket, to an application."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import anyio
from attrs import define
from serve.clients import scope_of

from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.testing import FakeCarrier

Headers = Sequence[tuple[bytes, bytes]]
App = Any


def _scope(kind: str, path: str, headers: Headers, **more: Any) -> dict[str, Any]:
    """Behind a proxy, which speaks no TLS: what a request says of its address is the proxy's."""
    said = [(name.decode(), value.decode("latin-1")) for name, value in headers]
    proxied = {"scheme": "http" if kind == "http" else "ws", "server": ("10.0.0.1", 8080), "client": ("10.0.0.2", 1234)}
    return scope_of(kind, path, said, **proxied, **more)


@define
class Answered:
    status: int
    body: bytes


async def post(
    app: App,
    path: str,
    body: bytes | Sequence[tuple[float, bytes]],
    headers: Headers = (),
    query: str = "",
    method: str = "POST",
) -> Answered:
    """``body`` may be (seconds to wait, chunk) …"""
    chunks = list([(0.0, body)] if isinstance(body, bytes) else body)
    scope = _scope("http", path, headers, method=method, query_string=query.encode())
    answer = Answered(0, b"")

    async def receive() -> MutableMapping[str, Any]:
        if not chunks:
            await anyio.sleep_forever()
        seconds, chunk = chunks.pop(0)
        await anyio.sleep(seconds)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
        elif message["type"] == "http.response.body":
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


async def dial(app: App, path: str, carrier: FakeCarrier, headers: Headers = (), *, extension: bool = True) -> int:
    """``carrier`` opens its stream at ``path`` and carries the call to its end: the HTTP status of the upgrade."""
    extensions: dict[str, Any] = {"websocket.http.response": {}} if extension else {}
    scope = _scope("websocket", path, headers, subprotocols=[], extensions=extensions)
    status = 0
    waiting: list[str | bytes] = []
    connected = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal connected
        if not connected:
            connected = True
            return {"type": "websocket.connect"}
        try:
            while not waiting:
                waiting.extend(await carrier.stream.receive())
        except ConnectionClosed as error:
            return {"type": "websocket.disconnect", "code": error.code}
        message = waiting.pop(0)
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        match message["type"]:
            case "websocket.accept":
                status = 101
                tasks.start_soon(carrier.run)
            case "websocket.http.response.start":
                status = message["status"]
            case "websocket.close":
                status = status or 403
                await carrier.stream.aclose(message.get("code", 1000), message.get("reason") or "")
            case "websocket.send":
                text = message.get("text")
                await carrier.stream.send(message["bytes"] if text is None else text)

    async with anyio.create_task_group() as tasks:
        await app(scope, receive, send)
        if status == 101:
            await carrier.stream.aclose()
        tasks.cancel_scope.cancel()
    return status
