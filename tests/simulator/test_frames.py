"""Every frame is one that the official types know, and has the fields that were recorded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kernl_rt.simulator import Reply, ToolCall
from tests.simulator.driver import Talk, b64, silence, tone, types
from tests.simulator.strict import check_server_frame

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather for a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_everything_the_engine_says_is_declared() -> None:
    talk = Talk.saying(
        "A spoken answer of some words.",
        Reply("Let me see.", [ToolCall("get_weather", {"city": "Paris"}), ToolCall("get_weather", {"city": "Rome"})]),
        "Sunny.",
        Reply(failure="broken"),
        Reply("A much longer answer than was allowed, with many many many words in it."),
        Reply("Cut off by the client who does not want to hear any more of this."),
        "Beside.",
        "Interrupted by somebody who talks.",
        "An answer to what was heard.",
        on_frame=check_server_frame,
        rate_limits=True,
    )
    talk.configure(
        instructions="Be brief.",
        tools=[WEATHER, {"type": "mcp", "server_label": "docs", "server_url": "https://example.org"}],
        audio={"input": {"transcription": {"model": "gpt-4o-transcribe"}, "noise_reduction": {"type": "near_field"}}},
        reasoning={"effort": "low"},
        parallel_tool_calls=True,
        truncation={"type": "retention_ratio", "retention_ratio": 0.5},
        tracing="auto",
        include=["item.input_audio_transcription.logprobs"],
    )
    first = talk.ask("hello")
    item = next(frame for frame in first if frame["type"] == "response.output_item.done")["item"]["id"]
    talk.send("conversation.item.retrieve", item_id=item)
    talk.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=100)
    talk.send("conversation.item.retrieve", item_id=item)
    talk.send("conversation.item.delete", item_id=item)
    talk.configure(output_modalities=["text"])
    calls = [frame for frame in talk.ask("weather?") if frame["type"] == "response.function_call_arguments.done"]
    for call in calls:
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        talk.send("conversation.item.create", item=output)
    talk.send("response.create")
    talk.until("response.done")
    talk.ask("fail")
    talk.ask("much", max_output_tokens=4)
    talk.configure(output_modalities=["audio"])
    talk.say("cancel")
    talk.send("response.create", response={"metadata": {"a": "b"}})
    talk.until("response.output_audio.delta")
    talk.send("response.cancel")
    talk.ask("beside", conversation="none", input=[])
    talk.say("interrupt")
    talk.send("response.create")
    talk.until("response.output_audio.delta")
    talk.hear(tone(0.5) + silence(0.5))
    talk.until("response.done")
    talk.wait(1)
    talk.send("input_audio_buffer.commit")
    talk.hear(tone(0.2))
    talk.send("input_audio_buffer.commit")
    talk.send("input_audio_buffer.clear")
    talk.give({"type": "nonsense"})
    talk.wait(4000)
    assert set(types(talk.frames)) >= {
        *("session.created", "session.updated", "conversation.item.added", "conversation.item.done"),
        *("conversation.item.retrieved", "conversation.item.truncated", "conversation.item.deleted"),
        *("conversation.item.input_audio_transcription.delta", "response.created", "response.done", "error"),
        *("conversation.item.input_audio_transcription.completed", "rate_limits.updated"),
        *("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed"),
        *("input_audio_buffer.cleared", "mcp_list_tools.in_progress", "mcp_list_tools.failed"),
        *("response.output_item.added", "response.output_item.done", "response.content_part.added"),
        *("response.content_part.done", "response.output_audio.delta", "response.output_audio.done"),
        *("response.output_audio_transcript.delta", "response.output_audio_transcript.done"),
        *("response.output_text.delta", "response.output_text.done"),
        *("response.function_call_arguments.delta", "response.function_call_arguments.done"),
    }
    assert talk.engine.closing == (1001, "Your session hit the maximum duration of 60 minutes.")


def test_transcription_sessions_are_declared_too() -> None:
    talk = Talk(kind="transcription", on_frame=check_server_frame, ears=lambda job: "good morning")
    audio = {"input": {"transcription": {"model": "whisper-1"}}}
    talk.send("session.update", session={"type": "transcription", "audio": audio})
    talk.hear(tone(0.5) + silence(0.5))
    talk.wait(1)
    assert "response.created" not in types(talk.frames)
    assert talk.frames[-1]["transcript"] == "good morning"


def test_idle_timeout_and_failed_transcription_are_declared() -> None:
    talk = Talk.saying("One.", "Are you there?", on_frame=check_server_frame)
    talk.turn_detection({"type": "server_vad", "idle_timeout_ms": 5000})
    talk.ask("hello")
    assert "input_audio_buffer.timeout_triggered" in types(talk.wait(10))
    talk.configure(audio={"input": {"transcription": {"model": "whisper-1"}, "turn_detection": None}})
    talk.engine.receive({"type": "input_audio_buffer.append", "audio": b64(tone(0.2))}, talk.now)
    talk.engine.receive({"type": "input_audio_buffer.commit"}, talk.now)
    [job] = talk.engine.jobs()
    talk.engine.fail_words(job.item_id, "deaf", talk.now)  # type: ignore[union-attr]
    assert "conversation.item.input_audio_transcription.failed" in types(talk.wait(1))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"type": "input_audio_buffer.cleared", "event_id": "event_1", "extra": 1},
        {"type": "input_audio_buffer.speech_started", "event_id": "event_1", "audio_start_ms": "x", "item_id": "i"},
        {"type": "response.output_text.delta", "event_id": "event_1", "delta": "x"},
    ],
)
def test_the_judge_is_strict(spoiled: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValidationError)):
        check_server_frame(spoiled)
