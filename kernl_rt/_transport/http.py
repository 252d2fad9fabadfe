"""One HTTP call: minting short-lived credentials."""

from __future__ import annotations

import json as jsonlib
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

from kernl_rt._transport._address import prepare_headers, redact
from kernl_rt._transport._errors import network_error, status_error
from kernl_rt.config import Secret
from kernl_rt.exceptions import ConnectTimeout, HandshakeError, MisconfiguredError

__all__ = ["post_json"]

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
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise MisconfiguredError("the URL must be 'https://host/path', without credentials in it")
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    revealed = prepare_headers(headers)
    status, answer, body = await _post(url, where, revealed.items, jsonlib.dumps(json).encode(), timeout, ssl_context)
    if not 200 <= status < 300:
        raise status_error(status, answer, body, where=where, secrets=revealed.secrets)
    try:
        found = jsonlib.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        said = redact(body[:80].decode("utf-8", "replace"), revealed.secrets) if found is None else type(found).__name__
        raise HandshakeError(f"{where} did not answer with a JSON object: {said}", status=status)
    return found


async def _post(
    url: str, where: str, headers: list[tuple[str, str]], content: bytes, timeout: float, context: ssl.SSLContext | None
) -> tuple[int, Mapping[str, str], bytes]:
    # Here and not above: httpx takes a tenth of a second to import, and few sessions mint.
    import httpx

    headers = [*headers, ("Content-Type", "application/json"), ("Accept", "application/json")]
    verify = context if context is not None else ssl.create_default_context()
    body = bytearray()
    try:
        with anyio.fail_after(timeout):
            async with (
                httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=None, verify=verify) as client,
                client.stream("POST", url, headers=headers, content=content) as response,
            ):
                async for part in response.aiter_bytes():
                    # Past the limit it is read and dropped, within the same deadline: a loop that is left early leaves
                    # httpx's generators to the garbage collector.
                    if len(body) <= _MAX_ANSWER:
                        body += part
                if len(body) > _MAX_ANSWER:
                    raise HandshakeError(f"{where} answered with more than {_MAX_ANSWER} bytes")
                return response.status_code, {k.lower(): v for k, v in response.headers.items()}, bytes(body)
    except TimeoutError:
        raise ConnectTimeout(f"{where} did not answer within {timeout:g} s") from None
    except httpx.ConnectError as error:
        raise network_error(error, where) from error
    except httpx.InvalidURL as error:
        raise MisconfiguredError(f"the URL cannot be read: {error}") from None
    except httpx.HTTPError as error:
        raise HandshakeError(f"{where} did not answer properly: {type(error).__name__}") from error
