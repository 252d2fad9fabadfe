"""Who is speaking: an energy detector over the sound that really arrives. Pure; time is the position in the sound."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

from kernl_rt.simulator._sound import loudness

__all__ = ["Boundary", "Detector"]

_WINDOW_MS = 10
#: How long it must be loud before that counts as speech: a click is not a word.
_ONSET_MS = 40
#: A threshold of 0 is -60 dB, one of 1 is -20 dB: 0.5 lies where a quiet room ends and a soft voice begins.
_FLOOR_DB, _SPAN_DB = -60.0, 40.0
#: Semantic detection waits for the sense of the words. The simulator has no sense; it waits for a time.
_EAGERNESS_MS = {"low": 1_200, "medium": 700, "auto": 700, "high": 300}


@frozen
class Boundary:
    """Speech began or ended at ``ms`` of all sound heard since the session began."""

    kind: Literal["started", "stopped"]
    ms: int


class Detector:
    """Finds where speech begins and ends in a stream of 16-bit samples."""

    def __init__(self, settings: Mapping[str, Any], rate: int, start_ms: float) -> None:
        self._threshold_db = _FLOOR_DB + _SPAN_DB * float(settings.get("threshold", 0.5))
        self.prefix_ms = int(settings.get("prefix_padding_ms", 300))
        if settings["type"] == "semantic_vad":
            self._silence_ms = _EAGERNESS_MS[settings["eagerness"]]
        else:
            self._silence_ms = int(settings["silence_duration_ms"])
        self._window = rate * _WINDOW_MS // 1_000
        self._start_ms = start_ms
        self._position_ms = start_ms
        self._rest = array("h")
        self._loud_ms = 0
        self._quiet_ms = 0
        self.speaking = False

    def listen(self, samples: array[int]) -> list[Boundary]:
        """What the next samples bring, in order."""
        self._rest.extend(samples)
        found: list[Boundary] = []
        whole = len(self._rest) // self._window * self._window
        for at in range(0, whole, self._window):
            loud = loudness(self._rest[at : at + self._window]) > self._threshold_db
            self._position_ms += _WINDOW_MS
            boundary = self._loud() if loud else self._quiet()
            if boundary is not None:
                found.append(boundary)
        del self._rest[:whole]
        return found

    def _loud(self) -> Boundary | None:
        self._quiet_ms = 0
        self._loud_ms += _WINDOW_MS
        if self.speaking or self._loud_ms < _ONSET_MS:
            return None
        self.speaking = True
        return Boundary("started", int(max(self._start_ms, self._position_ms - self._loud_ms - self.prefix_ms)))

    def _quiet(self) -> Boundary | None:
        self._loud_ms = 0
        if not self.speaking:
            return None
        self._quiet_ms += _WINDOW_MS
        if self._quiet_ms < self._silence_ms:
            return None
        self.speaking = False
        self._quiet_ms = 0
        return Boundary("stopped", int(self._position_ms))
