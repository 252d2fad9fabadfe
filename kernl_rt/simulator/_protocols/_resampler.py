"""PCM16 from one rate to another, well enough to be understood: straight lines between the samples."""

from __future__ import annotations

import array

__all__ = ["Resampler"]


class Resampler:
    """For one stream. What ends within a sample, and the last sample, wait for the next piece."""

    def __init__(self, source: int, target: int) -> None:
        self._step = source / target
        self._rest = b""
        self._last = 0
        self._at = 0.0

    def push(self, audio: bytes) -> bytes:
        if self._step == 1.0:
            return audio
        data = self._rest + audio
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        samples = array.array("h", data[:whole])
        out, at, last = array.array("h"), self._at, self._last
        for sample in samples:
            while at < 1.0:
                out.append(round(last + (sample - last) * at))
                at += self._step
            at -= 1.0
            last = sample
        self._at, self._last = at, last
        return out.tobytes()
