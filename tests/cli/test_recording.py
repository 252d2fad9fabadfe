"""The recording: sound where it was on the clock, events without secrets, a picture that is XML."""

from __future__ import annotations

import json
import wave
from array import array
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli.commands import sides
from hypothesis import given, settings, strategies as st

from kernl_rt._audio.pcm import pack
from kernl_rt.cli.demo._journal import Journal, described
from kernl_rt.cli.demo._notes import Latency, Loudness, Notes, Reply, ToolRun, Utterance
from kernl_rt.cli.demo._stereo import StereoWav, write_mono
from kernl_rt.cli.demo._svg import fitted
from kernl_rt.cli.demo._timeline import timeline
from kernl_rt.config import PCM16_24K, Credential, McpServer, Secret, SessionConfig
from kernl_rt.events import AudioDelta, CustomEvent, HistoryChanged, SessionUpdate, ToolFinished
from kernl_rt.exceptions import AudioFileError, RealtimeError
from kernl_rt.items import Message

RATE = 1_000


def tone(samples: int, value: int = 1_000) -> bytes:
    return pack(array("h", [value] * samples))


def both(path: Path) -> tuple[list[int], list[int]]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, RATE)
        samples = array("h", file.readframes(file.getnframes()))
    return list(samples[0::2]), list(samples[1::2])


# -- sound ------------------------------------------------------------------------------------------------------------


def test_each_side_is_where_it_was_on_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with StereoWav(path, RATE, start=100.0) as file:
        file.put("human", tone(500), 100.0)
        file.put("model", tone(200, 7), 100.25)
    left, right = both(path)
    assert left == [1_000] * 500
    assert right == [0] * 250 + [7] * 200 + [0] * 50


