"""The simulator against the real service: the same client frames bring frames of the same shape in the same order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kernl_rt.simulator import Reply, ToolCall
from tests.conftest import recordings
from tests.simulator.driver import Talk, silence, tone

Frame = dict[str, Any]
RECORDED = recordings("openai")
TRANSCRIPTION = "conversation.item.input_audio_transcription."

pytestmark = pytest.mark.skipif(not RECORDED, reason="the recordings are not here")


def _messages(path: Path) -> list[tuple[bool, Frame]]:
    interactions = yaml.safe_load(path.read_text())["interactions"]
    return [(item["direction"] == "sent", item["data"]) for item in interactions if item["kind"] == "message"]


def _replies(messages: list[tuple[bool, Frame]]) -> Iterator[Reply]:
    """What the real model said, to be said again."""
    for sent, frame in messages:
        if not sent and frame["type"] == "response.done":
            output = frame["response"]["output"]
            text = "".join(
                part.get("text") or part.get("transcript") for item in output for part in item.get("content", ())
            )
            calls = [ToolCall(item["name"], item["arguments"]) for item in output if item["type"] == "function_call"]
            yield Reply(text, calls)


def _replay(messages: list[tuple[bool, Frame]]) -> list[Frame]:
    """The simulator's answers to the recorded client, which speaks up when it did: after the frames it had seen."""
    heard = next((f["transcript"] for s, f in messages if not s and f["type"] == f"{TRANSCRIPTION}completed"), "")
    talk = Talk.saying(*_replies(messages), ears=lambda job: heard)
    calls = iter([f["call_id"] for s, f in messages if not s and f["type"] == "response.function_call_arguments.done"])
    spoken = False
    for index, (sent, frame) in enumerate(messages):
        if not sent:
            continue
        if index and not messages[index - 1][0]:
            talk.wait(20)
        if frame["type"] == "input_audio_buffer.append":
            # The recorded sound is cut to a few samples: a voice of the same length takes its place.
            if not spoken:
                talk.hear(silence(1.8) + tone(2.3) + silence(1.0))
            spoken = True
            continue
        item = frame.get("item", {})
        if item.get("type") == "function_call_output":
            next(calls)
            real = next(f for f in reversed(talk.frames) if f["type"] == "response.function_call_arguments.done")
            frame = {**frame, "item": {**item, "call_id": real["call_id"]}}
        talk.give(frame)
    talk.wait(20)
    return talk.frames


def _grammar(frames: list[Frame]) -> list[str]:
    """The order of types: runs of deltas as one, transcription apart because it comes when it comes."""
    order: list[str] = []
    for frame in frames:
        type = frame["type"]
        if type.startswith(TRANSCRIPTION):
            continue
        if type in ("response.output_audio.delta", "response.output_audio_transcript.delta"):
            type = "response.output_audio*.delta"
        if not order or order[-1] != type:
            order.append(type)
    return order


def _shape(value: Any) -> Any:
    """Keys in their order and kinds of values; a list has the shape of its first element."""
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def _received(messages: list[tuple[bool, Frame]]) -> list[Frame]:
    return [frame for sent, frame in messages if not sent]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_order_is_the_recorded_one(path: Path) -> None:
    messages = _messages(path)
    assert _grammar(_replay(messages)) == _grammar(_received(messages))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_frame_has_the_recorded_fields_in_the_recorded_order(path: Path) -> None:
    messages = _messages(path)
    real = [frame for frame in _received(messages) if not frame["type"].endswith(".delta")]
    ours = [frame for frame in _replay(messages) if not frame["type"].endswith(".delta")]
    for kind in (TRANSCRIPTION, "conversation", "input", "response", "session"):
        mine = [frame for frame in ours if frame["type"].startswith(kind)]
        theirs = [frame for frame in real if frame["type"].startswith(kind)]
        if kind == "conversation":
            mine = [frame for frame in mine if not frame["type"].startswith(TRANSCRIPTION)]
            theirs = [frame for frame in theirs if not frame["type"].startswith(TRANSCRIPTION)]
        for ours_, theirs_ in zip(mine, theirs, strict=True):
            assert json.dumps(_shape(ours_)) == json.dumps(_shape(theirs_)), ours_["type"]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_deltas_have_the_recorded_fields(path: Path) -> None:
    messages = _messages(path)
    real = {f["type"]: list(f) for f in _received(messages) if f["type"].endswith(".delta")}
    ours = {f["type"]: list(f) for f in _replay(messages) if f["type"].endswith(".delta")}
    assert ours == real


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_transcript_leads_its_sound(path: Path) -> None:
    prefix = "response.output_audio"
    kinds = [frame["type"] for frame in _replay(_messages(path))]
    said = [kind.removeprefix(prefix) for kind in kinds if kind.startswith(prefix)]
    if said:
        assert said[0] == "_transcript.delta"
        assert said.index("_transcript.done") > said.index(".done")
    if said.count(".delta") > 2:
        last = len(said) - 1 - said[::-1].index("_transcript.delta")
        assert ".delta" in said[last:], "the transcript must be through before the sound is"
