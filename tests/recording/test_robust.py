"""A recording that is killed, cancelled, refused by the disk, or slow; and what must never be in one."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import wave
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import anyio
import pytest

from kernl_rt import Credential, RealtimeAgent, RealtimeSession, Secret
from kernl_rt._recording.journal import read_lines
from kernl_rt._session.recording_feed import Begun, Feed, Line, Sound
from kernl_rt._session.recording_files import OSDisk, Writer
from kernl_rt.channels import memory_channel_pair
from kernl_rt.config import PCM16_8K, PCM16_24K
from kernl_rt.events import SessionError, StatusChanged
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, SessionStateError
from kernl_rt.testing import ScriptedModel
from tests.recording.calls import RATE, delta, flat, lines_of, ramp, runs, sound_of, speak, until, words_of, written_in
from tests.scenarios.calls import calling, created, done, make_session, quiet

pytestmark = pytest.mark.anyio

_FILES = {"audio.wav", "events.jsonl", "transcript.json", "timeline.svg"}


class BrokenDisk(OSDisk):
    """A disk with room for so many bytes; or one that gives no folder."""

    def __init__(self, room: int = 10**9, *, folder: OSError | None = None) -> None:
        self.room = room
        self.folder = folder

    def make_folder(self, path: Path) -> None:
        if self.folder is not None:
            raise self.folder
        super().make_folder(path)

    def create(self, path: Path, *, overwrite: bool) -> BinaryIO:
        file, disk = super().create(path, overwrite=overwrite), self

        class Full:
            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def write(self, content: Any) -> int:
                if len(content) > disk.room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                disk.room -= len(content)
                return file.write(content)

        return Full()  # type: ignore[return-value]


class StuckDisk(OSDisk):
    """A disk that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def create(self, path: Path, *, overwrite: bool) -> BinaryIO:
        self.go.wait(20)
        return super().create(path, overwrite=overwrite)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "kernl_rt recording"]


# -- the verb ---------------------------------------------------------------------------------------------------------


async def test_nothing_is_recorded_without_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with calling() as call:
        assert call.session.recording is None
        assert call.session._driver is not None
        assert call.session._driver.tap is None
        await call.says(created(), delta(flat(1, 100)), done())
        assert threads() == []
    assert written_in(tmp_path) == {}


async def test_from_the_beginning_to_the_last_event(tmp_path: Path) -> None:
    session = make_session()
    recording = session.record(tmp_path / "deep" / "er", title="a <call>")
    assert (recording.state, session.recording) == ("waiting", recording)
    async with session:
        assert recording.state == "running"
    assert (recording.state, recording.error, threads()) == ("stopped", None, [])
    folder = recording.path
    assert {path.name for path in folder.iterdir()} == _FILES
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}, "nobody else's to read"
    kinds = [(line["kind"], line.get("status")) for line in lines_of(folder)]
    assert kinds[0] == ("recording.started", None)
    assert [status for kind, status in kinds if kind == "status"] == ["connecting", "connected", "closing", "closed"]
    assert kinds[-1] == ("recording.stopped", None)
    assert json.loads((folder / "transcript.json").read_text("utf-8"))["complete"] is True
    assert "a <call>" in "".join(ElementTree.parse(folder / "timeline.svg").getroot().itertext())


