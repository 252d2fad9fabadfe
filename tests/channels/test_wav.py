from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import anyio
import pytest
from channels.sounds import TONE_16K, header, tone, wav

from kernl_rt._audio import g711
from kernl_rt._audio.pcm import level
from kernl_rt.channels import WavChannel
from kernl_rt.channels.wav import _codec
from kernl_rt.channels.wav._file import WavReader, WavWriter
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed
from kernl_rt.exceptions import AudioFileError, MisconfiguredError, SessionStateError

pytestmark = pytest.mark.anyio


def contents(path: Path) -> bytes:
    with wave.open(str(path)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
        return reader.readframes(reader.getnframes())


class Session:
    """Receives until the channel hangs up."""

    def __init__(self, channel: WavChannel) -> None:
        self.channel = channel
        self.captured: list[AudioCaptured] = []
        self.came: list[float] = []
        self.marks: list[float] = []
        self.start = 0.0
        self.ended_after: float | None = None

    async def run(self, until: float | None = None) -> Session:
        self.start = anyio.current_time()
        with anyio.move_on_after(1e6 if until is None else until):
            while True:
                try:
                    event = await self.channel.receive()
                except anyio.EndOfStream:
                    self.ended_after = anyio.current_time() - self.start
                    break
                if isinstance(event, AudioPlayed):
                    self.marks.append(event.position_ms)
                else:
                    assert isinstance(event, AudioCaptured)
                    self.captured.append(event)
                    self.came.append(anyio.current_time() - self.start)
        return self

    @property
    def sound(self) -> bytes:
        return b"".join(event.audio for event in self.captured)


async def test_a_file_is_spoken_at_the_pace_of_the_clock(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K[:-100]))
    assert channel.live
    async with channel.open(PCM16_16K, PCM16_24K):
        await anyio.sleep(3)
        session = await Session(channel).run(until=2.0001)
    assert len(session.captured) == 100
    assert session.came == pytest.approx([0.02 * (n + 1) for n in range(100)], abs=1e-5)
    at = [event.at - session.start for event in session.captured if event.at is not None]
    assert at == pytest.approx([0.02 * n for n in range(100)], abs=1e-5)
    assert session.sound == TONE_16K[:-100] + bytes(32_100), "then silence, without end"


async def test_a_file_is_given_as_fast_as_it_is_taken(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), realtime=False)
    assert not channel.live
    async with channel.open(PCM16_16K, PCM16_24K):
        session = await Session(channel).run(until=1.0001)
    assert session.came[:150] == pytest.approx([0] * 150, abs=1e-5), "the file and two seconds of silence at once"
    assert session.came[150:] == pytest.approx([0.02 * (n + 1) for n in range(50)], abs=1e-4)
    assert session.sound == TONE_16K + bytes(3 * 32_000)


@pytest.mark.parametrize("realtime", [True, False])
@pytest.mark.parametrize("tail", [0, 0.5])
async def test_a_tail_of_a_given_length(tmp_path: Path, realtime: bool, tail: float) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), realtime=realtime, tail=tail)
    async with channel.open(PCM16_16K, PCM16_24K):
        session = await Session(channel).run()
    assert len(session.sound) == (1 + tail) * 32_000
    assert session.ended_after == pytest.approx(31 if realtime else 30, abs=0.001)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("format_in", [PCM16_24K, G711_ULAW, G711_ALAW])
async def test_rates_and_encodings(tmp_path: Path, rate: int, format_in: AudioFormat) -> None:
    pytest.importorskip("soxr")
    channel = WavChannel(wav(tmp_path / "in.wav", tone(1_000, rate), rate=rate), realtime=False, tail=0)
    async with channel.open(format_in, PCM16_24K):
        session = await Session(channel).run()
    assert format_in.ms(len(session.sound)) == pytest.approx(1_000, abs=20)
    assert {len(event.audio) for event in session.captured} == {format_in.size(20)}
    sound = session.sound if format_in.encoding == "pcm16" else g711.decode(session.sound, format_in.encoding)
    assert level(sound).rms == pytest.approx(0.3535, rel=0.03)


