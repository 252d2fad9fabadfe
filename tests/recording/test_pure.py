"""The parts of a recording: lanes of sound, lines without secrets, a story, words with times, a picture that is XML."""

from __future__ import annotations

import io
import json
import wave
from array import array
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings, strategies as st

from kernl_rt._recording._svg import fitted
from kernl_rt._recording.journal import described, read_lines, written
from kernl_rt._recording.lanes import LARGEST, LEFT, RIGHT, Lane, overlaid, wav_header
from kernl_rt._recording.story import Envelope, Latency, Reply, Story, ToolRun, Utterance
from kernl_rt._recording.timeline import timeline
from kernl_rt._recording.transcript import entries, transcript
from kernl_rt.cli.demo._mono import write_mono
from kernl_rt.config import Credential, McpServer, Secret, SessionConfig
from kernl_rt.events import AudioDelta, CustomEvent, HistoryChanged, SessionUpdate
from kernl_rt.exceptions import AudioFileError
from kernl_rt.items import ContentPart, FunctionCall, Message

# -- sound ------------------------------------------------------------------------------------------------------------


def test_sound_stands_where_it_was_on_the_clock() -> None:
    lane = Lane(1_000)
    assert lane.place(500, 0.25) == 250
    assert lane.place(10, 1.5) == 1_500


def test_a_run_of_sound_has_no_gaps_although_the_clock_jitters() -> None:
    lane = Lane(1_000)
    starts = [lane.place(100, 0.1 * index + late) for index, late in enumerate((0.0, 0.03, -0.02, 0.05))]
    assert starts == [0, 100, 200, 300]
    assert lane.place(10, 0.42, fresh=True) == 420, "a new run has its own place"


def test_what_comes_too_late_stands_behind() -> None:
    lane = Lane(1_000)
    lane.place(500, 0.0)
    assert lane.place(100, 0.1) == 500


@settings(max_examples=60, deadline=None)
@given(pieces=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 20), st.booleans()), max_size=30))
def test_pieces_never_overlap(pieces: list[tuple[int, float, bool]]) -> None:
    lane, end = Lane(1_000), 0
    for size, at, fresh in pieces:
        start = lane.place(size, at, fresh=fresh)
        assert start >= end
        assert start <= max(end, round(at * 1_000))
        end = start + size


def test_one_side_is_laid_over_the_other() -> None:
    both = overlaid(b"", LEFT, array("h", [1, 2, 3]).tobytes())
    assert array("h", both).tolist() == [1, 0, 2, 0, 3, 0]
    both = overlaid(both[:8], RIGHT, array("h", [7, 8, 9]).tobytes())
    assert array("h", both).tolist() == [1, 7, 2, 8, 0, 9]


@pytest.mark.parametrize("size", [0, 4, 4_000])
def test_the_header_is_that_of_a_wav_file(size: int) -> None:
    with wave.open(io.BytesIO(wav_header(16_000, size) + bytes(size))) as file:
        assert file.getparams()[:4] == (2, 2, 16_000, size // 4)


def test_a_header_never_says_more_than_it_can() -> None:
    assert len(wav_header(48_000, LARGEST + 1_000)) == 44


def test_a_mono_file(tmp_path: Path) -> None:
    write_mono(tmp_path / "a.wav", array("h", [5] * 3).tobytes(), 24_000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), array("h", file.readframes(9)).tolist()) == (1, [5, 5, 5])
    with pytest.raises(AudioFileError, match=r"a\.wav: cannot be opened for writing: No such file"):
        write_mono(tmp_path / "no" / "a.wav", b"", 24_000)


# -- lines ------------------------------------------------------------------------------------------------------------


def test_sound_is_counted_and_emptiness_left_out() -> None:
    event = AudioDelta(audio=b"\0" * 960, item_id="i", response_id="r", extra={"raw": "wire"})
    assert described(event) == {"audio": {"bytes": 960}, "item_id": "i", "response_id": "r"}


