"""Handles of verbs: what became of a command."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar, cast

import anyio

from kernl_rt.exceptions import CommandAborted, CommandLost, CommandRejected

__all__ = ["Command"]

ResultT = TypeVar("ResultT")

CommandState = Literal["pending", "acknowledged", "rejected", "lost", "aborted", "failed"]


class Command(Generic[ResultT]):
    """What a verb returns. Settles exactly once; need not be awaited.

    A rejection that nobody awaits becomes an ``error`` event, so that it does not pass silently.
    """

    __slots__ = ("_error", "_event", "_result", "_settled", "number", "verb")

    def __init__(self, verb: str, number: int) -> None:
        self.verb: str = verb
        self.number: int = number
        self._settled = False
        self._error: Exception | None = None
        self._result: object = None
        self._event: anyio.Event | None = None

    @property
    def state(self) -> CommandState:
        """``rejected`` by the provider, ``lost`` with the link, ``aborted`` by closing the session."""
        if not self._settled:
            return "pending"
        match self._error:
            case None:
                return "acknowledged"
            case CommandRejected():
                return "rejected"
            case CommandLost():
                return "lost"
            case CommandAborted():
                return "aborted"
            case _:
                return "failed"

    async def settled(self) -> ResultT:
        """Wait until the provider has answered, and return what it said.

        Cancelling it does not take the command back.

        Raises:
            CommandRejected: the provider refused it.
            CommandLost: the link ended before the answer.
            CommandAborted: the session was closed before the answer.
        """
        if not self._settled:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
        if self._error is not None:
            raise self._error
        return cast(ResultT, self._result)

    def settle(self, error: Exception | None, result: object) -> bool:
        """The answer is here. Returns whether somebody waits for it."""
        assert not self._settled, f"command {self.verb} settled twice"
        self._settled, self._error, self._result = True, error, result
        if self._event is None:
            return False
        self._event.set()
        return True

    def __repr__(self) -> str:
        return f"<Command {self.verb} #{self.number}: {self.state}>"
