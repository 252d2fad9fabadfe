"""talk, simulate and doctor, as processes; the client of one is the server of another."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.commands import loudness, run, sides, start

from kernl_rt.cli import doctor, talk
from kernl_rt.cli._parser import parse
from kernl_rt.cli.demo._mono import write_mono
from kernl_rt.exceptions import RealtimeError


@pytest.fixture
def simulated(backend: str) -> Iterator[str]:
    """A running simulator that wants a key; gives its base URL."""
    process = start("simulate", "--port", "0", "--api-key", "sesame", "--backend", backend)
    try:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        found = re.search(r"export OPENAI_BASE_URL=(\S+)", shown)
        assert found is not None, shown
        assert "sesame" not in shown
        yield found[1]
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - begin < 3
        assert err == "\nkernl-rt: stopped; everything is closed\n"
    finally:
        process.kill()
        process.communicate()


# -- talk -------------------------------------------------------------------------------------------------------------


def test_talk_uses_the_embedded_simulator_and_says_so(backend: str, question: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    done = run("talk", "--in", question, "--out", reply, "--no-pace", "--backend", backend)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no key, no network: this is a simulator" in done.stdout
    assert re.search(r"^you:   \S", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^agent: \S", done.stdout, flags=re.MULTILINE)
    (sound,) = sides(reply)
    assert len(sound) > 12_000
    assert loudness(sound) > 150


def test_talk_is_recorded_where_it_is_asked_for_and_nothing_is_overwritten(question: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    command = ["talk", "--in", question, "--out", tmp_path / "reply.wav", "--no-pace", "--record"]
    done = run(*command, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"this conversation is recorded to {folder}\n" in done.stdout
    assert {path.name for path in folder.iterdir()} == {"audio.wav", "events.jsonl", "transcript.json", "timeline.svg"}
    before = (folder / "events.jsonl").read_bytes()
    done = run(*command, folder)
    assert done.returncode == 1
    assert done.stderr == f"kernl-rt: --record {folder}: holds a recording already; name another folder\n"
    assert (folder / "events.jsonl").read_bytes() == before
    done = run(*command, question / "deeper")
    assert done.returncode == 1
    assert done.stderr.startswith(f"kernl-rt: {question / 'deeper'}: cannot be written:")
    assert done.stderr.count("\n") == 1


def test_talk_over_a_socket_in_real_time(backend: str, simulated: str, question: Path, tmp_path: Path) -> None:
    reply = tmp_path / "reply.wav"
    done = run(
        *("talk", "--in", question, "--out", reply, "--model", "gpt-realtime", "--backend", backend),
        OPENAI_BASE_URL=simulated,
        OPENAI_API_KEY="sesame",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "simulator" not in done.stdout.partition("you:")[0]
    assert loudness(sides(reply)[0]) > 150


def test_talk_with_a_wrong_key_is_one_line_without_the_key(simulated: str, question: Path, tmp_path: Path) -> None:
    done = run(
        *("talk", "--in", question, "--out", tmp_path / "r.wav", "--base-url", simulated), OPENAI_API_KEY="sk-wrong"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("kernl-rt: ")
    assert done.stderr.count("\n") == 1
    assert "sk-wrong" not in done.stderr + done.stdout


def test_talk_to_nobody_is_one_line(question: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        done = run(*("talk", "--in", question, "--out", tmp_path / "r.wav", "--base-url", url), OPENAI_API_KEY="sk-x")
    assert done.returncode == 1
    assert re.fullmatch(r"kernl-rt: .*127\.0\.0\.1.*\n", done.stderr)


def test_talk_without_a_key_names_the_fix(question: Path, tmp_path: Path) -> None:
    done = run("talk", "--in", question, "--out", tmp_path / "r.wav", "--model", "gpt-realtime")
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert done.stderr.count("\n") == 1


def test_talk_with_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = run("talk", "--in", tmp_path / "none.wav", "--out", tmp_path / "r.wav")
    assert (done.returncode, done.stderr) == (
        1,
        f"kernl-rt: {tmp_path}/none.wav: cannot be opened: No such file or directory\n",
    )


@pytest.mark.anyio
async def test_talk_about_a_silent_file_says_why_no_reply_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    write_mono(tmp_path / "silent.wav", bytes(48_000), 24_000)
    arguments = parse(["talk", "--in", str(tmp_path / "silent.wav"), "--out", str(tmp_path / "r.wav")])
    with pytest.raises(RealtimeError, match="heard no speech in the file; is it silent"):
        await talk.command(arguments)


# -- simulate ---------------------------------------------------------------------------------------------------------


def test_simulate_on_a_taken_port_names_the_fix(backend: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("simulate", "--port", str(taken.getsockname()[1]), "--backend", backend)
    assert done.returncode == 1
    assert done.stderr == "kernl-rt: that port is taken: choose another with --port, or --port 0\n"


def test_simulate_ends_cleanly_with_sigterm(backend: str) -> None:
    process = start("simulate", "--port", "0", "--backend", backend)
    try:
        assert process.stdout is not None
        while "Ctrl-C" not in process.stdout.readline():
            pass
        process.terminate()
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 143
    assert "Traceback" not in err


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    done = run("doctor", OPENAI_API_KEY="sk-hidden", OPENAI_BASE_URL="https://user:sk-also@example.org/v1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sk-" not in done.stdout
    assert "OPENAI_API_KEY   set" in done.stdout
    assert "host example.org" in done.stdout
    for words in ("core       anyio", "backends   trio, asyncio", "picows under asyncio", "voice ", "ears "):
        assert words in done.stdout
    assert re.search(r"trio +works, \d+ ms", done.stdout)
    assert re.search(r"asyncio +works, \d+ ms", done.stdout)


def test_doctor_opens_a_session_when_asked(backend: str, simulated: str) -> None:
    good = run("doctor", "--connect", "--backend", backend, OPENAI_BASE_URL=simulated, OPENAI_API_KEY="sesame")
    assert good.returncode == 0, good.stdout + good.stderr
    assert re.search(r"works: sess_\w+ after \d+ ms", good.stdout)
    bad = run("doctor", "--connect", "--backend", backend, OPENAI_BASE_URL=simulated, OPENAI_API_KEY="sk-wrong")
    assert bad.returncode == 1
    assert "FAILED: AuthenticationError" in bad.stdout
    assert "sk-wrong" not in bad.stdout


def test_doctor_misses_a_dependency(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    there = doctor._version
    assert doctor._packages() is True
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "soxr" else there(name))
    assert doctor._packages() is True, "an extra is no part of the core"
    assert "missing: soxr  →  pip install 'kernl_rt[audio]'" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "anyio" else there(name))
    assert doctor._packages() is False
    assert "missing: anyio" in capsys.readouterr().out


def test_doctor_notices_a_turn_that_fails(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor._try_backend(backend) is True

    async def broken() -> str:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(doctor, "_one_turn", broken)
    assert doctor._try_backend(backend) is False
    assert "FAILED: ZeroDivisionError: planted" in capsys.readouterr().out
