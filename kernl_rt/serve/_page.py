"""The page: a handful of files, read once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

__all__ = ["SECURITY_HEADERS", "page_routes"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
}

#: Nothing from anywhere else, nothing inline, in nobody's frame; the microphone for this page alone.
SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def page_routes() -> list[BaseRoute]:
    """``GET /`` and the files beside it, by name: no path reaches anything else."""
    routes: list[BaseRoute] = []
    for entry in files("kernl_rt.serve").joinpath("page").iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix not in _TYPES:
            continue
        answer = _answer(entry.read_bytes(), _TYPES[suffix])
        routes.append(Route(f"/{entry.name}", answer, methods=["GET"]))
        if entry.name == "index.html":
            routes.append(Route("/", answer, methods=["GET"]))
    return routes


def _answer(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that gives one file, or 304 where the browser has it."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**SECURITY_HEADERS, "content-type": media_type, "etag": etag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return answer
