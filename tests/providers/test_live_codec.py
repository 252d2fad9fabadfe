"""The Live codec: what is understood, how it ends, and that nothing hostile gets through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig, ToolDefinition, Voice
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.providers._fields import LIMIT
from kernl_rt.testing.strategies import hostile_messages
from tests.providers.live_frames import (
    BACKEND,
    FRAMES,
    TONE,
    WEATHER,
    appended,
    call,
    closed,
    codec_of,
    decode,
    error,
    nested,
    only,
    sound,
    started,
    typed,
    words,
)

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