async def test_stop_and_go_on_in_another_folder(tmp_path: Path) -> None:
    channel, human = memory_channel_pair()
    async with calling(channel=channel) as call:
        one = call.session.record(tmp_path / "one")
        await speak(human, flat(5, RATE // 2))
        await quiet()
        with pytest.raises(SessionStateError, match=r"being recorded to .*one already"):
            call.session.record(tmp_path / "two")
        one.stop()
        one.stop()
        await speak(human, flat(6, RATE // 2))
        await one.wait_closed()
        two = call.session.record(tmp_path / "two")
        await speak(human, flat(7, RATE // 2))
        await quiet()
        assert set(sound_of(tmp_path / "one")[0]) == {5}
    assert (one.state, two.state) == ("stopped", "stopped")
    assert set(sound_of(tmp_path / "two")[0]) == {7}
    with pytest.raises(SessionStateError, match="closed"):
        call.session.record(tmp_path / "three")


@pytest.mark.usefixtures("real_clock")
async def test_another_thread_may_not_record(tmp_path: Path) -> None:
    async with calling() as call:
        with pytest.raises(SessionStateError, match="another thread"):
            await anyio.to_thread.run_sync(call.session.record, tmp_path)
        recording = call.session.record(tmp_path)
        with pytest.raises(SessionStateError, match="another thread"):
            await anyio.to_thread.run_sync(recording.stop)


async def test_a_recording_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    for _ in range(2):
        session = make_session()
        session.record(tmp_path, overwrite=True)
        async with session:
            pass
    before = (tmp_path / "events.jsonl").read_bytes()
    again = make_session()
    again.record(tmp_path)
    with pytest.raises(MisconfiguredError, match=r"holds a recording already.*overwrite=True"):
        await again.__aenter__()
    assert (tmp_path / "events.jsonl").read_bytes() == before
    model = again.model
    assert isinstance(model, ScriptedModel)
    with pytest.raises((AssertionError, IndexError, RuntimeError)):
        _ = model.peer  # nobody was dialled


async def test_a_folder_that_cannot_be_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    session = make_session()
    session.record(tmp_path / "file" / "in")
    with pytest.raises(MisconfiguredError, match="cannot be written: Not a directory"):
        await session.__aenter__()
    assert (session.status, threads()) == ("closed", [])


# -- the disk ---------------------------------------------------------------------------------------------------------


async def test_a_full_disk_costs_the_recording_and_not_the_call(tmp_path: Path, caplog: Any) -> None:
    channel, human = memory_channel_pair()
    session = make_session(channel=channel)
    session._recorder.disk = BrokenDisk(60_000)
    errors: list[SessionError] = []
    session.on("error", errors.append)
    recording = session.record(tmp_path)
    async with session:
        await speak(human, flat(5, 2 * RATE))
        await until(lambda: recording.state == "failed")
        await speak(human, flat(5, RATE))
        assert session.status == "connected"
        assert [(error.source, error.message.endswith("No space left on device")) for error in errors] == [
            ("recording", True)
        ]
        assert session._driver is not None
        assert session._driver.tap is None
    assert isinstance(recording.error, OSError)
    assert [record.message for record in caplog.records if "recording" in record.message] == []
    with wave.open(str(tmp_path / "audio.wav")) as file:
        assert 0 < 4 * file.getnframes() == len(file.readframes(file.getnframes())), "no more is promised than is there"


async def test_nobody_need_listen_for_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unheard error ends a session; a recording's is only logged."""
    session = make_session()
    async with session:
        session._recorder.disk = BrokenDisk(folder=PermissionError(errno.EACCES, "Permission denied"))
        recording = session.record(tmp_path)
        await until(lambda: recording.state == "failed")
        session.emit("something")
        await quiet()
        assert session.status == "connected"
    [told] = [record.getMessage() for record in caplog.records if record.name == "kernl_rt"]
    assert told == f"the recording stopped: {tmp_path}: cannot be written: Permission denied"


async def test_a_failure_at_the_very_end_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class NoPicture(OSDisk):
        def replace(self, path: Path, content: bytes) -> None:
            raise OSError(errno.EIO, "Input/output error")

    session = make_session()
    session._recorder.disk = NoPicture()
    recording = session.record(tmp_path)
    async with session:
        pass
    assert recording.state == "failed"
    assert "the recording is incomplete" in caplog.text
    assert lines_of(tmp_path)[-1]["kind"] == "recording.stopped"


async def test_a_slow_disk_never_holds_the_session_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into the bounded feed is counted, and said in the recording itself."""
    monkeypatch.setattr("kernl_rt._session.recording.Feed", lambda: Feed(limit=100_000, entries=200))
    channel, human = memory_channel_pair()
    async with calling(channel=channel) as call:
        disk = call.session._recorder.disk = StuckDisk()
        recording = call.session.record(tmp_path)
        began = time.monotonic()
        await speak(human, ramp(0, 5 * RATE))
        await quiet()
        assert time.monotonic() - began < 15
        assert recording.dropped.sound_ms == pytest.approx(5_000 - 20 * 100_000 / (960 + 256), abs=60)
        disk.go.set()
        await until(lambda: (tmp_path / "audio.wav").exists())
        for index in range(300):
            call.session.emit("x", index)
    assert recording.state == "stopped"
    told = [line for line in lines_of(tmp_path) if line["kind"] == "recording.dropped"]
    assert told[0]["sound_ms"] == recording.dropped.sound_ms


@pytest.mark.usefixtures("real_clock")
async def test_a_disk_that_hangs_does_not_keep_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kernl_rt._session.recording.FINISH", 0.2)
    monkeypatch.setattr("kernl_rt._session.recording.ROUNDS", 0.1)
    disk = StuckDisk()
    async with calling() as call:
        call.session._recorder.disk = disk
        recording = call.session.record(tmp_path)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert "does not take the recording" in caplog.text
    disk.go.set()
    await until(lambda: recording._writer.done.is_set())
    await until(lambda: threads() == [])


async def test_a_long_call_takes_little_memory(tmp_path: Path) -> None:
    """Nothing is kept of the sound once it is written: the feed is empty, the line holds what is unheard only."""
    feed = Feed()
    writer = Writer(tmp_path, feed, OSDisk(), overwrite=True)
    writer._open()
    feed.put(Begun(8_000))
    second = flat(900, 8_000)
    tracemalloc.start()
    try:
        for index in range(200):
            for side in (0, 1):
                feed.put(Sound(side, index * 8_000, second, PCM16_8K))
            feed.put(Line(index, index, index, "recording", "recording.heard", {"from": 0, "to": 1}))
            writer._write(feed.take())
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    writer._finish()
    writer._close()
    assert current < 500_000, "two hundred seconds are 6.4 MB of sound"
    assert (tmp_path / "audio.wav").stat().st_size == 44 + 200 * 8_000 * 4
    assert len((tmp_path / "timeline.svg").read_bytes()) < 200_000


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "failed", "lost"])
async def test_however_it_ends_the_files_are_complete(tmp_path: Path, how: str) -> None:
    channel, human = memory_channel_pair()
    session = make_session(channel=channel, reconnect=None)
    session.record(tmp_path)
    seen: list[str] = []
    with anyio.CancelScope() as scope:
        try:
            async with session:
                await speak(human, flat(5, RATE))
                await quiet()
                if how == "cancelled":
                    scope.cancel()
                    await anyio.sleep_forever()
                elif how == "failed":
                    raise ValueError("mine")
                model = session.model
                assert isinstance(model, ScriptedModel)
                model.peer.hang_up(1006)
                await anyio.sleep_forever()
        except (ValueError, ConnectionClosed):
            seen.append(how)
    assert threads() == []
    assert seen == [how] * (how != "cancelled")
    assert runs(sound_of(tmp_path)[0]) == [(0, RATE)]
    assert [line["kind"] for line in lines_of(tmp_path)][-1] == "recording.stopped"
    assert json.loads((tmp_path / "transcript.json").read_text("utf-8"))["complete"] is True


async def test_a_session_that_cannot_connect_leaves_a_recording_of_that(tmp_path: Path) -> None:
    session = make_session(acknowledge=False)
    session.record(tmp_path)
    with pytest.raises(Exception, match=r"."):
        async with session:
            pass
    assert threads() == []
    assert [line["status"] for line in lines_of(tmp_path) if line["kind"] == "status"][-1] == "closed"


_VICTIM = """
import sys, anyio
from array import array
from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt.channels import memory_channel_pair
from kernl_rt.testing import ScriptedModel

async def main():
    channel, human = memory_channel_pair()
    agent = RealtimeAgent(id="a", name="A", instructions="x", model=ScriptedModel())
    session = RealtimeSession(agent, channel=channel)
    session.record(sys.argv[1])
    async with session:
        start, number = anyio.current_time(), 0
        while True:
            human.speak_nowait(array("h", [number % 30000 + 1] * 480).tobytes(), at=start + number * 0.02)
            session.emit("tick", {"number": number, "text": "x" * 500})
            print(number, flush=True)
            number += 1
            await anyio.sleep_until(start + number * 0.02)

anyio.run(main, backend=sys.argv[2])
"""


def started(folder: Path, backend: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _VICTIM, str(folder), backend], stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("real_clock")
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
async def test_a_killed_process_leaves_readable_files(tmp_path: Path, backend: str) -> None:
    folder = tmp_path / "call"
    process = started(folder, backend)
    assert process.stdout is not None
    last = 0
    try:
        while last < 100:
            last = int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.communicate(timeout=20)[0].split()
    last = int(rest[-1]) if rest else last
    left, right = sound_of(folder)
    assert len(left) == len(right)
    assert len(left) / RATE > (last + 1) * 0.02 - 1.0, "at most a second is missing"
    ((begin, end),) = runs(left)
    frames = (end - begin) // 480
    assert [left[begin + index * 480] for index in range(frames)] == list(range(1, frames + 1))
    lines = list(read_lines(written_in(folder)["events.jsonl"].splitlines()))
    ticks = [line["data"]["number"] for line in lines if line["kind"] == "tick"]
    assert ticks == list(range(len(ticks)))
    assert len(ticks) > last - 50


# -- secrets ----------------------------------------------------------------------------------------------------------


async def test_no_secret_is_in_a_recording(tmp_path: Path) -> None:
    canary = "sk-canary-0123456789abcdef"
    model = ScriptedModel()
    agent = RealtimeAgent(id="a", name="A", instructions="x", model=model)
    session = RealtimeSession(agent, credential=Credential(canary, datetime(2030, 1, 1, tzinfo=UTC)))
    session.record(tmp_path)
    session.on("error", lambda event: None)
    async with session:
        session.emit("mine", {"api_key": canary, "nested": [{"Authorization": f"Bearer {canary}"}], "said": canary})
        session.emit("mine", {"key": Secret(canary), "token": canary, "header": f"Authorization: Bearer {canary}"})
        model.peer.say(SessionError(f"the key {canary} is refused", "invalid", None, source="provider"))
        await quiet()
    written = b"".join(written_in(tmp_path).values())
    assert b"mine" in written
    assert b"canary" not in written


async def test_no_listener_sees_other_events_while_recording(tmp_path: Path) -> None:
    """The tap changes nothing of what happens."""

    async def talk(*, recorded: bool) -> list[str]:
        channel, human = memory_channel_pair()
        async with calling(channel=channel) as call:
            if recorded:
                call.session.record(tmp_path)
            await speak(human, flat(5, RATE // 2))
            await call.says(created(), delta(ramp(0, RATE)), done())
            await anyio.sleep(2)
        return [event.kind for event in call.log if not isinstance(event, StatusChanged)]

    assert await talk(recorded=True) == await talk(recorded=False)
    assert PCM16_24K.ms(2 * RATE) == 1_000
    assert words_of(tmp_path) == []


class Unreadable(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("not for you")


async def test_an_object_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    session = make_session()
    recording = session.record(tmp_path)
    async with session:
        session.emit("mine", Unreadable(a=1))
    assert recording.error is None
    [line] = [line for line in lines_of(tmp_path) if line["kind"] == "mine"]
    assert line["data"] == "<Unreadable>"


async def test_a_defect_of_the_recordings_does_not_end_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a defect")

    errors: list[SessionError] = []
    async with calling() as call:
        call.session.on("error", errors.append)
        recording = call.session.record(tmp_path)
        monkeypatch.setattr("kernl_rt._session.recording_tap.Tap.take", broken)
        call.session.emit("mine")
        call.session.emit("mine")
        assert recording.state == "failed"
        assert call.session.status == "connected"
    assert [error.source for error in errors] == ["recording"]
    assert threads() == []
