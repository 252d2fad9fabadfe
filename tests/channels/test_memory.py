from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from kernl_rt.channels import MemoryChannel, MemoryHuman, memory_channel_pair
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioPlayed,
    ChannelEvent,
    DtmfPressed,
)
from kernl_rt.exceptions import ChannelError, MisconfiguredError, SessionStateError

pytestmark = pytest.mark.anyio

MS = 48  # bytes of PCM16 at 24 kHz


def pcm(ms: int, value: int = 1) -> bytes:
    return bytes([value, 0]) * (ms * MS // 2)


def opened(channel: MemoryChannel) -> Any:
    return channel.open(PCM16_24K, PCM16_24K)


async def drain(channel: MemoryChannel) -> list[ChannelEvent]:
    events = []
    with anyio.move_on_after(0.0001):
        while True:
            events.append(await channel.receive())
    return events


async def test_playback_by_the_clock() -> None:
    channel, human = memory_channel_pair()
    marks: list[tuple[float, float]] = []
    async with opened(channel), anyio.create_task_group() as tasks:

        async def receive() -> None:
            while True:
                event = await channel.receive()
                assert isinstance(event, AudioPlayed)
                assert event.at is not None
                marks.append((event.position_ms, event.at - start))

        start = anyio.current_time()
        tasks.start_soon(receive)
        await channel.send(pcm(90))
        assert anyio.current_time() == start, "within the send-ahead nothing waits"
        await anyio.sleep(1)
        tasks.cancel_scope.cancel()
    assert [mark for mark, _ in marks] == [20, 40, 60, 80, 90]
    assert [at for _, at in marks] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.09], abs=1e-4)
    assert b"".join([piece async for piece in human]) == pcm(90)


async def test_send_waits_while_more_than_the_send_ahead_is_unheard() -> None:
    channel = MemoryChannel(send_ahead_ms=100)
    async with opened(channel), anyio.create_task_group() as tasks:
        start = anyio.current_time()

        async def watch() -> None:
            while True:
                assert channel.statistics().unheard <= 100 * MS
                await anyio.sleep(0.003)

        tasks.start_soon(watch)
        await channel.send(pcm(1_000))
        assert anyio.current_time() - start == pytest.approx(0.9, abs=0.002)
        tasks.cancel_scope.cancel()


async def test_clear_is_exact_and_the_human_hears_no_more() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel):
        await channel.send(pcm(150))
        await anyio.sleep(0.033)
        assert channel.clear() == pytest.approx(33, abs=0.05)
        heard = channel.statistics().heard
        assert channel.statistics().cleared == 150 * MS - heard
        await anyio.sleep(1)
        await channel.send(pcm(10, 2))
        await anyio.sleep(0.02)
        assert await drain(channel) == [AudioPlayed(heard / MS + 10, at=pytest.approx(anyio.current_time(), abs=0.001))]
    assert b"".join([piece async for piece in human]) == pcm(150)[:heard] + pcm(10, 2)


async def test_clear_drops_marks_that_are_older_than_its_answer() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel):
        await channel.send(pcm(150))
        await anyio.sleep(0.025)
        human.press("1")
        assert human.hear_nowait() == pcm(25)
        assert channel.statistics().waiting_events == 2  # a key and a mark
        await anyio.sleep(0.01)
        channel.clear()
        assert [type(event) for event in await drain(channel)] == [DtmfPressed]


async def test_clear_ends_a_waiting_send_and_drops_its_rest() -> None:
    channel = MemoryChannel()
    async with opened(channel), anyio.create_task_group() as tasks:
        tasks.start_soon(channel.send, pcm(5_000))
        await anyio.sleep(0.5)
        assert channel.clear() == pytest.approx(500, abs=0.1)
        start = anyio.current_time()
    assert anyio.current_time() == start
    assert channel.statistics().heard == pytest.approx(500 * MS, abs=4)


