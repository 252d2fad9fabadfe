"""What a session tells its listeners is always a legal trace: ``kernl_rt.testing.TraceGrammar``.

Legal conversations must pass the strict grammar, through the pure machine and through live sessions on both backends;
disturbed ones, with the caller doing things meanwhile, must pass the grammar that holds whatever a provider sends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt._core.machine import Settings
from kernl_rt.channels import memory_channel_pair
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.events import AudioDelta, Interrupted, ResponseDone, SpeechStarted, ToolCalled, ToolFinished
from kernl_rt.testing import BrokenPromise, ScriptedModel, virtual_backend
from kernl_rt.testing.strategies import Trace, conversations, disturbed
from tests.property.drive import GREETING, SETTINGS, STEPS, Driven, Step, broken
from tests.property.gaps import GAPS, Gap


def unexpected(events: Sequence[Any]) -> list[BrokenPromise]:
    """What a disorderly provider brings us to break, and is no open gap."""
    return [error for error in broken(events) if not any(gap.open and gap.covers(error) for gap in GAPS)]


def told_of(trace: Trace, told: Sequence[Any]) -> list[Any]:
    """Those events of the trace that were told, by identity."""
    said = {id(event) for event in trace}
    return [event for event in told if id(event) in said]


def check_completeness(trace: Trace, told: Sequence[Any]) -> None:
    """Nothing is lost or reordered: all that is not partial, and of each reply the partials up to its interruption."""
    kept = told_of(trace, told)
    assert [event for event in kept if not event.sheddable] == [event for event in trace if not event.sheddable]
    stopped = {event.response_id for event in told if isinstance(event, Interrupted)}
    said, heard = partials(trace), partials(kept)
    for response_id, events in said.items():
        if response_id in stopped:
            assert heard[response_id] == events[: len(heard[response_id])]
        else:
            assert heard[response_id] == events


def partials(events: Sequence[Any]) -> dict[str | None, list[Any]]:
    found: dict[str | None, list[Any]] = defaultdict(list)
    for event in events:
        if event.sheddable and hasattr(event, "response_id"):
            found[event.response_id].append(event)
    return found


# -- the machine ------------------------------------------------------------------------------------------------------


@settings(max_examples=120)
@given(SETTINGS, conversations())
def test_a_legal_conversation_is_told_legally_and_whole(setting: Settings, trace: Trace) -> None:
    told = Driven(setting).run(trace)
    assert broken(told, strict=True) == []
    check_completeness(trace, told)


@settings(max_examples=120)
@given(SETTINGS, conversations(), STEPS)
def test_whatever_the_caller_does_meanwhile(setting: Settings, trace: Trace, steps: list[Step]) -> None:
    assert broken(Driven(setting).run(trace, steps), strict=True) == []


@settings(max_examples=200)
@given(SETTINGS, disturbed(conversations()), STEPS)
def test_whatever_the_provider_sends(setting: Settings, trace: Trace, steps: list[Step]) -> None:
    assert unexpected(Driven(setting).run(trace, steps)) == []


@settings(max_examples=60)
@given(SETTINGS, disturbed(conversations()), STEPS)
def test_the_same_trace_is_told_the_same(setting: Settings, trace: Trace, steps: list[Step]) -> None:
    assert Driven(setting).run(trace, steps) == Driven(setting).run(trace, steps)


@settings(max_examples=80)
@given(conversations())
def test_each_interrupting_speech_stops_the_reply_at_once(trace: Trace) -> None:
    """Not only silent after the word ``interrupted``: the word comes with the speech that caused it."""
    told = Driven(Settings(has_channel=True, marks=True)).run(trace)
    stopped: set[str | None] = set()
    running: str | None = None
    for number, event in enumerate(told):
        if isinstance(event, SpeechStarted) and running is not None:
            assert isinstance(told[number + 1], Interrupted)
            stopped.add(running)
        if isinstance(event, ResponseDone):
            running = None
        if event.kind == "response.created":
            running = event.response_id
        if isinstance(event, AudioDelta):
            assert event.response_id not in stopped


@settings(max_examples=60)
@given(conversations(), STEPS)
def test_left_alone_a_reply_is_told_whole(trace: Trace, steps: list[Step]) -> None:
    """With ``interrupt_response=False`` no speech stops a reply."""
    detection = TurnDetection.server_vad(interrupt_response=False)
    setting = Settings(config=SessionConfig(turn_detection=detection))
    quiet = [step for step in steps if step.what in ("time", "heard", "tools", "message")]
    # The greeting's configuration would turn detection on again: it says nothing of it.
    told = Driven(setting).run(trace, quiet)
    assert not any(isinstance(event, Interrupted) for event in told)
    check_completeness(trace, told)


#: Strict: once there is a rule, the entry is no longer ``open``.
_XFAIL = pytest.mark.xfail(reason="no rule yet")


@pytest.mark.parametrize("gap", [pytest.param(g, id=g.name, marks=[_XFAIL] if g.open else []) for g in GAPS])
def test_a_gap_is_closed(gap: Gap) -> None:
    setting = Settings(has_channel=True, marks=True)
    errors = broken(Driven(setting).run([*GREETING, *gap.example]))
    assert not [error for error in errors if gap.covers(error)], gap.rule


# -- live sessions ----------------------------------------------------------------------------------------------------


@tool
async def lookup(q: str) -> str:
    """Look it up."""
    await anyio.sleep(0.5)
    return "found"


async def live(trace: Trace, *, heard: bool, pause: float) -> list[Any]:
    """Everything that a listener of a live session gets; ``pause`` is the seconds between the provider's events."""
    model = ScriptedModel()
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a", name="A", instructions="Be brief.", model=model, toolkits=[Toolkit(id="t", tools=[lookup])]
    )
    channel, _human = memory_channel_pair() if heard else (None, None)
    session: RealtimeSession[Any] = RealtimeSession(agent, channel=channel, reconnect=None, dead_air=None)
    told: list[Any] = []
    session.on("event", told.append)
    with anyio.fail_after(10_000):
        async with session:
            for event in trace:
                model.peer.say(event)
                if pause:
                    await anyio.sleep(pause)
            await anyio.sleep(5)
            session.close()
            await session.wait_closed()
    return told


@pytest.mark.parametrize("name", ["trio", "asyncio"])
def test_a_live_session_tells_a_legal_conversation_legally(name: str) -> None:
    backend, options = virtual_backend(name)

    @settings(max_examples=25)
    @given(conversations(greeting=False), st.booleans(), st.sampled_from([0.0, 0.002]))
    def run(trace: Trace, heard: bool, pause: float) -> None:
        async def main() -> list[Any]:
            return await live(trace, heard=heard, pause=pause)

        told = anyio.run(main, backend=backend, backend_options=options)
        assert broken(told, strict=True) == []
        calls = [event.call_id for event in trace if isinstance(event, ToolCalled)]
        assert sorted(event.call_id for event in told if isinstance(event, ToolFinished)) == sorted(calls)

    run()


@pytest.mark.parametrize("name", ["trio", "asyncio"])
def test_a_live_session_survives_a_disturbed_conversation(name: str) -> None:
    backend, options = virtual_backend(name)

    @settings(max_examples=25)
    @given(disturbed(conversations(greeting=False)), st.booleans())
    def run(trace: Trace, heard: bool) -> None:
        async def main() -> list[Any]:
            return await live(trace, heard=heard, pause=0.0)

        told = anyio.run(main, backend=backend, backend_options=options)
        assert unexpected(told) == []

    run()
