"""What the reason of a close means: the Live API has no error frames, and says what is wrong while it hangs up."""

from __future__ import annotations

import re

__all__ = ["expired", "word_for"]

#: In order: the first that is found in the reason.
_WORDS = (
    (
        re.compile(r"api[ _]?key|unregistered callers|unauthenticated|credential|auth[ _]?token|token.{0,20}expired"),
        "invalid_api_key",
    ),
    (re.compile(r"billing|credit"), "insufficient_quota"),
    (re.compile(r"quota|exhausted|rate.?limit|too many"), "rate_limit_exceeded"),
    (re.compile(r"is not found|not found for api version|not supported for bidi"), "model_not_found"),
    (re.compile(r"permission|denied|forbidden|not allowed"), "permission_denied"),
)
_EXPIRED = re.compile(
    r"deadline expired|session.{0,20}(expired|duration|timed? ?out|too long)"
    r"|maximum.{0,20}duration|duration.{0,20}(limit|exceed)"
)


def word_for(reason: str) -> str | None:
    """The name, shared by all providers, of what a reason complains of; ``None`` where it is nothing in particular."""
    said = reason.lower()
    return next((word for pattern, word in _WORDS if pattern.search(said)), None)


def expired(reason: str) -> bool:
    """Whether the service ended a link because of its age."""
    return _EXPIRED.search(reason.lower()) is not None
