"""``kernl-rt talk`` with a person: the machine has no sound card, or ALSA's null device, or a card that is a task."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from channels.soundcard import DEVICES, FakeCard, need_portaudio
from cli.commands import environment, run

from kernl_rt.channels import LocalChannel
from kernl_rt.cli import talk
from kernl_rt.cli._extras import extras, sound_card
from kernl_rt.cli._parser import parse
from kernl_rt.cli.talk import _devices, _person
from kernl_rt.cli.talk._view import ECHO_HINT, PlainScreen, RichScreen, View, screen
from kernl_rt.config import PCM16_24K
from kernl_rt.events import (
    InputTranscript,
    Interrupted,
    LatencyMeasured,
    OutputTranscript,
    OutputTranscriptDelta,
    Response,
    ResponseCreated,
    SessionError,
    SpeechStarted,
    StatusChanged,
    ToolCalled,
    ToolFinished,
)
from kernl_rt.exceptions import ChannelError, MisconfiguredError
from kernl_rt.simulator import EspeakVoice, GrammarEars

# -- the options ------------------------------------------------------------------------------------------------------


def test_the_options_of_a_talk_with_a_person() -> None:
    arguments = parse(["talk"])
    assert (arguments.question, arguments.reply, arguments.input, arguments.output) == (None, None, None, None)
    assert (arguments.half_duplex, arguments.devices, arguments.plain) == (False, False, False)
    arguments = parse(["talk", "--input", "3", "--output", "head set", "--half-duplex", "--plain", "--devices"])
    assert (arguments.input, arguments.output, arguments.half_duplex) == (3, "head set", True)


@pytest.mark.parametrize("line", ["talk --in a.wav", "talk --out a.wav"])
def test_one_file_is_not_enough(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(line.split())
    assert "--in and --out belong together" in capsys.readouterr().err


# -- the devices ------------------------------------------------------------------------------------------------------


def test_the_list_of_devices_marks_the_defaults() -> None:
    assert _devices.listing(DEVICES) == [
        "microphones (--input NUMBER, or a part of the name):",
        " →   0  Built-in Microphone  (Fake, 48000 Hz)",
        "loudspeakers (--output NUMBER, or a part of the name):",
        " →   1  Built-in Speakers  (Fake, 48000 Hz)",
    ]
    assert _devices.listing([]) == []


@pytest.mark.parametrize(
    ("found", "missing"),
    [((), "no microphone and no loudspeaker"), (DEVICES[1:], "no microphone:"), (DEVICES[:1], "no loudspeaker:")],
)
def test_a_machine_without_a_sound_card_names_what_works_instead(found: Any, missing: str) -> None:
    with pytest.raises(ChannelError, match=f"{missing}.*'kernl-rt demo'.*'kernl-rt serve'"):
        _devices.check_devices(found)
    _devices.check_devices(DEVICES)


@pytest.mark.anyio
async def test_talk_without_sounddevice_names_the_fix_and_what_works_instead(
    real_clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[local\]'") as caught:
        await talk.command(parse(["talk"]))
    assert "kernl-rt demo" in caught.value.__notes__[0]


def test_talk_on_a_machine_without_a_sound_card_is_one_line(tmp_path: Path) -> None:
    need_portaudio()
    listed = run("talk", "--devices", HOME=str(tmp_path))
    if listed.returncode == 0:
        pytest.skip("this machine has a sound card, so the command would begin to listen")
    assert (listed.returncode, "'kernl-rt demo'" in listed.stdout) == (1, True)
    done = run("talk", HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("kernl-rt: this machine has no microphone and no loudspeaker: 'kernl-rt demo'")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_a_talk_over_portaudio(backend: str, tmp_path: Path) -> None:
    need_portaudio()
    (tmp_path / ".asoundrc").write_text("pcm.!default { type null }\nctl.!default { type null }\n", "utf-8")
    if run("talk", "--devices", HOME=str(tmp_path)).returncode:
        pytest.skip("PortAudio finds no device here, not even ALSA's null device")
    command = [sys.executable, "-W", "default", "-m", "kernl_rt", "talk", "--half-duplex", "--backend", backend]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(HOME=str(tmp_path), PYTHONUNBUFFERED="1"),
    )
    try:
        assert process.stdout is not None
        shown = ""
        while "speak now" not in shown:
            line = process.stdout.readline()
            assert line, process.communicate()
            shown += line
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert "this is a simulator" in shown
    assert (process.returncode, err) == (130, "\nkernl-rt: stopped; everything is closed\n")
    assert time.monotonic() - begin < 5


# -- a conversation ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_person_asks_a_tool_runs_the_answer_is_heard(
    real_clock: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Spoken words in at the microphone, real time, the simulator's real ears, and sound out at the loudspeaker."""
    if not (EspeakVoice.installed() and GrammarEars.installed()):
        pytest.skip("the voice and the ears of kernl_rt[demo] are not installed")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    spoken = await EspeakVoice("en-us").synthesise("what is the weather in paris", PCM16_24K)
    spoken = bytes(24_000) + spoken

    def hum(block: int, samples: int) -> bytes:
        piece = spoken[2 * block * samples : 2 * (block + 1) * samples]
        return piece + bytes(2 * samples - len(piece))

    card = FakeCard(hum=hum)
    channel = LocalChannel(card=card)
    folder = tmp_path / "talk"
    shown = ""
    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_person.converse, parse(["talk", "--plain", "--record", str(folder)]), channel)
            while "speak now" not in shown:
                await anyio.sleep(0.05)
                shown += capsys.readouterr().out
            tasks.start_soon(card.turn)
            while "ms from your last word" not in shown or "agent:" not in shown:
                await anyio.sleep(0.1)
                shown += capsys.readouterr().out
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
    shown += capsys.readouterr().out
    assert shown.index(f"this conversation is recorded to {folder}\n") < shown.index("speak now")
    assert shown.endswith(f"the recording is in {folder}; 'kernl-rt replay {folder}' prints it\n")
    words = json.loads((folder / "transcript.json").read_text("utf-8"))
    assert [entry["who"] for entry in words["entries"]][:2] == ["human", "tool"]
    assert (folder / "audio.wav").stat().st_size > 100_000
    assert "Headphones" in shown
    assert "you:   what is the weather in paris\n" in shown
    assert 'tool:  weather({"city":' in shown
    assert "tool:  weather → 'It is sunny in" in shown
    assert any(card.speaker.played)
    assert channel.statistics().heard_ms > 0
    assert card.speaker.closed
    assert card.microphone.closed