def test_only_what_changed_of_the_history_is_told() -> None:
    old = Message("user", [ContentPart("input_text", text="hello")], id="u")
    new = Message("assistant", [ContentPart("output_audio", transcript="Hi", audio=b"123")], id="a", status="completed")
    call = FunctionCall("f", "{}", "c", id="f")
    event = HistoryChanged((old, new), added=(new, call), removed=(Message("user", id="gone"),))
    assert described(event) == {
        "items": 2,
        "added": [
            {"type": "message", "id": "a", "status": "completed", "role": "assistant", "text": "Hi"},
            {"type": "function_call", "id": "f", "call_id": "c"},
        ],
        "removed": ["gone"],
    }


def test_no_secret_gets_into_a_line() -> None:
    server = McpServer("s", url="u", authorization=Secret("sk-one"), headers={"X": "sk-two"})
    update = SessionUpdate(SessionConfig(tools=[server], extra={"client_secret": {"value": "sk-three"}, "b": 1}))
    credential = Credential("sk-four", datetime(2030, 1, 1, tzinfo=UTC), extra={"raw": "sk-five"})
    custom = CustomEvent("mine", {"api_key": "sk-six", "Authorization": "sk-seven", "total_tokens": 3, "c": credential})
    spoken = CustomEvent(
        "mine", ["the key is sk-abcdefghijklmnop, it says", "Bearer abcdefghijkl", "a risk-free offer"]
    )
    whole = json.dumps([described(update), described(custom), described(spoken)])
    assert "sk-o" not in whole
    assert all(f"sk-{name}" not in whole for name in ("one", "two", "three", "four", "five", "six", "seven", "abc"))
    assert "abcdefghijkl" not in whole
    assert '"total_tokens": 3' in whole
    assert '"b": 1' in whole
    assert "a risk-free offer" in whole


def test_what_is_no_json_is_named_by_its_type() -> None:
    endless: list[Any] = []
    endless.append(endless)
    told = described(CustomEvent("mine", {"thing": object(), "many": {1}, "nan": float("nan"), "endless": endless}))
    assert told["data"]["thing"] == "<object>"
    assert told["data"]["many"] == [1]
    assert told["data"]["nan"] == "nan"
    assert "<list>" in written({"t": 0, **told}).decode()


@given(st.dictionaries(st.text(max_size=5), st.text(), max_size=5))
def test_a_line_is_one_line_whatever_it_says(values: dict[str, str]) -> None:
    line = written({**values, "t": 1.5, "kind": "x"})
    assert (line.count(b"\n"), line.splitlines(keepends=True)) == (1, [line])
    assert [found["kind"] for found in read_lines([line])] == ["x"]


def test_a_torn_line_is_passed_over() -> None:
    good = written({"t": 0, "kind": "a"})
    assert [line["kind"] for line in read_lines([good, b"[1]\n", b'{"t": 1}\n', b"\xff\n", good[:-5]])] == ["a"]


# -- the story --------------------------------------------------------------------------------------------------------


def told(*lines: dict[str, Any]) -> Story:
    story = Story()
    for line in lines:
        story.take(line)
    return story


def talk() -> list[dict[str, Any]]:
    return [
        {"t": 0, "kind": "recording.started", "title": "t", "agent": "one", "output_rate": 48_000},
        {"t": 0.5, "kind": "speech.started", "item_id": "u"},
        {"t": 1.5, "kind": "speech.stopped", "item_id": "u"},
        {"t": 1.6, "kind": "history", "added": [{"type": "message", "id": "u", "role": "user", "text": ""}]},
        {"t": 1.7, "kind": "audio.output.delta", "response_id": "r", "item_id": "i", "audio": {"bytes": 96_000}},
        {"t": 1.7, "kind": "transcript.output.delta", "response_id": "r", "item_id": "i", "text": "one two "},
        {"t": 1.8, "kind": "history", "updated": [{"type": "message", "id": "u", "role": "user", "text": "hello"}]},
        {"t": 1.8, "kind": "transcript.output", "response_id": "r", "item_id": "i", "text": "one two three four"},
        {"t": 2.7, "kind": "recording.heard", "item_id": "i", "from": 1.7, "to": 2.7, "audio": {"bytes": 48_000}},
    ]


