"""Telnyx's webhook signature: Ed25519 over ``<timestamp>|<body>``, in two headers.

The public key is the account's, from the portal, in base64; a webhook older or newer than the tolerance is refused
(https://developers.telnyx.com/development/api-fundamentals/webhooks/receiving-webhooks). Needs the extra ``phone``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kernl_rt.exceptions import MisconfiguredError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["TelnyxSignature"]

_SIGNATURE = b"telnyx-signature-ed25519"
_TIMESTAMP = b"telnyx-timestamp"


class TelnyxSignature:
    """Checks webhooks against ``public_key`` (base64); ``tolerance`` is in seconds.

    Raises:
        MisconfiguredError: the key is none, or cryptography is not installed.
    """

    def __init__(self, public_key: str, *, tolerance: float = 300.0) -> None:
        self._key = _load(public_key)
        self.tolerance: float = tolerance

    def allows_webhook(self, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, now: float) -> bool:
        """Whether ``body`` was POSTed by Telnyx; ``now`` is in seconds since 1970."""
        from cryptography.exceptions import InvalidSignature

        said: dict[bytes, bytes] = {}
        for name, value in headers:
            name = name.lower()
            if name in (_SIGNATURE, _TIMESTAMP):
                if name in said:
                    return False
                said[name] = value
        stamp = said.get(_TIMESTAMP, b"")
        if not stamp.isdigit() or len(stamp) > 15 or abs(now - int(stamp)) > self.tolerance:
            return False
        try:
            signature = base64.b64decode(said.get(_SIGNATURE, b""), validate=True)
            self._key.verify(signature, stamp + b"|" + body)
        except (binascii.Error, InvalidSignature):
            return False
        # One signature has one spelling: bits that base64 leaves unused are zero.
        return base64.b64encode(signature) == said[_SIGNATURE]


def _load(public_key: str) -> Ed25519PublicKey:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise MisconfiguredError("Telnyx's signatures need cryptography: pip install 'kernl_rt[phone]'") from None
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except ValueError:
        raise MisconfiguredError(
            "the Telnyx public key cannot be read: it is 32 bytes in base64, on the portal's page of keys"
        ) from None
