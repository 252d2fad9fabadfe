"""Frames that are wrong in themselves: rows 14 to 16 of the fault list, in live sessions over the OpenAI codec."""

from __future__ import annotations

import logging

import anyio
import pytest

from kernl_rt import tool
from kernl_rt.events import (
    RawServerEvent,
    SessionError,
    ToolFinished,
)
from kernl_rt.exceptions import ProtocolError
from tests.faults.calls import Wire, wired

pytestmark = pytest.mark.anyio

GOOD = {"type": "response.created", "response": {"id": "r9", "object": "realtime.response", "output": []}}


async def still_works(wire: Wire) -> None:
    """The next frame is handled as if nothing had been."""
    before = len(wire.watch.log)
    await wire.says(GOOD)
    assert [event.kind for event in wire.watch.log[before:]] == ["response.created"]
    assert wire.session.status == "connected"


# -- 14: what is no frame ---------------------------------------------------------------------------------------------

GARBAGE: dict[str, str | bytes] = {
    "not JSON": '{"type": "response.created", ',
    "a list": "[]",
    "null": "null",
    "a text": '"response.created"',
    "a number": "17",
    "empty": "",
    "binary": bytes(range(256)),
    "binary JSON of no object": b"[1, 2]",
    "two objects": '{"type": "a"}{"type": "b"}',
    "half a character": '{"type": "\\ud800"',
}


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE)
async def test_fault_14_garbage_is_one_error_and_the_session_goes_on(frame: str | bytes) -> None:
    async with wired() as wire:
        await wire.says(frame)
        [error] = wire.seen(SessionError)
        assert error.source == "protocol"
        await still_works(wire)


async def test_fault_14_garbage_between_good_frames_harms_neither() -> None:
    async with wired() as wire:
        for number, frame in enumerate(GARBAGE.values(), 1):
            await wire.says(frame)
            assert len(wire.seen(SessionError)) == number
        await still_works(wire)


async def test_fault_14_a_flood_of_garbage_ends_the_session() -> None:
    """A peer that speaks another language is not listened to for ever: more than 20 such frames within 10 seconds."""
    with pytest.raises(ProtocolError):
        async with wired() as wire:
            await wire.says(*["[]"] * 20)
            assert wire.session.status == "connected", "twenty are borne"
            await wire.says("[]")
            with anyio.fail_after(5):
                await wire.session.wait_closed()


async def test_fault_14_garbage_now_and_then_never_ends_it() -> None:
    async with wired() as wire:
        for _ in range(50):
            await wire.says("[]")
            await anyio.sleep(1)
        await still_works(wire)


# -- 15: what is unknown ----------------------------------------------------------------------------------------------


async def test_fault_15_an_unknown_type_is_handed_on_whole() -> None:
    frame = {"type": "response.smell.delta", "event_id": "e1", "delta": {"of": ["roses"]}}
    async with wired() as wire:
        await wire.says(frame)
        [raw] = wire.seen(RawServerEvent)
        assert raw.type == "response.smell.delta"
        assert raw.data == frame
        assert not wire.seen(SessionError)
        assert not wire.watch.logged(logging.INFO)
        await still_works(wire)


async def test_fault_15_unknown_fields_are_kept() -> None:
    async with wired() as wire:
        await wire.says({**GOOD, "mood": "sunny"})
        [event] = wire.watch.log[-1:]
        assert event.kind == "response.created"
        assert event.extra == {"mood": "sunny"}


# -- 16: what has the wrong shape -------------------------------------------------------------------------------------

SOUND = '"type":"response.output_audio.delta","response_id":"r1","item_id":"i1","output_index":0,"content_index":0'
SPEECH = '"type":"input_audio_buffer.speech_started","item_id":"i1"'
MISSHAPEN: dict[str, str] = {
    "no type": '{"event_id": "e1"}',
    "the type is a list": '{"type": []}',
    "the type is an object": '{"type": {}}',
    "no sound": "{" + SOUND + "}",
    "sound is a number": "{" + SOUND + ',"delta":17}',
    "sound is no base64": "{" + SOUND + ',"delta":"!!!"}',
    "an item is a text": '{"type":"conversation.item.added","item":"i1"}',
    "a response is a list": '{"type":"response.created","response":[]}',
    "milliseconds are a text": "{" + SPEECH + ',"audio_start_ms":"soon"}',
    "milliseconds are NaN": "{" + SPEECH + ',"audio_start_ms":NaN}',
    "milliseconds are infinite": "{" + SPEECH + ',"audio_start_ms":1e999}',
    "milliseconds are negative": "{" + SPEECH + ',"audio_start_ms":-5}',
    "milliseconds have 5,000 digits": "{" + SPEECH + ',"audio_start_ms":' + "9" * 5_000 + "}",
    "nested 100,000 deep": '{"type":' + "[" * 100_000,
    "nested 100,000 deep and closed": '{"type":"x","a":' + "[" * 100_000 + "]" * 100_000 + "}",
}


@pytest.mark.parametrize("frame", MISSHAPEN.values(), ids=MISSHAPEN)
async def test_fault_16_a_misshapen_frame_is_one_error(frame: str) -> None:
    async with wired() as wire:
        await wire.says(frame)
        [error] = wire.seen(SessionError)
        assert error.source == "protocol"
        assert wire.watch.log[-1] is error, "nothing else came of it"
        assert wire.session.statistics().heard_ms == 0
        assert len(error.message) < 500, "it says what is wrong and does not repeat the frame"
        await still_works(wire)


async def test_fault_16_a_lone_surrogate_is_text_and_can_be_answered() -> None:
    """It decodes; the trap is that it cannot be encoded again when it is sent back."""

    @tool
    async def echo(text: str) -> str:
        return text

    async with wired([echo]) as wire:
        await wire.says(
            GOOD,
            '{"type":"response.function_call_arguments.done","response_id":"r9","item_id":"f1","output_index":0,'
            '"call_id":"c1","name":"echo","arguments":"{\\"text\\": \\"a\\\\ud800b\\"}"}',
        )
        [finished] = wire.seen(ToolFinished)
        [frame] = wire.sent("conversation.item.create")
        assert finished.outcome in ("result", "error")
        assert "\ud800" not in finished.output
        assert frame["item"]["call_id"] == "c1"
        assert wire.session.status == "connected"
