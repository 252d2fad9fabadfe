"""The playback ledger: of which item how much has been heard.

All sound that is sent to the human lies on one line, measured in bytes from the start of the session; each item owns
stretches of it. The channel says how far along the line it was heard (a mark); where it cannot, the clock says (sound
plays at one second per second, never more than was sent). An interruption cuts the line at the position heard: what
lies behind it was never heard, and the line goes on from there.

Invariants: ``0 <= heard <= sent``; ``heard`` never falls; an item's heard part is at most what was received of it.
"""

from __future__ import annotations

from attrs import define, evolve, frozen

from kernl_rt.config import AudioFormat

__all__ = ["Cut", "Playback"]

#: A time that is a whole sample but for the rounding of floats counts as that sample.
_ROUNDING_MS = 0.01
#: Heard sound is forgotten in pieces of so many bytes.
_FORGET = 64 * 2**10


@define
class _Stretch:
    response_id: str | None
    item_id: str
    content_index: int
    start: int
    size: int
    open: bool = True
    #: The sound itself, where it may have to be played again.
    kept: bytearray | None = None
    #: Its item's sound is complete.
    complete: bool = False
    #: Its first sound was heard.
    begun: bool = False

    @property
    def end(self) -> int:
        return self.start + self.size

    def rest(self, size: int) -> bytes:
        """The last ``size`` bytes of the sound, where it is kept."""
        kept = self.kept or b""
        return bytes(kept[len(kept) - size :]) if size < len(kept) else bytes(kept)

    def forget(self, heard: int) -> None:
        """What was heard is not played again. In large pieces, so that it costs little."""
        if self.kept is not None:
            surplus = len(self.kept) - max(self.end - heard, 0)
            if surplus > _FORGET:
                del self.kept[:surplus]


@frozen
class Cut:
    """An item whose sound was not heard to its end. Whole milliseconds; ``heard_ms <= received_ms``."""

    response_id: str | None
    item_id: str
    content_index: int
    heard_ms: int
    received_ms: int


