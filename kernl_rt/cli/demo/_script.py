"""What happens in the demo, in order. Every wait has a limit, so that the demo ends whatever the model does."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from kernl_rt.cli.demo._caller import Caller
from kernl_rt.cli.demo._cast import BARGE_IN, INTERRUPTED, QUESTION
from kernl_rt.cli.demo._notes import Notes
from kernl_rt.exceptions import RealtimeError

__all__ = ["DemoFailed", "play"]

#: Seconds for each thing to happen.
_LIMIT = 15.0
#: Milliseconds of the story that the caller listens to.
_PATIENCE_MS = 2_600


class DemoFailed(RealtimeError):
    """Something that the demo is there to show did not happen."""


async def play(caller: Caller, notes: Notes) -> None:
    """A question, an answer, a story, an interruption, a tool that never ends; then the caller hangs up.

    Raises:
        DemoFailed: the model did not do its part in time.
    """
    await anyio.sleep(0.4)
    await caller.say(QUESTION)
    await _expect(notes, lambda: notes.replies and notes.replies[0].over, "a spoken answer to the first question")
    await anyio.sleep(0.5)
    await caller.say(INTERRUPTED)
    await _expect(notes, lambda: _heard_ms(notes, 1) >= _PATIENCE_MS, "a story to interrupt")
    await caller.say(BARGE_IN)
    await _expect(
        notes, lambda: notes.replies[1].interrupted_at is not None, "the story to stop when the caller speaks"
    )
    await _expect(notes, lambda: any(run.end is None for run in notes.tools), "a timer that runs")
    await anyio.sleep(1.2)
    caller.hang_up()


def _heard_ms(notes: Notes, reply: int) -> float:
    return notes.format.ms(notes.replies[reply].heard_bytes) if len(notes.replies) > reply else 0.0


async def _expect(notes: Notes, true: Callable[[], object], what: str) -> None:
    with anyio.move_on_after(_LIMIT) as limit:
        await notes.until(true)
    if limit.cancelled_caught:
        because = f": {notes.errors[-1]}" if notes.errors else ""
        raise DemoFailed(f"the demo waited {_LIMIT:g} seconds for {what}, and it did not come{because}")
