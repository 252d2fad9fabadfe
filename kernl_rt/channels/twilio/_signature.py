"""``X-Twilio-Signature``: whether a webhook, or a WebSocket upgrade, comes from the owner of the auth token.

Twilio signs the address that it was told to call, followed by the form's fields, sorted and joined; HMAC-SHA1 with the
account's auth token, in base64 (https://www.twilio.com/docs/usage/security). A JSON body is signed by its SHA-256 in
the query parameter ``bodySHA256``. A webhook signed with a shared key names its algorithm in a second header.

The address is always the *configured* one. What a request says of itself (``Host``, ``X-Forwarded-*``) is written by
whoever sends it, so nothing here looks at it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit, urlunsplit

from kernl_rt.config import Secret
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["TwilioSignature"]

_SIGNATURE = b"x-twilio-signature"
_SETTINGS = b"x-twilio-webhooks-signature-settings"
_ALGORITHMS = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
_MOST_FIELDS = 1_000

Headers = Iterable[tuple[bytes, bytes]]


class TwilioSignature:
    """Checks signatures over ``public_url``, the address of this service as Twilio knows it: ``https://host[/prefix]``.

    ``auth_token`` is the account's (or subaccount's) auth token, or the secret of a shared webhook key.

    Raises:
        MisconfiguredError: no token, or a URL that is not ``https``.
    """

    def __init__(self, auth_token: str | Secret, public_url: str) -> None:
        token = Secret(auth_token)
        if not token:
            raise MisconfiguredError("no Twilio auth token: without it nobody can tell Twilio from a stranger")
        self._token = token
        self.public_url: str = check_public_url(public_url)

    def allows_webhook(self, path: str, headers: Headers, body: bytes, *, query: str = "") -> bool:
        """Whether ``body`` was POSTed by Twilio to ``path`` (below the public URL), with this raw query string."""
        given = _given(headers)
        if given is None:
            return False
        signature, algorithm = given
        url = self.public_url + path + (f"?{query}" if query else "")
        fields = _form(body)
        if (digests := parse_qs(query).get("bodySHA256")) is not None:
            if len(digests) != 1 or not _same(hashlib.sha256(body).hexdigest(), digests[0]):
                return False
            fields = []
        return self._is_of(signature, algorithm, _ports(url), fields)

    def allows_upgrade(self, path: str, headers: Headers) -> bool:
        """Whether the WebSocket upgrade at ``path`` was asked for by Twilio.

        A stream's address is signed as ``wss`` or as ``https``, with or without a slash at its end, with or without
        its port (reported in twilio/twilio-aspnet#162), so each of these is tried. There is no query: Twilio drops it.
        """
        given = _given(headers)
        if given is None:
            return False
        signature, algorithm = given
        bare = (self.public_url + path).rstrip("/")
        addresses = [
            variant
            for ending in ("", "/")
            for scheme in ("wss", "https")
            for variant in _ports(scheme + bare[len("https") :] + ending)
        ]
        return self._is_of(signature, algorithm, addresses, [])

    def _is_of(self, signature: str, algorithm: str, urls: Sequence[str], fields: list[tuple[str, str]] | None) -> bool:
        if fields is None:
            return False
        said = "".join(name + value for name, value in sorted(set(fields)))
        found = False
        for url in urls:  # all of them are computed, whichever it is
            mac = hmac.new(self._token.reveal().encode(), (url + said).encode(), _ALGORITHMS[algorithm])
            found |= _same(base64.b64encode(mac.digest()).decode(), signature)
        return found


def check_public_url(public_url: str) -> str:
    """``public_url`` without a slash at its end.

    Raises:
        MisconfiguredError: it is no address that a carrier can be told.
    """
    parts = urlsplit(public_url)
    try:
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if parts.scheme != "https" or not parts.hostname or not port_is_fine or parts.query or parts.fragment:
        raise MisconfiguredError(
            f"the public URL {public_url!r} cannot be: give the address that the carrier calls, "
            "such as https://voice.example.com, without a query"
        )
    if parts.username is not None or parts.password is not None:
        raise MisconfiguredError("the public URL holds a user name: leave it out, signatures take its place")
    return public_url.rstrip("/")


def _given(headers: Headers) -> tuple[str, str] | None:
    """Signature and algorithm, where each is said once at most and known."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        name = name.lower()
        if name in (_SIGNATURE, _SETTINGS):
            if name in found:
                return None
            found[name] = value.decode("latin-1")
    if not found.get(_SIGNATURE):
        return None
    algorithm = "HMAC_SHA1"
    for part in found.get(_SETTINGS, "").split(","):
        name_, equals, word = part.partition("=")
        if equals and name_.strip() == "algorithm" and word.strip():
            algorithm = word.strip().upper()
            break
    return (found[_SIGNATURE], algorithm) if algorithm in _ALGORITHMS else None


def _form(body: bytes) -> list[tuple[str, str]] | None:
    """The fields of a form, or ``None`` where it is none."""
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        return None


def _ports(url: str) -> list[str]:
    """``url`` as it is, and without its port, or with the standard one."""
    parts = urlsplit(url)
    name = parts.netloc.rpartition(":")[0] if parts.port is not None else parts.netloc
    other = name if parts.port is not None else f"{name}:443"
    return [url, urlunsplit(parts._replace(netloc=other))]


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))
