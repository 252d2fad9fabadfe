"""A recorded conversation as text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli.commands import run

FOLDER = "call"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay") / FOLDER
    done = run("demo", "--fast", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_it_tells_who_said_what_and_when(recorded: Path) -> None:
    done = run("replay", recorded)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("kernl_rt demo: simulator in memory")
    assert lines[1].endswith("complete")
    who = [re.split(r"\s+", line.partition(" s  ")[2])[0] for line in lines[2:]]
    assert who == ["human", "tool", "agent", "human", "agent", "human", "tool"]
    assert "“what is the weather in paris”" in lines[2]
    assert lines[6].endswith("… (interrupted)")
    starts = [float(line.split()[0]) for line in lines[2:]]
    assert starts == sorted(starts)


def test_a_recording_that_was_cut_short_is_drawn_anew(recorded: Path, tmp_path: Path) -> None:
    folder = copied(recorded, tmp_path / "torn")
    before = (folder / "timeline.svg").read_text("utf-8")
    events = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(events[: len(events) // 2 + 7])
    (folder / "transcript.json").unlink()
    (folder / "timeline.svg").unlink()
    done = run("replay", folder, "--redraw")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cut short" in done.stdout
    assert json.loads((folder / "transcript.json").read_text("utf-8"))["complete"] is False
    root = ElementTree.parse(folder / "timeline.svg").getroot()
    assert "what is the weather in paris" in " ".join(root.itertext())
    assert before != (folder / "timeline.svg").read_text("utf-8")
    assert {(folder / name).stat().st_mode & 0o077 for name in ("transcript.json", "timeline.svg")} == {0}, (
        "as recorded"
    )


def test_without_redraw_nothing_is_written(recorded: Path, tmp_path: Path) -> None:
    folder = copied(recorded, tmp_path / "same")
    (folder / "timeline.svg").unlink()
    assert run("replay", folder).returncode == 0
    assert not (folder / "timeline.svg").exists()


def test_drawn_anew_it_is_the_same_picture(recorded: Path, tmp_path: Path) -> None:
    folder = copied(recorded, tmp_path / "whole")
    before = ElementTree.parse(folder / "timeline.svg").getroot()
    words = (folder / "transcript.json").read_text("utf-8")
    assert run("replay", folder, "--redraw").returncode == 0
    assert (folder / "transcript.json").read_text("utf-8") == words
    after = ElementTree.parse(folder / "timeline.svg").getroot()
    assert list(before.itertext()) == list(after.itertext())


def test_what_is_no_recording_is_said(tmp_path: Path) -> None:
    done = run("replay", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} holds no recording: No such file or directory (events.jsonl)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_is_given_no_commands(tmp_path: Path) -> None:
    evil = {"type": "message", "id": "m", "role": "user", "text": "\x1b[2Jhello\r\n"}
    line = {"t": 1, "kind": "history", "added": [evil]}
    (tmp_path / "events.jsonl").write_text(json.dumps(line) + "\n")
    done = run("replay", tmp_path)
    assert "hello" in done.stdout
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout


def test_at_its_pace(tmp_path: Path) -> None:
    message = {"type": "message", "id": "m", "role": "user", "text": "late"}
    (tmp_path / "events.jsonl").write_text(json.dumps({"t": 0.3, "kind": "history", "added": [message]}) + "\n")
    done = run("replay", "--pace", tmp_path)
    assert "late" in done.stdout