def test_words_are_told_as_far_as_they_were_heard() -> None:
    story = told(*talk())
    human, agent = entries(story)
    assert (human.who, human.text, human.start, human.end) == ("human", "hello", 0.5, 1.5)
    assert (agent.who, agent.text, agent.start, agent.end, agent.name) == ("agent", "one two", 1.7, 2.7, "one")
    assert story.utterances[0].first_heard == 1.7
    heard = {"t": 3.7, "kind": "recording.heard", "item_id": "i", "from": 2.7, "to": 3.7, "audio": {"bytes": 48_000}}
    story.take(heard)
    assert entries(story)[1].text == "one two three four"


def test_an_interrupted_reply_keeps_what_the_history_keeps() -> None:
    cut = {"type": "message", "id": "i", "role": "assistant", "text": "one two th", "status": "incomplete"}
    story = told(
        *talk(),
        {"t": 2.7, "kind": "interrupted", "response_id": "r", "item_id": "i", "heard_ms": 1_000},
        {"t": 2.7, "kind": "history", "added": [cut]},
        {"t": 2.8, "kind": "latency", "barge_in": 0.06},
    )
    agent = entries(story)[1]
    assert (agent.text, agent.interrupted) == ("one two th", True)
    assert story.latencies == [Latency("barge-in → silence", 0.06, 2.8 - 0.06)]


def test_what_nobody_heard_or_was_deleted_is_not_in_the_transcript() -> None:
    story = told(*talk()[:-1])
    assert [entry.who for entry in entries(story)] == ["human"]
    story = told(*talk(), {"t": 3, "kind": "history", "removed": ["i", "u"]})
    assert entries(story) == []


def test_written_words_and_tools_stand_in_order() -> None:
    story = told(
        {"t": 1, "kind": "history", "added": [{"type": "message", "id": "m", "role": "user", "text": "typed"}]},
        {"t": 2, "kind": "tool.call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"t": 3, "kind": "tool.finished", "call_id": "c", "outcome": "result", "output": "rain"},
        {"t": 4, "kind": "agent.changed", "from_agent": "one", "to_agent": "two"},
        {"t": 5, "kind": "history", "added": [{"type": "message", "id": "a", "role": "assistant", "text": "written"}]},
        {"t": 6, "kind": "recording.stopped"},
    )
    told_ = [(entry.who, entry.text, entry.name, entry.end) for entry in entries(story)]
    assert told_ == [("human", "typed", "", None), ("tool", "result", "weather", 3), ("agent", "written", "two", None)]
    assert json.loads(transcript(story))["complete"] is True


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "t": st.floats(0, 100),
                "kind": st.sampled_from(
                    [
                        "recording.heard",
                        "history",
                        "interrupted",
                        "tool.call",
                        "response.done",
                        "audio.output.delta",
                        "x",
                    ]
                ),
            },
            optional={
                "item_id": st.sampled_from(["a", "b", None, 3]),
                "added": st.lists(
                    st.dictionaries(st.sampled_from(["id", "type", "text"]), st.text(max_size=3)), max_size=2
                ),
                "audio": st.sampled_from([{"bytes": 3}, 3, {}]),
                "from": st.sampled_from([1, "x", None]),
                "to": st.just(2),
            },
        ),
        max_size=20,
    )
)
@settings(max_examples=80, deadline=None)
def test_a_strange_file_breaks_nothing(lines: list[dict[str, Any]]) -> None:
    story = told(*lines)
    assert json.loads(transcript(story))["version"] == 1
    ElementTree.fromstring(timeline(story, title="t"))


