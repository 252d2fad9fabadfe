"""How much a far end may send in a while: pure."""

from __future__ import annotations

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Allowance"]


class Allowance:
    """``per_second`` on the average, and what ``burst`` seconds amount to at once: a stalled network catches up."""

    def __init__(self, per_second: float, burst: float = 5.0) -> None:
        if not per_second > 0 or not burst > 0:
            raise MisconfiguredError(f"an allowance of {per_second!r} a second, {burst!r} s at once, allows nothing")
        self._per_second = per_second
        self._most = per_second * burst
        self._left = self._most
        self._at: float | None = None

    def take(self, amount: float, now: float) -> bool:
        """Use ``amount`` up. ``False``: it is not there."""
        if self._at is not None:
            self._left = min(self._most, self._left + max(now - self._at, 0.0) * self._per_second)
        self._at = now
        if amount > self._left + 1e-6:
            return False
        self._left -= amount
        return True