async def test_the_reply_is_what_was_heard_and_when(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.wav")
    first, second = tone(300, 24_000), tone(100, 24_000, 700)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(1.5)
        await channel.send(first)
        await anyio.sleep(1.1)
        await channel.send(second)
        await channel.flush()
    assert session.marks == [*range(20, 401, 20)]
    assert session.ended_after == pytest.approx(2.7 + 0.1 + 2, abs=0.01)
    out = contents(tmp_path / "out.wav")
    assert out == bytes(72_000) + first + bytes(len(out) - 72_000 - len(first) - len(second)) + second
    assert len(out) / 48 == pytest.approx(2_800, abs=1)


async def test_the_reply_without_gaps(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.wav", gaps=False)
    async with channel.open(PCM16_16K, G711_ULAW), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(1.5)
        await channel.send(b"\x11" * 800)
        await anyio.sleep(1.0)
        await channel.send(b"\x22" * 800)
    with wave.open(str(tmp_path / "out.wav")) as reader:
        assert reader.getframerate() == 8_000
    assert contents(tmp_path / "out.wav") == g711.decode(b"\x11" * 800 + b"\x22" * 800, "g711_ulaw")


async def test_an_unpaced_reply_is_heard_at_once(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.wav", realtime=False)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(1)
        before = anyio.current_time()
        await channel.send(tone(10_000, 24_000))
        assert anyio.current_time() == before
        assert channel.clear() == 10_000
    assert session.ended_after == pytest.approx(3, abs=0.01)
    assert contents(tmp_path / "out.wav") == tone(10_000, 24_000)


async def test_what_was_cleared_is_not_in_the_file(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.wav")
    reply = tone(1_000, 24_000)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        tasks.start_soon(Session(channel).run)
        await anyio.sleep(0.01)
        tasks.start_soon(channel.send, reply)
        await anyio.sleep(0.5)
        position = channel.clear()
        assert position == pytest.approx(500, abs=0.1)
        await anyio.sleep(0.5)
        await channel.send(tone(100, 24_000, 900))
    out = contents(tmp_path / "out.wav")
    heard = round(position * 48)
    assert out[480:][:heard] == reply[:heard]
    assert not any(out[480:][heard : heard + 24_000 - 96])
    assert out.endswith(tone(100, 24_000, 900))


async def test_the_file_is_written_also_when_nobody_receives(tmp_path: Path) -> None:
    channel = WavChannel(None, tmp_path / "out.wav")
    async with channel.open(PCM16_16K, PCM16_24K):
        await channel.send(tone(100, 24_000))
        await anyio.sleep(0.05)
    assert contents(tmp_path / "out.wav") == tone(50, 24_000)


# -- hanging up -------------------------------------------------------------------------------------------------------


async def test_no_reply(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), reply_timeout=7)
    async with channel.open(PCM16_16K, PCM16_24K):
        session = await Session(channel).run()
        assert session.ended_after == pytest.approx(8, abs=0.001)
        with pytest.raises(anyio.EndOfStream):
            await channel.receive()
        await channel.send(bytes(96_000))
        assert channel.clear() == 0


async def test_a_reply_to_the_first_question_is_none_to_the_last(tmp_path: Path) -> None:
    questions = TONE_16K + bytes(3 * 32_000) + TONE_16K
    channel = WavChannel(wav(tmp_path / "in.wav", questions), reply_timeout=7, hang_up_after=1)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(2)
        await channel.send(tone(100, 24_000))
    assert session.ended_after == pytest.approx(12, abs=0.001)


async def test_a_reply_within_the_files_own_silence_counts(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K + bytes(3 * 32_000)))
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(2)
        await channel.send(tone(100, 24_000))
    assert session.ended_after == pytest.approx(6, abs=0.001)


async def test_a_tool_call_is_waited_for(tmp_path: Path) -> None:
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), hang_up_after=1)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await anyio.sleep(1.5)
        await channel.send(tone(100, 24_000))
        channel.hold()
        channel.hold()
        await anyio.sleep(10)
        channel.release()
        await anyio.sleep(10)
        assert session.ended_after is None
        channel.release()
        with pytest.raises(SessionStateError, match="hold"):
            channel.release()
        await anyio.sleep(0.9)
        await channel.send(tone(100, 24_000))
    assert session.ended_after == pytest.approx(1.5 + 20 + 0.9 + 0.1 + 1, abs=0.01)