def test_a_real_model_is_not_given_the_weather_that_is_made_up() -> None:
    from kernl_rt.simulator import realtime

    arguments = parse(["talk", "--voice", "marin"])
    names = []
    for is_remote in (True, False):
        agent = _person._agent(arguments, realtime(), is_remote=is_remote)
        names.append({tool.name for toolkit in agent.toolkits for tool in toolkit.tools})
    assert names == [{"set_timer"}, {"set_timer", "weather"}]


# -- what is shown ----------------------------------------------------------------------------------------------------


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.partials: list[tuple[str, str]] = []

    def line(self, who: str, text: str) -> None:
        self.lines.append((who, text))

    def partial(self, who: str, text: str) -> None:
        self.partials.append((who, text))

    def close(self) -> None:
        raise AssertionError("the view does not own the screen")


def test_both_sides_tools_and_latency_are_shown() -> None:
    lines = Lines()
    view = View(lines, half_duplex=False)
    for event in (
        SpeechStarted(),
        InputTranscript(item_id="1", text=" the weather? "),
        InputTranscript(item_id="2", text=" "),
        ToolCalled(call_id="c", name="weather", arguments="{}", response_id="r"),
        ToolFinished(call_id="c", name="weather", outcome="result", output="Sunny", duration=0.5),
        ToolFinished(call_id="c", name="weather", outcome="cancelled", output=""),
        OutputTranscriptDelta(response_id="r", item_id="3", text="It is "),
        OutputTranscriptDelta(response_id="r", item_id="3", text="sunny"),
        OutputTranscript(response_id="r", item_id="3", text="It is sunny."),
        LatencyMeasured(to_first_audio=0.2, to_first_heard=0.4321),
        LatencyMeasured(barge_in=0.1),
        StatusChanged(status="reconnecting", previous="connected"),
        StatusChanged(status="connected", previous="reconnecting"),
        SessionError(message="something", source="protocol"),
        Interrupted(heard_ms=1_234, reason="speech"),
        Interrupted(reason="requested"),
    ):
        view.take(event)
    assert lines.lines == [
        ("you", "the weather?"),
        ("you", "(nothing that could be understood)"),
        ("tool", "weather({}) …"),
        ("tool", "weather → 'Sunny' after 0.50 s"),
        ("tool", "weather cancelled"),
        ("agent", "It is sunny."),
        ("", "(432 ms from your last word to the first sound)"),
        ("", "(the link is lost; connecting again …)"),
        ("", "(connected again)"),
        ("error", "something"),
        ("", "(interrupted after 1,234 ms)"),
    ]
    assert ("agent", "It is sunny") in lines.partials
    assert lines.partials[-1] == ("", "")


