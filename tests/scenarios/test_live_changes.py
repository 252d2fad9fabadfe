"""What may be changed while the session runs, and what becomes of a change that the provider refuses."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt.channels import MemoryChannel
from kernl_rt.config import G711_ULAW, Capabilities, SessionConfig, ToolDefinition, TurnDetection, Voice
from kernl_rt.events import (
    AudioInputAppend,
    SessionError,
    SessionUpdate,
)
from kernl_rt.exceptions import (
    CommandAborted,
    CommandRejected,
    LaneFull,
    MisconfiguredError,
    SessionStateError,
)
from tests.scenarios.agents import accepts, agent_b, calling, order, refuses, updates
from tests.scenarios.calls import (
    audio,
    created,
    quiet,
)

pytestmark = pytest.mark.anyio


# -- live changes -----------------------------------------------------------------------------------------------------


async def test_update_says_only_what_differs() -> None:
    async with calling(config=SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.5))) as call:
        command = call.session.update(
            instructions="Be kind.", turn_detection=TurnDetection.server_vad(threshold=0.5), max_output_tokens=100
        )
        await quiet()
        assert updates(call) == [SessionConfig(instructions="Be kind.", max_output_tokens=100)]
        assert command.state == "pending"
        assert call.session.config.instructions == "You are A.", "not before the provider has accepted"
        await accepts(call)
        config = await command.settled()
        assert config.instructions == "Be kind."
        assert call.session.config == config


async def test_update_that_changes_nothing_settles_at_once() -> None:
    async with calling() as call:
        command = call.session.update(SessionConfig(instructions="You are A."))
        assert command.state == "acknowledged"
        assert call.session.update().state == "acknowledged"
        await quiet()
        assert updates(call) == []


async def test_the_providers_own_default_is_no_change() -> None:
    async with calling() as call:
        call.session.update(max_output_tokens=5)
        await accepts(call, voice=Voice("alloy"), max_output_tokens=5)
        assert call.session.update(voice="alloy").state == "acknowledged"
        assert len(updates(call)) == 1


async def test_a_rejection_raises_at_the_handle_and_changes_nothing() -> None:
    async with calling() as call:
        command = call.session.update(turn_detection=TurnDetection.off())
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                with pytest.raises(CommandRejected, match="not now") as caught:
                    await command.settled()
                assert caught.value.code == "some_code"

            group.start_soon(wait)
            await quiet()
            await refuses(call, "not now", "some_code")
        assert not call.seen(SessionError)
        call.session.send_audio(b"\0\0")
        call.session.activity_ended()
        await quiet()
        assert order(call) == [SessionUpdate, AudioInputAppend], "turn detection is still the provider's"


async def test_a_rejection_that_nobody_awaits_is_an_error_event() -> None:
    async with calling() as call:
        call.session.update(instructions="x")
        await quiet()
        await refuses(call, "not now")
        [error] = call.seen(SessionError)
        assert "update() was refused: not now" in error.message


async def test_turn_detection_switches_with_the_acceptance() -> None:
    async with calling() as call:
        call.session.update(turn_detection=TurnDetection.off())
        await quiet()
        assert not call.session._driver.machine.state.turn.manual  # type: ignore[union-attr]
        await accepts(call)
        assert call.session._driver.machine.state.turn.manual  # type: ignore[union-attr]


async def test_two_updates_are_made_one_after_the_other() -> None:
    async with calling() as call:
        first = call.session.update(instructions="one", max_output_tokens=7)
        second = call.session.update(instructions="two", max_output_tokens=7)
        await quiet()
        assert updates(call) == [SessionConfig(instructions="one", max_output_tokens=7)]
        await accepts(call)
        assert (first.state, second.state) == ("acknowledged", "pending")
        assert updates(call)[1:] == [SessionConfig(instructions="two")], "the difference to what holds now"
        await accepts(call)
        assert second.state == "acknowledged"
        assert call.session.config.instructions == "two"


async def test_a_rejected_update_leaves_the_next_one_its_own_meaning() -> None:
    async with calling() as call:
        call.session.update(instructions="one", max_output_tokens=7)
        second = call.session.update(max_output_tokens=7)
        await quiet()
        await refuses(call)
        assert updates(call)[1:] == [SessionConfig(max_output_tokens=7)]
        await accepts(call)
        assert (await second.settled()).instructions == "You are A."


async def test_an_anonymous_error_may_have_meant_the_update() -> None:
    async with calling() as call:
        innocent = call.session.update(instructions="one")
        await quiet()
        await refuses(call, named=False)
        await accepts(call)
        assert innocent.state == "acknowledged", "it was something else"
        guilty = call.session.update(instructions="two")
        await quiet()
        await refuses(call, "anonymous", named=False)
        await anyio.sleep(2)
        assert guilty.state == "rejected"
        assert call.session.config.instructions == "one"


async def test_an_update_that_nobody_answers_is_given_up() -> None:
    async with calling() as call:
        lost, after = call.session.update(instructions="one"), call.session.update(instructions="two")
        await anyio.sleep(11)
        assert (lost.state, after.state) == ("lost", "pending")
        assert [error.source for error in call.seen(SessionError)] == ["session"], "nobody awaited it"
        await accepts(call)
        assert call.session.config.instructions == "two"


async def test_updates_end_with_the_session() -> None:
    async with calling() as call:
        sent, queued = call.session.update(instructions="one"), call.session.update(instructions="two")
        await quiet()
    assert (sent.state, queued.state) == ("aborted", "aborted")
    for command in (sent, queued):
        with pytest.raises(CommandAborted):
            await command.settled()
    with pytest.raises(SessionStateError):
        call.session.update(instructions="late")


async def test_too_many_updates() -> None:
    async with calling() as call:
        with pytest.raises(LaneFull):
            for number in range(100):
                call.session.update(max_output_tokens=number + 1)
        await quiet()
        assert len(updates(call)) == 1


async def test_the_voice_is_fixed_once_it_was_heard() -> None:
    async with calling(voice="marin") as call:
        call.session.update(voice="cedar")
        await accepts(call)
        await call.says(created(), audio())
        with pytest.raises(MisconfiguredError, match="'cedar' was heard"):
            call.session.update(voice="marin")
        assert call.session.update(voice="cedar").state == "acknowledged"
        call.session.update(voice=Voice("cedar", speed=1.2))
        await quiet()
        assert updates(call) == [SessionConfig(voice="cedar"), SessionConfig(voice=Voice("cedar", speed=1.2))]


async def test_an_unknown_voice_is_fixed_too() -> None:
    async with calling() as call:
        await call.says(created(), audio())
        with pytest.raises(MisconfiguredError, match="was heard"):
            call.session.update(voice="marin")
        assert updates(call) == []


async def test_formats_are_fixed_by_a_channel_and_by_sound() -> None:
    both = Capabilities(input_formats=(MemoryChannel().input_formats[0], G711_ULAW))
    async with calling(channel=MemoryChannel(), capabilities=both) as call:
        with pytest.raises(MisconfiguredError, match="channel is open"):
            call.session.update(output_format=G711_ULAW)
    async with calling(capabilities=both) as call:
        call.session.update(output_format=G711_ULAW, input_format=G711_ULAW)
        await accepts(call)
        await call.says(created(), audio(ms=100))
        assert call.session.statistics().playback_pending_ms == 600, "4,800 bytes at 8,000 a second"
        assert call.session._driver.outbox._format == G711_ULAW  # type: ignore[union-attr]
        with pytest.raises(MisconfiguredError, match="once audio"):
            call.session.update(output_format=MemoryChannel().output_formats[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tone": "warm"}, "no option 'tone'"),
        ({"tools": [ToolDefinition("x"), ToolDefinition("x")]}, "two tools"),
    ],
)
async def test_what_cannot_be_is_refused_before_it_is_sent(change: dict[str, Any], message: str) -> None:
    async with calling() as call:
        with pytest.raises(MisconfiguredError, match=message):
            call.session.update(**change)
        with pytest.raises(MisconfiguredError, match="takes a SessionConfig"):
            call.session.update("x")  # type: ignore[arg-type]
        assert updates(call) == []


async def test_a_model_that_cannot_change() -> None:
    async with calling(capabilities=Capabilities(can_update=False)) as call:
        for change in (lambda: call.session.update(instructions="x"), lambda: call.session.update_agent(agent_b())):
            with pytest.raises(MisconfiguredError, match="cannot change a session that runs"):
                change()


async def test_a_model_that_confirms_nothing() -> None:
    async with calling(capabilities=Capabilities(confirms_configuration=False)) as call:
        assert call.session.update(instructions="x").state == "acknowledged"
        await quiet()
        assert updates(call) == [SessionConfig(instructions="x")]
        assert call.session.config.instructions == "x"


async def test_a_session_update_of_the_callers_own() -> None:
    async with calling() as call:
        command = call.session.send(SessionUpdate(SessionConfig(instructions="You are A."), event_id="mine"))
        await quiet()
        assert call.sent(SessionUpdate)[-1].event_id == "mine", "as it is, though it changes nothing"
        await refuses(call)
        assert command.state == "rejected"
        call.session.send(SessionUpdate(SessionConfig(instructions="x")))
        await accepts(call)
        assert call.session.config.instructions == "x"
