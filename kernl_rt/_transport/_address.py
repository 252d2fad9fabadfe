"""Where to dial and with which headers: everything that can be refused before a socket is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from attrs import frozen

from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Address", "Headers", "prepare_headers", "redact"]

#: Written by the handshake itself; a second one would contradict it.
_RESERVED = frozenset({"connection", "upgrade", "content-length", "transfer-encoding"})
#: Their values are secret also where they came as plain text.
_CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "xi-api-key", "cookie"}
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


@frozen
class Address:
    """A parsed ``ws://`` or ``wss://`` URL. ``str()`` leaves the query out: it may hold a credential."""

    host: str
    port: int
    secure: bool
    #: Path and query, as they stand in the request line.
    resource: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL.

        Raises:
            MisconfiguredError: not ``ws`` or ``wss``, no host, a bad port, or a user name in the URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise MisconfiguredError(f"the URL cannot be read: {error}") from None
        if parts.scheme not in ("ws", "wss"):
            raise MisconfiguredError(f"the URL's scheme is {parts.scheme!r}: use 'ws://' or 'wss://'")
        if not parts.hostname:
            raise MisconfiguredError("the URL names no host: use 'wss://host/path'")
        if parts.username is not None or parts.password is not None:
            raise MisconfiguredError("the URL holds a user name or password: send credentials in a header")
        if parts.fragment:
            raise MisconfiguredError("the URL has a fragment ('#…'), which means nothing to a WebSocket server")
        secure = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not resource.isascii() or any(ord(character) <= 0x20 for character in resource):
            raise MisconfiguredError("the URL's path or query holds a character that must be percent-encoded")
        if port is None:
            port = 443 if secure else 80
        return cls(parts.hostname, port, secure, resource)

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}{self.resource}"

    def __str__(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}{self.resource.partition('?')[0]}"


class Headers:
    """Header names and revealed values. It has no useful repr, on purpose."""

    __slots__ = ("items", "secrets")

    def __init__(self, items: list[tuple[str, str]], secrets: list[str]) -> None:
        self.items = items
        self.secrets = secrets

    def __repr__(self) -> str:
        return f"<{len(self.items)} headers>"

    def redact(self, text: str) -> str:
        """``text`` without the credentials in these headers."""
        return redact(text, self.secrets)


def prepare_headers(headers: Mapping[str, str | Secret], subprotocols: Sequence[str] = ()) -> Headers:
    """Check headers and reveal their secrets, just before they are written.

    Raises:
        MisconfiguredError: a name or value that cannot stand in a header, or one that the handshake writes itself. The
            message never holds the value.
    """
    # First all that can fail: no variable of a frame that raises may hold a revealed value.
    for name, value in headers.items():
        _check_header(name, value)
    if not all(_TOKEN.fullmatch(protocol) for protocol in subprotocols):
        raise MisconfiguredError("a subprotocol holds a character that no subprotocol may hold")
    items = [(name, _text(value)) for name, value in headers.items()]
    secrets: list[str] = []
    for name, value in headers.items():
        if isinstance(value, Secret) or name.lower() in _CREDENTIALS:
            secrets += _text(value).split()
    for protocol in subprotocols:
        # Browsers have no other place for a credential than a subprotocol, so providers accept one there.
        secrets += [protocol, protocol.rpartition(".")[2]]
    return Headers(items, [secret for secret in secrets if len(secret) > 7 and secret != "realtime"])


def _check_header(name: str, value: str | Secret) -> None:
    if not _TOKEN.fullmatch(name):
        raise MisconfiguredError(f"{name!r} is no header name")
    if name.lower() in _RESERVED or name.lower().startswith("sec-websocket-"):
        hint = ": use subprotocols=" if name.lower() == "sec-websocket-protocol" else ""
        raise MisconfiguredError(f"the header {name!r} is written by the WebSocket handshake itself{hint}")
    if not _VALUE.fullmatch(_text(value)):
        raise MisconfiguredError(
            f"the value of the header {name!r} holds a line break or another character that no header may hold"
        )


def _text(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def redact(text: str, secrets: Sequence[str]) -> str:
    """``text`` without the credentials that were sent: some servers quote them back."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return text
