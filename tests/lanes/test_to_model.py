"""What waits for the model's socket while it is stalled: its bound, what goes when it is reached, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kernl_rt import SessionConfig, TurnDetection, tool
from kernl_rt.config import ResponseConfig
from kernl_rt.events import (
    AudioInputAppend,
    AudioInputCommit,
    ItemCreate,
    ItemTruncate,
    RawClientEvent,
    ResponseCancel,
    ToolResult,
)
from kernl_rt.exceptions import CommandAborted, LaneFull
from tests.lanes.stalling import FRAME, Call, StallingChannel, calling
from tests.scenarios.calls import audio, created, done, quiet, tool_call

pytestmark = pytest.mark.anyio


async def stall(call: Call) -> None:
    """Shut the socket, with one frame stuck in it: what the transport has taken is no longer the lane's."""
    call.model.socket.shut()
    assert call.channel is not None
    call.channel.say(b"\7\0" * 480)
    await quiet()
    assert call.waiting == 0


async def test_promise_13_microphone_of_a_minute_before_a_stalled_socket() -> None:
    @tool
    async def look() -> str:
        """Look."""
        await anyio.sleep(30)
        return "a tree"

    async with calling(look, channel=StallingChannel()) as call:
        channel = call.channel
        assert channel is not None
        call.peer.say(created(), audio(ms=60_000), tool_call("look"))
        await quiet()
        await stall(call)
        before = len(call.peer.sent)
        for number in range(3_000):
            channel.say(number.to_bytes(2, "little") * 480)
            await anyio.sleep(0.02)
            assert call.session.statistics().to_model.audio_ms <= 500
        lane = call.session.statistics().to_model
        assert lane.audio_ms == 500
        assert abs(lane.dropped_ms - 59_500) <= 20
        call.session.interrupt()
        call.model.socket.open()
        await quiet()
        written = [event for event in call.peer.sent[before:] if not _is(event, b"\7\0")]
        # An interruption is written before what waited longer; the tool's result before any sound.
        assert [type(event) for event in written[:3]] == [ResponseCancel, ItemTruncate, ToolResult]
        sound = [event.audio[:2] for event in written if isinstance(event, AudioInputAppend)]
        assert sound == [number.to_bytes(2, "little") for number in range(2_975, 3_000)], "the oldest goes first"
        assert call.session.statistics().to_model.waiting == 0


def _is(event: Any, sample: bytes) -> bool:
    return isinstance(event, AudioInputAppend) and event.audio[:2] == sample


async def test_an_interruption_overtakes_everything() -> None:
    """Cancel and truncate are written before sound and commands that waited longer."""
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        call.peer.say(created(), audio(ms=100))
        await quiet()
        call.channel.speaker.shut()
        call.peer.say(audio(ms=400))
        await quiet()
        await stall(call)
        before = len(call.peer.sent)
        call.session.send_message("later", reply=False)
        call.channel.say(FRAME)
        await quiet()
        call.session.interrupt()
        call.channel.speaker.open()
        call.model.socket.open()
        await quiet()
        kinds = [type(event) for event in call.peer.sent[before:] if not _is(event, b"\7\0")]
        assert kinds[:4] == [ResponseCancel, ItemTruncate, ItemCreate, AudioInputAppend]


async def test_a_file_waits_instead_of_losing_sound() -> None:
    async with calling(channel=StallingChannel(live=False)) as call:
        assert call.channel is not None
        await stall(call)
        for number in range(3_000):
            call.channel.say(number.to_bytes(2, "little") * 480)
        await anyio.sleep(60)
        lane = call.session.statistics().to_model
        assert lane.dropped_ms == 0
        assert lane.audio_ms <= 520
        assert len(call.channel.microphone) >= 2_970, "the source was read on"
        call.model.socket.open()
        await anyio.sleep(1)
        sound = [event.audio[:2] for event in call.peer.heard(AudioInputAppend)][1:]
        assert sound == [number.to_bytes(2, "little") for number in range(3_000)]


async def test_sound_handed_over_is_held_up_to_8_MiB_then_refused() -> None:
    async with calling() as call:
        call.model.socket.shut()
        piece = b"\1\0" * 2**15
        taken = 0
        with pytest.raises(LaneFull, match="8 MiB"):
            for _ in range(1_000):
                call.session.send_audio(piece)
                taken += len(piece)
        assert 8 * 2**20 <= taken <= 8 * 2**20 + 2 * len(piece)
        call.model.socket.open()
        await quiet()
        assert sum(len(event.audio) for event in call.peer.heard(AudioInputAppend)) == taken, "nothing of it is lost"
        call.session.send_audio(piece)