async def test_heard_at_once() -> None:
    channel, human = memory_channel_pair(playback="instant")
    async with opened(channel):
        await channel.send(pcm(5_000))
        await channel.send(pcm(1))
        assert await drain(channel) == [AudioPlayed(5_001, at=pytest.approx(anyio.current_time(), abs=0.001))]
        assert await human.hear() == pcm(5_000)
        assert human.hear_nowait() == pcm(1)
        with pytest.raises(anyio.WouldBlock):
            human.hear_nowait()
        assert channel.clear() == 5_001


async def test_heard_when_the_human_says_so() -> None:
    channel, human = memory_channel_pair(playback="manual")
    async with opened(channel):
        await channel.send(pcm(40))
        await channel.send(pcm(40, 2))
        assert await human.hear() == pcm(40)
        assert await drain(channel) == []
        human.played(50)
        assert [event.position_ms for event in await drain(channel) if isinstance(event, AudioPlayed)] == [50]
        with pytest.raises(SessionStateError, match="30 ms are waiting"):
            human.played(31)
        assert channel.clear() == 50
        assert human.hear_nowait() == pcm(10, 2), "what was heard is still there, the rest was cleared"
        with pytest.raises(anyio.WouldBlock):
            human.hear_nowait()
        await channel.send(pcm(10, 3))
        human.played()
        assert channel.clear() == 60
        assert human.hear_nowait() == pcm(10, 3)


async def test_a_manual_human_who_says_nothing_blocks_the_sender() -> None:
    channel, human = memory_channel_pair(playback="manual")
    async with opened(channel), anyio.create_task_group() as tasks:
        tasks.start_soon(channel.send, pcm(300))
        await anyio.sleep(100)
        assert channel.statistics().unheard == 200 * MS
        human.played(100)
        await anyio.sleep(0.1)
        assert channel.statistics().unheard == 200 * MS
        human.played()


async def test_the_manual_verb_needs_manual_playback() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel):
        with pytest.raises(SessionStateError, match="playback='manual'"):
            human.played(1)


async def test_speaking_takes_as_long_as_the_sound() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel), anyio.create_task_group() as tasks:
        start = anyio.current_time()
        tasks.start_soon(human.speak, pcm(50))
        events = [await channel.receive() for _ in range(3)]
        assert anyio.current_time() - start == pytest.approx(0.05)
    assert all(isinstance(event, AudioCaptured) for event in events)
    captured = [event for event in events if isinstance(event, AudioCaptured)]
    assert [len(event.audio) for event in captured] == [20 * MS, 20 * MS, 10 * MS]
    assert [event.at for event in captured] == pytest.approx([start, start + 0.02, start + 0.04])


async def test_speaking_waits_for_room() -> None:
    channel, human = memory_channel_pair(playback="instant", input_buffer_ms=100)
    said = 0
    async with opened(channel), anyio.create_task_group() as tasks:

        async def speak() -> None:
            nonlocal said
            for _ in range(5):
                await human.speak(pcm(40))
                said += 1

        tasks.start_soon(speak)
        await anyio.sleep(10)
        assert said == 2
        assert channel.statistics().waiting_input == 80 * MS
        await channel.receive()
        await anyio.sleep(10)
        assert said == 3
        for _ in range(4):
            await channel.receive()
    assert channel.statistics().dropped_input == 0


async def test_a_live_human_does_not_wait_and_loses_the_oldest_sound() -> None:
    channel, human = memory_channel_pair(input_buffer_ms=100)
    async with opened(channel):
        human.press("*")
        for value in range(1, 6):
            human.speak_nowait(pcm(40, value), at=float(value))
        assert channel.statistics().dropped_input == 3 * 40 * MS
        assert await drain(channel) == [
            DtmfPressed("*", at=pytest.approx(anyio.current_time(), abs=0.001)),
            AudioCaptured(pcm(40, 4), at=4.0),
            AudioCaptured(pcm(40, 5), at=5.0),
        ]
        human.speak_nowait(pcm(400))  # more than the whole buffer: alone it goes
        assert channel.statistics().waiting_input == 400 * MS


