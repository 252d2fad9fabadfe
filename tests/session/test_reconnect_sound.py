"""The human's sound around a lost link: what belongs to a turn is said again, and what was said in the gap, too."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt import SessionConfig
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import TurnDetection
from kernl_rt.events import (
    AudioInputClear,
    AudioInputCommit,
    InputTranscript,
    ItemCreate,
    ItemCreated,
)
from kernl_rt.items import ContentPart, Message
from tests.scenarios.calls import quiet, refusal
from tests.session.links import (
    back,
    gap,
    heard_sound,
    lose,
    redialling,
    sound,
    speech_started,
    told,
    turn_over,
)

pytestmark = pytest.mark.anyio
PUSH_TO_TALK = SessionConfig(turn_detection=TurnDetection.off())


async def test_in_the_middle_of_a_turn_all_of_it_is_said_again_before_the_gaps() -> None:
    async with redialling() as call:
        await call.says(speech_started())
        for byte in range(1, 31):
            call.session.send_audio(sound(byte))
        await gap(call)
        call.session.send_audio(sound(100))
        peer = await back(call)
        call.session.send_audio(sound(101))
        await quiet()
        assert heard_sound(peer) == b"".join(map(sound, [*range(1, 31), 100, 101]))


async def test_of_the_quiet_before_only_a_second_is_said_again() -> None:
    async with redialling() as call:
        for byte in range(1, 31):
            call.session.send_audio(sound(byte))
        peer = await lose(call)
        assert heard_sound(peer) == b"".join(map(sound, range(21, 31)))


async def test_sound_of_the_gap_is_kept_over_a_link_that_does_not_hold() -> None:
    """The next link is lost before the provider has heard the gap."""
    async with redialling() as call:
        await gap(call)
        for byte in range(1, 31):
            call.session.send_audio(sound(byte))
        peer = await back(call)
        assert len(heard_sound(peer)) == 3 * 48_000
        call.session.send_audio(sound(31))
        await quiet()
        peer = await lose(call)
        assert heard_sound(peer) == b"".join(map(sound, range(1, 32)))


async def test_between_the_end_of_the_turn_and_its_commit_nothing_is_forgotten() -> None:
    async with redialling() as call:
        await call.says(speech_started())
        call.session.send_audio(sound(1, 3_000))
        await call.says(turn_over()[0])
        call.session.send_audio(sound(2))
        peer = await lose(call)
        assert heard_sound(peer) == sound(1, 3_000) + sound(2)


async def test_a_turn_that_was_taken_is_told_as_it_sounded_while_its_words_are_not_known() -> None:
    async with redialling() as call:
        await call.says(speech_started())
        call.session.send_audio(sound(1, 1_500))
        user = Message("user", [ContentPart("input_audio")], id="u1")
        await call.says(*turn_over(), ItemCreated(user))
        before = call.session.history
        peer = await lose(call)
        (item,) = [event.item for event in peer.heard(ItemCreate)]
        assert isinstance(item, Message)
        assert item.content == (ContentPart("input_audio", audio=sound(1, 1_500)),)
        assert heard_sound(peer) == b""
        assert told(peer)[-1] == "reply?"
        assert call.session.history == before
        await call.says(InputTranscript("u1", "hello", 0))
        assert call.session.history[0].text == "hello"  # type: ignore[union-attr]


async def test_a_turn_that_was_taken_is_told_in_its_words_once_they_are_known() -> None:
    async with redialling() as call:
        await call.says(speech_started())
        call.session.send_audio(sound(1, 1_500))
        user = Message("user", [ContentPart("input_audio")], id="u1")
        await call.says(*turn_over(), ItemCreated(user), InputTranscript("u1", "hello", 0))
        peer = await lose(call)
        assert told(peer) == ["configuration", "user: hello", "reply?"]


async def test_push_to_talk_with_a_commit_that_was_not_acknowledged() -> None:
    async with redialling(config=PUSH_TO_TALK) as call:
        call.peer._acknowledge = False
        call.session.send_audio(sound(1))
        commit = call.session.commit()
        await quiet()
        assert len(call.sent(AudioInputCommit)) == 1
        await gap(call)
        call.session.send_audio(sound(2))
        peer = await back(call)
        assert told(peer) == ["configuration", "sound 01", "commit", "sound 02", "reply?"]
        assert commit.state == "acknowledged"
        again = await lose(call)
        assert told(again)[-2:] == ["sound 02", "reply?"]


async def test_push_to_talk_in_the_gap() -> None:
    async with redialling(config=PUSH_TO_TALK) as call:
        await gap(call)
        call.session.send_audio(sound(1))
        commit = call.session.commit()
        peer = await back(call)
        assert told(peer) == ["configuration", "sound 01", "commit", "reply?"]
        assert commit.state == "acknowledged"


async def test_a_commit_that_was_refused_is_not_made_again() -> None:
    async with redialling(config=PUSH_TO_TALK) as call:
        call.peer._acknowledge = False
        call.session.send_audio(sound(1, 20))
        commit = call.session.commit(reply=False)
        await quiet()
        (sent,) = call.sent(AudioInputCommit)
        call.session.on("error", lambda event: None)
        await call.says(refusal("buffer_too_small", event_id=sent.event_id))
        assert commit.state == "rejected"
        peer = await lose(call)
        assert told(peer) == ["configuration", "sound 01"]


async def test_a_buffer_that_is_cleared_in_the_gap_is_clear() -> None:
    async with redialling(config=PUSH_TO_TALK) as call:
        call.session.send_audio(sound(1))
        await gap(call)
        call.session.send_audio(sound(2))
        clear = call.session.send(AudioInputClear())
        call.session.send_audio(sound(3))
        peer = await back(call)
        assert told(peer) == ["configuration", "sound 03"]
        assert clear.state == "acknowledged"


async def test_what_was_not_sent_while_muted_is_not_said_later() -> None:
    async with redialling() as call:
        call.session.mute()
        call.session.send_audio(sound(1))
        await gap(call)
        call.session.send_audio(sound(2))
        call.session.unmute()
        call.session.send_audio(sound(3))
        peer = await back(call)
        assert heard_sound(peer) == sound(3)


async def test_the_gap_keeps_thirty_seconds_and_counts_the_rest() -> None:
    async with redialling() as call:
        await gap(call)
        for byte in range(1, 36):
            call.session.send_audio(sound(byte, 1_000))
        assert call.session.statistics().discarded["gap_bytes"] == 5 * 48_000
        peer = await back(call)
        assert heard_sound(peer) == b"".join(sound(byte, 1_000) for byte in range(6, 36))


async def test_a_live_channel_speaks_into_the_gap() -> None:
    channel = MemoryChannel()
    async with redialling(channel=channel) as call:
        await gap(call)
        await channel.human.speak(sound(1, 2_000))
        peer = await back(call)
        assert heard_sound(peer)[: 2 * 48_000] == sound(1, 2_000)


async def test_a_file_waits_for_the_next_link() -> None:
    """It could be read in a moment, and all but thirty seconds of it would be lost."""
    channel = MemoryChannel(playback="instant", live=False)
    async with redialling(channel=channel) as call, anyio.create_task_group() as group:
        await gap(call)

        async def read() -> None:
            for byte in range(1, 61):
                await channel.human.speak(sound(byte, 1_000))

        group.start_soon(read)
        await quiet()
        assert "gap_bytes" not in call.session.statistics().discarded
        peer = await back(call)
        assert heard_sound(peer) == b"".join(sound(byte, 1_000) for byte in range(1, 61))
