"""The sound card's channel over a card that is a task in virtual time."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from channels.soundcard import FakeCard, ThreadedCard, ramp

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._audio.ring import Handed
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels import LocalChannel
from kernl_rt.channels.local import BlockTime
from kernl_rt.channels.local._card import Direction
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed
from kernl_rt.exceptions import ChannelError, MisconfiguredError, SessionStateError
from kernl_rt.simulator import Simulator
from kernl_rt.testing import check_channel

pytestmark = pytest.mark.anyio


async def turning(channel: RealtimeChannel) -> None:
    assert isinstance(channel, LocalChannel)
    card = channel._card
    assert isinstance(card, FakeCard)
    await card.turn()


@pytest.mark.parametrize("formats", [(PCM16_24K, PCM16_24K), (PCM16_16K, G711_ULAW), (PCM16_8K, PCM16_16K)])
@pytest.mark.parametrize("options", [{}, {"stamps": False}, {"rates": ()}, {"rates": (), "default_rate": 44_100}])
async def test_conforms(formats: tuple[AudioFormat, AudioFormat], options: dict[str, Any]) -> None:
    await check_channel(
        lambda: LocalChannel(card=FakeCard(**options)),
        human=turning,
        input_format=formats[0],
        output_format=formats[1],
    )


async def test_conforms_in_real_time_over_a_thread(real_clock: None) -> None:
    await check_channel(lambda: LocalChannel(card=ThreadedCard()), captured_ms=100, deterministic=False)


class Open:
    """A channel that is open over a turning card."""

    def __init__(self, channel: LocalChannel, card: FakeCard) -> None:
        self.channel = channel
        self.card = card
        self.captured: list[AudioCaptured] = []
        self.marks: list[AudioPlayed] = []

    async def listen(self) -> None:
        while True:
            event = await self.channel.receive()
            if isinstance(event, AudioCaptured):
                self.captured.append(event)
            else:
                assert isinstance(event, AudioPlayed)
                self.marks.append(event)


@asynccontextmanager
async def opened(
    card: FakeCard, formats: tuple[AudioFormat, AudioFormat] = (PCM16_24K, PCM16_24K), **options: Any
) -> AsyncIterator[Open]:
    channel = LocalChannel(card=card, **options)
    both = Open(channel, card)
    with anyio.fail_after(60):
        async with channel.open(*formats), anyio.create_task_group() as tasks:
            tasks.start_soon(card.turn)
            tasks.start_soon(both.listen)
            yield both
            tasks.cancel_scope.cancel()


def sound(seconds: float, rate: int = 24_000) -> bytes:
    """Loud everywhere."""
    return b"".join((5_000 + index % 1_000).to_bytes(2, "little") for index in range(int(rate * seconds)))


# -- the loudspeaker --------------------------------------------------------------------------------------------------


async def test_what_was_sent_is_played_unchanged_and_in_one_piece() -> None:
    async with opened(FakeCard()) as call:
        await call.channel.send(sound(0.5))
        await call.channel.flush()
        await anyio.sleep(1)
        played = bytes(call.card.speaker.played)
        assert played.strip(b"\0") == sound(0.5).strip(b"\0")
        statistics = call.channel.statistics()
        assert (statistics.gaps, statistics.sent_ms, statistics.heard_ms, statistics.unheard_ms) == (0, 500, 500, 0)


async def test_the_position_follows_the_device_s_clock_not_what_was_handed_over() -> None:
    """A card of 100 ms latency: what it holds is not heard yet."""
    async with opened(FakeCard(latency=0.1, drift=0)) as call:
        await anyio.sleep(0.0001)
        begin = anyio.current_time()
        await call.channel.send(sound(0.15))
        await anyio.sleep(0.2)
        # The block in which it began was called for 10 ms after the one at zero, and is heard 100 ms later.
        expected = 1000 * (anyio.current_time() - (begin - 0.0001 + 0.01 + 0.1))
        assert len(call.card.speaker.played) >= 2 * 24_000 * 0.15
        assert call.channel.clear() == pytest.approx(expected, abs=0.1)
        assert all(
            mark.position_ms <= 1000 * (mark.at - begin - 0.1) + 0.1 for mark in call.marks if mark.at is not None
        )


async def test_sending_ahead_is_bounded_while_the_card_plays() -> None:
    async with opened(FakeCard(), send_ahead_ms=100) as call, anyio.create_task_group() as tasks:
        tasks.start_soon(call.channel.send, sound(2))
        for _ in range(150):
            await anyio.sleep(0.01)
            assert call.channel.statistics().unheard_ms <= 100
            assert sum(len(piece) for _, piece in call.channel._running().loudspeaker.ring._pieces) <= 4_800
        tasks.cancel_scope.cancel()


async def test_clear_drops_the_ring_at_once() -> None:
    """Nothing of it is handed to the card afterwards; what the card holds is not counted as heard."""
    async with opened(FakeCard(latency=0.03)) as call:
        await call.channel.send(sound(0.2))
        await anyio.sleep(0.095)
        handed = len(call.card.speaker.played)
        position = call.channel.clear()
        assert 50 <= position <= 70
        await anyio.sleep(0.5)
        assert not any(call.card.speaker.played[handed:])
        assert call.channel.clear() == position
        assert max(mark.position_ms for mark in call.marks) <= position
        assert call.channel.statistics().cleared_ms == 200 - position
        await call.channel.send(sound(0.05))
        await call.channel.flush()
        await anyio.sleep(0.2)
        assert call.channel.clear() == position + 50


async def test_what_a_converter_holds_back_is_played_at_the_end_of_the_reply() -> None:
    """To the last sample, also where the rates do not divide."""
    async with opened(FakeCard(rates=(), default_rate=44_100)) as call:
        await call.channel.send(sound(0.3)[:14_002])
        await anyio.sleep(0.5)
        assert 200 < call.channel.statistics().heard_ms < 291
        await call.channel.flush()
        await anyio.sleep(0.1)
        assert call.channel.statistics().heard_ms == PCM16_24K.ms(14_002)
        played = memoryview(bytes(call.card.speaker.played)).cast("h")
        assert sum(sample != 0 for sample in played) == pytest.approx(7_001 * 44_100 / 24_000, rel=0.02)


async def test_what_a_converter_holds_back_is_forgotten_by_clear() -> None:
    async with opened(FakeCard(rates=())) as call:
        await call.channel.send(sound(0.1))
        call.channel.clear()
        handed = len(call.card.speaker.played)
        await call.channel.send(bytes(4_800))
        await call.channel.flush()
        await anyio.sleep(0.3)
        assert call.channel.statistics().heard_ms == 100
        assert not any(call.card.speaker.played[handed:])


async def test_a_block_that_the_card_took_during_a_clear_does_not_count_for_what_follows() -> None:
    """Its thread tells of it a moment too late: it was cleared."""
    async with opened(FakeCard()) as call:
        await call.channel.send(sound(0.1))
        ring = call.channel._running().loudspeaker.ring
        before = ring.generation
        assert call.channel.clear() == 0
        ring._reports.append(Handed(before, 480, anyio.current_time()))
        await call.channel.send(sound(0.1))
        await anyio.sleep(0.015)
        assert call.channel.clear() == 0, "the card's latency is 30 ms: nothing of the new sound has been heard"


async def test_a_gap_in_a_reply_is_counted_and_its_end_is_none() -> None:
    async with opened(FakeCard()) as call:
        await call.channel.send(sound(0.1))
        await anyio.sleep(0.3)
        assert call.channel.statistics().gaps == 1
        await call.channel.send(sound(0.1))
        await call.channel.flush()
        await anyio.sleep(0.3)
        assert call.channel.statistics().gaps == 1


async def test_what_the_card_lost_is_counted() -> None:
    async with opened(FakeCard()) as call:
        call.card.speaker.block(anyio.current_time(), lost=True)
        call.card.microphone.block(anyio.current_time(), lost=True)
        call.card.microphone.block(anyio.current_time(), lost=True)
        statistics = call.channel.statistics()
        assert (statistics.underflows, statistics.overflows) == (1, 2)


# -- the microphone ---------------------------------------------------------------------------------------------------


async def test_captured_sound_comes_with_the_time_of_its_capture() -> None:
    """The card calls 30 ms after the end of a block of 20 ms."""
    async with opened(FakeCard(latency=0.03, drift=0)) as call:
        begin = anyio.current_time()
        await anyio.sleep(0.5)
        for number, event in enumerate(call.captured):
            assert event.at == pytest.approx(begin + 0.01 + 0.02 * number - 0.05, abs=1e-6)
        assert len(call.captured) == 25
        assert b"".join(event.audio for event in call.captured) == ramp(0, 25 * 480)


async def test_the_time_of_capture_stays_right_behind_a_converter() -> None:
    """The converter holds some back: what it gives began earlier than the block that it came with."""
    async with opened(FakeCard(rates=(), latency=0.03, drift=0), (PCM16_16K, PCM16_16K)) as call:
        begin = anyio.current_time()
        await anyio.sleep(1)
        assert call.channel.statistics().input_rate == 48_000
        size = 0
        for event in call.captured:
            assert event.at == pytest.approx(begin - 0.04 + PCM16_16K.ms(size) / 1000, abs=1e-3)
            size += len(event.audio)
        assert size > PCM16_16K.size(900)


async def test_a_slow_session_loses_the_oldest_sound_and_knows_how_much() -> None:
    card = FakeCard()
    channel = LocalChannel(card=card, input_buffer_ms=100)
    async with channel.open(PCM16_24K, PCM16_24K):
        await card.turn(1)
        assert channel.statistics().dropped_ms == 900
        event = await channel.receive()
        assert isinstance(event, AudioCaptured)
        assert event.audio == ramp(45, 480)
        assert channel.statistics().captured_ms == 1_000
        assert channel.statistics().dropped_ms == 900


async def test_half_duplex_silences_the_microphone_while_the_loudspeaker_is_heard() -> None:
    """From its first sample to ``tail_ms`` after its last, by the time of capture; sound itself keeps its length."""
    card = FakeCard(latency=0.03, drift=0, hum=lambda block, samples: b"\x07\x07" * samples)
    async with opened(card, half_duplex=True, tail_ms=100) as call:
        await anyio.sleep(0.5)
        begin = anyio.current_time()
        await call.channel.send(sound(0.3))
        await call.channel.flush()
        await anyio.sleep(1)
        silent = [event.at for event in call.captured if event.at is not None and not any(event.audio)]
        loud = [event.at for event in call.captured if event.at is not None and any(event.audio)]
        assert silent
        assert begin < silent[0] < begin + 0.045
        assert silent[-1] == pytest.approx(begin + 0.04 + 0.3 + 0.1, abs=0.021)
        assert not [at for at in loud if silent[0] < at < silent[-1]]
        assert loud[-1] > silent[-1]
        assert call.channel.statistics().muted_ms == pytest.approx(400, abs=45)


async def test_full_duplex_leaves_the_microphone_alone() -> None:
    async with opened(FakeCard(hum=lambda block, samples: b"\x07\x07" * samples)) as call:
        await call.channel.send(sound(0.3))
        await anyio.sleep(0.5)
        assert all(any(event.audio) for event in call.captured)
        assert call.channel.statistics().muted_ms == 0


# -- what goes wrong --------------------------------------------------------------------------------------------------


async def test_an_unplugged_device_ends_receive_and_send_with_a_clear_error() -> None:
    card = FakeCard()
    channel = LocalChannel(card=card)
    failures: list[str] = []

    async def expect(call: Any, *arguments: Any) -> None:
        with pytest.raises(ChannelError, match="'Built-in Microphone' has stopped: host error; was it unplugged"):
            while True:
                await call(*arguments)
        failures.append(call.__name__)

    with anyio.fail_after(60):
        async with channel.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
            tasks.start_soon(expect, channel.receive)
            tasks.start_soon(expect, channel.send, sound(1))
            await anyio.sleep(0.1)
            assert card.microphone.on_end is not None
            card.microphone.on_end("host error")
        assert sorted(failures) == ["receive", "send"]


@pytest.mark.parametrize(("dead", "word"), [("input", "microphone"), ("output", "loudspeaker")])
async def test_a_device_that_gives_no_sign_has_gone(dead: Direction, word: str) -> None:
    """Some drivers never say that a device was unplugged: they only stop calling."""
    card = FakeCard()
    channel = LocalChannel(card=card)
    with anyio.fail_after(60):
        async with channel.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
            tasks.start_soon(card.turn)
            await anyio.sleep(1)
            card.streams[dead].on_block = None
            begin = anyio.current_time()
            with pytest.raises(ChannelError, match=f"{word} .* has given no sign for 5 s"):
                while True:
                    await channel.receive()
            assert anyio.current_time() - begin == pytest.approx(5, abs=0.05)
            tasks.cancel_scope.cancel()


async def test_a_device_that_takes_long_to_start_is_not_gone() -> None:
    card = FakeCard(start_seconds=4)
    channel = LocalChannel(card=card)
    with anyio.fail_after(60):
        async with channel.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep, 0.5)
            with anyio.move_on_after(4) as scope:
                await channel.receive()
            assert scope.cancelled_caught
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("trouble", [{"missing": ["input"]}, {"missing": ["output"]}, {"start_fails": True}])
async def test_a_device_that_cannot_be_opened_leaves_nothing_open(trouble: dict[str, Any]) -> None:
    card = FakeCard(**trouble)
    with pytest.raises(ChannelError):
        async with LocalChannel(card=card).open(PCM16_24K, PCM16_24K):
            raise AssertionError("opened")
    assert all(stream.closed for stream in card.streams.values())


async def test_a_card_that_calls_after_the_end_harms_nothing() -> None:
    card = FakeCard()
    async with opened(card) as call:
        await call.channel.send(sound(0.1))
    assert card.speaker.on_block is not None
    assert card.speaker.closed
    out = bytearray(b"\xee" * 480)
    card.speaker.on_block(memoryview(out), BlockTime(1_000, 1_000.03))
    assert not any(out)
    with pytest.raises(SessionStateError, match="has been closed"):
        await call.channel.receive()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"send_ahead_ms": 20}, "50 ms or more"),
        ({"send_ahead_ms": 0}, "send-ahead"),
        ({"input_buffer_ms": 5}, "input_buffer_ms"),
        ({"tail_ms": -1}, "tail_ms"),
        ({"latency_ms": 0}, "latency_ms"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(MisconfiguredError, match=complaint):
        LocalChannel(**options)


async def test_without_soxr_a_device_of_another_rate_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    card = FakeCard(rates=(), default_rate=44_100)
    with pytest.raises(MisconfiguredError, match=r"44100.*pip install 'kernl_rt\[audio\]'"):
        async with LocalChannel(card=card).open(PCM16_24K, PCM16_24K):
            raise AssertionError("opened")
    assert card.microphone.closed
    assert card.speaker.closed


# -- a whole conversation ---------------------------------------------------------------------------------------------


async def test_a_session_talks_over_it() -> None:
    """The reply reaches the loudspeaker whole, and what was heard is known to the session."""
    card = FakeCard(hum=lambda block, samples: bytes(2 * samples))
    agent = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=Simulator().realtime())
    with anyio.fail_after(120):
        async with anyio.create_task_group() as tasks:
            async with RealtimeSession(agent, channel=(channel := LocalChannel(card=card))) as session:
                tasks.start_soon(card.turn)
                reply = await session.ask("what are you")
                while channel.statistics().unheard_ms or not channel.statistics().heard_ms:
                    await anyio.sleep(0.1)
            tasks.cancel_scope.cancel()
    assert reply.text
    statistics = channel.statistics()
    assert statistics.heard_ms == statistics.sent_ms > 1_000
    assert statistics.gaps == 0
    assert len(bytes(card.speaker.played).strip(b"\0")) == pytest.approx(PCM16_24K.size(statistics.sent_ms), rel=0.1)


def test_a_card_that_calls_after_the_loop_has_ended_harms_nothing(backend: str) -> None:
    """A driver may be slow to stop; a thread of its own must not be hit by an error of a loop that is no more."""
    card = FakeCard()

    async def main() -> None:
        async with LocalChannel(card=card).open(PCM16_24K, PCM16_24K):
            await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)
    assert card.microphone.on_block is not None
    card.microphone.on_block(memoryview(bytearray(960)), BlockTime(1_000, 999.9))
    assert card.microphone.on_end is not None
    card.microphone.on_end("late")
