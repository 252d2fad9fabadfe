"""Clients of an ASGI application in the same program: requests, and WebSockets whose page is made of Python."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp

from kernl_rt.exceptions import ConnectionClosed

ORIGIN = "https://voice.example.com"


def scope_of(kind: str, path: str, headers: Sequence[tuple[str, str]], **more: Any) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "https" if kind == "http" else "wss",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 80),
        **more,
    }


class Answer:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def request(app: ASGIApp, method: str, path: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope_of("http", path, headers, method=method), receive, send)
    return answer


class Lane:
    """An unbounded queue between two tasks, which owns nothing."""

    def __init__(self) -> None:
        self._waiting: deque[Any] = deque()
        self._news = anyio.Event()
        self.ended = False

    def put(self, item: Any) -> None:
        self._waiting.append(item)
        self._news.set()

    def end(self) -> None:
        self.ended = True
        self._news.set()

    async def take(self) -> Any:
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self.ended:
                raise anyio.EndOfStream
            self._news = anyio.Event()
            await self._news.wait()
        return self._waiting.popleft()


class Visitor:
    """A WebSocket client. ``status`` is the HTTP answer: 101, or why it was refused. A stream for :class:`Page`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Sequence[str] = (ORIGIN,),
        subprotocols: Sequence[str] = ("kernl-rt.1",),
        path: str = "/voice",
        can_answer: bool = True,
    ) -> None:
        self._app = app
        extensions: dict[str, Any] = {"websocket.http.response": {}} if can_answer else {}
        self._scope = scope_of(
            "websocket",
            path,
            [("origin", origin) for origin in origins],
            subprotocols=list(subprotocols),
            extensions=extensions,
        )
        self._to_app, self._arrived = Lane(), Lane()
        self._to_app.put({"type": "websocket.connect"})
        self.answered = anyio.Event()
        self.closed = anyio.Event()
        self.status = 0
        self.subprotocol: str | None = None
        self.code: int | None = None
        self.reason = ""

    async def run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        finally:
            if not self.answered.is_set():
                self._answer(500)
            self._close(1011)

    async def _receive(self) -> dict[str, Any]:
        return await self._to_app.take()

    def _answer(self, status: int) -> None:
        self.status = status
        self.answered.set()

    def _close(self, code: int | None, reason: str = "") -> None:
        if not self.closed.is_set():
            self.code, self.reason = code, reason
            self.closed.set()
            self._arrived.end()

    async def _send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                self._answer(101)
            case "websocket.http.response.start":
                self._answer(message["status"])
            case "websocket.close":
                if not self.answered.is_set():
                    self._answer(403)
                self._close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.send":
                if self.closed.is_set():
                    raise RuntimeError("the client has gone")
                sent: str | bytes | None = message.get("bytes")
                self._arrived.put(message["text"] if sent is None else sent)

    # -- the client's verbs -------------------------------------------------------------------------------------------

    async def receive(self) -> Sequence[str | bytes]:
        try:
            return [await self._arrived.take()]
        except anyio.EndOfStream:
            raise ConnectionClosed(self.code or 1005, self.reason) from None

    async def send(self, message: str | bytes) -> None:
        if self.closed.is_set():
            raise ConnectionClosed(self.code or 1005, self.reason)
        kind = "bytes" if isinstance(message, bytes) else "text"
        self._to_app.put({"type": "websocket.receive", kind: message})
        await anyio.lowlevel.checkpoint()

    async def hello(self, **fields: Any) -> None:
        hello = {"type": "hello", "version": 1, "input_rates": [24_000], "output_rates": [24_000], **fields}
        await self.send(json.dumps(hello))

    async def greet(self, **fields: Any) -> None:
        """Say hello, and be told that the call is ready."""
        await self.hello(**fields)
        assert json.loads((await self.receive())[0])["type"] == "ready"

    def leave(self, code: int = 1001) -> None:
        self._to_app.put({"type": "websocket.disconnect", "code": code})
        self._close(code)