class Playback:
    """``marks`` says whether the channel reports what was heard; without them the clock is asked."""

    def __init__(self, format: AudioFormat, *, marks: bool) -> None:
        self._format = format
        self._marks = marks
        self._stretches: list[_Stretch] = []
        self._sent = 0
        self._heard = 0
        # Without marks: the sound at position ``_anchor[1]`` began to play at time ``_anchor[0]``.
        self._anchor: tuple[float, int] = (0.0, 0)
        #: What was paused: unheard stretches, and of each item the bytes heard and received before them.
        self._paused: list[_Stretch] = []
        self._before: dict[tuple[str, int], int] = {}
        self._standing = False
        #: Stretches that began to be heard since they were last asked for.
        self._begun: list[tuple[str | None, int]] = []

    @property
    def heard_ms(self) -> float:
        return self._format.ms(self._heard)

    @property
    def pending(self) -> int:
        """Bytes that were sent and not heard."""
        return self._sent - self._heard

    @property
    def paused(self) -> int:
        """Bytes that stand still."""
        return sum(stretch.size for stretch in self._paused) if self._paused else 0

    def unheard(self, response_id: str | None) -> bool:
        """Whether sound of this response waits to be heard."""
        paused = any(s.response_id == response_id for s in self._paused)
        return paused or any(s.response_id == response_id and s.end > self._heard for s in self._stretches)

    def heard_at(self) -> float | None:
        """Without marks: when all that was sent will have been heard. ``None`` where marks will tell, or all was."""
        if self._marks or self.pending == 0:
            return None
        since, start = self._anchor
        return since + self._format.ms(self._sent - start) / 1000

    def sent(
        self,
        response_id: str | None,
        item_id: str,
        content_index: int,
        size: int,
        now: float,
        kept: bytes | None = None,
    ) -> None:
        """``size`` bytes of an item go to the human; ``kept`` are those bytes, where a pause may need them."""
        if self._standing:
            self._paused.append(_Stretch(response_id, item_id, content_index, 0, size, kept=bytearray(kept or b"")))
            return
        self.advance(now)
        if not self._marks and self._heard == self._sent:
            self._anchor = (now, self._sent)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.item_id == item_id and last.content_index == content_index:
            last.size += size
            if last.kept is not None and kept is not None:
                last.kept += kept
        else:
            sound = None if kept is None else bytearray(kept)
            self._stretches.append(_Stretch(response_id, item_id, content_index, self._sent, size, kept=sound))
        self._sent += size
        self._begin()

    def finish(self, response_id: str | None) -> None:
        """No more sound of this response will come."""
        for stretch in (*self._stretches, *self._paused):
            if stretch.response_id == response_id:
                stretch.open = False
        self._prune()

    def complete(self, response_id: str | None, item_id: str) -> None:
        """The sound of this item is complete, for now."""
        for stretch in (*self._stretches, *self._paused):
            if stretch.response_id == response_id and stretch.item_id == item_id:
                stretch.complete = True

    def mark(self, position_ms: float) -> None:
        """The channel has played up to ``position_ms``."""
        self._hear(self._format.size(max(position_ms, 0.0) + _ROUNDING_MS))

    def advance(self, now: float) -> None:
        """Without marks: what the clock says must have been heard by ``now``."""
        if not self._marks:
            since, start = self._anchor
            self._hear(start + self._format.size(max(now - since, 0.0) * 1000 + _ROUNDING_MS))

    def clear(self, position_ms: float | None, now: float, *, keep: bool = False) -> list[Cut]:
        """Cut the line where it was heard. Returns the items that lost something, or may have: in order.

        With ``keep`` it is only a pause: :meth:`resume` plays the rest, :meth:`forget` gives it up.
        """
        if position_ms is None:
            self.advance(now)
        else:
            self.mark(position_ms)
        cuts: dict[tuple[str, int], Cut] = {}
        for stretch in self._stretches:
            key = stretch.item_id, stretch.content_index
            if (stretch.end > self._heard or stretch.open) and key not in cuts:
                heard, received = self._heard_of(*key), self._received_of(*key)
                cuts[key] = Cut(stretch.response_id, *key, heard, received)
        if keep:
            self._pause()
        else:
            self.forget()
        self._stretches.clear()
        self._sent = self._heard
        return list(cuts.values())

    def _pause(self) -> None:
        self._standing = True
        for stretch in self._stretches:
            key = stretch.item_id, stretch.content_index
            heard = max(min(self._heard, stretch.end) - stretch.start, 0)
            self._before[key] = self._before.get(key, 0) + heard
            rest = stretch.size - heard
            if rest > 0 and stretch.kept is not None:
                sound = bytearray(stretch.rest(rest))
                self._paused.append(_Stretch(stretch.response_id, *key, 0, rest, stretch.open, sound))

    def resume(self, now: float) -> list[bytes]:
        """Play on after a pause: the sound that was unheard, and what came since, goes to the human again."""
        self._standing = False
        paused, self._paused = self._paused, []
        sounds = []
        for stretch in paused:
            sound = bytes(stretch.kept or b"")
            self.sent(stretch.response_id, stretch.item_id, stretch.content_index, stretch.size, now, sound)
            self._stretches[-1].open = stretch.open
            sounds.append(sound)
        return sounds

    def withdraw(
        self, response_id: str | None, position_ms: float | None, now: float
    ) -> tuple[list[Cut], list[bytes | None]]:
        """Take what is unheard of one response off the line; what is behind it moves up.

        Returns the response's items, as :meth:`clear` does, and the unheard sound of the others, in order: what a
        channel that has forgotten everything must be given again. ``None`` among it says that the sound before it is
        complete.
        """
        if position_ms is None:
            self.advance(now)
        else:
            self.mark(position_ms)
        cuts: dict[tuple[str, int], Cut] = {}
        others: list[_Stretch] = []
        for stretch in self._stretches:
            key = stretch.item_id, stretch.content_index
            if stretch.response_id != response_id:
                others.append(stretch)
            elif (stretch.end > self._heard or stretch.open) and key not in cuts:
                cuts[key] = Cut(response_id, *key, self._heard_of(*key), self._received_of(*key))
        position, rest = self._heard, list[bytes | None]()
        for stretch in others:
            if stretch.end > self._heard:
                heard = max(self._heard - stretch.start, 0)
                stretch.start = position - heard
                position = stretch.end
                rest.append(stretch.rest(stretch.size - heard))
                rest += [None] if stretch.complete or not stretch.open else []
        self._stretches, self._sent = others, position
        self._anchor = (now, self._heard)
        self._begin()
        return list(cuts.values()), rest

    def withdraw_paused(self, response_id: str | None) -> None:
        """Of what stands still, this response will not be played."""
        self._paused = [s for s in self._paused if s.response_id != response_id]

    @property
    def any_begun(self) -> bool:
        return bool(self._begun)

    def begun(self) -> list[tuple[str | None, int]]:
        """The responses that began to be heard since the last call, and how many bytes ago."""
        begun, self._begun = self._begun, []
        return begun

    def begins_at(self) -> float | None:
        """Without marks: when sound that was sent will begin to be heard. ``None`` where none waits for that."""
        starts = (stretch.start for stretch in self._stretches if not stretch.begun)
        start = None if self._marks else next(starts, None)
        return None if start is None else self._anchor[0] + self._format.ms(start - self._anchor[1]) / 1000

    def caught_up(self, cuts: list[Cut]) -> list[Cut]:
        """The cuts of a pause, with the sound that came since counted as received."""
        return [evolve(cut, received_ms=self._waiting_of(cut)) for cut in cuts]

    def _waiting_of(self, cut: Cut) -> int:
        key = cut.item_id, cut.content_index
        waiting = sum(s.size for s in self._paused if (s.item_id, s.content_index) == key)
        return max(cut.received_ms, int(self._format.ms(self._before.get(key, 0) + waiting)))

    def forget(self) -> None:
        """What was paused will not be played."""
        self._standing = False
        self._paused.clear()
        self._before.clear()

    def _hear(self, position: int) -> None:
        self._heard = max(self._heard, min(position, self._sent))
        for stretch in self._stretches:
            stretch.forget(self._heard)
            if stretch.end > self._heard:
                break
        self._begin()
        self._prune()

    def _begin(self) -> None:
        """A mark at the very start of a sound says that it was not heard yet; the clock, that it begins now."""
        for stretch in self._stretches:
            if not stretch.begun:
                if stretch.start > self._heard or (self._marks and stretch.start == self._heard):
                    break
                stretch.begun = True
                self._begun.append((stretch.response_id, self._heard - stretch.start))

    def _prune(self) -> None:
        """Forget what was heard to its end, unless more of the same item is behind it: the two count together."""
        while self._stretches and not self._stretches[0].open and self._stretches[0].end <= self._heard:
            first = self._stretches[0]
            if len(self._of(first.item_id, first.content_index)) > 1:
                return
            del self._stretches[0]

    def _of(self, item_id: str, content_index: int) -> list[_Stretch]:
        return [s for s in self._stretches if s.item_id == item_id and s.content_index == content_index]

    def _heard_of(self, item_id: str, content_index: int) -> int:
        heard = sum(max(min(self._heard, s.end) - s.start, 0) for s in self._of(item_id, content_index))
        return int(self._format.ms(heard + self._before.get((item_id, content_index), 0)))

    def _received_of(self, item_id: str, content_index: int) -> int:
        received = sum(s.size for s in self._of(item_id, content_index))
        return int(self._format.ms(received + self._before.get((item_id, content_index), 0)))
