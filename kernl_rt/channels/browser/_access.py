"""Who may call: pages of the listed origins, each call with a token of its own."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kernl_rt.channels._lapsing import Lapsing
from kernl_rt.channels.browser._wire import SUBPROTOCOL, TOKEN_PREFIX
from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["BrowserAccess"]

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_NONCE = 16
_EXPIRES = 8
_DIGEST = hashlib.sha256().digest_size
_LONGEST_TOKEN = 128


class BrowserAccess:
    """Admits WebSocket handshakes: the ``Origin`` header must be exactly one of ``origins``, and the handshake must
    offer a token that was issued to that origin, is not older than ``lifetime`` seconds, and was not used before.

    Browsers let any page open a WebSocket to any host, with that host's cookies; the origin is what they do not let a
    page choose. Everybody else can write any header: for them the token, which your own application hands out
    (:meth:`issue`), is the only lock. Give it to nobody that you would not let call.

    Tokens are signed, not stored, so asking for many fills nothing. ``secret`` (32 bytes or more) signs them; with the
    same one, several processes of one server know each other's tokens, but each counts the uses for itself. ``None``
    makes one up.

    Raises:
        MisconfiguredError: something among ``origins`` is none, as the browser writes it.
    """

    def __init__(
        self,
        origins: Iterable[str],
        *,
        lifetime: float = 60.0,
        secret: bytes | Secret | None = None,
        max_used: int = 10_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(origins, str):
            raise MisconfiguredError("origins is a list of origins, not one text")
        self.origins: frozenset[str] = frozenset(_checked_origin(origin) for origin in origins)
        if not 0 < lifetime <= 3_600:
            raise MisconfiguredError(f"a token's lifetime of {lifetime!r} s cannot be: use 1 to 3600, 60 is usual")
        if max_used < 1:
            raise MisconfiguredError("max_used must be at least 1")
        key = secret.reveal().encode() if isinstance(secret, Secret) else secret
        if key is not None and len(key) < 32:
            raise MisconfiguredError("a secret of fewer than 32 bytes can be guessed: use secrets.token_bytes(32)")
        self._key = secrets.token_bytes(32) if key is None else key
        self._lifetime = lifetime
        self._clock = clock
        # Used later is not expiring later: each is kept for a whole lifetime, which is long enough for any.
        self._used: Lapsing[bytes, None] = Lapsing(lifetime, max_used)

    def issue(self, origin: str | None) -> Mapping[str, Any] | None:
        """A token for a page of ``origin`` (the header of its request): ``{"token": …, "expires_in": …}``, to be sent
        as JSON. ``None``: that origin may not call, answer 403.
        """
        if origin is None or origin not in self.origins:
            return None
        expires = int((self._clock() + self._lifetime) * 1000).to_bytes(_EXPIRES, "big")
        body = expires + secrets.token_bytes(_NONCE)
        token = urlsafe_b64encode(body + self._sign(body, origin)).decode().rstrip("=")
        return {"token": token, "expires_in": self._lifetime}

    def admits(self, scope: Mapping[str, Any]) -> bool:
        """Whether the handshake that the ASGI ``scope`` describes may go on. A token is used up by this."""
        origins = [value for name, value in scope.get("headers", ()) if bytes(name).lower() == b"origin"]
        if len(origins) != 1:
            return False
        origin = bytes(origins[0]).decode("latin-1")
        if origin not in self.origins:
            return False
        offered = list(scope.get("subprotocols", ()))
        tokens = [name.removeprefix(TOKEN_PREFIX) for name in offered if name.startswith(TOKEN_PREFIX)]
        return SUBPROTOCOL in offered and len(tokens) == 1 and self.redeem(tokens[0], origin)

    def redeem(self, token: str, origin: str) -> bool:
        """Use up ``token``. ``False``: forged, expired, used before, or issued to another origin."""
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            return False
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (NotBase64, ValueError):
            return False
        if urlsafe_b64encode(raw).decode().rstrip("=") != token:
            return False  # the same bytes in other letters
        body, signature = raw[:-_DIGEST], raw[-_DIGEST:]
        if len(body) != _EXPIRES + _NONCE or not hmac.compare_digest(signature, self._sign(body, origin)):
            return False
        now = self._clock()
        expires = int.from_bytes(body[:_EXPIRES], "big") / 1000
        self._used.forget(now)
        # A full list refuses: forgetting a used token would let it in again.
        if expires <= now or body in self._used or self._used.full:
            return False
        self._used.put(body, None, now)
        return True

    def _sign(self, body: bytes, origin: str) -> bytes:
        return hmac.digest(self._key, body + origin.encode("latin-1", "replace"), "sha256")


def _checked_origin(origin: str) -> str:
    if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
        raise MisconfiguredError(
            f"{origin!r} is no origin: write scheme, host and port as browsers do, in small letters and without a path "
            "('https://example.com', 'http://127.0.0.1:8000'); there is no wildcard"
        )
    default = ":443" if origin.startswith("https:") else ":80"
    if origin.endswith(default):
        raise MisconfiguredError(f"browsers leave out the usual port: write {origin.removesuffix(default)!r}")
    return origin
