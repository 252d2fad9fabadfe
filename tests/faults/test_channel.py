"""A human's side that fails: rows 33 and 36 of the fault list, in live sessions.

Row 36 is written of phone lines (``start``, ``streamSid``, sequence numbers): those are in tests/phone. What it says of
any channel is here: one that never opens, one that is spoken to too early, one whose source is damaged.
"""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from kernl_rt import SessionConfig, TurnDetection
from kernl_rt.channels import MemoryChannel, WavChannel
from kernl_rt.config import AudioFormat, ConnectOptions
from kernl_rt.events import (
    AudioInputAppend,
    ChannelEvent,
    InputTranscriptDelta,
    Interrupted,
    ItemCreated,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolFinished,
)
from kernl_rt.exceptions import AudioFileError, ChannelError, ConnectError, RealtimeError, SessionStateError
from kernl_rt.items import Message
from kernl_rt.tool import tool
from tests.faults.calls import under_fault
from tests.scenarios.calls import (
    TENTH,
    audio,
    audio_done,
    created,
    done,
    item_added,
    make_session,
    quiet,
    tool_call,
    transcript,
)

pytestmark = pytest.mark.anyio


class Broken(MemoryChannel):
    """A channel of somebody else's, one of whose methods raises what it should not."""

    def __init__(self, where: str, error: Exception, **options: Any) -> None:
        super().__init__(**options)
        self.where = where
        self.error = error
        self.closed = False
        self.broken = anyio.Event()

    def _maybe(self, where: str) -> None:
        if where == self.where:
            raise self.error

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        self._maybe("open")
        async with super().open(input_format, output_format):
            try:
                yield
            finally:
                self.closed = True
                self._maybe("close")

    async def receive(self) -> ChannelEvent:
        if self.where == "receive":
            await self.broken.wait()
            raise self.error
        return await super().receive()

    async def send(self, audio: bytes) -> None:
        self._maybe("send")
        await super().send(audio)

    async def flush(self) -> None:
        self._maybe("flush")
        await super().flush()

    def clear(self) -> float:
        self._maybe("clear")
        return super().clear()


# -- 33: it raises ----------------------------------------------------------------------------------------------------

ERRORS = [OSError("the device was pulled out"), ChannelError("no such device"), ZeroDivisionError("a bug")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["receive", "send", "flush", "clear"])
async def test_fault_33_a_channel_that_raises_ends_the_session(where: str, error: Exception) -> None:
    """The model is left, and told nothing more; the error says that it was the channel."""
    channel = Broken(where, error)
    with pytest.raises(ChannelError) as caught:
        async with under_fault(channel=channel, within=0.1) as call:
            channel.broken.set()
            await call.says(created(), audio(ms=100), audio_done(), audio("r1", "i2", 1_000), done())
            call.session.interrupt()
            await anyio.sleep(60)
    assert caught.value is error or caught.value.__cause__ is error
    [told] = call.seen(SessionError)
    assert told.source == "channel"
    assert call.peer.closed.is_set()
    assert channel.closed
    last = call.seen(StatusChanged)[-1]
    assert str(error) in (last.reason or ""), "closed says why"


async def test_fault_33_a_tool_that_runs_meanwhile_is_cancelled_and_recorded() -> None:
    @tool
    async def slow() -> str:
        await anyio.sleep_forever()
        return ""

    channel = Broken("receive", OSError("gone"))
    with pytest.raises(ChannelError, match="gone"):
        async with under_fault(slow, channel=channel) as call:
            await call.says(created(), tool_call("slow"), done())
            channel.broken.set()
            await anyio.sleep(60)
    assert [event.outcome for event in call.seen(ToolFinished)] == ["cancelled"]


async def test_fault_33_both_ends_fail_at_once() -> None:
    """The line breaks: receive and send both raise. One error comes out, bare, and closed comes once."""
    channel = MemoryChannel()
    with pytest.raises(ChannelError, match="the line broke"):
        async with under_fault(channel=channel) as call:
            await call.says(created(), audio(ms=10_000))
            channel.human.fail()
            await anyio.sleep(60)
    assert len(call.seen(SessionError)) == 1


@pytest.mark.parametrize("where", ["open", "close"])
async def test_fault_33_a_channel_that_cannot_be_opened_or_closed(where: str) -> None:
    channel = Broken(where, ChannelError(f"cannot {where}"))
    with pytest.raises(ChannelError, match=f"cannot {where}"):
        async with under_fault(channel=channel) as call:
            await call.says(created())
    assert channel.closed == (where == "close")


