"""Addresses and keys: what every provider's adapter needs before it can dial."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

if TYPE_CHECKING:
    from kernl_rt.abc import RealtimeTransport

__all__ = [
    "SOCKET_SCHEMES",
    "WEB_SCHEMES",
    "Headers",
    "address",
    "as_secret",
    "base_parts",
    "check_expiry",
    "check_secure",
    "environment",
    "merged_headers",
    "names_of",
    "possible_key",
    "secret_headers",
    "transport_to",
    "usable_key",
    "without_credentials",
]

#: A base URL may be given with any of these schemes; what is dialled has the scheme on the right.
SOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
WEB_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

Headers: TypeAlias = Mapping[str, str | Secret]


def as_secret(value: str | Secret | None) -> Secret | None:
    return None if value is None else Secret(value)


def secret_headers(headers: Headers) -> Headers:
    """Other services' keys come as headers (``api-key``), so all of them are treated as keys."""
    return {name: Secret(value) for name, value in headers.items()}


def names_of(*headers: Headers) -> set[str]:
    """The names of all these headers, in lower case: they mean the same in any."""
    return {name.lower() for each in headers for name in each}


def merged_headers(ours: Headers, model: Headers, call: Headers) -> dict[str, str | Secret]:
    """The headers of one request: what the caller gave for all requests wins over ours, and for this one over both."""
    merged = dict(call)
    for under in (model, ours):
        taken = names_of(merged)
        merged = {**{name: value for name, value in under.items() if name.lower() not in taken}, **merged}
    return merged


def without_credentials(url: str | None) -> str | None:
    """For a repr: neither user name nor query, which is where keys are put that do not belong into a URL."""
    if url is None:
        return None
    scheme, _, rest = url.partition("?")[0].rpartition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}" if scheme else host


def environment(*names: str) -> str | None:
    """The first of these variables that says something."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), None)


def usable_key(key: Secret | None, *, how: str) -> Secret:
    """The key, without the white space that copying brings. ``how`` says where one can come from.

    Raises:
        MisconfiguredError: there is none, or it cannot be one.
    """
    if (stripped := possible_key(key)) is None:
        raise MisconfiguredError(f"no API key: {how}")
    return stripped


def possible_key(key: Secret | None, *, called: str = "API key") -> Secret | None:
    """The key, without the white space that copying brings; ``None`` where nothing is left. ``called``: for the error.

    Raises:
        MisconfiguredError: it cannot be a key.
    """
    stripped = Secret((key.reveal() if key is not None else "").strip())
    if not _is_possible(stripped):
        raise MisconfiguredError(f"the {called} holds white space or characters that no key has: copy it again")
    return stripped or None


def _is_possible(key: Secret) -> bool:
    text = key.reveal()
    return text.isascii() and text.isprintable() and " " not in text


def check_secure(url: str, *, insecure: bool, factory: str, called: str = "base URL") -> None:
    """A key must not cross a network in the open. ``factory`` is what can allow it; ``called`` names the URL.

    Raises:
        MisconfiguredError: the URL has no TLS and leads away from this machine.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    near = host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
    if parts.scheme in ("http", "ws") and not near and not insecure:
        raise MisconfiguredError(
            f"the {called} has no TLS, so the key would cross the network in the open: use https:// or wss://, "
            f"or allow it with {factory}(…, insecure=True)"
        )


def transport_to(
    url: str,
    transport: RealtimeTransport | None,
    *,
    insecure: bool,
    factory: str,
    called: str = "base URL",
    ping_timeout: float | None = 5.0,
) -> RealtimeTransport:
    """What to dial with: the caller's ``transport``, which is trusted, or a WebSocket, as :func:`check_secure` allows.

    Raises:
        MisconfiguredError: the URL has no TLS and leads away from this machine.
    """
    if transport is not None:
        return transport
    from kernl_rt._transport.websocket import WebSocketTransport

    check_secure(url, insecure=insecure, factory=factory, called=called)
    return WebSocketTransport(ping_timeout=ping_timeout)


def check_expiry(seconds: int | None, lowest: int, highest: int | None = None) -> None:
    """How long a credential is to last, where that is said.

    Raises:
        MisconfiguredError: it is no whole number, or out of the provider's range.
    """
    if seconds is None:
        return
    if type(seconds) is not int or seconds < lowest or (highest is not None and seconds > highest):
        range = "a number of" if highest is None else f"{lowest} to {highest}"
        raise MisconfiguredError(f"expires_after={seconds!r} is invalid: use {range} whole seconds")


def base_parts(base: str, schemes: Mapping[str, str], *, called: str, example: str) -> SplitResult:
    """A base URL, taken apart. ``called`` and ``example`` name it in errors.

    Raises:
        MisconfiguredError: it is not a URL that can be used.
    """
    fix = f"use one like {example}"
    if any(letter.isspace() or not letter.isprintable() for letter in base):
        raise MisconfiguredError(f"the base URL ({called}) holds white space: {fix}")
    try:
        parts = urlsplit(base)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise MisconfiguredError(f"the base URL ({called}) is not a URL: {fix}") from None
    if parts.scheme not in schemes or not host:
        raise MisconfiguredError(f"the base URL ({called}) has no host or the wrong scheme {parts.scheme!r}: {fix}")
    if parts.username is not None or parts.password is not None:
        raise MisconfiguredError("the base URL holds a user name or password: pass api_key=… or headers=… instead")
    return parts


def address(
    base: str,
    schemes: Mapping[str, str],
    path: str,
    query: Iterable[tuple[str, str | None]] = (),
    *,
    called: str,
    example: str,
) -> str:
    """``base`` with ``path`` appended and ``query`` laid over its own (``None`` takes a key out).

    A base that ends with the path, or with its beginning, is not given it twice. ``called`` and ``example`` name the
    base in errors.

    Raises:
        MisconfiguredError: the base is not a URL that can be used.
    """
    parts = base_parts(base, schemes, called=called, example=example)
    given = dict(query)
    kept = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in given]
    kept += [(key, value) for key, value in given.items() if value is not None]
    first = "/" + path.strip("/").partition("/")[0]
    above = parts.path.rstrip("/").removesuffix(path).removesuffix(first)
    return urlunsplit((schemes[parts.scheme], parts.netloc, above + path, urlencode(kept), ""))
