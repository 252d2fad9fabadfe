"""Read one HTTP request and write one answer. websockets' own parser refuses everything but GET."""

from __future__ import annotations

import http
from collections.abc import Mapping

import anyio
from anyio.abc import ByteStream

from kernl_rt._transport._request import Reply, Request

__all__ = ["BadRequest", "read_request", "write_reply"]

_MAX_HEAD = 16 * 1024
_MAX_HEADERS = 100
_MAX_BODY = 64 * 1024
_READ_SIZE = 16 * 1024
#: Time for the client to read the answer before the socket goes, in seconds.
_LINGER = 2.0


class BadRequest(Exception):
    """A request that is answered with ``status`` and nothing else."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_request(stream: ByteStream) -> tuple[bytes, bytes, Request]:
    """The head as it came, what followed it, and the request.

    Raises:
        BadRequest: too large, or no HTTP.
        anyio.EndOfStream: the client left.
    """
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        if len(data) > _MAX_HEAD:
            raise BadRequest(431, "the request's headers are too large")
        data += await stream.receive(_READ_SIZE)
    if end > _MAX_HEAD:
        raise BadRequest(431, "the request's headers are too large")
    head, rest = bytes(data[: end + 4]), data[end + 4 :]
    method, target, headers = _parse(head)
    upgrade = method == "GET" and headers.get("upgrade", "").lower() == "websocket"
    body = b"" if upgrade else await _read_body(stream, rest, headers)
    return head, bytes(rest), Request.from_target(target, headers, method=method, body=body, upgrade=upgrade)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[:-2]
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise BadRequest(400, "this is no HTTP/1.1 request")
    if len(lines) - 1 > _MAX_HEADERS:
        raise BadRequest(431, "the request has too many headers")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "a header cannot be read")
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return parts[0], parts[1], headers


async def _read_body(stream: ByteStream, rest: bytearray, headers: Mapping[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "send the body with a Content-Length")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        raise BadRequest(400, "the Content-Length cannot be read")
    if len(length) > 9 or int(length) > _MAX_BODY:
        raise BadRequest(413, f"the body is larger than {_MAX_BODY} bytes")
    if headers.get("expect", "").lower() == "100-continue":
        await stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(rest) < int(length):
        rest += await stream.receive(_READ_SIZE)
    return bytes(rest[: int(length)])


async def write_reply(stream: ByteStream, reply: Reply) -> None:
    """Answer and end the connection, so that the client has the whole answer before the socket goes."""
    try:
        phrase = http.HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {"content-type": "text/plain; charset=utf-8"}
    headers |= {name.lower(): value for name, value in reply.headers.items()}
    headers |= {"content-length": str(len(reply.body)), "connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    await stream.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + reply.body)
    with anyio.move_on_after(_LINGER):
        try:
            while True:
                await stream.receive(_READ_SIZE)
        except anyio.EndOfStream:
            return
