"""What the pure machine costs per input, against the least that deciding could cost: a table of functions.

``python benchmarks/machine.py``. No tasks and no I/O. The floor looks up the input's type and appends one action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from _measure import Load, compare, cpu_per, pin
from attrs import frozen

from kernl_rt._core import inputs
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt.events import (
    AudioCaptured,
    AudioDelta,
    AudioPlayed,
    OutputTranscriptDelta,
    Response,
    ResponseCreated,
    SessionInfo,
    SessionUpdated,
)

COUNT = 2_000
PLACE: dict[str, Any] = {"response_id": "r", "item_id": "i"}
#: 20 ms of PCM16 at 24 kHz.
FRAME = bytes(960)


@frozen
class Action:
    event: Any


class Table:
    """The floor: a machine that knows one rule."""

    def __init__(self, kinds: Sequence[type]) -> None:
        self._rules: dict[type, Callable[[Any, float], None]] = dict.fromkeys(kinds, self._rule)
        self._out: list[Action] = []

    def _rule(self, event: Any, now: float) -> None:
        self._out.append(Action(event))

    def feed(self, event: Any, now: float) -> list[Action]:
        self._rules[type(event)](event, now)
        out, self._out = self._out, []
        return out


def machine(*, channel: bool) -> SessionMachine:
    made = SessionMachine(Settings(has_channel=channel, marks=channel))
    made.feed(inputs.ConnectionOpened(), 0.0)
    made.feed(SessionUpdated(SessionInfo(id="s")), 0.0)
    made.feed(ResponseCreated(Response(id="r", status="in_progress")), 0.0)
    return made


def feed(make: Callable[[], Any], events: Sequence[Any]) -> float:
    made = make()

    def work() -> None:
        for index, event in enumerate(events):
            made.feed(event, index / 50)

    return cpu_per(len(events), work)


def main() -> None:
    pin(1)
    load = Load()
    sounds = [AudioDelta(FRAME, event_id=f"e{index}", content_index=0, **PLACE) for index in range(COUNT)]
    words = [OutputTranscriptDelta("word ", event_id=f"e{index}", content_index=0, **PLACE) for index in range(COUNT)]
    captured = [AudioCaptured(FRAME) for _ in range(COUNT)]
    marked = [event for index, sound in enumerate(sounds) for event in (sound, AudioPlayed(20.0 * index))]
    floor = partial(Table, [AudioDelta, OutputTranscriptDelta, AudioCaptured, AudioPlayed])
    plain, live = partial(machine, channel=False), partial(machine, channel=True)
    cases = {
        "a table of functions": partial(feed, floor, sounds),
        "sound, no channel": partial(feed, plain, sounds),
        "sound to a channel": partial(feed, live, sounds),
        "sound and a mark, each": partial(feed, live, marked),
        "a word": partial(feed, plain, words),
        "a microphone's frame": partial(feed, live, captured),
    }
    compare("machine, CPU per input", cases, "a table of functions")
    print(load)


if __name__ == "__main__":
    main()
