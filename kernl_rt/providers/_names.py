"""Ids for what a wire does not name."""

from __future__ import annotations

import re

__all__ = ["Names"]


class Names:
    """Counts ids, with a ``mark`` of their own. ``link`` sets the ids of one connection apart from those of another of
    the same session.
    """

    def __init__(self, mark: str) -> None:
        self.link = ""
        self._mark = mark
        self._count = 0

    def new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._mark}{self.link}_{self._count}"

    def taken(self, name: str | None) -> None:
        """An item of an earlier conversation has this id: ours must not meet it."""
        match = re.fullmatch(rf"item_{self._mark}([0-9]*)_([0-9]{{1,12}})", name or "")
        if match is not None and match[1] == self.link:
            self._count = max(self._count, int(match[2]))
