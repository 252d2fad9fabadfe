"""What was sent to the channel and not heard: a copy, so that one reply can be taken out of the middle.

A channel can only forget everything. Where one reply must be silenced while another waits behind it, the channel is
cleared and the other is played again, from this tape. It shares the bytes with the lanes, and holds no more than waits
to be heard.
"""

from __future__ import annotations

from collections import deque

from attrs import frozen

__all__ = ["Tape"]


@frozen
class _Piece:
    """``audio`` is ``None`` for the word that a reply's sound is complete."""

    start: int
    key: str
    audio: bytes | None

    @property
    def end(self) -> int:
        return self.start + len(self.audio or b"")


class Tape:
    """Positions are bytes on the line of :class:`~kernl_rt._core.playback.Playback`."""

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._pieces: deque[_Piece] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, key: str, audio: bytes | None, *, position: int, heard: int) -> None:
        """``audio`` of a reply went to the channel, at ``position``."""
        if self._on:
            while self._pieces and self._pieces[0].end <= heard:
                self._pieces.popleft()
            self._pieces.append(_Piece(position, key, audio))

    def clear(self) -> None:
        self._pieces.clear()

    def without(self, key: str, heard: int) -> list[bytes | None]:
        """Take a reply off the tape. Returns what is to be played again, from the position ``heard`` on."""
        position, kept = heard, deque[_Piece]()
        for piece in self._pieces:
            if piece.key == key or piece.end < heard or (piece.audio is not None and piece.end == heard):
                continue
            audio = piece.audio if piece.audio is None else piece.audio[max(heard - piece.start, 0) :]
            kept.append(_Piece(position, piece.key, audio))
            position = kept[-1].end
        self._pieces = kept
        return [piece.audio for piece in kept]
