"""A server on a real socket, and a page in a thread of its own, by the ``websockets`` client: it plays by the clock."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from starlette.types import ASGIApp
from websockets.sync.client import connect

from kernl_rt.serve import _run

TIMEOUT = 30.0


@asynccontextmanager
async def serving(application: Callable[[str], ASGIApp]) -> AsyncIterator[str]:
    """An application under anycorn, which is made of the URL at which it will be: that URL."""
    own = _run.listening_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{own.getsockname()[1]}"
    stop, started = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(_run.run, application(url), own, stop.wait, started=started.set))
        await started.wait()
        try:
            yield url
        finally:
            stop.set()


def http(method: str, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    asked = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def token_of(url: str) -> str:
    status, _, body = http("POST", f"{url}/session-token", Origin=url)
    assert status == 200, body
    return str(json.loads(body)["token"])


def dial(url: str, *, origin: str | None = None, token: str | None = None) -> Any:
    offered = ["kernl-rt.1", "token." + (token_of(url) if token is None else token)]
    address = url.replace("http", "ws", 1) + "/voice"
    return connect(address, origin=origin or url, subprotocols=offered, open_timeout=TIMEOUT)  # type: ignore[arg-type]


class Call:
    """What the page of one call knows."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.messages: list[dict[str, Any]] = []
        self.received = 0  # bytes of sound

    def say(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def hello(self) -> dict[str, Any]:
        self.say("hello", version=1, input_rates=[24_000], output_rates=[24_000])
        return self.listen("ready")

    def listen(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Such a message, of those that came or once it comes; what is heard is counted as heard."""
        for told in self.messages:
            if told["type"] == kind and fields.items() <= told.items():
                return told
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            message = self.socket.recv(timeout=TIMEOUT)
            if isinstance(message, bytes):
                self.received += len(message)
                self.say("played", samples=self.received // 2, clears=0)
                continue
            told = json.loads(message)
            self.messages.append(told)
            if told["type"] == kind and fields.items() <= told.items():
                return told
        raise AssertionError(f"no {kind} {fields} came: {self.messages}")
