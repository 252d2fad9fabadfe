"""A lost link: the session comes back, and says on the new link what the old one knew."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, Toolkit, tool
from kernl_rt.config import PCM16_24K, Capabilities, ResponseConfig, Voice
from kernl_rt.events import (
    AgentChanged,
    ItemCreate,
    ItemCreated,
    ItemDelete,
    ItemDeleted,
    SessionExpiring,
    SessionInfo,
    SessionResumable,
    SessionUpdate,
    SessionUpdated,
    StatusChanged,
)
from kernl_rt.exceptions import CommandLost, ConnectionClosed, LaneFull
from kernl_rt.items import ContentPart, Message
from tests.scenarios.calls import audio, created, done, item_added, quiet, transcript
from tests.session.links import back, gap, lose, model_of, redialling, refused, statuses, told

pytestmark = pytest.mark.anyio


def texts(history: Any) -> list[str]:
    return [f"{item.role}: {item.text or ''}" for item in history if isinstance(item, Message)]


async def one_exchange(call: Any) -> None:
    """The user writes, the model answers, all of it heard."""
    call.session.send_message("hello")
    await quiet()
    reply = Message("assistant", [ContentPart("output_audio")], id="i1")
    await call.says(created(), item_added(), ItemCreated(reply), audio(ms=100), transcript("good day"), done())
    await anyio.sleep(1)


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012])
async def test_an_idle_link_that_is_lost_comes_back(code: int) -> None:
    async with redialling() as call:
        await one_exchange(call)
        before, first = call.session.history, call.peer
        peer = await lose(call, code)
        assert statuses(call) == ["connecting", "connected", "reconnecting", "connected"]
        reason = call.seen(StatusChanged)[2].reason
        assert reason is not None
        assert str(code) in reason
        assert told(peer) == ["configuration", "user: hello", "assistant: good day"]
        assert call.session.history == before
        assert call.session.id == "sess_scripted_2"
        assert first.closed.is_set()
    assert statuses(call)[4:] == ["closing", "closed"]
    assert call.log[-1] == call.seen(StatusChanged)[-1]


async def test_the_next_link_is_told_the_configuration_of_now() -> None:
    async with redialling() as call:
        await call.session.update(instructions="Be long.").settled()
        peer = await lose(call)
        first = peer.sent[0]
        assert isinstance(first, SessionUpdate)
        assert first.config.instructions == "Be long."
        assert model_of(call).dials[-1].config.instructions == "Be long."
        agent: RealtimeAgent[Any] = RealtimeAgent(id="second", name="Second", instructions="Be odd.")
        await call.session.update_agent(agent).settled()
        peer = await lose(call)
        again = peer.sent[0]
        assert isinstance(again, SessionUpdate)
        assert again.config.instructions == "Be odd."


async def test_without_a_policy_a_lost_link_is_the_end() -> None:
    with pytest.raises(ConnectionClosed) as raised:
        async with redialling(reconnect=None) as call:
            call.peer.hang_up(1011, "broken")
            await call.session.wait_closed()
    assert raised.value.code == 1011
    assert "reconnecting" not in statuses(call)


async def test_what_is_said_in_the_gap_waits_and_settles() -> None:
    async with redialling() as call:
        await one_exchange(call)
        await gap(call)
        message = call.session.send_message("are you there?")
        image = call.session.send_image(b"\x89PNG\r\n\x1a\n" + bytes(8), reply=False)
        delete = call.session.send(ItemDelete("i1"))
        call.session.send_audio(b"\7" * 480)
        assert [message.state, image.state, delete.state] == ["pending"] * 3
        peer = await back(call)
        assert told(peer) == [
            "configuration",
            "user: hello",
            "assistant: good day",
            "user: are you there?",
            "user: ",
            "ItemDelete",
            "reply?",
            "sound 07",
        ]
        assert (message.state, image.state) == ("acknowledged", "acknowledged")
        await call.says(ItemDeleted(peer.heard(ItemDelete)[0].item_id))
        assert delete.state == "acknowledged"
        assert texts(call.session.history) == ["user: hello", "user: are you there?", "user: "]


async def test_the_gap_takes_so_many_commands_and_then_says_so() -> None:
    async with redialling() as call:
        await gap(call)
        handles = [call.session.send_message(str(number), reply=False) for number in range(256)]
        with pytest.raises(LaneFull):
            call.session.send_message("one too many")
        await back(call)
        assert all(handle.state == "acknowledged" for handle in handles)
        assert texts(call.session.history) == [f"user: {number}" for number in range(256)]


async def test_a_message_without_an_acknowledgement_is_said_again_under_its_own_id() -> None:
    async with redialling() as call:
        model_of(call).acknowledge = True
        call.peer._acknowledge = False
        handle = call.session.send_message("hello")
        await quiet()
        first = call.sent(ItemCreate)[0].item
        peer = await lose(call)
        (again,) = peer.heard(ItemCreate)
        assert again.item == first
        assert handle.state == "acknowledged"
        assert texts(call.session.history) == ["user: hello"]
        assert told(peer) == ["configuration", "user: hello", "reply?"]


async def test_a_message_that_was_lost_twice_is_one_message() -> None:
    async with redialling() as call:
        call.peer._acknowledge = False
        handle = call.session.send_message("hello")
        await quiet()
        await gap(call)
        model_of(call).refuse(refused())
        call.session.send_message("and again", reply=False)
        peer = await back(call)
        await lose(call)
        assert handle.state == "acknowledged"
        assert texts(call.session.history) == ["user: hello", "user: and again"]
        assert peer.closed.is_set()


async def test_history_survives_many_links_without_a_change() -> None:
    async with redialling() as call:
        await one_exchange(call)
        before = call.session.history
        for _ in range(4):
            await anyio.sleep(40)
            peer = await lose(call)
            assert told(peer) == ["configuration", "user: hello", "assistant: good day"]
        assert call.session.history == before


# -- changes in flight ------------------------------------------------------------------------------------------------


async def test_a_change_without_an_answer_is_asked_for_again() -> None:
    async with redialling() as call:
        call.peer._acknowledge = False
        update = call.session.update(voice=Voice("marin"))
        await quiet()
        peer = await lose(call)
        updates = peer.heard(SessionUpdate)
        assert len(updates) == 2
        assert updates[0].config.voice is None  # it does not hold yet
        assert updates[1].config.voice == Voice("marin")
        assert update.state == "acknowledged"


async def test_a_handoff_without_an_answer_is_asked_for_again() -> None:
    @tool
    async def lookup() -> str:
        return "found"

    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="second", name="Second", instructions="Be odd.", toolkits=[Toolkit(id="more", tools=[lookup])]
    )
    async with redialling() as call:
        call.peer._acknowledge = False
        switch = call.session.update_agent(agent)
        await quiet()
        await lose(call)
        assert switch.state == "acknowledged"
        assert [event.to_agent for event in call.seen(AgentChanged)] == ["second"]
        assert call.session.agent is agent


async def test_a_reply_beside_the_conversation_is_lost() -> None:
    async with redialling() as call:
        handle = call.session.request_reply(ResponseConfig(conversation="none"))
        await quiet()
        call.peer.hang_up(1006)
        with pytest.raises(CommandLost):
            await handle.settled()
        await back(call)
        assert told(call.peer) == ["configuration"]


# -- handles to go on with --------------------------------------------------------------------------------------------

RESUMES = Capabilities(input_formats=(PCM16_24K,), output_formats=(PCM16_24K,), can_resume=True)


async def test_with_a_handle_nothing_is_told_again() -> None:
    async with redialling(capabilities=RESUMES) as call:
        await one_exchange(call)
        await call.says(SessionResumable("old"), SessionResumable("handle"))
        call.peer._acknowledge = False
        message = call.session.send_message("not taken", reply=False)
        await quiet()
        peer = await lose(call)
        assert model_of(call).dials[-1].options.resume == "handle"
        assert told(peer) == ["configuration", "user: not taken"]
        assert message.state == "acknowledged"


async def test_with_a_handle_the_sound_of_the_gap_is_said() -> None:
    async with redialling(capabilities=RESUMES) as call:
        await call.says(SessionResumable("handle"))
        await gap(call)
        model_of(call)._refusals.clear()
        call.session.send_audio(b"\7" * 480)
        peer = await back(call)
        assert told(peer)[-1] == "sound 07"


async def test_a_handle_that_does_not_work_is_not_tried_twice() -> None:
    async with redialling(capabilities=RESUMES) as call:
        await one_exchange(call)
        await call.says(SessionResumable("handle"))
        model_of(call).refuse(refused())
        peer = await lose(call)
        assert [dial.options.resume for dial in model_of(call).dials] == [None, "handle", None]
        assert told(peer) == ["configuration", "user: hello", "assistant: good day"]


async def test_a_provider_that_cannot_resume_is_not_asked_to() -> None:
    async with redialling() as call:
        await call.says(SessionResumable("handle"))
        await lose(call)
        assert model_of(call).dials[-1].options.resume is None


async def test_what_a_link_still_says_after_it_was_given_up_is_not_taken_for_the_next() -> None:
    """The link is given up by the clock in the very moment in which its last words arrive."""
    for _ in range(5):
        async with redialling() as call:
            model_of(call).hang()
            now = anyio.current_time()
            await call.says(SessionExpiring(2.0))
            await anyio.sleep_until(now + 1.0)
            call.peer.say(SessionUpdated(SessionInfo(id="old")))
            await quiet()
            assert call.session.status == "reconnecting"
            assert call.session.id == "sess_scripted"
