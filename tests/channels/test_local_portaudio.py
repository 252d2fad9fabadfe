"""The real PortAudio, over ALSA's null device, which takes and gives sound as fast as it can.

It runs in processes of its own, because PortAudio looks for devices when it is first imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from channels.soundcard import need_portaudio

from kernl_rt.channels import LocalChannel
from kernl_rt.channels.local import _portaudio, devices
from kernl_rt.config import PCM16_24K
from kernl_rt.exceptions import ChannelError, MisconfiguredError

#: ALSA's own plugins make a device of a file: silence comes in, what is played goes to ``played.raw``.
ASOUNDRC = """
pcm.!default {{
    type file
    slave.pcm null
    file "{folder}/played.raw"
    infile "/dev/zero"
    format raw
}}
ctl.!default {{ type null }}
"""

LIST = "from kernl_rt.channels.local import devices; print(*devices(), sep='\\n')"

TALK = """
import sys, time
import anyio
from kernl_rt.channels import LocalChannel
from kernl_rt.config import PCM16_24K
from kernl_rt.events import AudioCaptured, AudioPlayed

async def main():
    channel = LocalChannel()
    captured, marks = [], []

    async def listen():
        while True:
            event = await channel.receive()
            (captured if isinstance(event, AudioCaptured) else marks).append(event)

    with anyio.fail_after(15):
        async with channel.open(PCM16_24K, PCM16_24K), anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await channel.send(b"\\x01\\x02" * 24_000)
            await channel.flush()
            while channel.statistics().heard_ms < 1_000 or len(captured) < 50:
                await anyio.sleep(0.01)
            position = channel.clear()
            tasks.cancel_scope.cancel()
    statistics = channel.statistics()
    assert position == statistics.heard_ms == statistics.sent_ms == 1_000, statistics
    assert [mark.position_ms for mark in marks] == sorted(mark.position_ms for mark in marks)
    assert all(len(event.audio) == 960 and not any(event.audio) for event in captured)
    assert [event.at for event in captured] == sorted(event.at for event in captured)
    assert abs(captured[-1].at - anyio.current_time()) < 5
    print("works", statistics.input_rate, statistics.output_rate)