def test_a_run_of_sound_has_no_gaps_although_the_clock_jitters(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with StereoWav(path, RATE, start=0.0) as file:
        for index, late in enumerate((0.0, 0.03, -0.02, 0.05)):
            file.put("model", tone(100, index + 1), 0.1 * index + late)
    assert both(path)[1] == [1] * 100 + [2] * 100 + [3] * 100 + [4] * 100


def test_a_pause_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with StereoWav(path, RATE, start=0.0) as file:
        file.put("model", tone(10), 0.0)
        file.put("model", tone(10), 0.5)
    assert both(path)[1] == [1_000] * 10 + [0] * 490 + [1_000] * 10


def test_what_is_written_is_not_held(tmp_path: Path) -> None:
    with StereoWav(tmp_path / "a.wav", RATE, start=0.0) as file:
        for index in range(600):
            file.put("human", tone(100), index / 10)
            assert len(file._lanes["human"].samples) <= 2 * RATE + 100
        assert (tmp_path / "a.wav").stat().st_size > 4 * 50 * RATE


@settings(max_examples=40, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(["human", "model"]), st.integers(0, 900), st.floats(0, 20)), max_size=20)
)
def test_no_sound_is_lost_or_invented(
    pieces: list[tuple[str, int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    with StereoWav(path, RATE, start=0.0) as file:
        for side, size, at in sorted(pieces, key=lambda piece: piece[2]):
            file.put(side, tone(size), at)  # type: ignore[arg-type]
    left, right = both(path)
    assert sum(map(bool, left)) == sum(size for side, size, _ in pieces if side == "human")
    assert sum(map(bool, right)) == sum(size for side, size, _ in pieces if side == "model")


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "a.wav"
    with pytest.raises(AudioFileError, match=r"a\.wav: cannot be written: No such file"):
        StereoWav(missing, RATE, 0.0)
    with pytest.raises(AudioFileError, match=r"a\.wav: cannot be written: No such file"):
        write_mono(missing, b"", RATE)
    with pytest.raises(RealtimeError, match=r"a\.wav: cannot be written: No such file"):
        Journal(missing, 0.0)


def test_a_mono_file(tmp_path: Path) -> None:
    write_mono(tmp_path / "a.wav", tone(3, 5), 24_000)
    assert [list(side) for side in sides(tmp_path / "a.wav")] == [[5, 5, 5]]


# -- events -----------------------------------------------------------------------------------------------------------


def test_sound_is_counted_and_emptiness_left_out() -> None:
    event = AudioDelta(audio=b"\0" * 960, item_id="i", response_id="r", extra={"raw": "wire"})
    assert described(event) == {"audio": {"bytes": 960}, "item_id": "i", "response_id": "r"}


def test_the_whole_history_is_not_repeated() -> None:
    assert described(HistoryChanged((Message("user"), Message("assistant")))) == {"items": 2}


def test_no_secret_gets_into_the_journal() -> None:
    server = McpServer("s", url="u", authorization=Secret("sk-one"), headers={"X": "sk-two"})
    update = SessionUpdate(SessionConfig(tools=[server], extra={"client_secret": {"value": "sk-three"}, "b": 1}))
    credential = Credential("sk-four", datetime(2030, 1, 1, tzinfo=UTC), extra={"raw": "sk-five"})
    custom = CustomEvent("mine", {"api_key": "sk-six", "Authorization": "sk-seven", "total_tokens": 3, "c": credential})
    written = json.dumps([described(update), described(custom)])
    assert "sk-" not in written
    assert '"total_tokens": 3' in written
    assert '"b": 1' in written


def test_what_is_no_json_is_named_by_its_type() -> None:
    assert described(CustomEvent("mine", {"thing": object(), "many": {1}})) == {
        "name": "mine",
        "data": {"thing": "<object>", "many": [1]},
    }


def test_lines_are_json_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Journal(path, 10.0) as journal:
        event = ToolFinished("c", "weather", "result", "snow \u2028 in\nRome", 0.5)
        journal.write(10.5, "session", event.kind, described(event))
        journal.write(10.4, "channel", "heard", {"kind": "not this one"})
    lines = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
    assert [(line["t"], line["source"], line["kind"]) for line in lines] == [
        (0.5, "session", "tool.finished"),
        (0.5, "channel", "heard"),
    ]
    assert lines[0]["output"] == "snow \u2028 in\nRome"


# -- the picture ------------------------------------------------------------------------------------------------------


def notes() -> Notes:
    made = Notes(0.0, PCM16_24K)
    made.utterances = [Utterance("a < b & “c”", 0.4, 1.0, first_heard=1.8), Utterance("stop", 3.0)]
    cut = Reply("r", "i", "many words " * 40, [(1.7, 96_000)], [(1.8, 3.1)], 96_000, 62_400)
    cut.interrupted_at, cut.heard_ms, cut.kept = 3.1, 1_300, "many words"
    made.replies = [cut]
    made.tools = [ToolRun("c", "set_timer", "{}", 3.2, 3.9, "cancelled"), ToolRun("d", "<odd>", "{}", 3.5)]
    made.latencies = [Latency("barge-in → silence", 0.1, 3.0)]
    made.human_loudness = [Loudness(0.4, 1.0, 0.1), Loudness(1.0, 4.0, 0.0)]
    made.model_loudness = [Loudness(1.8, 3.1, 0.9)]
    return made


def test_the_timeline_is_xml_and_says_what_happened() -> None:
    root = ElementTree.fromstring(timeline(notes(), title="<title> & more"))
    texts = [text for text in root.itertext() if text.strip()]
    assert "<title> & more" in texts
    assert "“a < b & “c””" in texts
    assert "interrupted: 1,300 ms heard" in texts
    assert "800 ms" in texts
    assert any(text.startswith("set_timer cancelled 0.70 s") for text in texts)


def test_every_shape_lies_in_the_picture() -> None:
    root = ElementTree.fromstring(timeline(notes(), title="t"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    boxes = [node for node in root if node.tag.endswith("rect")]
    assert len(boxes) >= 6
    for box in boxes:
        assert 0 <= float(box.attrib["x"]) <= float(box.attrib["x"]) + float(box.attrib["width"]) <= width + 0.1
        assert 0 <= float(box.attrib["y"]) <= float(box.attrib["y"]) + float(box.attrib["height"]) <= height


def test_a_conversation_in_which_nothing_happened_has_a_picture() -> None:
    assert ElementTree.fromstring(timeline(Notes(0.0, PCM16_24K), title="t")) is not None


def test_text_is_cut_to_its_room() -> None:
    assert fitted("short", 1_000, 12) == "short"
    cut = fitted("a long sentence that goes on", 60, 12)
    assert cut.endswith("…")
    assert len(cut) < 12
    assert fitted("long", -5, 12) == "…"