async def test_a_human_who_is_not_live_would_block() -> None:
    channel, human = memory_channel_pair(input_buffer_ms=100, live=False)
    async with opened(channel):
        human.speak_nowait(pcm(100))
        with pytest.raises(anyio.WouldBlock):
            human.speak_nowait(pcm(1))
        assert channel.statistics().dropped_input == 0


async def test_other_events_are_bounded_and_in_order() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel):
        human.activity_started()
        human.speak_nowait(pcm(1))
        human.activity_ended()
        human.press("12#")
        assert [type(event) for event in await drain(channel)] == [
            ActivityStarted,
            AudioCaptured,
            ActivityEnded,
            *[DtmfPressed] * 3,
        ]
        with pytest.raises(MisconfiguredError, match="X"):
            human.press("1X")
        assert channel.statistics().waiting_events == 0
        for _ in range(1_024):
            human.activity_started()
        with pytest.raises(anyio.WouldBlock):
            human.activity_started()
        await channel.receive()
        human.activity_started()


async def test_marks_that_nobody_fetches_do_not_pile_up() -> None:
    channel, human = memory_channel_pair(playback="manual", send_ahead_ms=1_000)
    async with opened(channel):
        await channel.send(pcm(1_000))
        for _ in range(1_000):
            human.played(1)
        assert channel.statistics().waiting_events == 1
        assert channel.clear() == 1_000


async def test_the_ear_is_bounded() -> None:
    channel, human = memory_channel_pair(playback="instant", hear_buffer=100)
    async with opened(channel):
        for value in range(5):
            await channel.send(bytes([value, 0]) * 20)
        assert channel.statistics().waiting_heard == 80
        assert channel.statistics().dropped_heard == 120
        assert human.hear_nowait() == bytes([3, 0]) * 20


async def test_hanging_up() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel), anyio.create_task_group() as tasks:
        tasks.start_soon(channel.send, pcm(1_000))
        await anyio.sleep(0.1)
        human.speak_nowait(pcm(20))
        human.hang_up()
        human.hang_up()
        start = anyio.current_time()
        events = [await channel.receive(), await channel.receive()]
        assert {type(event) for event in events} == {AudioCaptured, AudioPlayed}, "what came before still arrives"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await channel.receive()
        await channel.send(pcm(500))
        assert anyio.current_time() == start, "nobody listens: nothing is waited for"
        assert channel.statistics().discarded == 500 * MS
        assert channel.clear() == pytest.approx(100, abs=0.1)
        for verb in (human.activity_started, lambda: human.press("1"), lambda: human.speak_nowait(b"")):
            with pytest.raises(ChannelError, match="hung up"):
                verb()
        with pytest.raises(ChannelError, match="hung up"):
            await human.speak(pcm(20))


async def test_hanging_up_wakes_the_receiver_and_the_listener() -> None:
    channel, human = memory_channel_pair()
    ended: list[str] = []
    async with opened(channel), anyio.create_task_group() as tasks:

        async def wait_for(name: str, verb: Any) -> None:
            with pytest.raises(anyio.EndOfStream):
                await verb()
            ended.append(name)

        tasks.start_soon(wait_for, "receive", channel.receive)
        tasks.start_soon(wait_for, "hear", human.hear)
        await anyio.sleep(1)
        human.hang_up()
    assert sorted(ended) == ["hear", "receive"]


@pytest.mark.parametrize("failure", ["the cable is cut", OSError("the cable is cut"), ChannelError("the cable is cut")])
async def test_a_broken_line(failure: Any) -> None:
    channel, human = memory_channel_pair()
    async with opened(channel), anyio.create_task_group() as tasks:

        async def send() -> None:
            with pytest.raises(ChannelError, match="the cable is cut"):
                await channel.send(pcm(1_000))

        tasks.start_soon(send)
        await anyio.sleep(0.1)
        human.fail(failure)
        for verb in (channel.receive, lambda: channel.send(pcm(1)), channel.receive):
            with pytest.raises(ChannelError, match="the cable is cut") as caught:
                await verb()
            assert isinstance(failure, str) or failure in (caught.value, caught.value.__cause__)
        assert channel.clear() == pytest.approx(100, abs=0.1)


