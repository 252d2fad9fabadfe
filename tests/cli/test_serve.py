"""``kernl-rt serve`` as a user runs it: a page, a call with a tool, and an end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.commands import run, start
from serve.browsers import Call, dial, http
from websockets.exceptions import ConnectionClosed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = start("serve", "--port", "0", *arguments)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)/", line):
                break
        else:
            raise AssertionError(f"no address: {process.communicate(timeout=10)}")
        yield process, found.group(1)
    finally:
        process.kill()
        process.communicate(timeout=10)


def ended(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return errors


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_call_and_ctrl_c(backend: str) -> None:
    with serving("--backend", backend) as (process, url):
        status, headers, page = http("GET", f"{url}/")
        assert (status, headers["x-content-type-options"]) == (200, "nosniff")
        assert b"<script" in page
        with dial(url) as socket:
            call = Call(socket)
            assert call.hello()["push_to_talk"] is False
            call.say("text", text="what is the weather in paris")
            assert call.listen("tool", state="done")["name"] == "weather"
            assert "Paris" in call.listen("transcript", role="agent", final=True)["text"]
            assert call.received
            call.say("bye")
            with pytest.raises(ConnectionClosed):
                while True:
                    socket.recv(timeout=10)
        while json.loads(http("GET", f"{url}/healthz")[2])["live"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert ended(process) == "\nkernl-rt: stopped; everything is closed\n"


def test_a_server_that_records_says_so_and_a_killed_one_leaves_readable_files(tmp_path: Path) -> None:
    with serving("--record", str(tmp_path / "calls")) as (process, url):
        assert process.stdout is not None
        assert process.stdout.readline() == (
            f"every call is RECORDED to a folder of its own in {tmp_path / 'calls'}: tell those who call\n"
        )
        with dial(url) as socket:
            call = Call(socket)
            name = call.hello()["session"]
            call.say("text", text="what is the weather in paris")
            call.listen("transcript", role="agent", final=True)
            time.sleep(0.6)  # the files are written a few times a second
            process.kill()
    (folder,) = (tmp_path / "calls").iterdir()
    assert folder.name.endswith(f"Z-{name}")
    with wave.open(str(folder / "audio.wav")) as sound:
        assert sound.getnchannels() == 2
        assert sound.getnframes()
    done = run("replay", "--redraw", folder)
    assert (done.returncode, "Paris" in done.stdout) == (0, True), done.stderr


def test_a_live_call_has_time_when_it_is_stopped_and_none_at_the_second_signal() -> None:
    with serving("--drain", "60", "--push-to-talk") as (process, url), dial(url) as socket:
        call = Call(socket)
        assert call.hello()["push_to_talk"] is True
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.readline() == "\n"
        assert "1 live, at most 60 s more" in process.stderr.readline()
        call.say("ping", id=1)
        assert call.listen("pong", id=1)
        assert http("POST", f"{url}/session-token", Origin=url)[0] == 503
        process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            while True:
                socket.recv(timeout=10)
        assert "everything is closed" in ended(process)


def test_mistakes() -> None:
    done = run("serve", "--origin", "https://example.com/", "--port", "0")
    assert done.returncode == 1
    assert "is no origin" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("serve", "--twilio", "--port", "0", TWILIO_AUTH_TOKEN="t0ken")
    assert done.returncode == 1
    assert "--public-url" in done.stderr
    done = run("serve", "--port", "0", "--record", __file__)
    assert done.returncode == 1
    assert done.stderr == f"kernl-rt: calls cannot be recorded to {__file__}: File exists\n"
    with serving() as (_, url):
        done = run("serve", "--port", url.rpartition(":")[2])
        assert done.returncode == 1
        assert "that port is taken" in done.stderr
