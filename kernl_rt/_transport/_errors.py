"""What went wrong while connecting, in the words of our own tree. One status table for WebSocket and HTTP."""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC

from kernl_rt._transport._address import redact
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectRefusedError,
    HandshakeError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    RateLimitedError,
    TLSError,
)

__all__ = ["bare", "error_code", "excerpt", "network_error", "retry_after", "status_error"]

_EXCERPT = 200
#: Seconds. A number from the wire is not slept for without a bound.
_LONGEST_WAIT = 7 * 86_400.0
_STATUSES: Mapping[int, tuple[type[ConnectError], str]] = {
    401: (AuthenticationError, "refused the credentials: the key is missing, wrong or expired"),
    403: (PermissionDeniedError, "does not allow this"),
    404: (ModelNotFoundError, "knows no such model or path"),
    429: (RateLimitedError, "says that there are too many requests or sessions"),
}


def _inner(text: str) -> object:
    """What a JSON body says of the error: ``{"error": …}`` or the object itself; ``None`` where it is none."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed.get("error", parsed) if isinstance(parsed, dict) else None


def error_code(body: bytes) -> str | None:
    """The provider's own word for what is wrong; ``None`` where the body has none."""
    inner = _inner(body[:65536].decode("utf-8", "replace"))
    code = inner.get("code") or inner.get("type") if isinstance(inner, dict) else None
    return code[:_EXCERPT] if isinstance(code, str) and code.isprintable() else None


def excerpt(body: bytes) -> str:
    """The message in an error's body, at most 200 characters on one line; ``""`` where there is none."""
    text = body[:65536].decode("utf-8", "replace")
    inner = _inner(text)
    if inner is not None:
        found = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        text = found if isinstance(found, str) else text
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"


def retry_after(value: str | None) -> float | None:
    """Seconds, a week at most, from a ``Retry-After`` header (RFC 9110 section 10.2.3): a number of them, or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
            if moment.tzinfo is None:
                # The two obsolete forms of an HTTP date name no zone, or "-0000": they are in UTC all the same.
                moment = moment.replace(tzinfo=UTC)
            seconds = max(0.0, moment.timestamp() - time.time())
        except (ValueError, TypeError, OverflowError, OSError, IndexError):
            return None  # no date, or none that this machine can reckon with
    return min(seconds, _LONGEST_WAIT) if 0 <= seconds < float("inf") else None


def status_error(
    status: int, headers: Mapping[str, str], body: bytes, *, where: str, secrets: Sequence[str] = ()
) -> ConnectError:
    """The error that an HTTP ``status`` stands for. ``headers`` have lower-case names; only ``retry-after`` is read."""
    kind, meaning = _STATUSES.get(status, (HandshakeError, ""))
    if not meaning:
        meaning = f"answered with HTTP status {status}"
        if 300 <= status < 400:
            meaning += ", a redirect: redirects are not followed, use the final URL"
    said = redact(excerpt(body), secrets)
    code = error_code(body)
    code = None if code is None else redact(code, secrets)
    message = f"{where} {meaning}" + (f": {said}" if said else "")
    if kind is RateLimitedError:
        wait = retry_after(headers.get("retry-after"))
        return RateLimitedError(message, status=status, retry_after=wait, code=code)
    return kind(message, status=status, code=code)


def bare(error: Exception) -> Exception:
    """``error`` without tracebacks, to be kept as a cause: whoever prints the variables of a traceback's frames (Sentry
    does, and rich) would print the bytes that were being sent, and in a handshake those hold the credentials.
    """
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            pending += [each.__cause__, each.__context__]
            pending += each.exceptions if isinstance(each, BaseExceptionGroup) else []
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and everything beneath it; connection attempts hide theirs in groups and causes."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    beneath = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if beneath is not None:
        yield from _causes(beneath)


def network_error(error: BaseException, where: str) -> ConnectError:
    """The error for a failed name lookup, connection or TLS handshake."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return NameResolutionError(f"cannot find the host of {where}: {cause.strerror or cause}")
        if isinstance(cause, UnicodeError):
            return NameResolutionError(f"the host name of {where} is not a possible name")
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"the certificate was refused: {cause.verify_message}"
            return TLSError(f"no secure connection to {where}: {reason}")
        if isinstance(cause, ssl.SSLError):
            return TLSError(f"no secure connection to {where}: {cause.reason or cause}")
    reasons = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    return ConnectRefusedError(f"cannot connect to {where}: {reasons[-1] if reasons else error}")
