"""What happens when the link to the model is lost, as a value."""

from __future__ import annotations

from attrs import frozen

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["ReconnectPolicy"]


@frozen(kw_only=True)
class ReconnectPolicy:
    """How often and how soon a lost link is dialled again. All times are in seconds.

    The first attempt comes after a random time of up to ``first_delay``, the next ones after up to ``base``, twice
    ``base``, four times ``base`` … and at most ``longest``: full jitter, so that a thousand sessions which lose one
    server do not come back at once. ``attempts`` is how many there are until the session gives up; it has all of them
    again once a link has held for ``refill_after``. A server that says when to come back (``Retry-After``) is believed.

    What cannot get better by waiting is not tried again: a wrong key, an unknown model, a refused configuration, a bad
    certificate, an empty account, a close code that blames this side (1002, 1003, 1007, 1008, 1010, 4000 and above).

    ``rotate_before``: where the provider ends sessions at an age (OpenAI: 60 minutes), the link is changed so long
    before that, at the first moment when nobody speaks and nothing is owed; ``None``: not before the provider ends it.
    """

    attempts: int = 5
    first_delay: float = 0.25
    base: float = 0.5
    longest: float = 30.0
    refill_after: float = 30.0
    rotate_before: float | None = 300.0

    def __attrs_post_init__(self) -> None:
        if self.attempts < 1:
            raise MisconfiguredError(
                f"attempts={self.attempts!r} must be at least 1; to have none, pass reconnect=None to the session"
            )
        for name in ("first_delay", "base", "longest", "refill_after"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise MisconfiguredError(f"{name}={getattr(self, name)!r} must be a number of seconds, 0 or more")
        if self.rotate_before is not None and not 0 < self.rotate_before < float("inf"):
            raise MisconfiguredError(
                f"rotate_before={self.rotate_before!r} must be more than 0 seconds, or None to never rotate"
            )
