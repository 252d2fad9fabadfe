"""The promises that are about every order of events, over the pure machine: P6, P7, P9, P11 and P12.

The number of examples is the profile's: the default in the ordinary run, 100,000 under ``nox -s traces``.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import anyio
from attrs import evolve
from hypothesis import given, settings, strategies as st

from kernl_rt import ToolContext, tool
from kernl_rt._core import actions, inputs
from kernl_rt._core.machine import Settings
from kernl_rt._core.toolcalls import ToolTraits
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.events import (
    AudioDelta,
    Interrupted,
    Response,
    ResponseCreated,
    SpeechStarted,
    ToolCalled,
    ToolFinished,
    ToolResult,
)
from kernl_rt.testing import virtual_backend
from kernl_rt.testing.strategies import Trace, conversations, disturbed
from tests.property.drive import GREETING, SETTINGS, STEPS, Driven, Step
from tests.property.gaps import CREATED, DONE, SOUND
from tests.property.provider import STEPS_OF_A_CALL, Provider
from tests.property.speaker import FORMATS, PLAYBACK_STEPS, Speaking
from tests.property.test_traces import unexpected
from tests.scenarios.calls import calling

# -- P6: order --------------------------------------------------------------------------------------------------------


@given(SETTINGS, disturbed(conversations(), max_edits=12), STEPS)
def test_promise_06_whatever_comes_is_told_in_order(setting: Settings, trace: Trace, steps: list[Step]) -> None:
    """Twice as many edits as elsewhere: events reordered, dropped and repeated."""
    assert unexpected(Driven(setting).run(trace, steps)) == []


def test_promise_06_a_reply_that_ended_while_it_was_paused_ends_once() -> None:
    """Found by a provider that said its ``response.done`` twice, the second time after the pause had become an
    interruption.
    """
    second = ResponseCreated(Response(id="r2", status="in_progress"))
    told = Driven(Settings(has_channel=True, marks=True, recover_after=0.5)).run(
        [*GREETING, CREATED, SOUND, SpeechStarted("i2", 0), DONE, second, DONE]
    )
    assert unexpected(told) == []


# -- P7: one reply at a time ------------------------------------------------------------------------------------------


@given(STEPS_OF_A_CALL)
def test_promise_07_every_wish_is_answered_once_and_no_request_is_refused(steps: list[str]) -> None:
    """Where replies begin by our requests alone, the provider has nothing to refuse."""
    provider = Provider()
    provider.play([step for step in steps if step not in ("speech", "turn")])
    provider.settle()
    assert provider.refused == []
    provider.check()


@given(STEPS_OF_A_CALL)
def test_promise_07_a_race_with_the_providers_own_turn_detection_loses_nothing(steps: list[str]) -> None:
    """A request may cross a reply that the provider begins by itself: it is refused, and made again."""
    provider = Provider()
    provider.play(steps)
    provider.settle()
    provider.check()


# -- P9: a call runs once ---------------------------------------------------------------------------------------------


class Counted(Driven):
    """Counts what every call does."""

    def __init__(self, setting: Settings) -> None:
        self.started: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        super().__init__(setting)
        machine_feed = self.machine.feed

        def feed(input: inputs.Input, now: float) -> list[actions.Action]:
            out = machine_feed(input, now)
            for action in out:
                if isinstance(action, actions.StartTool):
                    self.started[action.call_id] += 1
                elif isinstance(action, actions.Send) and isinstance(action.event, ToolResult):
                    self.answered[action.event.call_id] += 1
            return out

        self.machine.feed = feed  # type: ignore[method-assign]


@given(SETTINGS, disturbed(conversations(), max_edits=8), STEPS, st.lists(st.integers(0, 60), max_size=6))
def test_promise_09_a_call_id_runs_at_most_once(
    setting: Settings, trace: Trace, steps: list[Step], again: list[int]
) -> None:
    """The provider repeats its calls, at once and much later, and the tools return in between."""
    calls = [event for event in trace if isinstance(event, ToolCalled)]
    events = list(trace)
    for at in again:
        if calls:
            events.insert(len(GREETING) + at % max(len(events) - 1, 1), calls[at % len(calls)])
    driven = Counted(setting)
    told = driven.run(events, steps)
    assert all(number == 1 for number in driven.started.values()), driven.started
    assert all(number == 1 for number in driven.answered.values()), driven.answered
    outcomes = Counter(event.call_id for event in told if isinstance(event, ToolFinished))
    assert set(driven.started) <= set(outcomes)
    assert all(number == 1 for number in outcomes.values()), outcomes


# -- P11: nothing is heard after the interruption ---------------------------------------------------------------------


class Loudspeaker(Driven):
    """Every byte of a reply's sound is the reply's number; what is played shows whose it is."""

    def __init__(self, setting: Settings) -> None:
        self.numbers: dict[str | None, int] = {}
        self.silenced: set[int] = set()
        self.cleared = False
        super().__init__(setting)

    def feed(self, input: Any) -> None:
        self.now += 0.001
        if isinstance(input, AudioDelta):
            number = self.numbers.setdefault(input.response_id, len(self.numbers) % 250 + 1)
            input = evolve(input, audio=bytes([number]) * len(input.audio))
        out = self.machine.feed(input, self.now)
        self.cleared = any(isinstance(action, actions.ClearPlayback) for action in out)
        self.check_promptness(input)
        for action in out:
            self.carry_out(action)

    def check_promptness(self, input: Any) -> None:
        """The channel is cleared by the very input that says that the human speaks: nothing else has to happen."""
        state = self.machine.state
        if isinstance(input, SpeechStarted) and state.turn.provider_interrupts and state.lifecycle.live:
            assert self.cleared or state.pause is not None or state.playback.pending == 0

    def carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Play(audio=audio):
                assert not self.silenced.intersection(audio), "sound of a reply that was interrupted"
            case actions.Emit(event=event):
                self.told.append(event)
                if isinstance(event, Interrupted) and event.response_id in self.numbers:
                    self.silenced.add(self.numbers[event.response_id])
            case actions.ClearPlayback():
                self.feed(inputs.PlaybackCleared(self.machine.state.playback.heard_ms))
            case actions.StartTool(call_id=call_id):
                self._tools.append(call_id)
            case _:
                pass


@given(st.sampled_from([None, 0.5]), st.booleans(), disturbed(conversations(), max_edits=8), STEPS)
def test_promise_11_nothing_of_an_interrupted_reply_is_played(
    recover: float | None, marks: bool, trace: Trace, steps: list[Step]
) -> None:
    setting = Settings(has_channel=True, marks=marks, recover_after=recover, tools={"lookup": ToolTraits()})
    Loudspeaker(setting).run(trace, steps)


# -- P12: truncation is honest ----------------------------------------------------------------------------------------


@given(FORMATS, st.sampled_from(["marks", "clear", "clock"]), st.sampled_from([None, 0.5]), PLAYBACK_STEPS)
def test_promise_12_what_is_truncated_was_heard_and_received(
    format: Any, how: str, recover: float | None, steps: list[tuple[str, int]]
) -> None:
    """Chunk sizes, formats, when marks come, pauses, leaps of the clock: never more than was played, nor received."""
    detection = TurnDetection.server_vad(create_response=False, interrupt_response=True)
    config = SessionConfig(input_format=format, output_format=format, turn_detection=detection)
    channel = how != "clock"
    setting = Settings(config=config, has_channel=channel, marks=how == "marks", recover_after=recover)
    speaking = Speaking(setting)
    for what, number in steps:
        speaking.step(what, number)
    speaking.step("interrupt", 0)


# -- P28: both backends -----------------------------------------------------------------------------------------------


async def call_of(trace: Trace, heard: bool, pause: float) -> list[str]:
    """What a live session tells of a call. Every tool takes a time of its own: what ends in the same moment may be
    told in any order.
    """

    @tool
    async def lookup(context: ToolContext[Any], q: str) -> str:
        await anyio.sleep(0.3 + 0.0371 * int(context.call_id.removeprefix("call_")))
        return "found"

    channel = MemoryChannel() if heard else None
    async with calling(lookup, channel=channel, reconnect=None) as call:
        for event in trace:
            call.peer.say(event)
            if pause:
                await anyio.sleep(pause)
        await anyio.sleep(50)
        call.session.close()
        await call.session.wait_closed()
    # Seconds are differences of floats, and trio's clock begins anywhere.
    return [re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):.6f}", repr(event)) for event in call.log]


@settings(max_examples=max(settings.default.max_examples // 4, 10) if settings.default else 10)
@given(disturbed(conversations(greeting=False), max_edits=3), st.booleans(), st.sampled_from([0.0, 0.0017, 0.0513]))
def test_promise_28_trio_and_asyncio_tell_the_same(trace: Trace, heard: bool, pause: float) -> None:
    """A live session of the same call, on both: every event, in the same order."""
    on_trio, on_asyncio = (
        anyio.run(call_of, trace, heard, pause, backend=backend, backend_options=options)
        for backend, options in (virtual_backend("trio"), virtual_backend("asyncio"))
    )
    assert on_trio == on_asyncio
