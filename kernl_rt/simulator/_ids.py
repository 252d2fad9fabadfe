"""Ids that look like the provider's and depend on nothing but a seed and how many were made before."""

from __future__ import annotations

__all__ = ["Ids"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """The finaliser of splitmix64: neighbouring numbers come out far apart, and no two come out equal."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Ids:
    """Makes ``event_…``, ``item_…`` and so on, all different, the same ones again for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = _mix(seed & _MASK)
        self._count = 0

    def new(self, prefix: str, length: int = 21) -> str:
        """A fresh id: ``prefix``, an underscore, ``length`` letters and digits."""
        return f"{prefix}_{self.letters(length)}"

    def letters(self, length: int) -> str:
        """``length`` letters and digits; from 11 on, never the same twice."""
        self._count += 1
        text = ""
        block = 0
        while len(text) < length:
            value = _mix(self._seed ^ _mix(self._count * 16 + block))
            for _ in range(11):
                value, digit = divmod(value, 62)
                text += _ALPHABET[digit]
            block += 1
        return text[:length]
