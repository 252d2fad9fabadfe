"""The machine with guardrails, held-back sound and clocks, under any inputs in any order."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import evolve
from hypothesis import settings, strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from kernl_rt._core import actions, inputs
from kernl_rt._core.guardrails import GuardrailSettings
from kernl_rt._core.machine import Settings
from kernl_rt.events import (
    AudioDelta,
    AudioDone,
    GuardrailTripped,
    Interrupted,
    LatencyMeasured,
    OutputTranscript,
    OutputTranscriptDelta,
)
from tests.property.test_machine import ITEMS, SETTINGS, AnyOrder, Checked


class Guarded(Checked):
    """Beside what always holds: one trip for a reply, no sound of it afterwards, and sound in the order it came."""

    def __init__(self, setting: Settings) -> None:
        self.checks: dict[str, tuple[str, str | None]] = {}
        self.trips: Counter[str | None] = Counter()
        self.sounded: list[AudioDelta] = []
        self.told: list[AudioDelta] = []
        self.measured: Counter[str | None] = Counter()
        self.in_channel = 0
        super().__init__(setting)

    def feed(self, input: Any) -> None:
        if isinstance(input, AudioDelta):
            self.sounded.append(input)
        super().feed(input)

    def check(self, action: Any) -> None:
        match action:
            case actions.StartCheck(check_id=check_id, guardrail=name, response_id=response_id):
                if response_id is not None:  # the next one without an id is another reply
                    assert (name, response_id) not in self.checks.values(), "two checks of one reply at a time"
                    assert not self.trips[response_id], "a check of a reply that tripped"
                self.checks[check_id] = (name, response_id)
            case actions.Play(audio=audio):
                self.in_channel += len(audio)
            case actions.ClearPlayback():
                self.in_channel = round(self.machine.state.playback.heard_ms * 48)
            case actions.Emit(event=GuardrailTripped(response_id=response_id)):
                self.trips[response_id] += 1
                assert self.trips[response_id] == 1 or response_id is None, "a reply trips once"
            case actions.Emit(event=AudioDelta() as sound):
                assert not self.trips[sound.response_id] or sound.response_id is None, "sound of a reply that tripped"
                self.told.append(sound)
            case actions.Emit(event=LatencyMeasured(response_id=response_id, barge_in=None) as measured):
                self.measured[response_id] += 1
                once = response_id is not None and response_id.startswith("reply")
                assert self.measured[response_id] == 1 or not once, "measured twice"
                assert measured.to_first_audio is not None
                assert measured.to_first_audio >= 0
                assert measured.to_first_heard is None or measured.to_first_heard >= measured.to_first_audio
            case _:
                pass
        super().check(action)


class AnyOrderGuarded(AnyOrder):
    """As :class:`AnyOrder`, with guardrails that answer when, what and as often as they like."""

    @initialize(setting=SETTINGS, hold_back=st.sampled_from([None, 0.2, 5.0]), closed=st.booleans(), two=st.booleans())
    def start(self, setting: Settings, hold_back: float | None = None, closed: bool = False, two: bool = True) -> None:
        rails = (GuardrailSettings("a", 4, "{name}: {reason}"), GuardrailSettings("b", 9, None, closed))
        self.run = self.guarded = Guarded(evolve(setting, guardrails=rails if two else rails[:1], hold_back=hold_back))
        self.replies = 0

    @precondition(lambda self: self.running is not None)
    @rule(item=ITEMS, text=st.sampled_from(["a", "some words ", "a whole sentence of words. "]))
    def it_says(self, item: str, text: str) -> None:
        item_id = f"{item}_{self.running}"
        self.run.feed(OutputTranscriptDelta(text, response_id=self.running, item_id=item_id, content_index=0))

    @precondition(lambda self: self.running is not None)
    @rule(item=ITEMS)
    def it_has_said(self, item: str) -> None:
        item_id = f"{item}_{self.running}"
        self.run.feed(OutputTranscript("all of it", response_id=self.running, item_id=item_id, content_index=0))
        self.run.feed(AudioDone(response_id=self.running, item_id=item_id, content_index=0))

    @precondition(lambda self: self.guarded.checks)
    @rule(pick=st.integers(0, 9), verdict=st.sampled_from([None, None, None, "no", "error"]), again=st.booleans())
    def a_check_returns(self, pick: int, verdict: str | None, again: bool) -> None:
        check_id = sorted(self.guarded.checks)[pick % len(self.guarded.checks)]
        del self.guarded.checks[check_id]
        error = ValueError("broken") if verdict == "error" else None
        result = inputs.CheckReturned(check_id, None if error else verdict, error)
        self.run.feed(result)
        if again:
            self.run.feed(result)

    @rule()
    def a_check_returns_that_nobody_asked_for(self) -> None:
        self.run.feed(inputs.CheckReturned("check_0", "no"))

    @invariant()
    def sound_keeps_its_order(self) -> None:
        """Held back or not, sound is told in the order in which it came, and no sound twice."""
        places = {id(sound): place for place, sound in enumerate(self.guarded.sounded)}
        order = [places[id(sound)] for sound in self.guarded.told]
        assert order == sorted(set(order))

    @invariant()
    def the_channel_has_what_the_ledger_says(self) -> None:
        state = self.run.machine.state
        playback = state.playback
        if state.settings.has_channel and state.lifecycle.live:
            assert self.guarded.in_channel == playback.pending + round(playback.heard_ms * 48)

    @invariant()
    def what_is_over_is_closed(self) -> None:
        """A stretch of sound that stays open would be cut by every interruption that follows."""
        state = self.run.machine.state
        for stretch in state.playback._stretches:
            over = stretch.response_id in state.finished and not state.holdback.holds(stretch.response_id or "")
            assert not over or not stretch.open

    @invariant()
    def nothing_is_held_for_ever(self) -> None:
        state = self.run.machine.state
        if state.lifecycle.live and state.interruption is None:
            assert (state.holdback.deadline is None) == (len(state.holdback) == 0)
            assert len(state.holdback) == 0 or state.settings.hold_back is not None
            assert state.guardrails.in_flight <= len(self.guarded.checks)

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.all_sound_comes_out()
        super().teardown()

    def all_sound_comes_out(self) -> None:
        """After the longest wait, of replies that nobody stopped no sound is missing."""
        run = self.guarded
        state = run.machine.state
        if not state.lifecycle.live:
            return
        run.now += 10.0
        run.feed(inputs.Tick())
        assert len(state.holdback) == 0
        if state.settings.hold_back is None or any(isinstance(e, Interrupted) for e in self.emitted()):
            return
        late = state.counts["late_audio"]
        assert len(run.told) + late == len(run.sounded), "sound was lost"

    def emitted(self) -> list[Any]:
        return [action.event for out in self.run.trace for action in out if isinstance(action, actions.Emit)]


AnyOrderGuarded.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAnyOrderGuarded = AnyOrderGuarded.TestCase
