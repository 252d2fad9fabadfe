"""Whether, and when, a lost link is dialled again.

Jitter comes in from outside as a fraction: nothing random is in here.
"""

from __future__ import annotations

from kernl_rt.exceptions import (
    AuthenticationError,
    ConfigurationRejected,
    ConnectError,
    ConnectionClosed,
    HandshakeError,
    MisconfiguredError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    SessionExpired,
    TLSError,
)
from kernl_rt.policy import ReconnectPolicy

__all__ = ["FATAL_CODES", "Redial", "hopeless"]

#: A provider's words for what waiting does not mend: the account, not the moment.
FATAL_CODES = frozenset(
    {
        "account_deactivated",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "insufficient_quota",
        "invalid_api_key",
    }
)
_HOPELESS = (
    AuthenticationError,
    ConfigurationRejected,
    MisconfiguredError,
    ModelNotFoundError,
    PermissionDeniedError,
    TLSError,
)
#: Close codes that blame this side (RFC 6455 section 7.4.1), and so would come again.
_BLAMING = frozenset({1002, 1003, 1007, 1008, 1010})
#: Seconds between looks for a quiet moment, once a link is due to be changed.
_LOOK = 0.5
#: The last moment to change a link is so long before its end, or a tenth of ``rotate_before`` if that is less.
_LAST = 15.0
#: The delay is doubled at most so often: longer than for ever is no number.
_DOUBLINGS = 60


def hopeless(error: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(error, SessionExpired):
        return False
    if isinstance(error, ConnectionClosed):
        return error.code in _BLAMING or error.code >= 4000
    if isinstance(error, HandshakeError):
        return error.status is not None and 400 <= error.status < 500 and error.status not in (408, 425)
    if isinstance(error, ConnectError) and error.code in FATAL_CODES:
        return True
    return isinstance(error, _HOPELESS)


class Redial:
    """``policy=None``: never. ``max_duration`` is the provider's own limit for a link, in seconds."""

    def __init__(self, policy: ReconnectPolicy | None, max_duration: float | None) -> None:
        self._policy = policy
        self._max_duration = max_duration
        self._tried = 0
        self._linked_at: float | None = None
        #: When to change the link, and when at the latest; ``None`` where nobody ends it.
        self.rotate_at: float | None = None
        self._rotate_by = float("inf")
        #: How often the session has come back, and how many of these were planned.
        self.count = 0
        self.rotations = 0

    @property
    def on(self) -> bool:
        return self._policy is not None

    @property
    def tried(self) -> int:
        return self._tried

    def linked(self, now: float) -> None:
        """A link is up and configured."""
        self._linked_at = now
        if self._max_duration is not None:
            self.expires(self._max_duration, now)

    def expires(self, seconds: float, now: float) -> None:
        """The provider will end the link so many seconds from now."""
        policy = self._policy
        if policy is None or policy.rotate_before is None:
            return
        early = min(policy.rotate_before, seconds / 2)
        end = now + seconds
        self.rotate_at = end - early if self.rotate_at is None else min(self.rotate_at, end - early)
        self._rotate_by = min(self._rotate_by, end - min(_LAST, early / 10))

    def due(self, now: float, *, quiet: bool) -> bool:
        """Whether the link is to be changed now. Where it is not quiet enough yet, that is looked at again soon."""
        if self.rotate_at is None or now < self.rotate_at:
            return False
        if quiet or now >= self._rotate_by:
            return True
        self.rotate_at = min(now + _LOOK, self._rotate_by)
        return False

    def dropped(self, error: Exception, now: float, jitter: float) -> float | None:
        """The link is gone. Returns the seconds to wait, or ``None`` where the session is over."""
        held = self._held(now)
        self._unlink()
        if held:
            self._tried = 0
        if isinstance(error, SessionExpired) and held and self._policy is not None:
            self.rotations += 1
            return jitter * self._policy.first_delay
        return self.again(error, jitter)

    def rotate(self, now: float) -> bool:
        """Give the link up on purpose, if that may be. It costs no attempt, unless the link did not hold: a provider
        that always says that the end is near is not dialled without end.
        """
        assert self._policy is not None
        held = self._held(now)
        if not held and self._tried >= self._policy.attempts:
            self.rotate_at = None
            return False
        self._unlink()
        self._tried = 0 if held else self._tried + 1
        self.rotations += 1
        return True

    def again(self, error: Exception, jitter: float) -> float | None:
        """An attempt failed. Returns the seconds until the next, or ``None`` where there is none."""
        policy = self._policy
        if policy is None or hopeless(error) or self._tried >= policy.attempts:
            return None
        self._tried += 1
        doublings = min(self._tried - 2, _DOUBLINGS)
        longest = policy.first_delay if self._tried == 1 else policy.base * 2.0**doublings
        delay = jitter * min(longest, policy.longest)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            delay += error.retry_after
        return delay

    def _held(self, now: float) -> bool:
        """Whether the link has held long enough to have all attempts again."""
        refill_after = self._policy.refill_after if self._policy is not None else 0.0
        return self._linked_at is not None and now - self._linked_at >= refill_after

    def _unlink(self) -> None:
        self._linked_at = self.rotate_at = None
        self._rotate_by = float("inf")
        self.count += 1
