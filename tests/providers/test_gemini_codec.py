"""The codec by itself: boundaries that are inferred, ids that are counted, and frames that nobody should send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kernl_rt import events as ev
from kernl_rt.config import SessionConfig, TurnDetection
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import Message
from kernl_rt.providers.gemini import GeminiCodec
from kernl_rt.testing.strategies import hostile_messages

SOUND = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAEAAQ=="}}
CALL = {"toolCall": {"functionCalls": [{"id": "c1", "name": "weather", "args": {"city": "Paris"}}]}}


def codec(event_id: str = "event_1", **config: Any) -> GeminiCodec:
    made = GeminiCodec("models/gemini-3.8-live")
    made.encode(ev.SessionUpdate(SessionConfig(**config), event_id=event_id))
    made.decode('{"setupComplete":{}}')
    return made


def content(**fields: Any) -> str:
    return json.dumps({"serverContent": fields})


def kinds(events: Any) -> list[str]:
    return [event.kind for event in events]


def heard(made: GeminiCodec, *frames: Any) -> list[Any]:
    texts = [frame if isinstance(frame, str) else json.dumps(frame) for frame in frames]
    return [event for text in texts for event in made.decode(text)]


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# -- the session


def test_the_setup_is_taken() -> None:
    made = GeminiCodec("models/gemini-3.8-live")
    made.encode(ev.SessionUpdate(SessionConfig(instructions="Be brief."), event_id="event_7"))
    created, updated = made.decode('{"setupComplete":{"sessionId":"s1"}}')
    assert isinstance(created, ev.SessionCreated)
    assert isinstance(updated, ev.SessionUpdated)
    assert (created.session.id, updated.session.config.instructions) == ("s1", "Be brief.")
    assert str(updated.session.config.input_format) == "pcm16 at 16000 Hz"


def test_handles_and_the_end() -> None:
    made = codec()
    events = heard(
        made,
        {"sessionResumptionUpdate": {"newHandle": "h", "resumable": True}},
        {"sessionResumptionUpdate": {"resumable": False}},
        {"goAway": {"timeLeft": "59.5s"}},
        {"goAway": {}},
    )
    assert events == [
        ev.SessionResumable("h"),
        ev.SessionResumable(None, False),
        ev.SessionExpiring(59.5),
        ev.SessionExpiring(None),
    ]
    assert isinstance(made.closed(ConnectionClosed(1000, "")), SessionExpired)


@pytest.mark.parametrize(
    ("code", "reason", "is_expiry"),
    [
        (1011, "Deadline expired before operation could complete.", True),
        (1008, "The session duration limit was reached.", True),
        (1011, "Internal error encountered.", False),
        (1008, "Operation is not implemented, or supported, or enabled.", False),
        (1000, "", False),
    ],
)
def test_ends(code: int, reason: str, is_expiry: bool) -> None:
    found = codec().closed(ConnectionClosed(code, reason))
    assert (isinstance(found, SessionExpired), found.code, found.reason) == (is_expiry, code, reason)


# -- the human


def test_words_of_the_human_are_final_before_those_of_the_model() -> None:
    made = codec()
    events = heard(
        made,
        content(inputTranscription={"text": " Hello"}),
        content(modelTurn={"parts": [SOUND]}),
        content(inputTranscription={"text": " there"}),
        content(outputTranscription={"text": "Hi"}),
        content(generationComplete=True),
    )
    # The end of the turn may be long in coming: Google waits until all has been heard.
    assert [event.text for event in of(ev.InputTranscript, events)] == [" Hello there"]
    events += heard(made, content(turnComplete=True))
    assert [event.text for event in of(ev.InputTranscript, events)] == [" Hello there"]
    finals = [event.kind for event in events if event.kind in ("transcript.input", "transcript.output")]
    assert finals == ["transcript.input", "transcript.output"]
    order = kinds(events)
    assert order.index("audio.input.committed") < order.index("response.created")
    (item,) = [event.item for event in of(ev.ItemCreated, events) if event.item.role == "user"]
    assert {event.item_id for event in of(ev.InputTranscriptDelta, events)} == {item.id}


def test_words_that_come_after_everything_find_their_turn() -> None:
    made = codec()
    made.encode(ev.AudioInputAppend(b"\0\0"))
    events = heard(made, content(modelTurn={"parts": [SOUND]}), content(turnComplete=True))
    user = next(event.item for event in of(ev.ItemCreated, events) if event.item.role == "user")
    late = heard(made, content(inputTranscription={"text": "Hello", "finished": True}))
    assert late == [ev.InputTranscriptDelta(user.id, "Hello", 0), ev.InputTranscript(user.id, "Hello", 0)]


def test_interim_words_are_replaced() -> None:
    events = heard(
        codec(),
        content(interimInputTranscription={"text": "Hel"}),
        content(interimInputTranscription={"text": "Hello"}),
        content(inputTranscription={"text": "Hello.", "finished": True}),
    )
    deltas = of(ev.InputTranscriptDelta, events)
    assert [(delta.text, delta.cumulative) for delta in deltas] == [("Hel", True), ("Hello", True), ("Hello.", True)]
    assert of(ev.InputTranscript, events)[0].text == "Hello."


def test_voice_activity() -> None:
    events = heard(
        codec(),
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_START", "audioOffset": "1.5s"}},
        {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_SOS"}},
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_END", "audioOffset": "2s"}},
    )
    assert events == [ev.SpeechStarted(None, 1500), ev.SpeechStopped(None, 2000)]


def test_manual_turns() -> None:
    made = codec(turn_detection=TurnDetection.off())
    assert [json.loads(f)["realtimeInput"].keys() for f in made.encode(ev.AudioInputAppend(b"\0\0"))] == [
        {"activityStart"},
        {"audio"},
    ]
    assert len(made.encode(ev.AudioInputAppend(b"\0\0"))) == 1
    assert made.encode(ev.AudioInputCommit(event_id="e")) == ['{"realtimeInput":{"activityEnd":{}}}']
    committed, created = made.echoes()
    assert isinstance(committed, ev.AudioInputCommitted)
    assert isinstance(created, ev.ItemCreated)
    assert committed.item_id == created.item.id
    assert not made.encode(ev.AudioInputCommit(event_id="again"))
    (refused,) = made.echoes()
    assert isinstance(refused, ev.SessionError)
    assert refused.client_event_id == "again"


# -- the reply


def test_a_reply_has_one_beginning_and_one_end() -> None:
    events = heard(
        codec(),
        content(modelTurn={"parts": [{"text": "hm", "thought": True}]}),
        content(outputTranscription={"text": "Hel"}, modelTurn={"parts": [SOUND, SOUND]}),
        content(outputTranscription={"text": "lo", "finished": True}),
        content(groundingMetadata={"webSearchQueries": ["x"]}),
        content(generationComplete=True),
        {"serverContent": {"turnComplete": True}, "usageMetadata": {"totalTokenCount": 3, "promptTokenCount": 2}},
    )
    assert kinds(events) == [
        "response.created",
        "response.part.created",
        "response.item.created",
        "item.created",
        "transcript.output.delta",
        "audio.output.delta",
        "audio.output.delta",
        "transcript.output.delta",
        "transcript.output",
        "audio.output.done",
        "response.item.done",
        "item.done",
        "response.done",
    ]
    response = events[-1].response
    assert (response.text, response.status, response.usage.total_tokens) == ("Hello", "completed", 3)
    assert response.extra == {"groundingMetadata": {"webSearchQueries": ["x"]}}


def test_an_interruption_is_told_at_once_and_the_usage_later() -> None:
    made = codec()
    events = heard(made, content(modelTurn={"parts": [SOUND]}), content(interrupted=True))
    assert events[-1] == ev.OutputBufferCleared(of(ev.ResponseCreated, events)[0].response.id)
    assert not of(ev.ResponseDone, events)
    late = heard(made, {"serverContent": {"turnComplete": True}, "usageMetadata": {"totalTokenCount": 5}})
    (done,) = of(ev.ResponseDone, late)
    assert (done.response.status, done.response.usage.total_tokens) == ("cancelled", 5)


def test_an_interruption_of_what_is_still_being_heard() -> None:
    """The reply ended with a call; its sound may still play here."""
    made = codec()
    events = heard(made, content(modelTurn={"parts": [SOUND]}), CALL)
    (done,) = of(ev.ResponseDone, events)
    late = heard(made, content(interrupted=True), {"toolCallCancellation": {"ids": ["c1"]}}, content(turnComplete=True))
    assert late == [ev.OutputBufferCleared(done.response.id), ev.ToolCancelled(["c1"])]


def test_a_call_ends_its_reply_and_the_next_begins_another() -> None:
    made = codec()
    events = heard(made, content(outputTranscription={"text": "Let me see."}), CALL)
    assert kinds(events)[-7:] == [
        "tool.start",
        "tool.call",
        "response.item.done",
        "transcript.output",
        "response.item.done",
        "item.done",
        "response.done",
    ]
    (call,) = of(ev.ToolCalled, events)
    assert json.loads(call.arguments) == {"city": "Paris"}
    made.encode(ev.ToolResult("c1", "Sunny", "item_x"))
    again = heard(made, content(modelTurn={"parts": [SOUND]}), content(turnComplete=True))
    assert of(ev.ResponseCreated, again)[0].response.id != of(ev.ResponseCreated, events)[0].response.id
    assert not of(ev.AudioInputCommitted, again)


def test_a_call_without_an_id_gets_one_and_is_answered_without() -> None:
    made = codec()
    events = heard(made, {"toolCall": {"functionCalls": [{"name": "weather"}, {"name": "weather"}]}})
    one, two = of(ev.ToolCalled, events)
    assert one.call_id != two.call_id
    made.encode(ev.ToolResult(one.call_id, "Sunny", "item_1"))
    (frame,) = made.encode(ev.ToolResult(two.call_id, "Sunny", "item_2"))
    assert json.loads(frame)["toolResponse"]["functionResponses"] == [
        {"name": "weather", "response": {"output": "Sunny"}}
    ]


def test_some_of_the_calls_are_cancelled() -> None:
    made = codec()
    calls: list[dict[str, Any]] = [{"id": name, "name": "weather", "args": {}} for name in ("a", "b")]
    heard(made, {"toolCall": {"functionCalls": calls}})
    assert not made.encode(ev.AudioInputAppend(b"\0\0"))
    assert heard(made, {"toolCallCancellation": {"ids": ["a"]}}) == [ev.ToolCancelled(["a"])]
    assert not made.encode(ev.AudioInputAppend(b"\0\0"))
    assert len(made.encode(ev.ToolResult("b", "Sunny", "item_1"))) == 3  # the sound that was held back follows


def test_an_answer_of_nothing_is_an_answer() -> None:
    """Whoever asked must not wait for ever."""
    made = codec()
    made.encode(ev.ResponseCreate())
    assert kinds(heard(made, content(turnComplete=True))) == ["response.created", "response.done"]
    assert not heard(made, content(turnComplete=True))


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("NEED_MORE_INPUT", "completed", None),
        ("MALFORMED_FUNCTION_CALL", "failed", None),
        ("PROHIBITED_INPUT_CONTENT", "incomplete", "content_filter"),
    ],
)
def test_reasons(reason: str, status: str, why: str | None) -> None:
    events = heard(codec(), content(turnComplete=True, turnCompleteReason=reason))
    response = events[-1].response
    assert response.status == status
    assert (response.status_details.reason if response.status_details else None) == why


def test_usage_is_summed_over_the_reply() -> None:
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3, "thoughtsTokenCount": 4}
    details = {"responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}, {"modality": "NEW", "tokenCount": 1}]}
    events = heard(
        codec(),
        {"usageMetadata": usage},
        {"serverContent": {"modelTurn": {"parts": [SOUND]}}, "usageMetadata": {**usage, **details}},
        {"serverContent": {"turnComplete": True}},
    )
    found = events[-1].response.usage
    assert (found.input_tokens, found.output_tokens, found.total_tokens) == (2, 4, 6)
    assert (found.output.audio, found.output.text, found.output.reasoning) == (5, 1, 8)


def test_written_replies() -> None:
    made = GeminiCodec("models/gemini-2.0-flash-live-001")
    made.encode(ev.SessionUpdate(SessionConfig(output_modality="text"), event_id="event_1"))
    events = heard(
        made,
        content(modelTurn={"parts": [{"text": "Hel"}]}),
        content(modelTurn={"parts": [{"text": "lo"}]}),
        content(turnComplete=True),
    )
    assert [event.text for event in of(ev.TextDelta, events)] == ["Hel", "lo"]
    assert of(ev.TextDone, events)[0].text == events[-1].response.text == "Hello"


# -- ids


def test_ids_of_two_links_do_not_meet() -> None:
    frames = (content(modelTurn={"parts": [SOUND]}), content(turnComplete=True))
    ids = [
        {event.response.id for event in of(ev.ResponseDone, heard(codec(event_id), *frames, *frames))}
        for event_id in ("event_1", "event_57")
    ]
    assert len(ids[0] | ids[1]) == 4


def test_ids_keep_clear_of_an_earlier_session_s() -> None:
    made = codec()
    made.encode(ev.ItemCreate(Message("assistant", [], id="item_g1_500")))
    assert [isinstance(event, ev.SessionError) for event in made.echoes()] == [True]  # an empty message says nothing
    events = heard(made, content(modelTurn={"parts": [SOUND]}))
    assert of(ev.AudioDelta, events)[0].item_id == "item_g1_502"


# -- strange frames


def test_unknown_things_are_told_as_they_are() -> None:
    made = codec()
    assert made.decode('{"brandNew":{"a":1}}') == [ev.RawServerEvent("brandNew", {"brandNew": {"a": 1}})]
    no_news = {"turnComplete": False, "interrupted": False, "outputTranscription": {"finished": False}}
    assert made.decode(content(**no_news)) == []
    assert made.decode("{}") == [ev.RawServerEvent("", {})]
    (raw,) = made.decode(content(brandNew=1))
    assert raw == ev.RawServerEvent("serverContent", {"brandNew": 1})
    (part,) = of(ev.ContentPartAdded, heard(made, content(modelTurn={"parts": [{"executableCode": {"code": "1"}}]})))
    assert (part.part.type, part.part.extra) == ("executableCode", {"executableCode": {"code": "1"}})


@pytest.mark.parametrize(
    "frame",
    [
        '{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"data":"!","mimeType":"audio/pcm"}}]}}}',
        '{"serverContent":{"turnComplete":"yes"}}',
        '{"toolCall":{"functionCalls":[{"id":"c"}]}}',
        '{"toolCall":{"functionCalls":[{"name":"f","args":[]}]}}',
        '{"goAway":{"timeLeft":59}}',
        '{"usageMetadata":{"totalTokenCount":-1}}',
        '{"serverContent":',
        "[]",
        b"\xff",
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(frame: str | bytes) -> None:
    made = codec()
    (error,) = made.decode(frame)
    assert isinstance(error, ev.SessionError)
    assert error.source == "protocol"
    assert made.encode(ev.AudioInputAppend(b"\0\0"))  # no call is pending


def test_both_alphabets_of_base64() -> None:
    parts = [{"inlineData": {"mimeType": "audio/pcm", "data": text}} for text in ("_-8=", "/+8=", "_-8")]
    events = heard(codec(), content(modelTurn={"parts": parts}))
    assert [event.audio for event in of(ev.AudioDelta, events)] == [b"\xff\xef"] * 3


TEMPLATES: list[dict[str, Any]] = [
    {"setupComplete": {}},
    {"serverContent": {"modelTurn": {"parts": [SOUND, {"text": "x", "thought": True}]}, "generationComplete": True}},
    {"serverContent": {"turnComplete": True, "interrupted": True}, "usageMetadata": {"totalTokenCount": 1}},
    {"serverContent": {"inputTranscription": {"text": "a"}, "outputTranscription": {"text": "b", "finished": True}}},
    CALL,
    {"toolCallCancellation": {"ids": ["c1"]}},
    {"goAway": {"timeLeft": "1s"}},
    {"sessionResumptionUpdate": {"newHandle": "h", "resumable": True}},
    {"voiceActivity": {"voiceActivityType": "ACTIVITY_START"}},
]


@given(st.lists(hostile_messages(TEMPLATES), max_size=12))
def test_it_never_raises(messages: list[str | bytes]) -> None:
    made = codec()
    for message in messages:
        made.decode(message)
        made.encode(ev.AudioInputAppend(b"\0\0"))
    assert len(made.encode(ev.ResponseCreate())) == 1


@given(st.lists(st.sampled_from(TEMPLATES), max_size=30))
def test_whatever_the_order_replies_begin_and_end_once(frames: list[dict[str, Any]]) -> None:
    open_: str | None = None
    seen: set[str] = set()
    for event in heard(codec(), *frames):
        if isinstance(event, ev.ResponseCreated):
            assert open_ is None
            open_ = event.response.id
            assert open_ is not None
            assert open_ not in seen
            seen.add(open_)
        elif isinstance(event, ev.ResponseDone):
            assert event.response.id == open_
            open_ = None
        elif getattr(event, "response_id", None) is not None and not isinstance(event, ev.OutputBufferCleared):
            assert event.response_id == open_