async def test_the_microphone_never_costs_what_a_caller_has_handed_over() -> None:
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        await stall(call)
        call.session.send_audio(b"\2\0" * 24_000)  # a second: more than the microphone may keep
        for _ in range(50):
            call.channel.say(FRAME)
        await quiet()
        call.model.socket.open()
        await quiet()
        handed = sum(len(event.audio) for event in call.peer.heard(AudioInputAppend) if _is(event, b"\2\0"))
        assert handed == 48_000
        captured = sum(len(event.audio) for event in call.peer.heard(AudioInputAppend) if _is(event, b"\1\0"))
        assert captured == 25 * len(FRAME)


COMMANDS: dict[str, Callable[[Call], Any]] = {
    "send_message": lambda call: call.session.send_message("x", reply=False),
    "ask for a reply": lambda call: call.session.request_reply(),
    "a reply beside": lambda call: call.session.request_reply(ResponseConfig(conversation="none")),
    "commit": lambda call: call.session.commit(reply=False),
    "raw event": lambda call: call.session.send({"type": "x"}),
    "hang_up": lambda call: call.session.hang_up(timeout=600),
    "update": lambda call: call.session.update(instructions=str(len(call.peer.sent)) + str(call.waiting)),
}


@pytest.mark.parametrize("verb", COMMANDS)
async def test_commands_beyond_256_are_refused_at_the_caller_and_every_handle_settles(verb: str) -> None:
    async with calling(acknowledge=True) as call:
        call.model.socket.shut()
        call.peer.say(created())  # a goodbye is not over while somebody speaks
        await quiet()
        handles = []
        refused = 0
        for _ in range(1_000):
            try:
                handles.append(COMMANDS[verb](call))
            except LaneFull:
                refused += 1
        assert refused >= 1_000 - 258
        assert call.waiting <= 260
        statistics = call.session.statistics()
        assert statistics.open_commands <= 257
        assert statistics.unanswered <= 257
        assert statistics.waiting_replies <= 257
    assert all(handle.state != "pending" for handle in handles)


async def test_commands_that_were_never_written_settle_when_the_session_closes() -> None:
    async with calling() as call:
        call.model.socket.shut()
        handle = call.session.send_message("x")
        await quiet()
        call.session.close()
    with pytest.raises(CommandAborted):
        await handle.settled()


async def test_commits_keep_their_place_and_their_number_when_sound_is_dropped() -> None:
    async with calling(channel=StallingChannel(), config=SessionConfig(turn_detection=TurnDetection.off())) as call:
        assert call.channel is not None
        await stall(call)
        for _ in range(3):
            for _ in range(100):
                call.channel.say(FRAME)
            await quiet()
            call.session.commit(reply=False)
        assert call.waiting <= 25 + 3
        call.model.socket.open()
        await quiet()
        assert len(call.peer.heard(AudioInputCommit)) == 3


async def test_muted_sound_is_counted_and_takes_no_room() -> None:
    async with calling(channel=StallingChannel()) as call:
        assert call.channel is not None
        call.model.socket.shut()
        call.session.mute()
        for _ in range(100):
            call.channel.say(FRAME)
        await quiet()
        statistics = call.session.statistics()
        assert statistics.to_model.waiting == 0
        assert statistics.discarded["muted_bytes"] == 100 * len(FRAME)


async def test_raw_client_events_are_in_order_behind_a_stall() -> None:
    async with calling() as call:
        call.model.socket.shut()
        for number in range(100):
            call.session.send({"type": "x", "number": number})
        call.model.socket.open()
        await quiet()
        assert [event.data["number"] for event in call.peer.heard(RawClientEvent)] == list(range(100))


async def test_a_stalled_socket_holds_up_no_reply_and_no_tool() -> None:
    """The other direction goes on: sound plays and calls run while nothing can be written."""
    ran = []

    @tool
    async def look() -> str:
        """Look."""
        ran.append(anyio.current_time())
        return "seen"

    async with calling(look, channel=StallingChannel()) as call:
        assert call.channel is not None
        await stall(call)
        call.peer.say(created(), audio(ms=100), tool_call("look"), done())
        await quiet()
        assert ran
        assert len(call.channel.heard) == 4_800
