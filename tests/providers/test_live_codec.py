"""The Live codec: what is understood, what is inferred, what is said, and that nothing hostile gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import (
    G711_ULAW,
    PCM16_16K,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Voice,
)
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import ContentPart, FunctionCall, FunctionCallOutput, Message
from kernl_rt.providers._fields import LIMIT
from kernl_rt.providers.openai._live_codec import SPEAK
from kernl_rt.providers.openai._live_spans import PATIENCE, is_loud
from kernl_rt.testing.strategies import hostile_messages
from tests.providers.live_frames import (
    BACKEND,
    DELEGATE,
    FRAMES,
    SILENCE,
    TONE,
    WEATHER,
    appended,
    backend,
    call,
    closed,
    codec_of,
    decode,
    delegated,
    error,
    nested,
    said,
    sound,
    started,
    words,
)


def kinds(events: list[Any]) -> list[str]:
    return [event.kind for event in events]


def only(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def typed(text: str, id: str | None = "item_1") -> Message:
    return Message("user", [ContentPart("input_text", text=text)], id=id)


# -- every frame ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["type"])
def test_every_frame_is_an_event(frame: dict[str, Any]) -> None:
    events = decode(codec_of(delegation=BACKEND), frame)
    assert events
    assert not [event for event in events if isinstance(event, ev.SessionError) and event.source == "protocol"]
    raw = only(events, ev.RawServerEvent)
    assert bool(raw) == (frame["type"] in ("info", "session.output_audio.fixture.played"))


def test_what_has_no_word_keeps_its_place() -> None:
    (unknown,) = decode(codec_of(), {"type": "session.new_thing", "event_id": "e", "more": [1]})
    assert (unknown.type, unknown.data["more"], unknown.event_id) == ("session.new_thing", [1], "e")
    (told,) = decode(codec_of(), {**appended("thinking", "event_9", 40), "new": 1})
    assert (told.channel, told.start_ms, told.client_event_id, told.extra) == ("thinking", 40, "event_9", {"new": 1})
    (event,) = decode(codec_of(), nested(type="response.in_progress", response={"id": "r"}))
    assert (event.type, event.delegation_id, event.event["response"]) == ("response.in_progress", "del_1", {"id": "r"})


def test_the_session_is_described() -> None:
    created, updated, resumable = decode(codec_of(live=False, store=True), started())
    assert (created.session.id, created.session.model) == ("live_1", "gpt-live-1")
    assert created.session.expires_at == 1_795_000_000
    assert (updated.session.config.voice, updated.session.config.instructions) == (Voice("marin"), "Be brief.")
    assert resumable.handle == "live_1"
    assert not only(decode(codec_of(live=False), started()), ev.SessionResumable)
    assert only(decode(codec_of(live=False), started(store=True)), ev.SessionResumable)
    assert not only(decode(codec_of(live=False, store=True), started(store=False)), ev.SessionResumable)


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


# -- work -------------------------------------------------------------------------------------------------------------


def test_calls_are_told_when_their_response_is_over() -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER]), delegation=BACKEND)
    usage = {
        "input_tokens": 7,
        "output_tokens": 5,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    *before, last = backend(call(), call("call_2", item="fc_2"), usage=usage)
    events = decode(codec, delegated("responses"), *before)
    assert [event.name for event in only(events, ev.ToolStarted)] == ["weather", "weather"]
    assert [event.call_id for event in only(events, ev.ToolDelta)] == ["call_1", "call_2"]
    assert not only(events, ev.ToolCalled), "they may not be answered yet"
    events = decode(codec, last)
    calls = only(events, ev.ToolCalled)
    assert [(event.call_id, event.name, event.arguments) for event in calls] == [
        ("call_1", "weather", '{"city":"Paris"}'),
        ("call_2", "weather", '{"city":"Paris"}'),
    ]
    assert calls[0].extra["delegation_id"] == "del_1"
    done = only(events, ev.ResponseDone)[0].response
    assert [item.call_id for item in done.output] == ["call_1", "call_2"]
    assert done.id == calls[0].response_id == calls[1].response_id
    (reported,) = only(events, ev.UsageReported)
    assert (reported.usage.total_tokens, reported.usage.input.cached, reported.usage.output.reasoning) == (12, 2, 1)


def test_the_last_answer_lets_the_backend_go_on() -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER]), delegation=BACKEND)
    decode(codec, *backend(call(), call("call_2", item="fc_2")))
    (frame,) = said(codec, ev.ToolResult("call_2", "Rain", "item_o2", event_id="event_7"))
    assert frame == {
        "type": "response.item.create",
        "event_id": "event_7",
        "item": {"type": "function_call_output", "call_id": "call_2", "output": "Rain"},
    }
    assert codec.echoes() == [ev.ItemCreated(FunctionCallOutput("call_2", "Rain", id="item_o2"))]
    frames = said(codec, ev.ToolResult("call_1", "Sun", "item_o1", event_id="event_8"))
    assert [frame["type"] for frame in frames] == ["response.item.create", "response.create"]
    events = decode(codec, nested(type="response.created", response={"id": "resp_c"}))
    assert "response.created" in kinds(events), "the answer is a reply that is waited for"


def test_a_call_in_the_midst_of_speech_ends_the_reply() -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER]), delegation=BACKEND)
    spoken = decode(codec, sound(TONE), words("Let me see", 0, 200))
    events = decode(codec, *backend(call()), sound(TONE))
    (called,) = only(events, ev.ToolCalled)
    assert called.response_id == spoken[0].response.id
    done, begun = only(events, ev.ResponseDone)[0], only(events, ev.ResponseCreated)[0]
    assert [type(item).__name__ for item in done.response.output] == ["Message", "FunctionCall"]
    assert begun.response.id != done.response.id


def test_a_backend_that_fails_says_so() -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER]), delegation=BACKEND)
    created, *rest = backend(call())[:-1]
    failed = {"id": "resp_b", "status": "failed", "error": {"code": "server_error", "message": "Oh."}}
    events = decode(codec, created, *rest, nested(type="response.failed", response=failed))
    (told,) = only(events, ev.SessionError)
    assert (told.message, told.code, told.source) == ("Oh.", "server_error", "provider")
    assert not only(events, ev.ToolCalled), "a call of a response that failed is not run"


def test_the_client_does_the_work_with_one_tool() -> None:
    codec = codec_of(SessionConfig(tools=[DELEGATE]))
    events = decode(codec, words("book a table", 0, 300, "input"), delegated())
    (created,) = only(events, ev.DelegationCreated)
    assert (created.delegation_id, created.target, created.offset_ms) == ("del_1", "client", 400)
    (called,) = only(events, ev.ToolCalled)
    assert (called.call_id, called.name) == ("del_1", "delegate")
    assert json.loads(called.arguments) == {"request": "book a table"}
    (frame,) = said(codec, ev.ToolResult("del_1", "Booked.", "item_o", event_id="event_7"))
    assert frame == {
        "type": "session.commentary.append",
        "event_id": "event_7",
        "content": "Booked.",
        "delegation_id": "del_1",
    }
    events = decode(codec, appended("commentary", "event_7"))
    assert only(events, ev.ItemCreated)[0].item == FunctionCallOutput("del_1", "Booked.", id="item_o")
    assert only(events, ev.ResponseCreated), "what is said of it is the reply to the call"
    assert json.loads(only(decode(codec, delegated(id="del_2")), ev.ToolCalled)[0].arguments) == {"request": ""}


def test_work_without_a_tool_is_only_told() -> None:
    events = decode(codec_of(), delegated())
    assert kinds(events) == ["delegation.created"]


def test_a_result_of_an_earlier_link_is_told_in_words() -> None:
    codec = codec_of(delegation=BACKEND)
    (frame,) = said(codec, ev.ToolResult("call_old", "Sunny", "item_o", "weather", event_id="event_7"))
    assert (frame["type"], frame["content"]) == ("session.commentary.append", "weather returned: Sunny")


# -- what is said -----------------------------------------------------------------------------------------------------


def test_everything_is_said_at_the_start() -> None:
    codec = codec_of(live=False, delegation=BACKEND, store=True)
    codec = type(codec)("gpt-live-1", delegation=BACKEND, store=True, defaults=SessionConfig(voice=Voice("sage")))
    config = SessionConfig(
        instructions="Be brief.",
        input_format=PCM16_16K,
        output_format=PCM16_16K,
        tools=[WEATHER],
        tool_choice=ToolChoice("auto"),
        parallel_tool_calls=False,
        max_output_tokens=400,
        extra={"safety_identifier": "user-1", "delegation": {"acknowledgement_delay_ms": 200}},
    )
    (frame,) = said(codec, ev.SessionUpdate(config, event_id="event_1"))
    assert frame == {
        "type": "session.start",
        "event_id": "event_1",
        "session": {
            "model": "gpt-live-1",
            "instructions": "Be brief.",
            "audio": {"format": {"type": "audio/pcm", "rate": 16_000}, "output": {"voice": "sage"}},
            "delegation": {
                "type": "responses",
                "responses": {
                    "model": "gpt-6",
                    "tools": [
                        {
                            "type": "function",
                            "name": "weather",
                            "description": "The weather.",
                            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                        }
                    ],
                    "tool_choice": "auto",
                    "parallel_tool_calls": False,
                    "max_output_tokens": 400,
                },
                "acknowledgement_delay_ms": 200,
            },
            "store": True,
            "safety_identifier": "user-1",
        },
    }


def test_a_fork_says_only_what_a_fork_may() -> None:
    codec = type(codec_of())("gpt-live-1", delegation=BACKEND, store=True, resume=True)
    config = SessionConfig(instructions="x", voice=Voice("sage"), output_format=PCM16_16K, tools=[WEATHER])
    (frame,) = said(codec, ev.SessionUpdate(config, event_id="event_1"))
    assert set(frame["session"]) == {"audio", "delegation"}
    assert frame["session"]["audio"] == {"format": {"type": "audio/pcm", "rate": 16_000}}
    assert "model" not in frame["session"]["delegation"]["responses"]
    (refused,) = decode(codec, error("session_not_found"))
    assert refused.type == "server_error", "the next attempt begins a session of its own"


def test_a_running_session_changes_its_backend_only() -> None:
    codec = codec_of(SessionConfig(instructions="One.", tools=[WEATHER]), delegation=BACKEND)
    (frame,) = said(codec, ev.SessionUpdate(SessionConfig(tool_choice=ToolChoice("required")), event_id="event_2"))
    assert frame["session"] == {"delegation": {"type": "responses", "responses": {"tool_choice": "required"}}}
    (frame,) = said(codec, ev.SessionUpdate(SessionConfig(extra={"triggers": []}), event_id="event_3"))
    assert frame["session"] == {"triggers": []}
    for number, over in enumerate(
        (
            SessionConfig(instructions="Two."),
            SessionConfig(voice=Voice("sage")),
            SessionConfig(output_format=PCM16_16K),
            SessionConfig(extra={"store": True}),
            SessionConfig(max_output_tokens="inf"),
        )
    ):
        assert said(codec, ev.SessionUpdate(over, event_id=f"event_x{number}")) == []
        (refused,) = codec.echoes()
        assert isinstance(refused, ev.SessionError)
        assert (refused.client_event_id, refused.code) == (f"event_x{number}", "unsupported")
    assert "session.instructions.append" in said_why(codec, SessionConfig(instructions="Two."))


def said_why(codec: Any, over: SessionConfig) -> str:
    codec.encode(ev.SessionUpdate(over, event_id="event_y"))
    return str(codec.echoes()[0].message)


def test_a_change_that_the_wire_has_no_word_for_holds_at_once() -> None:
    codec = codec_of(SessionConfig(tools=[]))
    assert said(codec, ev.SessionUpdate(SessionConfig(tools=[DELEGATE]), event_id="event_2")) == []
    (updated,) = codec.echoes()
    assert isinstance(updated, ev.SessionUpdated)
    assert only(decode(codec, delegated()), ev.ToolCalled)


def test_what_is_written_is_told_and_acknowledged() -> None:
    codec = codec_of()
    (frame,) = said(codec, ev.ItemCreate(typed("Hello"), event_id="event_5"))
    assert (frame["type"], frame["content"]) == ("session.thinking.append", "The user wrote: Hello")
    assert codec.echoes() == []
    events = decode(codec, appended("thinking", "event_5"))
    assert only(events, ev.ItemCreated)[0].item == typed("Hello")
    assert not only(decode(codec, appended("thinking", "event_5")), ev.ItemCreated), "once"
    system = Message("system", [ContentPart("input_text", text="Be kind.")], id="item_2")
    (frame,) = said(codec, ev.ItemCreate(system, event_id="event_6"))
    assert (frame["type"], frame["content"]) == ("session.instructions.append", "Be kind.")
    (frame,) = said(codec, ev.ItemCreate(Message("assistant", [ContentPart("output_text", text="Hi")]), event_id="e7"))
    assert frame["content"] == "You said: Hi"


def test_what_is_long_goes_in_pieces() -> None:
    codec = codec_of()
    frames = said(codec, ev.ItemCreate(typed("x" * 2_000), event_id="event_5"))
    assert "".join(frame["content"] for frame in frames) == "The user wrote: " + "x" * 2_000
    assert all(len(frame["content"]) <= 450 for frame in frames)
    assert [frame.get("event_id") for frame in frames] == [None] * (len(frames) - 1) + ["event_5"]
    codec = codec_of(SessionConfig(tools=[DELEGATE]))
    decode(codec, delegated())
    frames = said(codec, ev.ToolResult("del_1", "y" * 1_000, event_id="event_6"))
    assert [frame["type"].split(".")[1] for frame in frames] == ["thinking", "thinking", "commentary"]
    assert {frame["delegation_id"] for frame in frames} == {"del_1"}


def test_calls_of_an_earlier_conversation_are_told_with_their_results() -> None:
    codec = codec_of()
    call = FunctionCall("weather", '{"city":"Paris"}', "call_1", id="item_c")
    assert said(codec, ev.ItemCreate(call, event_id="event_5")) == []
    assert codec.echoes() == [ev.ItemCreated(call)]
    (frame,) = said(codec, ev.ItemCreate(FunctionCallOutput("call_1", "Sunny", id="item_o"), event_id="event_6"))
    assert frame["content"] == 'weather({"city":"Paris"}) returned: Sunny'


@pytest.mark.parametrize(
    "event",
    [
        ev.AudioInputCommit(event_id="event_5"),
        ev.AudioInputClear(event_id="event_5"),
        ev.ResponseCancel(event_id="event_5"),
        ev.ItemDelete("item_1", event_id="event_5"),
        ev.ItemTruncate("item_1", 10, event_id="event_5"),
        ev.ActivityEnd(event_id="event_5"),
        ev.ItemCreate(typed("Hi"), "root", event_id="event_5"),
        ev.ItemCreate(Message("user", [ContentPart("input_image", image_url="https://x")]), event_id="event_5"),
        ev.ItemCreate(Message("user", [ContentPart("input_audio", audio=b"\0\0")]), event_id="event_5"),
        ev.ResponseCreate(ResponseConfig(conversation="none"), event_id="event_5"),
    ],
    ids=lambda event: event.kind,
)
def test_what_cannot_be_said_is_refused(event: Any) -> None:
    codec = codec_of()
    assert said(codec, event) == []
    (refused,) = codec.echoes()
    assert isinstance(refused, ev.SessionError)
    assert (refused.client_event_id, refused.code, refused.source) == ("event_5", "unsupported", "provider")


def test_mute_is_said_and_confirmed() -> None:
    codec = codec_of()
    assert said(codec, ev.InputMute(event_id="m")) == [{"type": "session.input_audio.mute", "event_id": "m"}]
    assert said(codec, ev.InputUnmute(event_id="n")) == [{"type": "session.input_audio.unmute", "event_id": "n"}]
    muted, unmuted = decode(codec, *(f for f in FRAMES if f["type"].endswith("muted")))
    assert (muted.muted, unmuted.muted) == (True, False)


# -- usage and the end ------------------------------------------------------------------------------------------------


def test_usage_is_told_as_what_is_new() -> None:
    codec = codec_of()
    frame: dict[str, Any] = {"type": "session.usage.updated", "event_id": "e", "usage": {"seconds": 15.0}}
    seconds = []
    for total in (15.0, 30.0, 30.0, 20.0):
        (told,) = decode(codec, {**frame, "usage": {"seconds": total}})
        seconds.append(told.usage.seconds)
    assert seconds == [15.0, 15.0, 0.0, 0.0], "the wire counts from the start, and a count that falls costs nothing"
    told = only(decode(codec, closed(seconds=42.5)), ev.UsageReported)[0]
    assert (told.usage.seconds, told.extra["total_seconds"]) == (12.5, 42.5)


@pytest.mark.parametrize(
    ("reason", "kind", "code"),
    [
        ("expired", SessionExpired, 1000),
        ("content", ConnectionClosed, 1008),
        ("close_requested", ConnectionClosed, 1000),
        ("remote_hangup", ConnectionClosed, 1000),
        ("connection_lost", ConnectionClosed, 1006),
        ("something_new", ConnectionClosed, 1000),
    ],
)
def test_the_reason_says_how_it_ended(reason: str, kind: type, code: int) -> None:
    codec = codec_of()
    assert codec.open
    events = decode(codec, sound(TONE), words("Bye", 0, 200), closed(reason))
    assert not codec.open
    (done,) = only(events, ev.ResponseDone)
    assert (done.response.text, done.response.status) == ("Bye", "incomplete")
    assert [e.code for e in only(events, ev.SessionError)] == (["content"] if reason == "content" else [])
    ended = codec.closed(ConnectionClosed(1000))
    assert (type(ended), ended.code) == (kind, code)


def test_an_error_may_say_that_the_session_is_too_old() -> None:
    codec = codec_of()
    decode(codec, error("session_expired"))
    assert isinstance(codec.closed(ConnectionClosed(1001, "bye")), SessionExpired)
    assert not isinstance(codec_of().closed(ConnectionClosed(1001, "bye")), SessionExpired)


def test_credentials_are_taken_out_of_errors() -> None:
    codec = codec_of(redact=lambda text: text.replace("sk-secret", "…"))
    (told,) = decode(codec, {**error(), "error": {"message": "bad key sk-secret", "code": "invalid_api_key"}})
    assert told.message == "bad key …"
    assert "sk-secret" not in str(codec.closed(ConnectionClosed(1008, "sk-secret")))


# -- hostile ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.lists(hostile_messages(FRAMES), max_size=12))
def test_nothing_hostile_raises_or_breaks_the_rules(messages: list[Any]) -> None:
    codec = codec_of(SessionConfig(tools=[WEATHER]), delegation=BACKEND)
    running: str | None = None
    for message in messages:
        for event in codec.decode(message):
            assert event.kind
            if isinstance(event, ev.ResponseCreated):
                assert running is None
                running = event.response.id
            elif isinstance(event, ev.ResponseDone):
                assert running == event.response.id
                running = None
    for event in codec.last_words(ConnectionClosed()):
        running = None if isinstance(event, ev.ResponseDone) else running
    assert running is None


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "session.output_audio.delta", "delta": "&&&&"},
        {"type": "session.output_audio.delta"},
        {"type": "session.output_transcript.delta", "delta": 7},
        {"type": "session.delegation.created", "delegation": {"id": "d"}},
        {"type": "session.closed"},
        {"type": "error", "error": {}},
        nested(type="response.output_item.done", item={"type": "function_call", "id": "f", "name": "n"}),
        nested(type="response.completed", response={}),
        nested(type=7),
    ],
    ids=lambda frame: json.dumps(frame)[:60],
)
def test_a_broken_frame_is_one_error(frame: dict[str, Any]) -> None:
    (told,) = decode(codec_of(delegation=BACKEND), frame)
    assert isinstance(told, ev.SessionError)
    assert told.source == "protocol"
    assert "&&&&" not in repr(told.cause)


def test_a_stamp_from_the_end_of_time_does_no_harm() -> None:
    codec = codec_of()
    decode(codec, words("a", LIMIT, LIMIT))
    events = decode(codec, words("b", 0, 10), *[sound(TONE)] * 3, closed())
    assert "".join(event.text for event in only(events, ev.OutputTranscript)).endswith("b")


def test_a_peer_that_begins_without_end_fills_no_memory() -> None:
    codec = codec_of(delegation=BACKEND)
    for number in range(500):
        decode(codec, nested(type="response.created", response={"id": f"r{number}"}))
        item = {**call(f"c{number}", item=f"f{number}"), "arguments": ""}
        decode(codec, nested(type="response.output_item.added", item=item, output_index=0))
    work = codec._work
    assert len(work._running) <= 64
    assert len(work._written) <= 64
    tool = ToolDefinition("delegate", "", {"type": "object"})
    codec = codec_of(SessionConfig(tools=[tool]))
    for number in range(600):
        codec.encode(ev.ItemCreate(typed("x"), event_id=f"event_{number}"))
    assert len(codec._waiting) <= 256
