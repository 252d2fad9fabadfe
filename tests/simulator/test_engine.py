"""The flows of the protocol, driven by hand."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from kernl_rt.simulator import Engine, Ids, Pace, Reply, ToolCall, Turn
from kernl_rt.simulator._session import DEFAULT_INSTRUCTIONS
from tests.simulator.driver import Talk, b64, errors, of, only, silence, tone, types
from tests.simulator.test_frames import WEATHER


def test_session_update_changes_only_what_it_names() -> None:
    talk = Talk()
    first = talk.frames[0]["session"]
    assert types(talk.frames) == ["session.created"]
    changed = only(talk.configure(instructions="A", tools=[WEATHER]), "session.updated")["session"]
    assert changed == {**first, "instructions": "A", "tools": [WEATHER]}
    cleared = only(talk.configure(instructions="", tools=[]), "session.updated")["session"]
    assert cleared == first
    assert cleared["instructions"] == DEFAULT_INSTRUCTIONS
    talk.configure(max_output_tokens=5, tool_choice="none", tracing="auto", prompt={"id": "p"}, truncation="disabled")
    nothing = dict.fromkeys(("max_output_tokens", "tool_choice", "tracing", "prompt", "truncation"))
    assert only(talk.configure(**nothing), "session.updated")["session"] == first


def test_turn_detection_is_merged_within_its_type() -> None:
    talk = Talk()

    def detection(settings: Any) -> Any:
        return only(talk.turn_detection(settings), "session.updated")["session"]["audio"]["input"]["turn_detection"]

    assert detection({"type": "server_vad", "threshold": 0.7})["silence_duration_ms"] == 200
    assert detection({"type": "server_vad", "silence_duration_ms": 600})["threshold"] == 0.7
    assert detection({"type": "server_vad", "threshold": None})["threshold"] == 0.5
    semantic = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
    assert detection({"type": "semantic_vad"}) == semantic
    assert detection({"type": "server_vad"})["silence_duration_ms"] == 200
    assert detection(None) is None


def test_items_stand_where_they_are_put() -> None:
    talk = Talk()

    def put(name: str, after: str | None = None) -> str | None:
        item = {"type": "message", "role": "user", "id": name, "content": []}
        fields = {"item": item} if after is None else {"item": item, "previous_item_id": after}
        previous: str | None = only(talk.send("conversation.item.create", **fields), "conversation.item.added")[
            "previous_item_id"
        ]
        return previous

    assert put("a") is None
    assert put("b") == "a"
    assert put("c", "a") == "a"
    assert put("d", "root") is None
    assert put("e", "") == "b"
    talk.send("conversation.item.delete", item_id="e")
    assert put("f") == "b"
    assert [item["id"] for item in _context(talk)] == ["d", "a", "c", "b", "f"]


def _context(talk: Talk) -> Any:
    talk.send("response.create")
    return talk.turns[-1].items


def test_text_only() -> None:
    talk = Talk.saying("Some written words.")
    talk.configure(output_modalities=["text"])
    new = talk.ask("hi")
    assert not of(new, "response.output_audio.delta")
    assert "".join(frame["delta"] for frame in of(new, "response.output_text.delta")) == "Some written words."
    assert only(new, "response.output_text.done")["text"] == "Some written words."
    assert only(new, "response.content_part.added")["part"] == {"type": "text", "text": ""}


def test_audio_is_faster_than_real_time_and_whole() -> None:
    sound = bytes(range(256)) * 375  # two seconds
    talk = Talk.saying(Reply("hello there", audio=sound), pace=Pace(speed=4.0, chunk_ms=100))
    began = talk.now
    new = talk.ask("hi")
    assert talk.now - began == pytest.approx(0.5, abs=0.1)
    chunks = of(new, "response.output_audio.delta")
    assert b"".join(base64.b64decode(chunk["delta"]) for chunk in chunks) == sound
    assert len(chunks) == 20


def test_several_calls_in_one_response() -> None:
    calls = [ToolCall("get_weather", {"city": "Paris"}), ToolCall("get_weather", '{"city": broken')]
    talk = Talk.saying(Reply("Let me look.", calls), "Sunny and broken.")
    talk.configure(tools=[WEATHER], output_modalities=["text"])
    new = talk.ask("weather")
    output = only(new, "response.done")["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert [frame["output_index"] for frame in of(new, "response.output_item.added")] == [0, 1, 2]
    done = of(new, "response.function_call_arguments.done")
    assert [frame["arguments"] for frame in done] == ['{"city": "Paris"}', '{"city": broken']
    for index, item in enumerate(output[1:], 1):
        deltas = [
            frame for frame in of(new, "response.function_call_arguments.delta") if frame["output_index"] == index
        ]
        assert "".join(frame["delta"] for frame in deltas) == item["arguments"]
    for item in output[1:]:
        fields = {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
        added = only(talk.send("conversation.item.create", item=fields), "conversation.item.added")["item"]
        assert "status" not in added
    talk.send("response.create")
    assert [result.name for result in talk.turns[-1].tool_results] == ["get_weather", "get_weather"]
    assert talk.turns[-1].user_text == "", "the question has been answered by the calls"


def test_a_question_that_a_call_has_answered_is_not_asked_again() -> None:
    talk = Talk.saying(Reply(tool_calls=[ToolCall("get_weather", {"city": "Paris"})]), "Sunny.")
    call = only(talk.ask("weather?"), "response.function_call_arguments.done")
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    talk.send("conversation.item.create", item=output)
    talk.send("response.create")
    assert [(turn.user_text, len(turn.tool_results)) for turn in talk.turns] == [("weather?", 0), ("", 1)]


def test_no_more_is_cached_than_is_read() -> None:
    talk = Talk.saying("An answer. " * 100, "short")
    talk.ask("hi " * 500)
    usage = only(talk.ask("?", input=[], instructions="x"), "response.done")["response"]["usage"]
    assert usage["input_token_details"]["cached_tokens"] <= usage["input_tokens"]


@pytest.mark.parametrize("by", ["client", "client_with_id", "speech"])
def test_a_cancelled_reply_still_says_every_done(by: str) -> None:
    talk = Talk.saying("Once upon a time there was a robot that talked and talked and talked.")
    talk.say("a story")
    created = only(talk.send("response.create"), "response.created")["response"]["id"]
    talk.until("response.output_audio.delta")
    if by == "speech":
        new = talk.hear(tone(0.2))
        assert types(new)[0] == "input_audio_buffer.speech_started"
        new = new[1:]
    else:
        new = talk.send("response.cancel", **({"response_id": created} if by == "client_with_id" else {}))
    assert types(new) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    response = new[-1]["response"]
    assert response["status"] == "cancelled"
    reason = "turn_detected" if by == "speech" else "client_cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": reason}
    [item] = response["output"]
    assert item["status"] == "incomplete"
    said = item["content"][0]["transcript"]
    assert "Once upon a time".startswith(said) or said.startswith("Once upon a time")
    assert not of(talk.wait(30), "response.output_audio.delta")


def test_cancelled_before_it_said_anything() -> None:
    talk = Talk.saying("never")
    talk.engine.receive({"type": "response.create"}, talk.now)
    new = talk.send("response.cancel")
    assert types(new) == ["response.created", "response.done"]
    assert new[-1]["response"]["output"] == []


def test_a_call_cut_short() -> None:
    talk = Talk.saying(Reply(tool_calls=[ToolCall("get_weather", {"city": "a very long name of a city"})]))
    talk.say("weather")
    talk.send("response.create")
    talk.until("response.function_call_arguments.delta")
    new = talk.send("response.cancel")
    assert types(new)[0] == "response.function_call_arguments.done"
    assert new[-1]["response"]["output"][0]["status"] == "incomplete"


def test_interrupt_response_off_lets_the_reply_run() -> None:
    talk = Talk.saying("Once upon a time there was a robot that talked and talked.")
    talk.turn_detection({"type": "server_vad", "interrupt_response": False})
    talk.say("a story")
    talk.send("response.create")
    talk.until("response.output_audio.delta")
    new = talk.hear(tone(0.5) + silence(0.5))
    assert not of(new, "response.done")
    [error] = errors(new)
    assert error["code"] == "conversation_already_has_active_response"
    assert only(talk.until("response.done"), "response.done")["response"]["status"] == "completed"


def test_truncation_forgets_sound_and_words() -> None:
    talk = Talk.saying("one two three four five", "next")
    item = only(talk.ask("count"), "response.output_item.done")["item"]["id"]
    fields = {"item_id": item, "content_index": 0, "audio_end_ms": 200}
    assert only(talk.send("conversation.item.truncate", **fields), "conversation.item.truncated")["audio_end_ms"] == 200
    kept = only(talk.send("conversation.item.retrieve", item_id=item), "conversation.item.retrieved")["item"]
    assert kept["content"][0]["transcript"] is None
    assert kept["content"][0]["audio"] == b64(bytes(200 * 48))
    [error] = errors(talk.send("conversation.item.truncate", **{**fields, "audio_end_ms": 201}))
    assert error["code"] == "invalid_value"


def test_truncation_while_it_is_spoken() -> None:
    talk = Talk.saying("one two three four five six seven eight nine ten", pace=Pace(speed=1.0, chunk_ms=100))
    talk.say("count")
    talk.send("response.create")
    new = talk.until("response.output_audio.delta")
    item = only(new, "response.output_item.added")["item"]["id"]
    fields = {"item_id": item, "content_index": 0, "audio_end_ms": 50}
    assert types(talk.send("conversation.item.truncate", **fields)) == ["conversation.item.truncated"]
    done = only(talk.until("response.done"), "response.done")["response"]["output"][0]
    assert done["content"][0]["transcript"] is None


def test_no_sound_yet_is_nothing_to_truncate() -> None:
    talk = Talk.saying("soon", pace=Pace(first_output=0.5))
    talk.engine.receive({"type": "response.create"}, talk.now)
    for job in talk.engine.jobs():
        talk.engine.reply(job.response_id, Reply("soon"), talk.now)  # type: ignore[union-attr]
    talk.until("response.output_item.added")
    item = of(talk.frames, "response.output_item.added")[-1]["item"]["id"]
    fields = {"item_id": item, "content_index": 0, "audio_end_ms": 0}
    assert errors(talk.send("conversation.item.truncate", **fields))[0]["code"] == "unsupported_content_type"


def test_response_parameters_are_of_this_response_only() -> None:
    talk = Talk.saying("one", "two")
    talk.configure(instructions="session")
    new = talk.ask("hi", instructions="mine", output_modalities=["text"], metadata={"a": "b"}, tools=[WEATHER])
    for type in ("response.created", "response.done"):
        shown = only(new, type)["response"]
        assert (shown["metadata"], shown["output_modalities"]) == ({"a": "b"}, ["text"])
    assert (talk.turns[0].instructions, len(talk.turns[0].tools)) == ("mine", 1)
    new = talk.ask("hi")
    assert only(new, "response.created")["response"]["output_modalities"] == ["audio"]
    assert (talk.turns[1].instructions, len(talk.turns[1].tools)) == ("session", 0)


def test_replies_beside_the_conversation() -> None:
    talk = Talk.saying("main main main main main main", "beside", "later")
    kept = only(talk.say("hi"), "conversation.item.added")["item"]["id"]
    main = only(talk.send("response.create"), "response.created")["response"]["id"]
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "classify"}]}
    asked = {
        "conversation": "none",
        "output_modalities": ["text"],
        "metadata": {"topic": "x"},
        "input": [{"type": "item_reference", "id": kept}, text],
    }
    new = talk.send("response.create", response=asked)
    beside = only(new, "response.created")["response"]
    assert beside["conversation_id"] is None
    assert talk.turns[1].user_text == "hi classify"
    new += talk.wait(20)
    done = {frame["response"]["id"]: frame["response"] for frame in of(new, "response.done")}
    assert set(done) == {main, beside["id"]}
    assert [item["content"][0].get("text") for item in done[beside["id"]]["output"]] == ["beside"]
    joined = [frame["item"]["id"] for frame in of(talk.frames, "conversation.item.added")]
    assert done[beside["id"]]["output"][0]["id"] not in joined
    assert [item["id"] for item in _context(talk)] == joined


def test_max_output_tokens_cut_the_reply() -> None:
    talk = Talk.saying("one two three four five six seven eight nine ten " * 5)
    response = only(talk.ask("hi", max_output_tokens=20), "response.done")["response"]
    assert response["status"] == "incomplete"
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert 0 < response["usage"]["output_tokens"] <= 24


def test_usage_adds_up_and_remembers() -> None:
    talk = Talk.saying("A first answer of a few words.", "A second answer.")
    first = only(talk.ask("hi " * 100), "response.done")["response"]["usage"]
    second = only(talk.ask("again"), "response.done")["response"]["usage"]
    for usage in (first, second):
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        details = usage["input_token_details"]
        assert usage["input_tokens"] == details["text_tokens"] + details["audio_tokens"]
        assert details["cached_tokens"] == sum(details["cached_tokens_details"].values())
        output = usage["output_token_details"]
        assert usage["output_tokens"] == output["text_tokens"] + output["audio_tokens"]
        assert output["audio_tokens"] > 0
    assert first["input_token_details"]["cached_tokens"] == 0
    assert second["input_token_details"]["cached_tokens"] > 0
    assert second["input_tokens"] > first["input_tokens"]


def test_failures_are_told_in_response_done_only() -> None:
    talk = Talk.saying(Reply(failure="no more words"), "fine")
    talk.faults.failing_replies = 1
    new = talk.ask("hi")
    details = only(new, "response.done")["response"]["status_details"]
    assert details["type"] == "failed"
    assert details["error"]["message"] == "no more words"
    assert not of(new, "error")
    assert only(talk.ask("hi"), "response.done")["response"]["status"] == "failed"


def test_the_session_expires() -> None:
    talk = Talk.saying("words " * 50, duration=120.0)
    assert talk.frames[0]["session"]["expires_at"] == 0
    talk.say("hi")
    talk.wait(119)
    talk.send("response.create")
    [error] = errors(talk.wait(5))
    assert error["code"] == "session_expired"
    assert talk.engine.closing == (1001, "Your session hit the maximum duration of 2 minutes.")
    assert talk.engine.deadline is None
    assert not talk.say("late")


def test_a_lost_race() -> None:
    talk = Talk.saying("the server's own", "the client's")
    talk.faults.lost_races = 1
    talk.say("hi")
    new = talk.send("response.create", event_id="mine")
    assert types(new)[:2] == ["response.created", "error"]
    assert errors(new)[0]["event_id"] == "mine"
    talk.until("response.done")
    assert types(talk.send("response.create"))[0] == "response.created"


def test_a_late_response_created() -> None:
    talk = Talk.saying("late")
    talk.faults.created_delay = 2.0
    talk.say("hi")
    assert not talk.send("response.create")
    assert errors(talk.send("response.create"))[0]["code"] == "conversation_already_has_active_response"
    assert errors(talk.send("response.cancel"))[0]["code"] == "response_cancel_not_active"
    began = talk.now
    talk.until("response.created")
    assert talk.now - began == pytest.approx(2.0)


def test_an_interrupted_reply_that_was_not_announced_yet() -> None:
    talk = Talk.saying("late")
    talk.faults.created_delay = 2.0
    talk.say("hi")
    talk.send("response.create")
    assert types(talk.hear(tone(0.2))) == ["input_audio_buffer.speech_started", "response.created", "response.done"]


def test_same_seed_same_frames() -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        talk = Talk(ids=Ids(seed))
        talk.ask("hello")
        return talk.frames

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_an_initial_session() -> None:
    engine = Engine(
        now=0.0, session={"type": "realtime", "instructions": "granted", "audio": {"output": {"voice": "marin"}}}
    )
    shown = engine.poll(0.0)[0]["session"]
    assert (shown["instructions"], shown["audio"]["output"]["voice"]) == ("granted", "marin")


def test_what_the_brain_is_asked() -> None:
    turns: list[Turn] = []

    def brain(turn: Turn) -> Reply:
        turns.append(turn)
        return Reply("ok")

    talk = Talk(brain)
    talk.say("first")
    talk.ask("second")
    talk.ask("third")
    assert [turn.user_text for turn in turns] == ["first second", "third"]
    assert turns[0].instructions == ""