def _hints(*events: Any, half_duplex: bool = False) -> int:
    lines = Lines()
    view = View(lines, half_duplex=half_duplex)
    for event in events:
        view.take(event)
    return lines.lines.count(("", ECHO_HINT))


CREATED = ResponseCreated(response=Response(id="r", status="in_progress"))
CUT = Interrupted(heard_ms=300, reason="speech")


def test_an_agent_that_hears_itself_is_told_of_once() -> None:
    assert _hints(*[CREATED, CUT] * 8) == 1
    assert _hints(*[CREATED, CUT] * 2) == 0
    assert _hints(*[CREATED, CUT] * 8, half_duplex=True) == 0
    assert _hints(*[CREATED, CUT, CREATED, CUT, CREATED, CREATED] * 3) == 0, "some replies were heard out"
    late = Interrupted(heard_ms=8_000, reason="speech")
    assert _hints(*[CREATED, late] * 8) == 0, "a person interrupts like that"
    asked = Interrupted(heard_ms=300, reason="requested")
    assert _hints(*[CREATED, asked] * 8) == 0


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    plain = screen(plain=False)
    assert isinstance(plain, PlainScreen), "the output is no terminal here"
    plain.line("you", "hello")
    plain.partial("agent", "so far")
    plain.line("", "(aside)")
    plain.line("error", "bad")
    plain.close()
    assert capsys.readouterr() == ("you:   hello\n       (aside)\n", "kernl-rt: bad\n")


def test_a_terminal_gets_colours_and_a_line_that_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    rich = screen(plain=False)
    assert isinstance(rich, RichScreen)
    assert isinstance(screen(plain=True), PlainScreen)
    try:
        rich.line("you", "hello [bold]there[/bold]")
        rich.partial("agent", "so f")
        rich.partial("agent", "so far")
        rich.partial("", "")
        rich.line("agent", "so far, so good")
    finally:
        rich.close()
    shown = capsys.readouterr().out
    assert "hello [bold]there[/bold]" in shown, "what somebody says is no markup"
    assert "\x1b[1;36myou:" in shown
    assert "so f" in shown.partition("so far, so good")[0]


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_tells_of_the_sound_card() -> None:
    assert sound_card(lambda: DEVICES) == [
        "sound card microphone 'Built-in Microphone' (48000 Hz), loudspeaker 'Built-in Speakers' (48000 Hz)",
        "           2 devices: 'kernl-rt talk --devices' lists them",
    ]
    assert "none was found: use 'kernl-rt demo', or 'kernl-rt serve'" in sound_card(list)[0]

    def broken() -> Any:
        raise ChannelError("the sound cards cannot be listed: x")

    assert sound_card(broken) == ["sound card not usable: the sound cards cannot be listed: x"]


def test_doctor_tells_of_the_other_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {line.split()[0]: line for line in extras()[1:]}
    for module, title, extra in (
        ("soundfile", "files", "files"),
        ("soxr", "rates", "audio"),
        ("webrtcvad", "turns", "vad"),
        ("starlette", "server", "serve"),
        ("jwt", "phone", "phone"),
    ):
        assert "not installed" not in told[title]
        monkeypatch.setitem(sys.modules, module, None)
        (line,) = (line for line in extras() if line.startswith(title))
        assert line == f"{title:<10} {module} is not installed  →  pip install 'kernl_rt[{extra}]'"
    assert "FLAC" in told["files"]
