"""``kernl-rt serve`` as a user runs it: a process of its own, asked over HTTP how it is."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from types import TracebackType
from typing import Any, Self
from urllib.request import ProxyHandler, build_opener

import pytest
from cli.commands import start

#: A proxy of the environment is not asked for this machine.
_OPENER = build_opener(ProxyHandler({}))
_START_SECONDS = 30.0
_POLL = 0.05


class Server:
    """One server with the simulator behind it. ``url`` is its page; another one may be started on the same port."""

    def __init__(self, backend: str, *options: str, port: int = 0) -> None:
        self._command = ("serve", "--backend", backend, "--port", str(port), *options)
        self._lines: list[str] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._process = start(*self._command)
        self._readers = [threading.Thread(target=self._read, args=(pipe,)) for pipe in self._pipes()]
        for reader in self._readers:
            reader.start()
        limit = time.monotonic() + _START_SECONDS
        while not self._found():
            if time.monotonic() > limit or self._process.poll() is not None:
                self._end()
                pytest.fail(f"no address from kernl-rt serve: {self.said}")
            time.sleep(_POLL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def said(self) -> str:
        """Everything that it has written."""
        return "".join(self._lines)

    def health(self) -> dict[str, Any]:
        with _OPENER.open(f"{self.url.rstrip('/')}/healthz", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def until_idle(self, seconds: float) -> None:
        """Wait until no call is left."""
        limit = time.monotonic() + seconds
        while self.health()["live"] != 0:
            assert time.monotonic() < limit, f"calls are left: {self.health()}"
            time.sleep(_POLL)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self._process.kill()
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in self._pipes():
            pipe.close()

    def _pipes(self) -> list[Any]:
        return [self._process.stdout, self._process.stderr]

    def _read(self, pipe: Any) -> None:
        self._lines.extend(pipe)

    def _found(self) -> bool:
        address = re.search(r"http://127\.0\.0\.1:\d+/?", self.said)
        self.url = address[0] if address else ""
        return address is not None
