from __future__ import annotations

import anyio
import pytest

from kernl_rt.channels import MemoryChannel

pytestmark = pytest.mark.anyio


async def test_sound_is_heard_in_steps_and_not_in_samples() -> None:
    channel = MemoryChannel()
    pieces: list[bytes] = []
    async with channel.open(channel.input_formats[0], channel.output_formats[0]):
        await channel.send(b"\1\0" * 3_600)  # 150 ms at 24 kHz
        with anyio.move_on_after(1):
            async for piece in channel.human:
                pieces.append(piece)
                await anyio.sleep(0.001)
    assert b"".join(pieces) == b"\1\0" * 3_600
    assert len(pieces) <= 8


async def test_manual_playback_hears_a_short_piece_at_once() -> None:
    channel = MemoryChannel(playback="manual")
    async with channel.open(channel.input_formats[0], channel.output_formats[0]):
        await channel.send(b"\1\0")
        with anyio.fail_after(1):
            assert await channel.human.hear() == b"\1\0"