anyio.run(main, backend=sys.argv[1])
"""


def run(home: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), **more}
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment)


@pytest.fixture
def null_card(tmp_path: Path) -> Path:
    """A home directory in which ALSA has one device."""
    need_portaudio()
    if sys.platform != "linux":
        pytest.skip("ALSA, whose null device is used here, is Linux's")
    (tmp_path / ".asoundrc").write_text(ASOUNDRC.format(folder=tmp_path), "utf-8")
    listed = run(tmp_path, sys.executable, "-c", LIST)
    assert listed.returncode == 0, listed.stderr
    if "SoundDevice" not in listed.stdout:
        pytest.skip("PortAudio finds no device here, not even ALSA's null device")
    return tmp_path


def test_portaudio_lists_the_device(null_card: Path) -> None:
    listed = run(null_card, sys.executable, "-c", LIST).stdout
    assert "host='ALSA'" in listed
    assert "is_default_input=True, is_default_output=True" in listed


def test_portaudio_captures_and_plays(backend: str, null_card: Path) -> None:
    done = run(null_card, sys.executable, "-W", "error", "-c", TALK, backend)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == "works 24000 24000\n"
    played = (null_card / "played.raw").read_bytes()
    assert b"\x01\x02" * 100 in played  # the end of it stays in ALSA's buffer when the device is closed


def test_portaudio_with_no_device_says_where_they_are_listed(tmp_path: Path, backend: str) -> None:
    """The device is looked for, and refused, before anything is opened."""
    need_portaudio()

    async def main() -> None:
        async with LocalChannel("no device has this name").open(PCM16_24K, PCM16_24K):
            raise AssertionError("opened")

    with pytest.raises(ChannelError, match=r"no microphone is 'no device has this name': .*'kernl-rt talk --devices'"):
        anyio.run(main, backend=backend)


def test_without_sounddevice_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MisconfiguredError, match=r"pip install 'kernl_rt\[local\]'"):
        devices()


def test_without_the_library_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')", "utf-8")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MisconfiguredError, match="apt install libportaudio2"):
        devices()


# -- PortAudio's own errors, from a stand-in for sounddevice ----------------------------------------------------------


class PortAudioError(Exception):
    pass


class Pa:
    """What ``_portaudio`` uses of sounddevice. A device of 48 kHz only."""

    PortAudioError = PortAudioError

    class CallbackAbort(Exception):
        pass

    class Stream:
        def __init__(self, **options: Any) -> None:
            self.options = options
            self.samplerate = options["samplerate"]
            self.latency = 0.02
            self.closed = False
            if Pa.busy:
                raise PortAudioError("Error opening", -9985, (0, -16, "Device or resource busy"))
            if self.samplerate != 48_000:
                raise PortAudioError("Invalid sample rate", -9997)

        def start(self) -> None:
            if Pa.start_fails:
                raise PortAudioError("Unanticipated host error", -9999, (0, -19, "No such device"))

        def close(self, *, ignore_errors: bool) -> None:
            self.closed = ignore_errors
            self.options["finished_callback"]()

    RawInputStream = RawOutputStream = Stream
    busy = start_fails = False

    @staticmethod
    def query_devices(device: Any = None, kind: Any = None) -> dict[str, Any]:
        return {"name": "Headset", "index": 3, "default_samplerate": 48_000.0}


@pytest.fixture
def pa(monkeypatch: pytest.MonkeyPatch) -> type[Pa]:
    monkeypatch.setattr(_portaudio, "_sounddevice", lambda: Pa)
    monkeypatch.setattr(Pa, "busy", False)
    monkeypatch.setattr(Pa, "start_fails", False)
    return Pa


class Status:
    input_overflow = output_underflow = True


class Time:
    currentTime, inputBufferAdcTime, outputBufferDacTime = 5.0, 4.9, 5.1


@pytest.mark.anyio
async def test_a_device_that_refuses_the_rate_is_opened_at_its_own(real_clock: None, pa: type[Pa]) -> None:
    stream = await _portaudio.PortAudioCard().open("input", None, 24_000, 20, 40)
    assert (stream.name, stream.rate, stream.latency) == ("Headset", 48_000, 0.02)
    assert (stream._stream.options["blocksize"], stream._stream.options["latency"]) == (960, 0.04)
    blocks: list[Any] = []
    ends: list[str] = []
    await stream.start(lambda data, time: blocks.append((bytes(data), time.now, time.at, time.lost)), ends.append)
    stream._stream.options["callback"](bytearray(b"\x01\x02"), 1, Time, Status)
    assert blocks == [(b"\x01\x02", 5.0, 4.9, True)]
    await stream.aclose()
    assert stream._stream.closed
    assert ends == [], "closing is no failure"


@pytest.mark.anyio
async def test_what_a_callback_raises_ends_the_stream_and_is_told(real_clock: None, pa: type[Pa]) -> None:
    stream = await _portaudio.PortAudioCard().open("output", None, 48_000, 10, 40)
    ends: list[str] = []

    def broken(data: memoryview, time: Any) -> None:
        raise LookupError("of the callback")

    await stream.start(broken, ends.append)
    with pytest.raises(Pa.CallbackAbort):
        stream._stream.options["callback"](bytearray(2), 1, Time, Status)
    stream._stream.options["finished_callback"]()
    assert ends == ["LookupError('of the callback')"]


@pytest.mark.anyio
async def test_a_busy_device_is_told_in_the_driver_s_words(real_clock: None, pa: type[Pa]) -> None:
    pa.busy = True
    with pytest.raises(ChannelError, match=r"loudspeaker 'Headset' cannot be opened: .*Device or resource busy"):
        await _portaudio.PortAudioCard().open("output", None, 24_000, 10, 40)
    pa.busy = False
    pa.start_fails = True
    stream = await _portaudio.PortAudioCard().open("output", None, 24_000, 10, 40)
    with pytest.raises(ChannelError, match=r"cannot be started: Unanticipated host error .No such device."):
        await stream.start(lambda data, time: None, lambda reason: None)


@pytest.mark.anyio
async def test_a_driver_that_hangs_is_left_behind(
    real_clock: None, pa: type[Pa], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving is bounded though the device never closes; the next to want a device is told."""
    monkeypatch.setattr(_portaudio, "_CLOSE_BOUND", 0.05)
    monkeypatch.setattr(_portaudio, "_LOCK_BOUND", 0.05)
    monkeypatch.setattr(_portaudio, "_portaudio_lock", threading.Lock())
    stream = await _portaudio.PortAudioCard().open("output", None, 48_000, 10, 40)
    closes = threading.Event()
    stream._stream.close = lambda *, ignore_errors: closes.wait(20)
    try:
        with anyio.fail_after(5):
            await stream.aclose()
        with pytest.raises(ChannelError, match="hangs in its driver"):
            await _portaudio.PortAudioCard().open("output", None, 48_000, 10, 40)
    finally:
        closes.set()
