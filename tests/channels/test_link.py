"""The base of browser and phone channels: conformance, bounds, what is heard, how it ends."""

from __future__ import annotations

import json

import anyio
import anyio.lowlevel
import pytest
from channels.far_end import Call, talkative

from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed, DtmfPressed
from kernl_rt.exceptions import ChannelError, ConnectionClosed, MisconfiguredError
from kernl_rt.testing import check_channel

pytestmark = pytest.mark.anyio

FORMATS = [
    (PCM16_24K, PCM16_24K, PCM16_24K),
    (G711_ULAW, AudioFormat("pcm16", 8_000), G711_ULAW),
    (G711_ULAW, PCM16_24K, PCM16_16K),
    (PCM16_24K, AudioFormat("pcm16", 44_100), AudioFormat("pcm16", 48_000)),
]


@pytest.mark.parametrize("counting", [True, False])
@pytest.mark.parametrize("delay", [0.0, 0.08])
@pytest.mark.parametrize("formats", FORMATS)
async def test_conforms(formats: tuple[AudioFormat, AudioFormat, AudioFormat], counting: bool, delay: float) -> None:
    native, into, out_of = formats
    await check_channel(
        lambda: Call(native, counting=counting, delay=delay),
        human=talkative,
        input_format=into,
        output_format=out_of,
    )


# -- what is heard ----------------------------------------------------------------------------------------------------


async def test_positions_follow_what_the_far_end_really_plays() -> None:
    """It begins 80 ms late: the position is never far from the truth, and right in the end."""
    call = Call(PCM16_24K, counting=True, delay=0.08)
    async with call.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
        tasks.start_soon(call.far.run)
        tasks.start_soon(call.send, bytes(48_000))
        last = 0.0
        while last < 1_000:
            event = await call.receive()
            assert isinstance(event, AudioPlayed)
            truth = PCM16_24K.ms(len(call.far.heard))
            assert event.position_ms > last
            assert truth - 20 <= event.position_ms <= truth + 120, truth
            last = event.position_ms
        await anyio.sleep(0.1)
        assert call.statistics().confirmed == len(call.far.heard) == 48_000
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("counting", [True, False])
async def test_a_clear_overtakes_sound_and_what_was_on_its_way_does_not_count(counting: bool) -> None:
    call = Call(PCM16_24K, counting=counting)
    async with call.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
        tasks.start_soon(call.far.run)
        with anyio.move_on_after(0.5):
            await call.send(bytes(480_000))
        position = call.clear()
        assert 400 < position <= 520
        assert call.clear() == position
        await anyio.sleep(0.1)
        played = len(call.far.heard)
        assert abs(PCM16_24K.ms(played) - position) < 130
        assert call.far.texts == [{"type": "clear", "clears": 1}]
        assert call.clear() == position
        await call.send(bytes(9_600))
        await call.flush()
        await anyio.sleep(1)
        assert call.clear() == position + 200
        assert len(call.far.heard) == played + 9_600
        assert call.statistics().clears == 1
        tasks.cancel_scope.cancel()


async def test_a_clear_drops_first_what_waits_here() -> None:
    call = Call(PCM16_24K, counting=True, window=2)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.send(bytes(9_600))  # ten messages, of which the link takes two
        await anyio.sleep(0.01)
        call.clear()
        assert call.statistics().waiting_messages == 0
        received: list[str | bytes] = []
        with anyio.move_on_after(1):
            while True:
                received += await call.far.stream.receive()
        assert len(received) <= 4
        assert received[-1] == '{"type": "clear", "clears": 1}'


async def test_a_control_message_overtakes_waiting_sound() -> None:
    call = Call(PCM16_24K, counting=True, window=2)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.send(bytes(9_600))  # ten messages, of which the link takes two
        await anyio.sleep(0.01)
        call.post("first", key="one")
        call.post("second")
        call.post("instead of the first", key="one")
        received: list[str | bytes] = []
        with anyio.move_on_after(1):
            while True:
                received += await call.far.stream.receive()
        said = [index for index, message in enumerate(received) if isinstance(message, str)]
        assert [received[index] for index in said][:2] == ["instead of the first", "second"]
        assert said[0] <= 3
        assert len(received) >= 12


