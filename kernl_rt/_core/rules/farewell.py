"""Hanging up: at once, or when the goodbye has been heard.

The goodbye is over when no reply runs, is asked for or is wished for, no tool works, and nothing waits to be heard. A
human who speaks meanwhile revokes it. It is bounded: after its time the session ends anyway.
"""

from __future__ import annotations

from kernl_rt._core.inputs import HangUpRequested
from kernl_rt._core.state import Farewell, State

HUNG_UP = "hung up"
#: Seconds that the goodbye of a terminal tool may take.
PATIENCE = 30.0


def requested(state: State, input: HangUpRequested, now: float) -> None:
    earlier = state.farewell
    commands = (*(earlier.commands if earlier is not None else ()), input.command)
    give_up_at = now + input.timeout if input.after_playout else now
    if earlier is not None:
        give_up_at = min(give_up_at, earlier.give_up_at)
    state.farewell = Farewell(commands, give_up_at)


def begin(state: State, now: float) -> None:
    """A terminal tool has done its work: the conversation is over, once what was said is heard."""
    if state.farewell is None:
        state.farewell = Farewell((), now + PATIENCE)


def revoke(state: State) -> None:
    """The human spoke: the conversation goes on."""
    if state.farewell is not None:
        for command in state.farewell.commands:
            state.settle(command, result=False)
        state.farewell = None


def due(state: State, now: float) -> bool:
    """Whether the session is to end now; who asked is then told."""
    farewell = state.farewell
    if farewell is None or not (now >= farewell.give_up_at or _said(state)):
        return False
    for command in farewell.commands:
        state.settle(command, result=True)
    state.farewell = None
    return True


def _said(state: State) -> bool:
    quiet = state.arbiter.state == "idle" and not state.arbiter.waiting
    return quiet and state.pause is None and not state.tools.open_calls() and state.silent
