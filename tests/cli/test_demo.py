"""The demo, from the command line to its files, in real time over a real socket, and in virtual time."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any
from xml.etree import ElementTree

import pytest
from attrs import define
from cli.commands import loudness, run, sides, start

from kernl_rt.cli.demo import _cast, _script
from kernl_rt.cli.demo._cast import LINES, cast, trimmed
from kernl_rt.cli.demo._report import Outcome, report
from kernl_rt.simulator import EspeakVoice, GrammarEars, ScriptedEars, ToneVoice

#: Softer than this (of 32768) is silence.
AUDIBLE = 150


@define
class Performance:
    """A demo that runs, or has run, as a process."""

    process: Popen[str]
    folder: Path
    out: str = ""
    err: str = ""

    def finished(self) -> Performance:
        if not self.out:
            self.out, self.err = self.process.communicate(timeout=90)
        return self


@pytest.fixture(scope="module")
def performances(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Performance]]:
    """All four at once: two of them take the twenty seconds that the conversation lasts."""
    running: dict[str, Performance] = {}
    for backend, fast in itertools.product(("trio", "asyncio"), ((), ("--fast",))):
        folder = tmp_path_factory.mktemp("demo")
        process = start("demo", "--out", folder, "--backend", backend, *fast)
        running["".join((backend, *fast))] = Performance(process, folder)
    yield running
    for performance in running.values():
        performance.process.kill()
        performance.process.communicate()


@pytest.fixture(params=["", "--fast"], ids=["real", "fast"])
def performed(request: pytest.FixtureRequest, backend: str, performances: dict[str, Performance]) -> Performance:
    return performances[f"{backend}{request.param}"].finished()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.timeout(120)
def test_it_ends_well_and_says_what_it_is(performed: Performance) -> None:
    out = performed.out
    assert (performed.process.returncode, performed.err) == (0, ""), out
    assert "no key, no network: this is a simulator" in out
    assert "not an AI model" in out
    assert "FAILED" not in out
    assert "tasks left running: 0" in out
    assert "tools: 2 started, 2 ran their finally" in out
    assert "\x1b" not in out, "no terminal, no colours"


@pytest.mark.timeout(120)
def test_both_sides_are_heard(performed: Performance) -> None:
    left, right = sides(performed.folder / "audio.wav")
    assert len(left) == len(right) > 10 * 24_000
    assert loudness(left) > AUDIBLE
    assert loudness(right) > AUDIBLE
    (reply,) = sides(performed.folder / "reply.wav")
    assert len(reply) > 24_000
    assert loudness(reply) > AUDIBLE
    assert loudness(sides(performed.folder / "question.wav")[0]) > AUDIBLE


@pytest.mark.timeout(120)
def test_the_sound_is_aligned_with_the_events(performed: Performance) -> None:
    """While the caller asks the first question the agent is silent, and the other way round while it answers."""
    events = lines_of(performed.folder)
    left, right = sides(performed.folder / "audio.wav")
    spoken = [line["t"] for line in events if line["kind"].startswith("caller.speech.")]
    first, second = int(spoken[0] * 24_000), int(spoken[1] * 24_000)
    assert loudness(left[first:second]) > AUDIBLE
    assert loudness(right[first:second]) == 0
    heard = [line for line in events if line["kind"] == "recording.heard" and line["to"] < spoken[2]]
    begin, end = int(heard[0]["from"] * 24_000), int(heard[-1]["to"] * 24_000)
    assert loudness(right[begin:end]) > AUDIBLE
    assert loudness(left[begin:end]) == 0


@pytest.mark.timeout(120)
def test_the_interruption_is_where_the_caller_spoke_up(performed: Performance) -> None:
    events = lines_of(performed.folder)
    (cut,) = [line for line in events if line["kind"] == "interrupted"]
    starts = [line["t"] for line in events if line["kind"] == "caller.speech.started"]
    assert len(starts) == 3
    assert cut["reason"] == "speech"
    assert cut["t"] > starts[2]
    assert cut["heard_ms"] >= _script._PATIENCE_MS
    _, right = sides(performed.folder / "audio.wav")
    assert loudness(right[int((cut["t"] + 0.3) * 24_000) :]) == 0, "silent from the interruption to the end"


@pytest.mark.timeout(120)
def test_the_events_are_in_order_and_complete(performed: Performance) -> None:
    events = lines_of(performed.folder)
    assert all(one["t"] <= two["t"] for one, two in itertools.pairwise(events))
    kinds = [line["kind"] for line in events]
    assert [line["outcome"] for line in events if line["kind"] == "tool.finished"] == ["result", "cancelled"]
    statuses = [line["status"] for line in events if line["kind"] == "status"]
    assert statuses == ["connecting", "connected", "closing", "closed"]
    assert kinds[-2:] == ["status", "recording.stopped"]
    heard = sum(line["audio"]["bytes"] for line in events if line["kind"] == "recording.heard")
    received = sum(line["audio"]["bytes"] for line in events if line["kind"] == "audio.output.delta")
    assert 0 < heard < received


@pytest.mark.timeout(120)
def test_the_picture_is_xml(performed: Performance) -> None:
    words = " ".join(ElementTree.parse(performed.folder / "timeline.svg").getroot().itertext())
    assert "interrupted:" in words
    assert "set_timer cancelled" in words


@pytest.mark.timeout(120)
def test_the_real_one_goes_over_a_socket(performances: dict[str, Performance], backend: str) -> None:
    folder = performances[backend].finished().folder
    assert "simulator at ws://127.0.0.1:" in (folder / "timeline.svg").read_text("utf-8")


def test_the_picture_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    picture = tmp_path / "docs" / "demo.svg"
    done = run("demo", "--fast", "--out", tmp_path / "out", "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert picture.read_text("utf-8") == (tmp_path / "out" / "timeline.svg").read_text("utf-8")


def test_ctrl_c_ends_it_at_once(backend: str, tmp_path: Path) -> None:
    process = start("demo", "--out", tmp_path, "--backend", backend)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "caller" in line and "“" in line:
                break
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert time.monotonic() - begin < 3
    assert err == "\nkernl-rt: stopped; everything is closed\n"
    assert "Traceback" not in out
    assert len(sides(tmp_path / "audio.wav")) == 2, "what was recorded so far is whole"
    assert ElementTree.parse(tmp_path / "timeline.svg") is not None


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("demo", "--fast", "--out", tmp_path / "file")
    assert done.returncode == 1
    assert done.stderr.startswith("kernl-rt: ")
    assert done.stderr.count("\n") == 1


# -- who takes part ---------------------------------------------------------------------------------------------------


def test_the_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EspeakVoice, "installed", staticmethod(lambda: True))
    monkeypatch.setattr(GrammarEars, "installed", staticmethod(lambda: True))
    third = cast()
    assert (third.rung, third.notices) == (3, ())
    assert isinstance(third.simulator.ears, GrammarEars)
    monkeypatch.setattr(GrammarEars, "installed", staticmethod(lambda: False))
    second = cast()
    assert second.rung == 2
    assert isinstance(second.simulator.ears, ScriptedEars)
    assert isinstance(second.caller, EspeakVoice)
    assert "pocketsphinx" in second.notices[0]
    assert cast(tones=True).notices == ()
    monkeypatch.setattr(EspeakVoice, "installed", staticmethod(lambda: False))
    first = cast()
    assert first.rung == 1
    assert isinstance(first.caller, ToneVoice)
    assert isinstance(first.simulator.voice, ToneVoice)
    assert "pip install 'kernl_rt[demo]'" in first.notices[0]


def test_the_silence_around_the_words_is_cut_off() -> None:
    assert trimmed(b"\0\0" * 5 + b"\0\x10" + b"\0\0" + b"\0\xf0" + b"\1\0" * 5) == b"\0\x10\0\0\0\xf0"
    assert trimmed(b"\0\0" * 5) == b""


@pytest.mark.anyio
async def test_the_grammar_hears_every_line_of_the_caller(real_clock: None) -> None:
    if not (GrammarEars.installed() and EspeakVoice.installed()):
        pytest.skip("the third rung needs kernl_rt[demo]")
    players = cast()
    sounds = await _cast.recorded(players.caller)
    heard = [await players.simulator.ears.transcribe(sounds[line], _cast.FORMAT) for line in LINES]
    assert heard == list(LINES)


# -- what is claimed --------------------------------------------------------------------------------------------------


def test_a_demo_in_which_nothing_happened_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = _notes()
    outcome = Outcome(notes, _cast.Tools(), b"", 2, tmp_path, is_real=False, is_brief=False)
    assert report(outcome) == 1
    shown = capsys.readouterr().out
    assert shown.count("FAILED") == 5
    assert "FAILED  tasks left running: 2" in shown
    notes.errors.append("broken")
    assert [good for good, _ in outcome.checks()] == [False] * 6


def _notes() -> Any:
    from kernl_rt.cli.demo._notes import Notes

    return Notes(0.0, _cast.FORMAT)


@pytest.mark.anyio
async def test_a_model_that_does_nothing_ends_the_demo_with_an_error() -> None:
    class Silent:
        async def say(self, line: str) -> None:
            return None

    with pytest.raises(_script.DemoFailed, match="waited 15 seconds for a spoken answer to the first question"):
        await _script.play(Silent(), _notes())  # type: ignore[arg-type]
