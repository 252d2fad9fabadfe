"""A reply that runs, or still plays, when the link is lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    AudioInputCommitted,
    HistoryChanged,
    Interrupted,
    ItemCreated,
    ResponseCreate,
    ResponseDone,
    SpeechStarted,
    SpeechStopped,
)
from kernl_rt.items import ContentPart, Message
from kernl_rt.testing import TraceGrammar
from tests.scenarios.calls import Call, audio, audio_done, created, done, item_added, quiet, transcript, word
from tests.session.links import back, gap, lose, redialling, told

pytestmark = pytest.mark.anyio


async def speaks(call: Call, ms: int = 2_000) -> None:
    """A reply is on its way: sound, and the words that it has so far."""
    reply = Message("assistant", [ContentPart("output_audio")], id="i1")
    await call.says(created(), item_added(), ItemCreated(reply), audio(ms=ms))


async def complete(call: Call, text: str, response_id: str) -> None:
    item_id = f"i_{response_id}"
    item = Message("assistant", [ContentPart("output_audio", transcript=text)], id=item_id)
    await call.says(
        created(response_id),
        item_added(item_id, response_id),
        ItemCreated(item),
        transcript(text, response_id, item_id),
        done(response_id, text=text),
    )


def grammatical(call: Call) -> None:
    TraceGrammar().check(call.log)


@pytest.mark.parametrize("marks", [True, False])
async def test_a_reply_in_the_middle_is_cut_at_what_was_heard_and_asked_for_once(marks: bool) -> None:
    channel = MemoryChannel(reports_playback=marks)
    async with redialling(channel=channel) as call:
        call.session.send_message("a story, please")
        await quiet()
        await speaks(call)
        await anyio.sleep(1.0)
        await gap(call)
        (cut,) = call.seen(Interrupted)
        assert (cut.reason, cut.response_id, cut.item_id) == ("connection_lost", "r1", "i1")
        assert cut.heard_ms == pytest.approx(1_000, abs=25)
        heard = channel.statistics().heard
        await anyio.sleep(5)
        assert (channel.statistics().heard, channel.statistics().unheard) == (heard, 0)
        (over,) = call.seen(ResponseDone)
        assert (over.response.id, over.response.status) == ("r1", "incomplete")
        peer = await back(call)
        assert told(peer) == ["configuration", "user: a story, please", "reply?"]
        await complete(call, "once upon a time", "r2")
        assert len(peer.heard(ResponseCreate)) == 1
    grammatical(call)


async def test_the_history_of_a_cut_reply_is_what_was_heard_and_so_it_is_told() -> None:
    """The words may come ahead of the sound, as deltas and in the item."""
    channel = MemoryChannel()
    async with redialling(channel=channel) as call:
        call.session.send_message("count")
        await quiet()
        counted = Message("assistant", [ContentPart("output_audio", transcript="one two three four")], id="i1")
        await call.says(created(), item_added(), ItemCreated(counted), audio(ms=2_000), word("one two three four"))
        await anyio.sleep(1.0)
        peer = await lose(call)
        assert told(peer) == ["configuration", "user: count", "assistant: one two", "reply?"]
        reply = call.session.history[-1]
        assert isinstance(reply, Message)
        assert (reply.text, reply.status) == ("one two", "incomplete")
        assert call.seen(HistoryChanged)[-1].items == call.session.history


async def test_who_asked_gets_the_answer_of_the_next_link() -> None:
    async with redialling() as call, anyio.create_task_group() as group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await call.session.ask("what is it?"))

        group.start_soon(ask)
        await quiet()
        await speaks(call)
        await lose(call)
        assert answers == []
        await complete(call, "it is this", "r2")
        assert [answer.id for answer in answers] == ["r2"]


async def test_who_requested_a_reply_gets_that_of_the_next_link() -> None:
    async with redialling() as call:
        running = call.session.request_reply()
        await quiet()
        await call.says(created(), audio())
        waiting = call.session.send_message("more")
        peer = await lose(call)
        assert running.state == "pending"
        assert len(peer.heard(ResponseCreate)) == 1
        await complete(call, "it is this", "r2")
        assert (await running.settled()).id == "r2"
        assert waiting.state == "acknowledged"


async def test_a_request_that_was_not_answered_is_made_again_once() -> None:
    async with redialling() as call:
        handle = call.session.request_reply()
        await quiet()
        peer = await lose(call)
        assert told(peer) == ["configuration", "reply?"]
        await complete(call, "yes", "r2")
        assert handle.state == "acknowledged"


async def test_a_reply_that_the_provider_began_by_itself_is_asked_for_again() -> None:
    async with redialling(channel=MemoryChannel()) as call:
        await call.says(SpeechStarted("u1", 0), SpeechStopped("u1", 100), AudioInputCommitted("u1"))
        await speaks(call)
        peer = await lose(call)
        assert told(peer).count("reply?") == 1
        assert [event.reason for event in call.seen(Interrupted)] == ["connection_lost"]


@pytest.mark.parametrize("by", ["speech", "caller"])
async def test_a_reply_that_the_human_stopped_is_not_asked_for_again(by: str) -> None:
    async with redialling(channel=MemoryChannel()) as call:
        call.session.send_message("a story, please")
        await quiet()
        await speaks(call)
        if by == "caller":
            call.session.interrupt()
        else:
            await call.says(SpeechStarted("u1", 0))
        await quiet()
        peer = await lose(call)
        assert "reply?" not in told(peer)
        assert len(call.seen(Interrupted)) == 1
        assert [event.response.status for event in call.seen(ResponseDone)] == ["cancelled"]
    grammatical(call)


async def test_a_reply_whose_last_words_had_come_is_whole() -> None:
    channel = MemoryChannel()
    async with redialling(channel=channel) as call, anyio.create_task_group() as group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await call.session.ask("what is it?"))

        group.start_soon(ask)
        await quiet()
        await speaks(call)
        await call.says(transcript("it is this and that"), audio_done())
        await anyio.sleep(0.5)
        peer = await lose(call)
        assert call.seen(Interrupted) == []
        (answer,) = answers
        assert (answer.status, answer.output[0].text) == ("completed", "it is this and that")
        await anyio.sleep(5)
        assert channel.statistics().heard == 2 * 48_000
        assert told(peer) == ["configuration", "user: what is it?", "assistant: it is this and that"]
    grammatical(call)


async def test_the_tail_of_a_reply_plays_on_through_the_gap() -> None:
    channel = MemoryChannel()
    async with redialling(channel=channel) as call:
        await speaks(call, ms=3_000)
        await call.says(transcript("it is this and that"), audio_done(), done(text="it is this and that"))
        await anyio.sleep(1.0)
        before = call.session.history
        await gap(call, seconds=5)
        assert channel.statistics().heard == 3 * 48_000
        peer = await back(call)
        assert call.seen(Interrupted) == []
        assert call.session.history == before
        assert told(peer) == ["configuration", "assistant: it is this and that"]


async def test_the_tail_may_be_interrupted_in_the_gap() -> None:
    channel = MemoryChannel()
    async with redialling(channel=channel) as call:
        await speaks(call, ms=2_000)
        await call.says(transcript("one two three four"), audio_done(), done())
        await anyio.sleep(1.0)
        await gap(call)
        call.session.interrupt()
        await quiet()
        assert [event.reason for event in call.seen(Interrupted)] == ["requested"]
        peer = await back(call)
        assert told(peer) == ["configuration", "assistant: one two"]


async def test_a_turn_that_was_taken_and_not_answered_is_answered() -> None:
    async with redialling() as call:
        await call.says(SpeechStarted("u1", 0), SpeechStopped("u1", 100), AudioInputCommitted("u1"))
        peer = await lose(call)
        assert told(peer) == ["configuration", "reply?"]
