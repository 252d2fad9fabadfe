"""What waits for the socket: order, bounds and what is dropped."""

from __future__ import annotations

from hypothesis import given, strategies as st

from kernl_rt._core.actions import Lane, Send
from kernl_rt._core.lanes import HELD_BYTES, LIVE_MS, Outbox
from kernl_rt.config import PCM16_24K
from kernl_rt.events import AudioInputAppend, AudioInputCommit, ResponseCancel, ResponseCreate

FRAME = b"\0" * PCM16_24K.size(20)


def captured(audio: bytes = FRAME) -> Send:
    return Send(AudioInputAppend(audio), Lane.AUDIO, captured=True)


def handed(audio: bytes = FRAME) -> Send:
    return Send(AudioInputAppend(audio), Lane.AUDIO)


def drain(outbox: Outbox) -> list[object]:
    events: list[object] = []
    while (event := outbox.pop()) is not None:
        events.append(event)
    return events


def test_a_stalled_link_keeps_half_a_second_of_live_sound() -> None:
    outbox = Outbox(PCM16_24K)
    for number in range(3_000):  # a minute
        outbox.push(captured(bytes([number % 251]) * len(FRAME)))
    assert len(outbox) == LIVE_MS / 20
    assert outbox.dropped_ms == 59_500
    assert [event.audio[0] for event in drain(outbox) if isinstance(event, AudioInputAppend)] == [
        number % 251 for number in range(2_975, 3_000)
    ]


def test_a_command_is_written_before_the_sound_that_waited_longer() -> None:
    outbox = Outbox(PCM16_24K)
    for _ in range(10):
        outbox.push(captured())
    outbox.push(Send(ResponseCreate()))
    outbox.push(Send(ResponseCancel(), Lane.URGENT))
    assert [type(event) for event in drain(outbox)[:3]] == [ResponseCancel, ResponseCreate, AudioInputAppend]


def test_a_source_that_can_wait_loses_nothing_and_is_told_to_wait() -> None:
    outbox = Outbox(PCM16_24K, live=False)
    while outbox.has_room:
        outbox.push(captured())
    assert outbox.dropped_bytes == 0
    outbox.pop()
    assert outbox.has_room


def test_sound_that_a_caller_handed_over_is_kept_up_to_its_bound() -> None:
    outbox = Outbox(PCM16_24K)
    outbox.push(handed(b"\0" * (HELD_BYTES - 2)))
    assert not outbox.full
    outbox.push(handed(b"\0\0"))
    assert outbox.full
    assert outbox.dropped_bytes == 0


@given(st.lists(st.sampled_from(["live", "commit", "create", "cancel", "pop"]), max_size=120))
def test_the_order_of_a_turn_is_kept_whatever_is_dropped(steps: list[str]) -> None:
    outbox = Outbox(PCM16_24K)
    written: list[object] = []
    pushed = commits = 0
    for step in steps:
        match step:
            case "live":
                pushed += 1
                outbox.push(captured(pushed.to_bytes(2, "big") * (len(FRAME) // 2)))
            case "commit":
                commits += 1
                outbox.push(Send(AudioInputCommit(event_id=str(pushed)), Lane.AUDIO))
            case "create":
                outbox.push(Send(ResponseCreate(), Lane.AUDIO))
            case "cancel":
                outbox.push(Send(ResponseCancel(), Lane.URGENT))
            case _:
                written.append(outbox.pop())
        assert outbox.audio_bytes <= PCM16_24K.size(LIVE_MS) + len(FRAME)
    written.extend(drain(outbox))
    numbers = [int.from_bytes(e.audio[:2], "big") for e in written if isinstance(e, AudioInputAppend)]
    assert numbers == sorted(numbers)
    assert sum(isinstance(event, AudioInputCommit) for event in written) == commits
    last = 0
    for event in written:  # no sound said before a commit is written after it, and none after it before
        if isinstance(event, AudioInputAppend):
            last = int.from_bytes(event.audio[:2], "big")
        elif isinstance(event, AudioInputCommit):
            assert last <= int(event.event_id or 0)
