"""The codec of ElevenLabs Agents: what the agent says, frame by frame, how it ends, and hostile frames."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import ContentPart, Message
from kernl_rt.providers.elevenlabs import AgentsCodec
from kernl_rt.testing.strategies import hostile_messages
from tests.providers.elevenlabs_frames import (
    METADATA,
    audio,
    call,
    complete,
    heard,
    interruption,
    message,
    open_codec,
    part,
    ping,
    shape,
    told,
    usage,
    words,
)

# -- the agent's turns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param(
            [audio(1), words("a", 1), audio(1), complete(1), usage(5)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="complete",
        ),
        pytest.param(
            [audio(1), words("a", 1), audio(1, is_final=True), complete(1)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="is_final",
        ),
        pytest.param(
            [audio(1, is_final=True), words("a", 1), audio(2)],
            ["(1", "sound1", "1:completed)", "a1", "(2", "sound2"],
            id="words-after-the-end",
        ),
        pytest.param(
            [audio(1), audio(1), audio(2), words("b", 2)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2", "b2"],
            id="numbers-of-turns-are-learned",
        ),
        pytest.param(
            [audio(1), audio(2), audio(3), complete(3), audio(4)],
            ["(1", "sound1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="numbers-of-pieces",
        ),
        pytest.param(
            [audio(1), words("a", 1), heard("hm", 2), audio(2)],
            ["(1", "sound1", "a1", "1:completed)", "(2", "sound2"],
            id="the-human-spoke-between",
        ),
        pytest.param(
            [audio(5), words("a", 5), heard("hm", 5), audio(5), complete(5)],
            ["(1", "sound1", "a1", "sound1", "1:completed)"],
            id="the-human-spoke-within",
        ),
        pytest.param(
            [audio(None), audio(None), heard("hm"), audio(None)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="without-numbers",
        ),
        pytest.param(
            [words("a", 1), audio(2), words("b", 3), audio(4)],
            ["(1", "a1", "sound1", "1:completed)", "(2", "b2", "sound2"],
            id="a-second-answer",
        ),
        pytest.param(
            [audio(1), ping(1), ping(2), audio(1), ping(3), ping(4), ping(5), audio(1)],
            ["(1", "sound1", "sound1", "1:completed)", "(2", "sound2"],
            id="three-quiet-pings",
        ),
        pytest.param(
            [audio(2), words("a", 2), interruption(2), audio(2), audio(1), audio(3)],
            ["(1", "sound1", "a1", "speech", "1:cancelled)", "silence", "(2", "sound2"],
            id="interruption",
        ),
        pytest.param(
            [interruption(4), audio(4), heard("stop", 5), audio(5)],
            ["speech", "silence", "(1", "sound1"],
            id="interruption-of-what-plays",
        ),
        pytest.param(
            [audio(1), call(), call(call_id="c2"), words("b", 1)],
            ["(1", "sound1", "call1", "1:completed)", "(2", "call2", "2:completed)", "b1"],
            id="calls-end-a-turn",
        ),
        pytest.param([complete(1), usage(5), ping(1), audio(1, b"", is_final=True)], [], id="ends-of-nothing"),
        pytest.param(
            [audio("7"), interruption(6), audio("8")],
            ["(1", "sound1", "speech", "1:cancelled)", "silence", "(2", "sound2"],
            id="numbers-as-text",
        ),
    ],
)
def test_turns(frames: list[dict[str, Any]], expected: list[str]) -> None:
    assert shape(told(open_codec(), *frames)) == expected


def test_a_whole_spoken_turn() -> None:
    events = told(open_codec(), audio(1, b"\1\0\2\0"), words("Good day.", 1), usage(9), complete(1))
    item_id = "item_convab_1"
    done = Message("assistant", [ContentPart("output_audio", transcript="Good day.")], id=item_id, status="completed")
    assert [event.kind for event in events] == [
        "response.created",
        "response.item.created",
        "item.created",
        "audio.output.delta",
        "transcript.output",
        "raw",
        "audio.output.done",
        "response.item.done",
        "item.done",
        "response.done",
    ]
    assert events[3].audio == b"\1\0\2\0"
    assert events[3].extra == {"event_id": 1}
    assert events[-2].item == done
    response = events[-1].response
    assert (response.id, response.status, response.text) == ("response_convab_1", "completed", "Good day.")
    assert (response.usage.input_tokens, response.usage.extra["context_limit_tokens"]) == (9, 1000)


def test_usage_that_comes_when_the_turn_is_over() -> None:
    codec = open_codec()
    [report] = told(codec, audio(1), complete(1), usage(9))[-1:]
    assert isinstance(report, ev.UsageReported)
    assert report.usage.input_tokens == 9


def test_a_written_turn() -> None:
    codec = open_codec(SessionConfig(output_modality="text"))
    events = told(codec, part("start"), part("delta", "One "), words("One two."), part("delta", "two."), part("stop"))
    events += told(codec, words("One two."), complete())
    deltas = [event.text for event in events if isinstance(event, ev.TextDelta)]
    assert deltas == ["One ", "two."]
    assert shape(events) == ["(1", "One two.1", "1:completed)"]
    assert shape(told(codec, words("Three.", 2))) == ["(2", "Three.2", "2:completed)"]
    assert codec.encode(ev.AudioInputAppend(b"\0\0")) == ()


def test_parts_ahead_of_a_spoken_turn() -> None:
    events = told(open_codec(), part("start"), part("delta", "One"), audio(1), part("stop"), complete())
    assert shape(events) == ["(1", "sound1", "One1", "1:completed)"]
    assert [event.text for event in events if isinstance(event, ev.OutputTranscriptDelta)] == ["One"]


def test_the_human() -> None:
    codec = open_codec()
    events = told(codec, heard("wha", final=False), heard("what now", final=False), heard("What now?"))
    deltas = [event for event in events if isinstance(event, ev.InputTranscriptDelta)]
    assert [(delta.text, delta.cumulative) for delta in deltas] == [("wha", True), ("what now", True)]
    committed, created, final = events[2:]
    assert isinstance(committed, ev.AudioInputCommitted)
    assert created.item.text == final.text == "What now?"
    assert {delta.item_id for delta in deltas} == {committed.item_id, created.item.id, final.item_id}
    assert told(codec, heard("More"))[0].item_id != final.item_id


def test_ping_is_answered_and_told() -> None:
    codec = open_codec()
    [event] = told(codec, ping(7))
    assert isinstance(event, ev.RawServerEvent)
    assert [json.loads(frame) for frame in codec.answers()] == [{"type": "pong", "event_id": 7}]
    assert codec.answers() == []


@pytest.mark.parametrize(
    "name",
    ["vad_score", "guardrail_triggered", "agent_tool_response", "mcp_tool_call", "dtmf_request", "queue_status", "new"],
)
def test_what_has_no_word_here_is_passed_on(name: str) -> None:
    frame = {"type": name, f"{name}_event": {"vad_score": 0.5}}
    assert told(open_codec(), frame) == [ev.RawServerEvent(name, frame)]


def test_a_correction_is_passed_on() -> None:
    """What was heard is the channel's to say: the service reckons with the moment at which it sent the sound."""
    content = {"original_agent_response": "a b", "corrected_agent_response": "a...", "event_id": 1}
    frame = {"type": "agent_response_correction", "agent_response_correction_event": content}
    assert told(open_codec(), frame) == [ev.RawServerEvent("agent_response_correction", frame)]


