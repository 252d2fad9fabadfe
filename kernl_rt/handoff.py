"""Handing the conversation to another agent: a tool that the model may call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from kernl_rt.agent import RealtimeAgent
from kernl_rt.context import ToolContext
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.tool import Tool

__all__ = ["handoff"]

T = TypeVar("T")

_UNUSABLE = re.compile(r"[^a-zA-Z0-9_-]+")
#: The longest name of a tool, in characters.
_LONGEST = 64


def handoff(
    agent: RealtimeAgent[T] | Callable[[], RealtimeAgent[T]],
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool[T]:
    """A tool that hands the conversation to ``agent``; put it into a toolkit of the agent that may do so.

    The provider is told the other agent's instructions and tools first; once it has accepted them, the other agent is
    ``session.agent``, an ``agent.changed`` event names both, and the call is answered. The voice stays if it was heard.
    Where the other agent cannot be (the model refuses its configuration), nothing changes: an ``error`` event says why,
    and so does the call's output.

    Args:
        agent: or a function that gives it, called at the handoff, where two agents hand over to each other.
        name: ``transfer_to_`` and the agent's id where ``None``.
        description: when the model should call it.

    Raises:
        MisconfiguredError: ``agent`` is neither, or a function of no known agent has no ``name``.
    """
    if isinstance(agent, RealtimeAgent):
        name = name or _UNUSABLE.sub("_", f"transfer_to_{agent.id}")[:_LONGEST]
        description = description or f"Hand the conversation over to {agent.name}."
    elif not callable(agent):
        raise MisconfiguredError(f"handoff() takes a RealtimeAgent or a function that gives it, not {agent!r}")
    elif name is None:
        raise MisconfiguredError(
            "handoff() to an agent that a function gives needs a name, handoff(…, name='transfer_to_…')"
        )
    else:
        description = description or "Hand the conversation over to another agent."

    async def transfer(context: ToolContext[T]) -> str:
        to = await context.session.handoff(agent)
        return f"The conversation was handed over. You are {to.name} now: go on with it."

    # Models like to give a reason, which nobody reads.
    made: Any = Tool.of(transfer, name=name, description=description, strict=False)
    return cast("Tool[T]", made)
