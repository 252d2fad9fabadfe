"""One HTTP call: minting short-lived credentials."""

from __future__ import annotations

import json as jsonlib
import ssl
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

from kernl_rt._transport._address import Headers, prepare_headers
from kernl_rt._transport._errors import network_error, status_error
from kernl_rt._transport._redaction import HTTPCORE, redacting
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectTimeout, HandshakeError, MisconfiguredError

__all__ = ["get_json", "parse_answer", "post_json"]

_MAX_ANSWER = 2**20


async def post_json(
    url: str,
    headers: Mapping[str, str | Secret],
    json: Mapping[str, Any],
    timeout: float = 10.0,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """POST ``json`` and return the JSON object of the answer. The whole call takes at most ``timeout`` seconds.

    The environment is not looked at: no ``HTTPS_PROXY``, no ``.netrc``, no ``SSL_CERT_FILE``. A credential must not
    take a way that the program's author did not choose; pass ``ssl_context`` for certificates of your own. Redirects
    are not followed. httpx logs the URL at INFO, so credentials belong into ``headers``. Cancelling it closes the
    connection.

    Raises:
        MisconfiguredError: the URL is not ``http`` or ``https``, or a header cannot be written.
        ConnectTimeout: no whole answer in time.
        ConnectError: the subclass says what failed, by the same table as the WebSocket's handshake.
    """
    return await _json(url, headers, jsonlib.dumps(json).encode(), timeout, ssl_context)


async def get_json(
    url: str,
    headers: Mapping[str, str | Secret],
    timeout: float = 10.0,
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> dict[str, Any]:
    """GET, and otherwise as :func:`post_json`."""
    return await _json(url, headers, None, timeout, ssl_context)


async def _json(
    url: str,
    headers: Mapping[str, str | Secret],
    content: bytes | None,
    timeout: float,
    ssl_context: ssl.SSLContext | None,
) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise MisconfiguredError("the URL must be 'https://host/path', without credentials in it")
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    revealed = prepare_headers(headers)
    found = await _call(url, where, revealed, content, timeout, ssl_context)
    if isinstance(found, Exception):
        # Raised here, outside of any handler and with none of httpx's frames: their variables hold the headers and the
        # answer, which may quote them back.
        raise found
    return found


def parse_answer(body: bytes) -> dict[str, Any] | None:
    """The JSON object in an answer, ``None`` where there is none."""
    try:
        found = jsonlib.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _meaning(
    status: int, answer: Mapping[str, str], body: bytes, where: str, sent: Headers
) -> dict[str, Any] | Exception:
    if not 200 <= status < 300:
        return status_error(status, answer, body, where=where, secrets=sent.secrets)
    found = parse_answer(body)
    if found is None:
        return HandshakeError(f"{where} did not answer with a JSON object", status=status)
    return found


async def _call(
    url: str, where: str, headers: Headers, content: bytes | None, timeout: float, context: ssl.SSLContext | None
) -> dict[str, Any] | Exception:
    """The answer, or the error that it or its absence means."""
    # Here and not above: httpx takes a tenth of a second to import, and few sessions mint.
    import httpx

    verify = context if context is not None else ssl.create_default_context()
    try:
        with anyio.fail_after(timeout):
            async with httpx.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=None, verify=verify
            ) as client:
                with redacting(HTTPCORE, headers):
                    status, answer, body = await _exchange(client, url, headers, content)
    except TimeoutError:
        return ConnectTimeout(f"{where} did not answer within {timeout:g} s")
    except httpx.ConnectError as error:
        return network_error(error, where)
    except httpx.InvalidURL as error:
        return MisconfiguredError(f"the URL cannot be read: {error}")
    except httpx.HTTPError as error:
        return HandshakeError(f"{where} did not answer properly: {type(error).__name__}")
    if len(body) > _MAX_ANSWER:
        return HandshakeError(f"{where} answered with more than {_MAX_ANSWER} bytes")
    return _meaning(status, answer, body, where, headers)


async def _exchange(
    client: Any, url: str, headers: Headers, content: bytes | None
) -> tuple[int, dict[str, str], bytes]:
    import httpx

    written = [] if content is None else [("Content-Type", "application/json")]

    class Signed(httpx.Auth):
        """Writes the headers into the request at the last moment: what httpx is called with shows in tracebacks."""

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            request.headers.update([*headers.items, *written])
            yield request

    body = bytearray()
    async with client.stream(
        "GET" if content is None else "POST",
        url,
        headers={"Accept": "application/json"},
        content=content,
        auth=Signed(),
    ) as response:
        async for part in response.aiter_bytes():
            # Past the limit it is read and dropped, within the same deadline: a loop that is left early leaves
            # httpx's generators to the garbage collector.
            if len(body) <= _MAX_ANSWER:
                body += part
        return response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body)