# -- errors and ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"), [("error", "error_event"), ("client_error", "error_event"), ("client_error", "client_error_event")]
)
def test_an_error(name: str, key: str) -> None:
    codec = AgentsCodec(redact=lambda text: text.replace("hidden", "…"))
    content = {"code": 1002, "error_type": "llm_error", "message": "the model hidden failed"}
    [error] = told(codec, {"type": name, key: content})
    assert (error.code, error.source) == ("llm_error", "provider")
    assert error.message == "ElevenLabs: the model … failed"


def test_the_end_of_its_time() -> None:
    codec = open_codec()
    content = {"code": 1000, "error_type": "max_duration_exceeded", "message": "too long"}
    [raw] = told(codec, {"type": "error", "error_event": content})
    assert isinstance(raw, ev.RawServerEvent)
    assert isinstance(codec.closed(ConnectionClosed(1000, "")), SessionExpired)
    assert isinstance(open_codec().closed(ConnectionClosed(1000, "Max conversation duration reached.")), SessionExpired)
    assert type(open_codec().closed(ConnectionClosed(1000, "bye"))) is ConnectionClosed


def test_a_credential_is_not_repeated() -> None:
    codec = AgentsCodec(redact=lambda text: text.replace("hidden", "…"))
    error = ConnectionClosed(1008, "signature hidden is wrong")
    assert "hidden" not in str(codec.closed(error))
    assert all("hidden" not in event.message for event in codec.last_words(error))  # type: ignore[union-attr]
    assert codec.last_words(error) == ()  # once


# -- hostile ----------------------------------------------------------------------------------------------------------

TEMPLATES = [
    METADATA, audio(1, is_final=True), words("a"), part("delta", "a"), complete(), ping(), heard("a"), interruption(1),
    call(expects_response=False), usage(1), {"type": "error", "error_event": {"code": 1, "message": "a"}},
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(hostile_messages(TEMPLATES), max_size=12))
def test_the_decoder_never_raises(frames: list[str | bytes]) -> None:
    codec = AgentsCodec()
    for frame in frames:
        for event in codec.decode(frame):
            assert isinstance(event, (*get_args(ev.ServerEvent),))


_frames = st.one_of(
    st.builds(audio, st.integers(0, 6), is_final=st.booleans()),
    st.builds(words, st.sampled_from("abc"), st.integers(0, 6)),
    st.builds(part, st.sampled_from(["start", "delta", "stop"]), st.sampled_from(["", "a"]), st.integers(0, 6)),
    st.builds(complete, st.integers(0, 6)),
    st.builds(ping),
    st.builds(heard, st.just("a"), st.integers(0, 6), final=st.booleans()),
    st.builds(interruption, st.integers(0, 6)),
    st.builds(call, number=st.integers(0, 6)),
)
_ours = st.sampled_from(
    [
        ev.ItemCreate(message("hi"), asks=True),
        ev.ItemCreate(message("hi"), asks=False),
        ev.ResponseCreate(),
        ev.ToolResult("c1", "x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(_frames, _ours), max_size=30), st.booleans())
def test_whatever_comes_replies_hold_together(steps: list[Any], text_only: bool) -> None:
    """One reply at a time, each begun once and ended at most once, with its content in between, in items of its own."""
    codec = open_codec(SessionConfig(output_modality="text" if text_only else None))
    running: str | None = None
    begun: set[str] = set()
    for step in steps:
        events: list[Any] = told(codec, step) if isinstance(step, dict) else [codec.encode(step), *codec.echoes()][1:]
        for event in events:
            if isinstance(event, ev.ResponseCreated):
                assert running is None
                assert event.response.id not in begun
                running = event.response.id
                begun.add(running or "")
            elif isinstance(event, ev.ResponseDone):
                assert event.response.id == running
                running = None
            elif isinstance(event, ev.OutputTranscript):
                assert event.response_id in begun  # the text may come when the turn is over
            elif getattr(event, "response_id", None) is not None:
                assert event.response_id == running
