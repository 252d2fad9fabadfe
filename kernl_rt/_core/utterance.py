"""The human's sound that the provider may not have made anything of yet.

Sound that was sent on a link which is gone is gone with it. So what belongs to the human's turn is remembered until the
provider has taken the turn, and is said again on the next link; what comes while there is no link joins it.

=====================  =============================================================================================
while                  is remembered
=====================  =============================================================================================
nobody speaks          the last :data:`QUIET` seconds: the provider has not heard yet that the human began
the human speaks, or   the last :data:`LONGEST` seconds
the caller commits
there is no link       the last :data:`LONGEST` seconds; what is dropped of it is counted
=====================  =============================================================================================

The sound of the newest turn is kept a little longer, until its words are known: a model that is told of the turn anew
is given the sound, where there are no words.
"""

from __future__ import annotations

from collections import deque

from kernl_rt.events import AudioInputAppend, AudioInputClear, AudioInputCommit, ClientEvent

__all__ = ["LONGEST", "QUIET", "Utterance"]

#: Seconds.
LONGEST = 30.0
QUIET = 1.0


class Utterance:
    """``bytes_per_second`` is that of the input format."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._line: deque[ClientEvent] = deque()
        self._size = 0
        #: Bytes that must follow what was said again before that may be forgotten.
        self._hearing = 0
        #: The newest turn that the provider has taken: the item's id and its sound.
        self._turn: tuple[str, tuple[bytes, ...]] | None = None
        #: Bytes that were forgotten while they could not be sent.
        self.dropped_bytes = 0

    @property
    def size(self) -> int:
        """Bytes of sound that are remembered for the next link."""
        return self._size

    @property
    def turn(self) -> str | None:
        """The newest turn that the provider has taken, while its words are not known."""
        return None if self._turn is None else self._turn[0]

    def use_rate(self, bytes_per_second: int) -> None:
        """The sound is in another format from now on; what came before is of no use."""
        self._rate = bytes_per_second
        self.clear()

    def add(self, event: ClientEvent, *, brief: bool = False, offline: bool = False) -> None:
        """Something of the human's sound was said, or would be. ``brief``: nobody speaks and nobody will commit."""
        if type(event) is AudioInputAppend:
            self._line.append(event)
            self._size += len(event.audio)
            self._hearing = max(self._hearing - len(event.audio), 0)
            if self._size > self._rate * QUIET:
                self._trim(QUIET if brief and not offline and not self._hearing else LONGEST, offline)
        elif type(event) is AudioInputClear:
            self._clear_uncommitted()
        elif type(event) is AudioInputCommit:
            self._line.append(event)

    def committed(self, item_id: str | None, *, manual: bool) -> None:
        """The provider has taken a turn: up to our oldest commit where ``manual``, else all of it."""
        taken: list[bytes] = []
        while self._line:
            event = self._line.popleft()
            if type(event) is AudioInputAppend:
                self._size -= len(event.audio)
                taken.append(event.audio)
            elif manual:
                break
        self._turn = (item_id, tuple(taken)) if item_id is not None and taken else None

    def understood(self, item_id: str) -> None:
        """The words of a turn are known: its sound is not needed any more."""
        if self._turn is not None and self._turn[0] == item_id:
            self._turn = None

    def sound_of(self, item_id: str | None) -> bytes | None:
        """The sound of a turn whose words are not known."""
        if self._turn is None or self._turn[0] != item_id:
            return None
        return b"".join(self._turn[1])

    def refused(self, event_id: str) -> None:
        """The provider refused a commit: the sound before it stays in its buffer, and is of the next turn."""
        self._line = deque(e for e in self._line if type(e) is not AudioInputCommit or e.event_id != event_id)

    def clear(self) -> None:
        self._line.clear()
        self._size = 0

    def _clear_uncommitted(self) -> None:
        while self._line and type(last := self._line[-1]) is AudioInputAppend:
            self._size -= len(last.audio)
            self._line.pop()

    def again(self) -> tuple[ClientEvent, ...]:
        """What has to be said on a new link, in order. It stays remembered, also as :data:`QUIET` passes: it is said
        in a moment, but the provider must have the time to hear it.
        """
        self._hearing = int(self._rate * QUIET)
        return tuple(self._line)

    def _trim(self, seconds: float, lost: bool) -> None:
        """Forget the oldest sound. Commits, and what follows them, keep their places."""
        limit = int(self._rate * seconds)
        kept: list[ClientEvent] = []
        while self._size > limit:
            event = self._line.popleft()
            if type(event) is AudioInputAppend:
                self._size -= len(event.audio)
                if lost:
                    self.dropped_bytes += len(event.audio)
            else:
                kept.append(event)
        self._line.extendleft(reversed(kept))
