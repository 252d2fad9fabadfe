"""PCM16 from one rate to another, well enough to be understood: straight lines between the samples.

Every protocol whose wire has another rate than the engine uses this one. The channels' resampler
(:mod:`kernl_rt._audio.resample`) needs an extra, and the simulator nothing; it also holds some milliseconds back, which
no service's clock would.
"""

from __future__ import annotations

import array

__all__ = ["Resampler"]


class Resampler:
    """For one stream. What ends within a sample, and the last sample, wait for the next piece."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self._rest = b""
        self._last = 0
        #: How far behind the last sample the next one lies, in 1/``target`` of a sample: whole numbers do not drift.
        self._at = 0

    def push(self, audio: bytes) -> bytes:
        source, target = self.source, self.target
        if source == target:
            return audio
        data = self._rest + audio
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        out, at, last = array.array("h"), self._at, self._last
        for sample in array.array("h", data[:whole]):
            while at < target:
                out.append(round(last + (sample - last) * at / target))
                at += source
            at -= target
            last = sample
        self._at, self._last = at, last
        return out.tobytes()