@pytest.mark.parametrize("has_input", [True, False])
async def test_it_may_stay_until_it_is_told_to_leave(tmp_path: Path, has_input: bool) -> None:
    question = wav(tmp_path / "in.wav", TONE_16K) if has_input else None
    channel = WavChannel(question, tmp_path / "out.wav", hang_up_after=None if has_input else 2.0)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        session = Session(channel)
        tasks.start_soon(session.run)
        await channel.send(tone(100, 24_000))
        await anyio.sleep(100)
        assert session.ended_after is None
        assert bool(session.captured) == has_input
        channel.hang_up()
        channel.hang_up()
    assert session.ended_after == pytest.approx(100, abs=0.001)


# -- files ------------------------------------------------------------------------------------------------------------


async def test_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound in here, sorry")
    for path, complaint in [("missing.wav", "No such file"), (".", "cannot be"), ("text.wav", "not a WAV file")]:
        channel = WavChannel(tmp_path / path, tmp_path / "out.wav")
        with pytest.raises(AudioFileError, match=complaint) as caught:
            async with channel.open(PCM16_16K, PCM16_24K):
                pass
        assert str(tmp_path / path) in str(caught.value)
    assert not (tmp_path / "out.wav").exists(), "a bad question does not cost the old reply"
    good = wav(tmp_path / "good.wav", TONE_16K)
    channel = WavChannel(good, tmp_path / "no" / "out.wav")
    with pytest.raises(AudioFileError, match=r"out\.wav: cannot be opened for writing: No such file"):
        async with channel.open(PCM16_16K, PCM16_24K):
            pass
    channel = WavChannel(good, good)
    with pytest.raises(MisconfiguredError, match="both input and output"):
        async with channel.open(PCM16_16K, PCM16_24K):
            pass
    assert good.stat().st_size == 32_044


async def test_without_soxr_another_rate_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.wav")
    with pytest.raises(MisconfiguredError, match=r"kernl_rt\[audio\]"):
        async with channel.open(PCM16_24K, PCM16_24K):
            pass
    assert not (tmp_path / "out.wav").exists()
    async with channel.open(PCM16_16K, PCM16_24K):
        pass


async def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = wav(tmp_path / "in.wav", TONE_16K * 4)
    channel = WavChannel(path)
    async with channel.open(PCM16_16K, PCM16_24K):
        await channel.receive()
        os.truncate(path, 1_000)
        with pytest.raises(AudioFileError, match="cut short"):
            await Session(channel).run()