async def test_before_and_after_the_call() -> None:
    channel, human = memory_channel_pair()
    assert channel.clear() == 0
    assert channel.statistics().sent == 0
    with pytest.raises(SessionStateError, match="wait_open"):
        human.hang_up()
    for verb in (channel.receive, lambda: channel.send(b""), channel.flush):
        with pytest.raises(SessionStateError, match="not open"):
            await verb()
    async with anyio.create_task_group() as tasks:
        heard: list[bytes] = []

        async def listen() -> None:
            heard.extend([piece async for piece in human])

        tasks.start_soon(listen)
        tasks.start_soon(human.speak, pcm(20))
        await anyio.sleep(5)
        async with opened(channel):
            assert isinstance(await channel.receive(), AudioCaptured)
            await channel.send(pcm(20))
            await anyio.sleep(0.01)
    assert b"".join(heard) == pcm(10), "after the channel is closed nobody hears"
    assert channel.clear() == 10
    for verb in (channel.receive, lambda: channel.send(b""), channel.flush):
        with pytest.raises(SessionStateError, match="closed"):
            await verb()
    with pytest.raises(ChannelError, match="closed"):
        human.speak_nowait(b"")
    with pytest.raises(SessionStateError, match="make a new one"):
        async with opened(channel):
            pass


async def test_a_sample_cut_in_two_is_put_together() -> None:
    channel, human = memory_channel_pair(playback="instant")
    async with opened(channel):
        await channel.send(b"\1")
        await channel.send(b"\2\3")
        await channel.flush()
        assert b"".join([human.hear_nowait(), human.hear_nowait()]) == b"\1\2\3\0"
        await channel.send(b"\1")
        channel.clear()
        await channel.flush()
        await channel.send(b"\7\7")
        assert human.hear_nowait() == b"\7\7"


async def test_other_formats() -> None:
    channel, human = memory_channel_pair()
    async with channel.open(PCM16_16K, G711_ULAW):
        await channel.send(b"\x11" * 160)
        await anyio.sleep(0.015)
        assert channel.clear() == 15
        assert b"".join([human.hear_nowait()]) == b"\x11" * 120


@pytest.mark.parametrize(
    "options",
    [
        {"playback": "slow"},
        {"send_ahead_ms": 0},
        {"input_buffer_ms": 0},
        {"hear_buffer": 0},
        {"input_formats": []},
        {"output_formats": []},
    ],
)
async def test_options_are_checked(options: Any) -> None:
    with pytest.raises(MisconfiguredError):
        MemoryChannel(**options)


async def test_hearing_may_be_cancelled_without_loss() -> None:
    channel, human = memory_channel_pair()
    async with opened(channel), anyio.create_task_group() as tasks:
        tasks.start_soon(channel.send, bytes(itertools.islice(itertools.cycle(range(1, 256)), 500 * MS)))
        heard = b""
        while len(heard) < 500 * MS:
            with anyio.move_on_after(0.007):
                heard += await human.hear()
    assert heard == bytes(itertools.islice(itertools.cycle(range(1, 256)), 500 * MS))


async def test_receiving_lets_others_run() -> None:
    """A receiver that never has to wait still lets its neighbours have a turn."""
    channel, human = memory_channel_pair(input_buffer_ms=10_000)
    async with opened(channel), anyio.create_task_group() as tasks:
        turns = 0

        async def neighbour() -> None:
            nonlocal turns
            while True:
                turns += 1
                await checkpoint()

        tasks.start_soon(neighbour)
        for _ in range(100):
            human.speak_nowait(pcm(1))
        for _ in range(100):
            await channel.receive()
        assert turns >= 50
        tasks.cancel_scope.cancel()
    assert isinstance(human, MemoryHuman)
