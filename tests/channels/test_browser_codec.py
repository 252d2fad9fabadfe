"""What a page may say and is told: hostile input, and the mirror of a session."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, strategies as st

from kernl_rt.channels._wire import Answer, Left, Played
from kernl_rt.channels.browser._codec import BrowserWire, Interruption, Mirror, Muting, Typed, agreed
from kernl_rt.channels.browser._wire import write
from kernl_rt.config import PCM16_16K, PCM16_24K
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    HistoryChanged,
    InputTranscriptDelta,
    LatencyMeasured,
    OutputTranscriptDelta,
    SessionError,
    StatusChanged,
    ToolCalled,
    ToolFinished,
)
from kernl_rt.exceptions import ChannelError
from kernl_rt.items import ContentPart, Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KINDS = ["hello", "played", "mute", "talk", "text", "interrupt", "ping", "bye", "x", ""]
FIELDS = ["samples", "clears", "muted", "pressed", "text", "id", "version", "input_rates", "output_rates"]
SAID = st.one_of(
    st.binary(max_size=100),
    st.text(max_size=100),
    JSON.map(lambda value: json.dumps(value)),
    st.builds(
        lambda kind, fields: json.dumps({"type": kind, **fields}),
        st.sampled_from(KINDS),
        st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    ),
)
UNDERSTOOD = (AudioCaptured, Played, Answer, Muting, Typed, Interruption, Left, ActivityStarted, ActivityEnded)


@given(st.lists(SAID, max_size=20), st.booleans())
def test_nothing_that_a_page_says_is_an_error(said: list[str | bytes], push_to_talk: bool) -> None:
    wire = BrowserWire(PCM16_24K, PCM16_24K, push_to_talk=push_to_talk)
    for message in said:
        before = wire.ignored
        values = wire.decode(message, 1.0)
        assert all(isinstance(value, UNDERSTOOD) for value in values)
        assert wire.ignored == before + (not values and isinstance(message, str))
        for value in values:
            if isinstance(value, Played):
                assert 0 <= value.size <= 2**54


@given(SAID)
def test_a_greeting_is_a_hello_or_a_channel_error(said: str | bytes) -> None:
    try:
        formats = agreed(said, [24_000], [24_000])
    except ChannelError:
        return
    assert formats == (PCM16_24K, PCM16_24K)
    assert '"hello"' in str(said)


@pytest.mark.parametrize(
    "said", ["[" * 60_000, '{"type":' * 20_000, '{"type":"text","text":"\\ud800"}', "\ud800", "nul\0"]
)
def test_deep_and_broken_texts(said: str) -> None:
    wire = BrowserWire(PCM16_24K, PCM16_24K)
    assert not any(isinstance(value, Muting) for value in wire.decode(said, 0.0))


def test_the_servers_preference_decides() -> None:
    hello = '{"type":"hello","version":1,"input_rates":[48000,16000],"output_rates":[8000,24000],"more":1}'
    assert agreed(hello, [16_000, 48_000], [24_000, 8_000]) == (PCM16_16K, PCM16_24K)
    with pytest.raises(ChannelError, match="neither"):
        agreed(hello, [24_000], [24_000])


def test_what_each_message_means() -> None:
    wire = BrowserWire(PCM16_24K, PCM16_24K)
    assert wire.decode(b"\1\0", 5.0) == (AudioCaptured(b"\1\0"),)
    assert wire.decode('{"type":"played","samples":480,"clears":2}', 5.0) == (Played(960, 2),)
    assert wire.decode('{"type":"played","samples":480}', 5.0) == (Played(960, None),)
    assert wire.decode('{"type":"mute","muted":true}', 5.0) == (Muting(True),)
    assert wire.decode('{"type":"text","text":"hi"}', 5.0) == (Typed("hi"),)
    assert wire.decode('{"type":"interrupt"}', 5.0) == (Interruption(),)
    assert wire.decode('{"type":"ping","id":3}', 5.0) == (Answer(('{"type":"pong","id":3}',)),)
    assert isinstance(wire.decode('{"type":"bye"}', 5.0)[0], Left)
    for nothing in (
        '{"type":"text","text":"  "}',
        '{"type":"text","text":""}',
        json.dumps({"type": "text", "text": "x" * 8_193}),
        '{"type":"played","samples":-1}',
        '{"type":"played","samples":1.5}',
        '{"type":"played","samples":9007199254740993}',
        '{"type":"mute","muted":1}',
        '{"type":"talk","pressed":true}',
        '{"type":"hello","version":1,"input_rates":[24000],"output_rates":[24000]}',
    ):
        assert wire.decode(nothing, 5.0) == ()
    assert wire.ignored == 9


def test_the_button() -> None:
    wire = BrowserWire(PCM16_24K, PCM16_24K, push_to_talk=True)
    up, down = '{"type":"talk","pressed":false}', '{"type":"talk","pressed":true}'
    assert wire.decode(b"\0\0", 1.0) == ()
    assert wire.decode(up, 1.0) == ()
    assert wire.decode(down, 2.0) == (ActivityStarted(at=2.0),)
    assert wire.decode(down, 2.5) == ()
    assert wire.decode(b"\0\0", 2.6) == (AudioCaptured(b"\0\0"),)
    assert wire.decode(up, 3.0) == (ActivityEnded(at=3.0),)
    assert wire.decode(b"\0\0", 3.1) == ()


# -- the mirror -------------------------------------------------------------------------------------------------------


def told(mirror: Mirror, event: object) -> list[dict[str, Any]]:
    return [posted.message for posted in mirror.messages(event)]


def said(item: str, text: str, status: Any, role: Any = "assistant") -> HistoryChanged:
    message = Message(id=item, role=role, status=status, content=[ContentPart("text", text)])
    return HistoryChanged([message], updated=[message])


def line(role: str, item: str, text: str, final: bool = False, interrupted: bool = False) -> dict[str, Any]:
    entry = {"type": "transcript", "role": role, "item": item, "text": text}
    return {**entry, "final": final, "interrupted": interrupted}


def test_words_grow_and_end_as_what_was_heard() -> None:
    mirror = Mirror()
    assert told(mirror, OutputTranscriptDelta(item_id="i1", text="Once ")) == [line("agent", "i1", "Once ")]
    assert told(mirror, OutputTranscriptDelta(item_id="i1", text="upon a time")) == [
        line("agent", "i1", "Once upon a time")
    ]
    assert told(mirror, said("i1", "Once", "incomplete")) == [line("agent", "i1", "Once", True, True)]
    assert told(mirror, OutputTranscriptDelta(item_id="i1", text=" late")) == []
    assert told(mirror, said("i2", "", "incomplete")) == [], "nobody heard of it"
    assert told(mirror, InputTranscriptDelta("u1", "hel")) == [line("user", "u1", "hel")]
    assert told(mirror, InputTranscriptDelta("u1", "hello", cumulative=True)) == [line("user", "u1", "hello")]
    assert told(mirror, said("u1", "hello", "completed", "user")) == [line("user", "u1", "hello", True)]
    assert told(mirror, said("s1", "secret orders", "completed", "system")) == []
    assert told(mirror, said("i3", "growing", "in_progress")) == []


def test_text_that_no_json_can_hold_is_told_all_the_same() -> None:
    [message] = told(Mirror(), OutputTranscriptDelta(item_id="i1", text="half \ud83d a face"))
    assert json.loads(write(message))["text"] == "half ? a face"


def test_one_item_is_one_key() -> None:
    mirror = Mirror()
    keys = {posted.key for _ in range(3) for posted in mirror.messages(OutputTranscriptDelta(item_id="i1", text="x"))}
    assert len(keys) == 1


def test_tools() -> None:
    mirror = Mirror()
    [running] = told(mirror, ToolCalled("c1", "weather", '{"city":"Paris"}'))
    tool = {"type": "tool", "call": "c1", "name": "weather", "arguments": '{"city":"Paris"}'}
    assert running == {**tool, "state": "running", "result": ""}
    assert told(mirror, ToolFinished("c1", "weather", "result", "sunny")) == [
        {**tool, "state": "done", "result": "sunny"}
    ]
    for outcome, state in (
        ("error", "failed"),
        ("timeout", "failed"),
        ("denied", "failed"),
        ("cancelled", "cancelled"),
    ):
        assert told(mirror, ToolFinished("c2", "weather", outcome, ""))[0]["state"] == state  # type: ignore[arg-type]
    quiet = Mirror(tools=False)
    assert told(quiet, ToolCalled("c1", "weather", "{}")) == told(quiet, ToolFinished("c1", "w", "result", "")) == []


def test_an_error_is_told_without_the_providers_words() -> None:
    event = SessionError("Incorrect API key provided: sk-abc123", "sk-abc123", "invalid_request_error", "sk-abc123")
    [message] = told(Mirror(), event)
    assert message == {"type": "error", "code": "provider", "message": "The voice service reported a problem."}


@pytest.mark.parametrize("source", get_args(get_type_hints(SessionError)["source"]))
def test_an_error_of_a_session_that_lives_does_not_say_that_the_call_ended(source: Any) -> None:
    [message] = told(Mirror(), SessionError("sk-abc123", source=source))
    assert message["code"] == source
    assert "ended" not in message["message"]
    assert "sk-abc123" not in message["message"]


def test_figures() -> None:
    mirror = Mirror()
    assert told(mirror, LatencyMeasured("r1", to_first_heard=0.4567)) == [{"type": "latency", "ms": 457}]
    assert told(mirror, LatencyMeasured(barge_in=0.1)) == []
    status = StatusChanged("closed", "closing", "bye")
    assert told(mirror, status) == [{"type": "status", "status": "closed", "reason": "bye"}]
    assert told(mirror, object()) == []


def test_a_long_session_fills_nothing_and_long_texts_are_cut() -> None:
    mirror = Mirror()
    for number in range(1_000):
        mirror.messages(OutputTranscriptDelta(item_id=f"i{number}", text="x" * 9_000))
        mirror.messages(ToolCalled(f"c{number}", "t", "y" * 9_000))
        mirror.messages(said(f"j{number}", "z", "completed"))
    assert max(len(mirror._growing), len(mirror._calls), len(mirror._final)) <= 64
    [message] = told(mirror, OutputTranscriptDelta(item_id="i999", text="x" * 9_000))
    assert len(message["text"]) == 8_193
    assert message["text"].endswith("…")
