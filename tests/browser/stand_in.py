"""The page without a server: its files, and a stand-in for the other end of its WebSocket that a test writes."""

from __future__ import annotations

import functools
import json
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import as_file, files
from typing import Any

from browser.chrome import Page

READY = {
    "type": "ready",
    "session": "sess_1",
    "agent": "Watson",
    "input": {"rate": 24_000},
    "output": {"rate": 24_000},
    "push_to_talk": False,
}


class _Files(SimpleHTTPRequestHandler):
    """A module script must have a script's type, whatever the machine's own table says."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}  # noqa: RUF012

    def end_headers(self) -> None:
        self.send_header("content-security-policy", "default-src 'self'")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def page_files() -> Iterator[str]:
    """Serve the page's files; gives their address."""
    with as_file(files("kernl_rt.serve") / "page") as folder:
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class StandIn:
    """Answers the page's tokens and calls, and keeps what the page says: dicts for texts, bytes for sound."""

    def __init__(self, page: Page, *, token_status: int = 200, **ready: Any) -> None:
        self.ready = {**READY, **ready}
        self.heard: list[dict[str, Any] | bytes] = []
        self.protocols: list[str] = []
        self.token_status = token_status
        self._page = page
        self._link: Any = None
        page.raw.route("**/session-token", self._token)
        page.raw.route_web_socket("**/voice", self._called)

    def _token(self, route: Any) -> None:
        assert route.request.method == "POST"
        route.fulfill(status=self.token_status, json={"token": "once", "expires_in": 60})

    def _called(self, link: Any) -> None:
        self._link = link
        link.on_message(self._told)

    def _told(self, message: str | bytes) -> None:
        self.heard.append(json.loads(message) if isinstance(message, str) else message)
        if isinstance(message, str) and self.heard[-1]["type"] == "hello":
            self.say(**self.ready)

    def say(self, type: str, **message: Any) -> None:
        self._link.send(json.dumps({"type": type, **message}))

    def play(self, sound: bytes) -> None:
        self._link.send(sound)

    def hang_up(self, code: int) -> None:
        self._link.close(code=code)

    def texts(self, *types: str) -> list[dict[str, Any]]:
        return [it for it in self.heard if isinstance(it, dict) and (not types or it["type"] in types)]

    def until(self, heard: Callable[[], object], seconds: float = 10) -> None:
        """Wait until what the page has said makes ``heard()`` true."""
        limit = time.monotonic() + seconds
        while not heard():
            assert time.monotonic() < limit, f"not within {seconds:g} s; the last it said: {self.heard[-5:]}"
            self._page.raw.wait_for_timeout(20)

    def until_loud(self, level: int) -> None:
        """Wait until the page has sent a sample above ``level``."""
        self.until(lambda: any(max(sound) > level for sound in self.sounds))

    @property
    def sounds(self) -> list[array[int]]:
        return [array("h", it) for it in self.heard if isinstance(it, bytes)]
