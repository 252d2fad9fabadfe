"""A sound card's clock, and what of the sound in its buffer has been heard.

A card stamps each block: when its first sample was captured, or will be heard, on a clock of its own. That clock has
another zero than the session's and runs a little faster or slower; some drivers leave the stamps out. Time enters from
outside, in seconds.
"""

from __future__ import annotations

import math
from collections import deque

from kernl_rt._audio.elapsed import size_in
from kernl_rt.config import AudioFormat

__all__ = ["DeviceClock", "DevicePlayback"]

#: Seconds per second by which the two clocks may drift apart. Crystals differ by less than a tenth of that.
_DRIFT = 1e-3
#: A stamp further from now than this, in seconds, is no stamp.
_PLAUSIBLE = 5.0
#: Clocks that differ by this much more than before, in seconds, have been set anew.
_JUMP = 1.0


class DeviceClock:
    """Moments on a card's clock as moments on the session's. ``latency`` is the card's own estimate, in seconds.

    Each block gives one pair of "now". The session's is read later than the card's, by as long as the thread had to
    wait for the interpreter, so the smallest difference seen is the truest; it may grow slowly, with the drift.
    """

    def __init__(self, latency: float) -> None:
        self.latency = max(latency, 0.0)
        self._difference: float | None = None
        self._observed_at = 0.0
        self._captured_until = -math.inf

    def observe(self, device_now: float, now: float) -> None:
        """A block came: it was ``device_now`` on the card's clock and is ``now`` on the session's."""
        difference = now - device_now
        before = self._difference
        if before is None or difference < before or difference > before + _JUMP:
            self._difference = difference
        else:
            self._difference = min(before + _DRIFT * max(now - self._observed_at, 0.0), difference)
        self._observed_at = now

    def captured_at(self, stamp: float, device_now: float, now: float, seconds: float) -> float:
        """When a block of ``seconds`` began to be captured: never later than now, never earlier than the one before."""
        self.observe(device_now, now)
        assert self._difference is not None
        if 0 < stamp <= device_now and device_now - stamp < _PLAUSIBLE:
            at = stamp + self._difference
        else:
            at = now - seconds - self.latency
        self._captured_until = max(self._captured_until, min(at, now))
        return self._captured_until

    def heard_at(self, stamp: float, device_now: float, now: float) -> float:
        """When a block will begin to be heard."""
        self.observe(device_now, now)
        assert self._difference is not None
        if stamp > 0 and 0 <= stamp - device_now < _PLAUSIBLE:
            return stamp + self._difference
        return now + self.latency


class DevicePlayback:
    """How much of what the session sent has been heard, from what was handed to the card and when it plays.

    Sizes of the session's sound are bytes in ``session_format``, those of the card's bytes in ``device_format``;
    between them a converter may hold some back until :meth:`end`. ``0 <= heard <= sent``, and ``heard`` never falls but
    by :meth:`clear`.
    """

    def __init__(self, session_format: AudioFormat, device_format: AudioFormat) -> None:
        self._session = session_format
        self._device = device_format
        self.clear()

    def clear(self) -> None:
        """Begin anew, with nothing sent."""
        self.sent: int = 0
        self._pushed = 0
        self._handed: deque[tuple[int, float]] = deque()
        self._done = 0
        # Up to here both sides are known to be equal, and at which sizes they will be again.
        self._base = (0, 0)
        self._ends: deque[tuple[int, int]] = deque()
        self._heard = 0

    def push(self, size: int, device_size: int) -> None:
        """``size`` bytes were sent, and ``device_size`` bytes came out of the converter."""
        self.sent += size
        self._pushed += device_size

    def end(self, device_size: int) -> None:
        """The converter gave its last ``device_size`` bytes: what was sent until here is all on its way."""
        self._pushed += device_size
        last = (self._pushed, self.sent)
        if last != (self._ends[-1] if self._ends else self._base):
            self._ends.append(last)

    def hand(self, size: int, at: float) -> None:
        """``size`` bytes more were handed to the card, to be heard from ``at`` on."""
        self._handed.append((size, at))

    @property
    def audible_until(self) -> float | None:
        """When the last of what was handed over will have been heard; ``None`` once it has."""
        if not self._handed:
            return None
        size, at = self._handed[-1]
        return at + size / self._device.bytes_per_second

    def heard(self, now: float) -> int:
        """Bytes heard by now."""
        while self._handed and self._part(now) == self._handed[0][0]:
            self._done += self._handed.popleft()[0]
        reached = self._done + (self._part(now) if self._handed else 0)
        while self._ends and reached >= self._ends[0][0]:
            self._base = self._ends.popleft()
        self._heard = max(self._heard, self._in_session(reached))
        return self._heard

    def _part(self, now: float) -> int:
        """What of the block that plays now has been heard, in whole samples."""
        size, at = self._handed[0]
        return min(size_in(self._device, now - at), size)

    def _in_session(self, reached: int) -> int:
        device, session = self._base
        samples = (reached - device) // self._device.sample_width * self._session.rate // self._device.rate
        bound = self._ends[0][1] if self._ends else self.sent
        return min(session + samples * self._session.sample_width, bound)