# -- 36: it is not what it should be ----------------------------------------------------------------------------------


class NeverOpens(MemoryChannel):
    """As a phone line on which the far end never says ``start``."""

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        await anyio.sleep_forever()
        yield


async def test_fault_36_a_channel_that_never_opens() -> None:
    """Connecting is bounded as a whole: 10 seconds unless the caller says otherwise."""
    start = anyio.current_time()
    with anyio.move_on_after(60) as patience, pytest.raises((ConnectError, ChannelError)):
        async with under_fault(channel=NeverOpens()):
            pytest.fail("it cannot have connected")
    assert not patience.cancelled_caught, "it waits for ever"
    assert anyio.current_time() - start == pytest.approx(10, abs=0.1)


async def test_fault_36_a_channel_that_never_opens_may_be_closed_meanwhile() -> None:
    """Whoever gives up first: ``close`` while the channel opens."""
    with anyio.move_on_after(60) as patience, pytest.raises((RealtimeError, ExceptionGroup)):
        async with anyio.create_task_group() as group:
            session = make_session(channel=NeverOpens(), connect_options=ConnectOptions(timeout=30))

            async def close() -> None:
                await anyio.sleep(1)
                session.close()

            group.start_soon(close)
            async with session:
                pytest.fail("it cannot have connected")
    assert not patience.cancelled_caught, "close() is heard while the channel opens"


async def test_fault_36_nobody_speaks_before_the_line_is_open() -> None:
    channel = MemoryChannel()
    with pytest.raises(SessionStateError):
        channel.human.speak_nowait(TENTH)
    async with under_fault(channel=channel) as call:
        await quiet()
        assert not call.sent(AudioInputAppend)
        channel.human.speak_nowait(TENTH)
        await quiet()
        assert [event.audio for event in call.sent(AudioInputAppend)] == [TENTH]


async def test_fault_36_sound_that_waits_for_the_line_is_not_lost() -> None:
    channel = MemoryChannel(playback="instant")
    async with anyio.create_task_group() as group:
        group.start_soon(channel.human.speak, TENTH)
        await quiet()
        async with under_fault(channel=channel) as call:
            await quiet()
            assert [event.audio for event in call.sent(AudioInputAppend)] == [TENTH]


async def test_fault_36_sound_after_the_end_is_refused_and_reaches_nobody() -> None:
    channel = MemoryChannel()
    async with under_fault(channel=channel) as call:
        call.session.close()
        await call.session.wait_closed()
    with pytest.raises(ChannelError):
        channel.human.speak_nowait(TENTH)
    assert not call.sent(AudioInputAppend)


def tone(path: Path, ms: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 24_000, 0, "NONE", ""))
        file.writeframes(b"\1\0" * 24 * ms)
    return path


@pytest.mark.parametrize("damage", ["missing", "empty", "no RIFF", "cut short", "a directory"])
async def test_fault_36_a_source_that_is_none_is_told_before_anything_is_sent(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "human.wav"
    match damage:
        case "empty":
            path.touch()
        case "no RIFF":
            path.write_bytes(bytes(1_000))
        case "cut short":
            path.write_bytes(tone(path, 1_000).read_bytes()[:20_001])
        case "a directory":
            path.mkdir()
    with pytest.raises(AudioFileError):
        async with under_fault(channel=WavChannel(path)):
            pytest.fail("there is nothing to hear")


# -- sound that arrives while a reply stands still --------------------------------------------------------------------


async def test_sound_that_arrives_during_a_pause_counts_as_received() -> None:
    """A reply of ten words and 2 seconds, of which 400 ms were heard: two words. Half of it arrived in the pause."""
    config = SessionConfig(turn_detection=TurnDetection.server_vad(create_response=False, interrupt_response=True))
    channel = MemoryChannel()
    async with under_fault(channel=channel, config=config, recover_after=0.5) as call:
        await call.says(created(), item_added(), ItemCreated(Message("assistant", id="i1")), audio(ms=1_000))
        await anyio.sleep(0.4)
        await call.says(SpeechStarted("u1", 0))
        await call.says(audio(ms=1_000), transcript("aa bb cc dd ee ff gg hh ii jj"))
        await call.says(InputTranscriptDelta("u1", "stop"))
        [interrupted] = call.seen(Interrupted)
        assert interrupted.heard_ms == pytest.approx(400, abs=25)
        [message] = [item for item in call.session.history if isinstance(item, Message) and item.id == "i1"]
        assert message.text.split() == ["aa", "bb"], "history holds no words that were not heard"
