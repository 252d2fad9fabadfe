"""Vonage's signed webhooks, and its signed WebSocket upgrades: a JSON Web Token in ``Authorization: Bearer``.

HS256 with the account's signature secret; ``payload_hash`` is the SHA-256 of the body
(https://developer.vonage.com/en/getting-started/concepts/webhooks#decoding-signed-webhooks). An upgrade is signed where
the NCCO's endpoint says ``"authorization": {"type": "vonage"}``. Needs the extra ``phone``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Any

from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["VonageSignature"]

_HEADER = b"authorization"


class VonageSignature:
    """Checks tokens signed with ``signature_secret``; ``tolerance`` is in seconds.

    Raises:
        MisconfiguredError: no secret, or PyJWT is not installed.
    """

    def __init__(self, signature_secret: str | Secret, *, tolerance: float = 300.0) -> None:
        self._secret = Secret(signature_secret)
        if not self._secret:
            raise MisconfiguredError("no Vonage signature secret: without it nobody can tell Vonage from a stranger")
        try:
            import jwt
        except ImportError:
            raise MisconfiguredError("Vonage's signatures need PyJWT: pip install 'kernl_rt[phone]'") from None
        self._jwt = jwt
        self.tolerance: float = tolerance

    def allows_webhook(self, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, now: float) -> bool:
        """Whether ``body`` was POSTed by Vonage; ``now`` is in seconds since 1970."""
        claims = self._claims(headers, now)
        if claims is None or not isinstance(digest := claims.get("payload_hash"), str):
            return False
        ours = hashlib.sha256(body).hexdigest()
        return hmac.compare_digest(ours.encode(), digest.lower().encode("utf-8", "surrogatepass"))

    def allows_upgrade(self, headers: Iterable[tuple[bytes, bytes]], *, now: float) -> bool:
        """Whether the WebSocket upgrade was asked for by Vonage."""
        return self._claims(headers, now) is not None

    def _claims(self, headers: Iterable[tuple[bytes, bytes]], now: float) -> dict[str, Any] | None:
        said = [value for name, value in headers if name.lower() == _HEADER]
        if len(said) != 1:
            return None
        scheme, _, token = said[0].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token,
                self._secret.reveal(),
                algorithms=["HS256"],
                # The times are judged below, by the clock that was handed in.
                options={"require": ["iat"], "verify_iat": False, "verify_exp": False, "verify_nbf": False,
                         "verify_aud": False},
            )  # fmt: skip
        except self._jwt.PyJWTError:
            return None
        return claims if self._is_fresh(claims, now) else None

    def _is_fresh(self, claims: dict[str, Any], now: float) -> bool:
        issued, expires = claims["iat"], claims.get("exp", now + self.tolerance)
        if not all(isinstance(at, int | float) and not isinstance(at, bool) for at in (issued, expires)):
            return False
        return bool(abs(now - issued) <= self.tolerance and now <= expires + self.tolerance)
