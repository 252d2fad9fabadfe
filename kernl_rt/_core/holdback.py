"""Sound that waits until its words have passed the guardrails.

One line for all replies, so that nothing overtakes: what is behind waiting sound waits too, also the word that the
sound, or the reply, is complete. Sound waits at most ``seconds``, and all of it together takes at most ``HELD_BYTES``;
beyond either the oldest goes on unchecked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from attrs import evolve, frozen

from kernl_rt._core.playback import Cut
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioDelta, AudioDone, ResponseDone

__all__ = ["HELD_BYTES", "Held", "HoldBack", "with_unplayed"]

#: Sound that may wait for its words, in bytes (87 seconds of PCM16 at 24 kHz).
HELD_BYTES = 4 * 2**20

HeldEvent: TypeAlias = AudioDelta | AudioDone | ResponseDone


@frozen
class Held:
    """``version`` is that of the reply's words when the event came: the words lead the sound."""

    event: HeldEvent
    key: str
    version: int
    until: float

    @property
    def size(self) -> int:
        return len(self.event.audio) if isinstance(self.event, AudioDelta) else 0


class HoldBack:
    """``seconds`` is how long sound may wait; ``None`` where nothing is held back."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._line: list[Held] = []
        self._chunks: Counter[str] = Counter()
        self._size = 0

    def __len__(self) -> int:
        return len(self._line)

    @property
    def on(self) -> bool:
        return self._seconds is not None

    @property
    def deadline(self) -> float | None:
        """When the oldest sound has waited long enough."""
        return self._line[0].until if self._line else None

    @property
    def size(self) -> int:
        """Bytes of sound that wait."""
        return self._size

    def holds(self, key: str) -> bool:
        """Whether sound of this reply waits."""
        return self._chunks[key] > 0

    def add(self, event: HeldEvent, key: str, version: int, now: float) -> None:
        assert self._seconds is not None
        held = Held(event, key, version, now + self._seconds)
        self._line.append(held)
        self._size += held.size
        if isinstance(event, AudioDelta):
            self._chunks[key] += 1

    def next(self, has_passed: Callable[[str, int], bool], now: float) -> tuple[Held, bool] | None:
        """The next that may go on, and whether it goes unchecked. ``None`` while the first in line must wait."""
        if not self._line:
            return None
        first = self._line[0]
        unchecked = False
        if isinstance(first.event, AudioDelta) and not has_passed(first.key, first.version):
            unchecked = now >= first.until or self._size > HELD_BYTES
            if not unchecked:
                return None
        self._remove(self._line.pop(0))
        return first, unchecked

    def drop(self, key: str | None) -> list[AudioDelta]:
        """Forget the sound of this reply, of all replies where ``None``. Returns it; what is not sound stays."""
        dropped, kept = [], list[Held]()
        for held in self._line:
            if isinstance(held.event, AudioDelta) and key in (None, held.key):
                self._remove(held)
                dropped.append(held.event)
            else:
                kept.append(held)
        self._line = kept
        return dropped

    def _remove(self, held: Held) -> None:
        self._size -= held.size
        if isinstance(held.event, AudioDelta):
            self._chunks[held.key] -= 1
            if not self._chunks[held.key]:
                del self._chunks[held.key]


def with_unplayed(cuts: list[Cut], dropped: list[AudioDelta], format: AudioFormat) -> list[Cut]:
    """``cuts`` with the sound that was received and never sent to the human: it was not heard either."""
    sizes: dict[tuple[str | None, str, int], int] = {}
    for event in dropped:
        part = (event.response_id, event.item_id, event.content_index or 0)
        sizes[part] = sizes.get(part, 0) + len(event.audio)
    told = []
    for cut in cuts:
        size = sizes.pop((cut.response_id, cut.item_id, cut.content_index), 0)
        told.append(evolve(cut, received_ms=cut.received_ms + int(format.ms(size))))
    told.extend(Cut(*part, 0, int(format.ms(size))) for part, size in sizes.items())
    return told
