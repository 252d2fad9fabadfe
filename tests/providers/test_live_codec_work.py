"""The Live codec: work that the model hands over."""

from __future__ import annotations

import json

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig
from kernl_rt.items import FunctionCallOutput
from tests.providers.live_frames import (
    BACKEND,
    DELEGATE,
    TONE,
    WEATHER,
    appended,
    backend,
    call,
    codec_of,
    decode,
    delegated,
    kinds,
    nested,
    only,
    said,
    sound,
    words,
)


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