def test_the_loudness_of_a_long_call_takes_no_more_room() -> None:
    envelope = Envelope(0.05, 100)
    for index in range(10_000):
        envelope.add(index * 0.05, 0.5 if index == 7_777 else 0.1)
    stretches = envelope.stretches()
    assert len(stretches) <= 100
    assert stretches[-1].end == pytest.approx(500, abs=envelope.width)
    [loud] = [sound for sound in stretches if sound.rms == 0.5]
    assert loud.start <= 7_777 * 0.05 <= loud.end


# -- the picture ------------------------------------------------------------------------------------------------------


def drawn() -> Story:
    story = Story()
    story.utterances = [Utterance("a < b & “c”", 0.4, 1.0, first_heard=1.8), Utterance("stop", 3.0)]
    cut = Reply("r", "i", "many words " * 40, [(1.7, 96_000)], [(1.8, 3.1)], 96_000, 62_400)
    cut.interrupted_at, cut.heard_ms, cut.kept = 3.1, 1_300, "many words"
    story.replies = [cut]
    story.tools = [ToolRun("c", "set_timer", "{}", 3.2, 3.9, "cancelled"), ToolRun("d", "<odd>", "{}", 3.5)]
    story.latencies = [Latency("barge-in → silence", 0.1, 3.0)]
    for index in range(12):
        story.human_loudness.add(0.4 + index / 20, 0.1)
        story.model_loudness.add(1.8 + index / 20, 0.9)
    return story


def test_the_timeline_is_xml_and_says_what_happened() -> None:
    root = ElementTree.fromstring(timeline(drawn(), title="<title> & more"))
    texts = [text for text in root.itertext() if text.strip()]
    assert "<title> & more" in texts
    assert "“a < b & “c””" in texts
    assert "interrupted: 1,300 ms heard" in texts
    assert "800 ms" in texts
    assert any(text.startswith("set_timer cancelled 0.70 s") for text in texts)


@pytest.mark.parametrize("seconds", [0.0, 70.0, 4_000.0, 90_000.0])
def test_every_shape_lies_in_the_picture(seconds: float) -> None:
    story = drawn()
    story.seconds = seconds
    root = ElementTree.fromstring(timeline(story, title="t"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [node for node in root if node.tag.endswith("rect")]
    assert len(boxes) >= 5
    for box in boxes:
        assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width + 0.1
        assert 0 <= float(box.attrib["y"]) <= float(box.attrib["y"]) + float(box.attrib["height"]) <= height
    assert sum(node.tag.endswith("line") for node in root) < 80, "an hour has no line for each second"


def test_words_that_no_xml_and_no_utf8_can_hold_break_neither_file() -> None:
    story = drawn()
    story.title = "half a pair \ud800"
    story.utterances[0].text = "a\x00b\x1b\ud800c\ufffe"
    story.utterances[0].item_id = "u"
    picture = timeline(story, title=story.title).encode("utf-8")
    texts = list(ElementTree.fromstring(picture).itertext())
    assert "half a pair \ufffd" in texts
    assert "“a\ufffdb\ufffd\ufffdc\ufffd”" in texts
    told_ = json.loads(transcript(story).encode("utf-8"))
    assert told_["title"] == "half a pair ?"
    assert "a\x00b\x1b?c\ufffe" in [entry["text"] for entry in told_["entries"]]


def test_a_conversation_in_which_nothing_happened_has_a_picture() -> None:
    assert ElementTree.fromstring(timeline(Story(), title="t")) is not None


def test_text_is_cut_to_its_room() -> None:
    assert fitted("short", 1_000, 12) == "short"
    cut = fitted("a long sentence that goes on", 60, 12)
    assert cut.endswith("…")
    assert len(cut) < 12
    assert fitted("long", -5, 12) == "…"
