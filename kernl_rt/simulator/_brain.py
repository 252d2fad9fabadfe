"""Who decides what the simulated model says. No intelligence is claimed: scripts, and a few rules.

A :class:`Brain` is anything with ``async def reply(turn) -> Reply``. It may take its time, and may raise: the reply
then ends as ``failed``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from kernl_rt.simulator._reply import Reply, Turn
from kernl_rt.simulator._skills import answer

__all__ = ["Brain", "RuleBrain", "ScriptedBrain"]


class Brain(Protocol):
    """Thinks of replies. One brain serves all sessions of a simulator, at the same time."""

    async def reply(self, turn: Turn) -> Reply:
        """What to say to ``turn``. Cancelled when nobody waits for it any more.

        Raises:
            Exception: any; the reply ends as ``failed`` with its message.
        """
        ...


class ScriptedBrain:
    """Says what it was given, in order, whatever it is asked; after the last line it says that the script has ended.

    A line is a text, a :class:`Reply`, or an exception to raise. ``turns`` keeps what it was asked.
    """

    def __init__(self, lines: Iterable[str | Reply | Exception]) -> None:
        self._lines = deque(lines)
        self.turns: list[Turn] = []

    async def reply(self, turn: Turn) -> Reply:
        self.turns.append(turn)
        if not self._lines:
            return Reply("The script has ended.")
        line = self._lines.popleft()
        if isinstance(line, Exception):
            raise line
        return Reply(line) if isinstance(line, str) else line


class RuleBrain:
    """Knows the sentences of the grammar: calls a function that fits, speaks what it gave, and admits what it is."""

    async def reply(self, turn: Turn) -> Reply:
        return answer(turn)