async def test_a_far_end_that_confirms_nothing_is_not_filled() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        with anyio.move_on_after(30) as waiting:
            await call.send(bytes(480_000))
        assert waiting.cancelled_caught
        statistics = call.statistics()
        assert statistics.sent == PCM16_24K.size(1_200)
        assert statistics.heard == PCM16_24K.size(120), "the clock is trusted for so long"
        await call.far.stream.send(json.dumps({"type": "played", "size": 24_000}))
        await anyio.sleep(1)
        assert call.statistics().heard == 24_000 + PCM16_24K.size(120)


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_captured_sound_is_bounded_and_the_oldest_goes() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        for number in range(50):
            await call.far.stream.send(bytes([number]) * 960)
        await anyio.sleep(0.1)
        assert call.statistics().waiting_input == PCM16_24K.size(500)
        assert call.statistics().dropped_input == PCM16_24K.size(500)
        event = await call.receive()
        assert isinstance(event, AudioCaptured)
        assert event.audio == bytes([25]) * 960
        assert event.at is not None
        assert event.at == pytest.approx(anyio.current_time() - 0.12)


async def test_a_sample_that_is_cut_in_two_is_put_together() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        sound = bytes(range(240)) * 4
        for piece in (sound[:1], sound[1:502], sound[502:]):
            await call.far.stream.send(piece)
        await anyio.sleep(0.1)
        captured = b""
        while len(captured) < 960:
            event = await call.receive()
            assert isinstance(event, AudioCaptured)
            assert len(event.audio) % 2 == 0
            captured += event.audio
        assert captured == sound


async def test_a_flood_of_events_ends_the_call() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        for _ in range(1_025):
            await call.far.stream.send('{"type":"key","key":"1"}')
            await anyio.lowlevel.checkpoint()
        for _ in range(1_024):
            assert await call.receive() == DtmfPressed("1")
        with pytest.raises(ChannelError, match="more events"):
            await call.receive()
        with pytest.raises(ChannelError, match="more events"):
            await call.send(b"\0\0")


async def test_a_far_end_that_reads_nothing_is_given_up() -> None:
    call = Call(PCM16_24K, counting=True, window=4)
    async with call.open(PCM16_24K, PCM16_24K):
        for number in range(1_100):
            call.post(f'{{"n":{number}}}')
            await anyio.lowlevel.checkpoint()
        with pytest.raises(ChannelError, match="does not read"):
            await call.receive()


async def test_of_messages_with_one_key_the_newest_is_sent_in_its_place() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        call.post('{"n":1}', key="a")
        call.post('{"n":2}')
        call.post('{"n":3}', key="a")
        await anyio.sleep(0.01)
        assert [*await call.far.stream.receive()] == ['{"n":3}', '{"n":2}']


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["bye", "close", "cut"])
async def test_what_was_said_before_the_human_left_is_still_given(how: str) -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.far.stream.send(bytes(960))
        if how == "bye":
            await call.far.stream.send('{"type":"bye"}')
        elif how == "close":
            await call.far.stream.aclose(1001)
        else:
            call.far.stream.abort()
        assert isinstance(await call.receive(), AudioCaptured)
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await call.receive()
        with anyio.fail_after(1):
            await call.send(bytes(480_000))
        await call.flush()
        assert call.statistics().discarded == 480_000
        assert call.clear() == 0.0


async def test_who_breaks_the_protocol_is_told_so() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.far.stream.send('{"type":"nonsense"}')
        with pytest.raises(ChannelError, match="nonsense"):
            await call.receive()
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await call.far.stream.receive()
    assert closed.value.code == 1008


async def test_a_message_over_the_limit_is_a_channel_error() -> None:
    call = Call(PCM16_24K, counting=True, limit=1_000)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.far.stream.send(bytes(1_001))
        with pytest.raises(ChannelError, match="1000 bytes"):
            await call.receive()


async def test_leaving_says_goodbye_and_hangs_up() -> None:
    call = Call(PCM16_24K, counting=True)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.far.stream.send('{"type":"ping"}')
        await call.far.stream.send('{"type":"other"}')
        await anyio.sleep(0.01)
        call.post('{"last":"words"}')
    said: list[str | bytes] = []
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            said += await call.far.stream.receive()
    assert said == ['{"type":"pong"}', '{"last":"words"}', '{"type":"bye"}']
    assert closed.value.code == 1000
    assert call.controls == [{"type": "other"}]


async def test_leaving_a_stuck_link_is_bounded() -> None:
    call = Call(PCM16_24K, counting=True, window=2)
    async with call.open(PCM16_24K, PCM16_24K):
        await call.send(bytes(9_600))
        await anyio.sleep(1)
        began = anyio.current_time()
    assert anyio.current_time() - began <= 1.5


async def test_mistakes_are_named() -> None:
    for options in ({"send_ahead_ms": 0}, {"input_buffer_ms": 0}, {"mark_ms": -1}):
        with pytest.raises(MisconfiguredError):
            Call(PCM16_24K, counting=True, **options)  # type: ignore[arg-type]