class Full:
    """A disk that is full after so many bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: memoryview) -> int:
        if len(data) > self._room:
            raise OSError(28, "No space left on device")
        self._room -= len(data)
        return int(self._file.write(data[:1_000]))  # a short write, as the system may

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


async def test_a_full_disk_is_said_by_the_next_verb_but_never_by_clear(tmp_path: Path) -> None:
    channel = WavChannel(None, tmp_path / "out.wav")
    with pytest.raises(AudioFileError, match="No space left"):
        async with channel.open(PCM16_16K, PCM16_24K):
            assert channel._line is not None
            assert channel._line.recorder is not None
            writer = channel._line.recorder._writer
            writer._file = Full(writer._file, 60_000)  # type: ignore[assignment]
            for _ in range(2):
                with anyio.move_on_after(0.1):
                    await channel.send(tone(1_000, 24_000))
                await anyio.sleep(1.2)
            channel.clear()
            for verb in (channel.receive, lambda: channel.send(b"")):
                with pytest.raises(AudioFileError, match="No space left"):
                    await verb()
    assert writer._file.closed


def test_a_short_write_is_continued(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "out.wav", 24_000)
    writer._file = Full(writer._file, 10**9)  # type: ignore[assignment]
    writer.write(tone(500, 24_000))
    writer.close()
    assert contents(tmp_path / "out.wav") == tone(500, 24_000)


async def test_an_error_of_the_body_is_not_masked_by_a_full_disk(tmp_path: Path) -> None:
    channel = WavChannel(None, tmp_path / "out.wav")
    with pytest.raises(KeyError) as caught:
        async with channel.open(PCM16_16K, PCM16_24K):
            assert channel._line is not None
            assert channel._line.recorder is not None
            writer = channel._line.recorder._writer
            writer._file = Full(writer._file, 0)  # type: ignore[assignment]
            await channel.send(tone(20, 24_000))
            await anyio.sleep(1)
            raise KeyError("mine")
    assert any("No space left" in note for note in caught.value.__notes__)
    assert writer._file.closed


def test_the_output_can_be_read_at_any_moment(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "out.wav", 8_000)
    sound = b""
    for number in range(300):
        piece = bytes([number % 256, 0]) * 160
        writer.write(piece)
        sound += piece
        if number == 100:
            writer.pad_to(writer.samples + 100_000)
            sound += bytes(200_000)
        written = contents(tmp_path / "out.wav")
        assert sound.startswith(written)
        # Silence is in the file when the sound after it is.
        assert len(sound) - len(written) < 16_000 + (200_000 if 100 <= number < 150 else 0)
    writer.close()
    assert contents(tmp_path / "out.wav") == sound


def test_a_killed_program_leaves_a_readable_file(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from kernl_rt.channels.wav._file import WavWriter\n"
        "writer = WavWriter(pathlib.Path(sys.argv[1]), 8000)\n"
        "for n in range(1, 200): writer.write(bytes([n, 0]) * 400)\n"
        "print('written', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out.wav")], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
    assert child.returncode in (-signal.SIGKILL, 1)
    out = contents(tmp_path / "out.wav")
    whole = b"".join(bytes([n, 0]) * 400 for n in range(1, 200))
    assert whole.startswith(out)
    assert len(whole) - len(out) < 16_000


def test_a_file_of_four_gigabytes_is_full(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "out.wav", 24_000)
    writer.pad_to(_codec.MAX_DATA_SIZE // 2 - 10)  # a hole: it takes no room
    writer.write(bytes(20))
    writer.flush()
    writer.write(bytes(2))
    with pytest.raises(AudioFileError, match="4 GiB"):
        writer.close()
    with (tmp_path / "out.wav").open("rb") as file:
        assert struct.unpack("<I", file.read(44)[40:])[0] == _codec.MAX_DATA_SIZE
    (tmp_path / "out.wav").unlink()


def test_reading_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 900
    path = tmp_path / "in.wav"
    path.write_bytes(header(len(data), channels=2, bits=24) + data)
    reader = WavReader(path)
    pieces = []
    while piece := reader.read():
        pieces.append(piece)
    reader.close()
    assert len(pieces) > 10
    assert len(b"".join(pieces)) == len(data) // 6 * 2


@pytest.mark.parametrize(
    "options",
    [
        {"input": None},
        {"gaps": True, "realtime": False},
        {"tail": -1},
        {"hang_up_after": float("nan")},
        {"reply_timeout": float("inf")},
        {"send_ahead_ms": 0},
        {"input_formats": ()},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(MisconfiguredError):
        WavChannel(**{"input": "in.wav", **options})
