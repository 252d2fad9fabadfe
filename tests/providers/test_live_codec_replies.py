"""The Live codec: the replies that are inferred from the timeline, and those that were asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import G711_ULAW, PCM16_16K
from kernl_rt.providers.openai._live_codec import SPEAK
from kernl_rt.providers.openai._live_spans import PATIENCE, is_loud
from tests.providers.live_frames import (
    BACKEND,
    FRAMES,
    SILENCE,
    TONE,
    appended,
    backend,
    closed,
    codec_of,
    decode,
    delegated,
    error,
    kinds,
    only,
    said,
    sound,
    words,
)

# -- inference --------------------------------------------------------------------------------------------------------


def test_sound_begins_a_reply_and_a_pause_ends_it() -> None:
    codec = codec_of()
    before = decode(codec, sound(SILENCE), sound(SILENCE))
    assert [(event.kind, event.at_ms) for event in before] == [("timeline", 200.0), ("timeline", 400.0)]
    begun = decode(codec, sound(TONE), words("Hello", 400, 600), words(" you", 500, 600))
    assert kinds(begun) == [
        "response.created",
        "response.item.created",
        "item.created",
        "audio.output.delta",
        "transcript.output.delta",
        "transcript.output.delta",
    ]
    assert begun[3].audio == TONE
    assert begun[0].response.extra == {"inferred": True}
    pause = decode(codec, *[sound(SILENCE)] * 4)
    assert kinds(pause) == ["audio.output.delta"] * 4, "a pause is the reply's rhythm until it is its end"
    end = decode(codec, sound(SILENCE), sound(SILENCE))
    assert kinds(end)[:3] == ["audio.output.delta", "audio.output.done", "transcript.output"]
    assert kinds(end)[-2:] == ["response.done", "timeline"]
    done = only(end, ev.ResponseDone)[0].response
    assert (done.status, done.text, done.id) == ("completed", "Hello you", begun[0].response.id)
    assert done.extra == {"inferred": True, "start_ms": 400.0, "end_ms": 600.0}
    assert done.usage is None


def test_a_pause_that_is_too_short_ends_nothing() -> None:
    codec = codec_of()
    frames = [sound(TONE), *[sound(SILENCE)] * 4, sound(TONE)] * 5
    events = decode(codec, *frames)
    assert len(only(events, ev.ResponseCreated)) == 1
    assert not only(events, ev.ResponseDone)
    assert b"".join(event.audio for event in only(events, ev.AudioDelta)) == (TONE + SILENCE * 4 + TONE) * 5


def test_the_pause_is_the_callers() -> None:
    for frames, pause in ((2, 400.0), (15, 3_000.0)):
        codec = codec_of(pause=pause)
        events = decode(codec, sound(TONE), *[sound(SILENCE)] * (frames - 1))
        assert not only(events, ev.ResponseDone)
        assert only(decode(codec, sound(SILENCE)), ev.ResponseDone)


def test_speech_overlaps() -> None:
    """The human speaks while the model does: both go on, each with an item of its own."""
    codec = codec_of()
    events = decode(
        codec,
        sound(TONE),
        words("One", 0, 200),
        words("wait", 100, 300, "input"),
        sound(TONE),
        words(" two", 200, 400),
        words(" please", 300, 400, "input"),
        sound(TONE),
        *[sound(SILENCE)] * 6,
    )
    assert [event.text for event in only(events, ev.OutputTranscript)] == ["One two"]
    assert [event.text for event in only(events, ev.InputTranscript)] == ["wait please"]
    assert len(only(events, ev.ResponseDone)) == 1
    assert only(events, ev.ResponseDone)[0].response.status == "completed"
    assert not only(events, ev.SpeechStarted), "the wire says nothing of turns, and neither do we"


def test_words_alone_move_the_timeline() -> None:
    """Fragments say when they were: where the sound is cut short (recordings), they are enough."""
    codec = codec_of()
    events = decode(
        codec,
        words("What is", 0, 400, "input"),
        words(" up", 400, 700, "input"),
        words("Not", 900, 1_000),
        words(" much", 1_000, 1_400),
        words("And you", 4_000, 4_500, "input"),
        words("Fine", 6_000, 6_500),
        closed(),
    )
    assert [event.text for event in only(events, ev.InputTranscript)] == ["What is up", "And you"]
    assert [event.text for event in only(events, ev.OutputTranscript)] == ["Not much", "Fine"]
    ids = [event.response.id for event in only(events, ev.ResponseDone)]
    assert len(ids) == len(set(ids)) == 2


def test_words_that_come_late_are_one_turn() -> None:
    """Recognition takes its time: the pause is counted from when words come, not from when they were said."""
    codec = codec_of()
    events = decode(codec, *[sound(SILENCE)] * 20)
    for at in range(5):
        events += decode(codec, words(f"w{at} ", at * 200, at * 200 + 150, "input"), sound(SILENCE))
    events += decode(codec, *[sound(SILENCE)] * 5)
    assert [event.text for event in only(events, ev.InputTranscript)] == ["w0 w1 w2 w3 w4 "]


def test_a_clock_that_is_behind_splits_no_sentence() -> None:
    """The sound does not say when it was; a stamp that is ahead of our count is no pause while the model speaks."""
    codec = codec_of()
    events = decode(codec, sound(TONE), words("Hi", 5_000, 5_200), sound(TONE), words(" there", 5_200, 5_400))
    assert len(only(events, ev.ResponseCreated)) == 1
    assert not only(events, ev.ResponseDone)


def test_inference_is_deterministic() -> None:
    frames = [sound(TONE), words("a", 0, 200), *FRAMES, *[sound(SILENCE)] * 9]
    one, other = codec_of(delegation=BACKEND), codec_of(delegation=BACKEND)
    assert decode(one, *frames) == decode(other, *frames)


@settings(max_examples=60)
@given(st.lists(st.sampled_from("TS.iow"), max_size=60))
def test_nothing_is_lost_and_every_reply_has_one_end(trace: list[str]) -> None:
    """All sound that is no silence, and all words, come out once, in replies and turns that do not overlap."""
    codec = codec_of()
    made = {"T": sound(TONE), "S": sound(SILENCE), ".": {"type": "info", "event_id": "e", "code": "c", "message": "m"}}
    events: list[Any] = []
    at = 0
    for number, letter in enumerate(trace):
        at += 200 if letter in "TS" else 0
        made |= {"i": words(f"i{number} ", at, at + 100, "input"), "o": words(f"o{number} ", at, at + 100)}
        made["w"] = delegated("responses", f"del_{number}") | {"offset_ms": at}
        events += decode(codec, made[letter])
    events += decode(codec, closed())
    running: str | None = None
    for event in events:
        if isinstance(event, ev.ResponseCreated):
            assert running is None
            running = event.response.id
        elif isinstance(event, ev.ResponseDone):
            assert running == event.response.id
            running = None
        elif isinstance(event, (ev.AudioDelta, ev.OutputTranscriptDelta)):
            assert event.response_id == running
    assert running is None
    loud = [event for event in only(events, ev.AudioDelta) if event.audio == TONE]
    assert len(loud) == trace.count("T")
    for final, letter in ((ev.OutputTranscript, "o"), (ev.InputTranscript, "i")):
        wanted = "".join(f"{letter}{number} " for number, each in enumerate(trace) if each == letter)
        assert "".join(event.text for event in only(events, final)) == wanted


@pytest.mark.parametrize("format", [PCM16_16K, G711_ULAW], ids=str)
def test_silence_is_known_in_every_format(format: Any) -> None:
    assert not is_loud(format.silence * 800, format)
    assert is_loud(TONE if format == PCM16_16K else bytes([0x80, 0x00] * 400), format)
    assert not is_loud(b"", format)
    assert not is_loud(b"\x01", PCM16_16K), "half a sample is none"


# -- replies that were asked for --------------------------------------------------------------------------------------


def test_a_reply_that_was_asked_for_begins_with_the_acknowledgement() -> None:
    codec = codec_of()
    (frame,) = said(codec, ev.ResponseCreate(event_id="event_5"))
    assert frame == {
        "type": "session.instructions.append",
        "event_id": "event_5",
        "content": SPEAK,
        "delegation_id": None,
    }
    events = decode(codec, appended("instructions", "event_5"))
    assert kinds(events) == ["context.appended", "response.created"]
    quiet = decode(codec, *[sound(SILENCE)] * 20)
    assert set(kinds(quiet)) == {"timeline"}, "silence before the first word is no part of it"
    spoken = decode(codec, sound(TONE), *[sound(SILENCE)] * 5)
    assert only(spoken, ev.ResponseDone)[0].response.id == events[1].response.id


def test_a_reply_that_does_not_come_is_given_up() -> None:
    codec = codec_of()
    codec.encode(ev.ResponseCreate(event_id="event_5"))
    events = decode(codec, appended("instructions", "event_5"), *[sound(SILENCE)] * int(PATIENCE / 200))
    (done,) = only(events, ev.ResponseDone)
    assert (done.response.status, done.response.output) == ("incomplete", ())


def test_speech_that_comes_before_the_acknowledgement_is_the_reply() -> None:
    codec = codec_of()
    codec.encode(ev.ResponseCreate(event_id="event_5"))
    events = decode(codec, sound(TONE), appended("instructions", "event_5"), sound(TONE))
    assert len(only(events, ev.ResponseCreated)) == 1


def test_a_refused_request_is_no_reply() -> None:
    codec = codec_of()
    codec.encode(ev.ResponseCreate(event_id="event_5"))
    (refused,) = decode(codec, error(client_event_id="event_5"))
    assert refused.client_event_id == "event_5"
    first, *_ = backend()
    events = decode(codec, first, sound(TONE), *[sound(SILENCE)] * 5)
    assert only(events, ev.ResponseDone), "what is said later was not asked for: it ends with its pause, work or not"


def test_work_holds_the_reply_open() -> None:
    codec = codec_of(delegation=BACKEND)
    codec.encode(ev.ResponseCreate(event_id="event_5"))
    decode(codec, appended("instructions", "event_5"))
    first, *_, last = backend()
    events = decode(codec, first, *[sound(SILENCE)] * 100, last)
    assert not only(events, ev.ResponseDone)
    events = decode(codec, *[sound(SILENCE)] * 20, sound(TONE), words("Done", 0, 0))
    assert not only(events, ev.ResponseDone), "the model gets its time to say what came of the work"
    assert only(decode(codec, *[sound(SILENCE)] * 5), ev.ResponseDone)[0].response.text == "Done"
