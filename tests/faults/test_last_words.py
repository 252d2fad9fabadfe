"""What is still owed when a session ends in the same moment: the reply that was stopped is told, then the end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import Context, Guardrail
from kernl_rt._core import inputs
from kernl_rt._core.guardrails import GuardrailSettings
from kernl_rt._core.machine import Settings
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import SessionConfig
from kernl_rt.events import GuardrailTripped, Interrupted, StatusChanged
from tests.faults.calls import under_fault
from tests.property.drive import GREETING, Driven
from tests.scenarios.calls import audio, created, done, quiet, transcript


@pytest.mark.parametrize("channel", [True, False])
def test_a_trip_in_the_moment_of_hanging_up_is_told_whole(channel: bool) -> None:
    """The time of the goodbye is over at the very input that trips the guardrail."""
    guardrail = GuardrailSettings("judge", follow_up=None)
    driven = Driven(Settings(config=SessionConfig(), has_channel=channel, marks=channel, guardrails=(guardrail,)))
    for event in (*GREETING, created(), audio(ms=5_000), transcript("what must not be said")):
        driven.feed(event)
    [check_id] = driven.machine.state.guardrails._checks
    driven.feed(inputs.HangUpRequested(1, timeout=2.0))
    driven.now += 2.0
    driven.feed(inputs.CheckReturned(check_id, "it is bad"))
    kinds = [type(event) for event in driven.told]
    assert GuardrailTripped in kinds
    assert Interrupted in kinds, "the reply was stopped, and nobody was told"
    assert kinds.index(Interrupted) < kinds.index(StatusChanged, kinds.index(GuardrailTripped))
    assert driven.machine.status == "closing"


@pytest.mark.anyio
async def test_a_trip_while_hanging_up_lets_the_session_end() -> None:
    """What is left after the trip is silence: the goodbye is over."""

    async def judge(text: str, context: Context[Any]) -> str | None:
        await anyio.sleep(1)
        return "it is bad"

    rule: Guardrail[Any] = Guardrail("judge", judge, threshold=1, follow_up=None)
    async with under_fault(channel=MemoryChannel(), guardrails=[rule]) as call:
        await call.says(created(), audio(ms=5_000), transcript("what must not be said"))
        command = call.session.hang_up(timeout=20)
        await anyio.sleep(1.1)
        await quiet()
        assert [event.reason for event in call.seen(Interrupted)] == ["guardrail"]
        call.peer.say(done("r1", "cancelled"))
        await call.session.wait_closed()
        assert await command.settled() is True


@pytest.mark.anyio
async def test_a_listener_that_interrupts_and_closes_is_told_of_both() -> None:
    """Both verbs wait until the listener is done; what the channel answers to the first comes before the second."""
    async with under_fault(channel=MemoryChannel()) as call:

        def enough(event: Any) -> None:
            call.session.interrupt()
            call.session.close()

        await call.says(created(), audio(ms=5_000))
        call.session.on("transcript", enough)
        await call.says(transcript("what must not be said"))
        await call.session.wait_closed()
    assert [event.reason for event in call.seen(Interrupted)] == ["requested"]
