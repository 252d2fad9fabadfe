"""FLAC and Ogg files, in and out, and everything that can be wrong with them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from channels.sounds import TONE_16K, tone, wav
from channels.test_wav import Session

from kernl_rt._audio.pcm import level, pack, unpack
from kernl_rt.channels import WavChannel
from kernl_rt.channels.wav._files import open_reader, open_writer
from kernl_rt.channels.wav._soundfile import SoundfileReader, SoundfileWriter
from kernl_rt.config import G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.exceptions import AudioFileError
from kernl_rt.testing import check_channel

soundfile = pytest.importorskip("soundfile")

pytestmark = pytest.mark.anyio


def write(path: Path, pcm: bytes, *, rate: int = 16_000, channels: int = 1, subtype: str | None = None) -> Path:
    """Written without the code under test."""
    container = {".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG"}[path.suffix]
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container) as file:
        file.buffer_write(pcm, "int16")
    return path


def contents(path: Path) -> tuple[int, bytes]:
    with soundfile.SoundFile(path) as file:
        return file.samplerate, bytes(file.buffer_read(-1, "int16"))


def read_all(path: Path) -> bytes:
    reader = open_reader(path)
    pieces = []
    while piece := reader.read():
        assert len(piece) <= 16 * 1_024
        pieces.append(piece)
    assert reader.read() == b""
    reader.close()
    return b"".join(pieces)


# -- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("realtime", [True, False])
async def test_a_flac_file_is_spoken_exactly(tmp_path: Path, realtime: bool) -> None:
    channel = WavChannel(write(tmp_path / "in.flac", TONE_16K), realtime=realtime, tail=0)
    async with channel.open(PCM16_16K, PCM16_24K):
        session = await Session(channel).run()
    assert session.sound == TONE_16K
    assert (session.came[0] > 0.01) == realtime


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
async def test_an_ogg_file_is_spoken(tmp_path: Path, subtype: str) -> None:
    channel = WavChannel(write(tmp_path / "in.ogg", TONE_16K, subtype=subtype), realtime=False, tail=0)
    async with channel.open(PCM16_16K, PCM16_24K):
        session = await Session(channel).run()
    assert PCM16_16K.ms(len(session.sound)) == pytest.approx(1_000, abs=20)
    assert level(session.sound).rms == pytest.approx(0.3535, rel=0.03)


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    write(tmp_path / "in.flac", TONE_16K).rename(tmp_path / "in.wav")
    assert read_all(tmp_path / "in.wav") == TONE_16K
    assert read_all(wav(tmp_path / "in.ogg", TONE_16K)) == TONE_16K


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    stereo = pack(unpack(b"\x00\x10\x00\x20" * 8_000))
    assert read_all(write(tmp_path / "in.flac", stereo, channels=2)) == b"\x00\x18" * 8_000


def test_vorbis_beyond_full_scale_is_clipped_and_does_not_turn_over(tmp_path: Path) -> None:
    square = (b"\xff\x7f" * 20 + b"\x01\x80" * 20) * 400
    samples = unpack(read_all(write(tmp_path / "in.ogg", square)))
    assert max(samples) == 32_767  # it does exceed it
    for sample, meant in zip(samples, unpack(square), strict=True):
        assert abs(sample - meant) < 45_000  # an overflow is 65,536 off


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_the_files_own_rate_is_offered_first(tmp_path: Path, rate: int, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    if suffix == ".wav":
        wav(path, TONE_16K, rate=rate)
    else:
        write(path, TONE_16K, rate=rate)
    formats = WavChannel(path).input_formats
    assert formats[0] == AudioFormat("pcm16", rate)
    assert {PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW} <= set(formats)


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
async def test_it_is_a_channel(tmp_path: Path, suffix: str) -> None:
    question = write(tmp_path / f"question{suffix}", TONE_16K)
    numbers = iter(range(10_000))
    await check_channel(
        lambda: WavChannel(question, tmp_path / f"reply{next(numbers)}{suffix}"),
        input_format=PCM16_24K,
        captured_ms=900,
    )


# -- out --------------------------------------------------------------------------------------------------------------


async def record(path: Path, *, pause: float = 1.5) -> tuple[bytes, bytes]:
    channel = WavChannel(output=path)
    first, second = tone(300, 24_000), tone(200, 24_000, 700)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        tasks.start_soon(Session(channel).run)
        await channel.send(first)
        await anyio.sleep(pause)
        await channel.send(second)
        await anyio.sleep(1)
        channel.hang_up()
    return first, second


async def test_the_reply_as_flac_is_exact_and_keeps_the_timeline(tmp_path: Path) -> None:
    first, second = await record(tmp_path / "out.flac")
    rate, sound = contents(tmp_path / "out.flac")
    assert rate == 24_000
    assert sound.startswith(first)
    assert sound.endswith(second)
    # The first was handed over 200 ms before its end, then came the pause.
    assert PCM16_24K.ms(len(sound)) == pytest.approx(100 + 1_500 + 200, abs=1)


async def test_the_reply_as_ogg(tmp_path: Path) -> None:
    await record(tmp_path / "out.ogg")
    rate, sound = contents(tmp_path / "out.ogg")
    assert rate == 24_000
    assert PCM16_24K.ms(len(sound)) == pytest.approx(1_800, abs=1)
    assert level(sound[: 200 * 48]).rms == pytest.approx(0.3535, rel=0.05)
    assert level(sound[600 * 48 : 1_400 * 48]).rms < 0.001


async def test_long_quiet_is_encoded_little_by_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[float, int]] = []
    write_really = SoundfileWriter.write

    def write(self: SoundfileWriter, pcm: bytes) -> None:
        written.append((anyio.current_time(), len(pcm)))
        write_really(self, pcm)

    monkeypatch.setattr(SoundfileWriter, "write", write)
    channel = WavChannel(wav(tmp_path / "in.wav", TONE_16K), tmp_path / "out.flac", hang_up_after=None)
    async with channel.open(PCM16_16K, PCM16_24K), anyio.create_task_group() as tasks:
        tasks.start_soon(Session(channel).run)
        await channel.send(tone(100, 24_000))
        await anyio.sleep(600)
        await channel.send(tone(100, 24_000, 700))
        await anyio.sleep(1)
        channel.hang_up()
    at_once: dict[float, int] = {}
    for now, size in written:
        at_once[now] = at_once.get(now, 0) + size
    assert max(at_once.values()) <= 7 * 48_000
    sound = contents(tmp_path / "out.flac")[1]
    assert PCM16_24K.ms(len(sound)) == pytest.approx(600_100, abs=1)
    assert sound.endswith(tone(100, 24_000, 700))


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_a_killed_program_leaves_a_file_that_can_be_spoken(tmp_path: Path, suffix: str) -> None:
    code = (
        "import sys, time, pathlib, os; from kernl_rt.channels.wav._soundfile import SoundfileWriter\n"
        "writer = SoundfileWriter(pathlib.Path(sys.argv[1]), 8000)\n"
        "for n in range(200): writer.write(os.urandom(3200))\n"
        "print('written', flush=True); time.sleep(60)"
    )
    path = tmp_path / f"out{suffix}"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
    assert child.returncode in (-signal.SIGKILL, 1)
    assert 30 < len(read_all(path)) / 16_000 <= 40


# -- what can be wrong ------------------------------------------------------------------------------------------------


async def refused(channel: WavChannel) -> str:
    with pytest.raises(AudioFileError) as caught:
        async with channel.open(PCM16_16K, PCM16_24K):
            await Session(channel).run()
    return str(caught.value)


async def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = write(tmp_path / "in.flac", TONE_16K)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for channel in (WavChannel(question), WavChannel(output=tmp_path / "out.ogg")):
        complaint = await refused(channel)
        assert "pip install 'kernl_rt[files]'" in complaint
        assert str(channel.input or channel.output) in complaint
    assert not (tmp_path / "out.ogg").exists()
    async with WavChannel(output=tmp_path / "out.wav").open(PCM16_16K, PCM16_24K):
        pass


@pytest.mark.parametrize("name", ["out.mp3", "out", "out.wav.txt"])
async def test_an_unknown_suffix_is_refused(tmp_path: Path, name: str) -> None:
    complaint = await refused(WavChannel(output=tmp_path / name))
    assert complaint.startswith(str(tmp_path / name))
    assert "use .wav, .flac or .ogg" in complaint
    assert not (tmp_path / name).exists()


async def test_mp3_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in.mp3").write_bytes(b"ID3\x04" + bytes(100))
    assert "convert it to WAV, FLAC or Ogg" in await refused(WavChannel(tmp_path / "in.mp3"))


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
@pytest.mark.parametrize("garbage", [b"", b"\0" * 100, b"garbage" * 200], ids=["cut", "zeros", "text"])
async def test_a_broken_file_is_named(tmp_path: Path, suffix: str, garbage: bytes) -> None:
    """At the latest when it is read."""
    whole = write(tmp_path / f"in{suffix}", TONE_16K)
    whole.write_bytes(whole.read_bytes()[:30] + garbage)
    assert (await refused(WavChannel(whole))).startswith(str(whole))


async def test_a_truncated_flac_file(tmp_path: Path) -> None:
    path = write(tmp_path / "in.flac", TONE_16K * 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    channel = WavChannel(path, realtime=False)
    async with channel.open(PCM16_16K, PCM16_24K):
        with pytest.raises(AudioFileError, match=r"in\.flac"):
            await Session(channel).run()


async def test_five_channels_and_no_sound(tmp_path: Path) -> None:
    many = write(tmp_path / "five.flac", bytes(10_000), channels=5)
    assert "5 channels" in await refused(WavChannel(many))
    none = write(tmp_path / "none.flac", b"")
    assert "none.flac" in await refused(WavChannel(none))


async def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    for name in ("no/out.flac", "dir.flac"):
        (tmp_path / "dir.flac").mkdir(exist_ok=True)
        assert "cannot be opened for writing" in await refused(WavChannel(output=tmp_path / name))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "out.flac").symlink_to("/dev/full")
    writer: Any = open_writer(tmp_path / "out.flac", 24_000)
    with pytest.raises(AudioFileError, match=r"out\.flac: cannot be written"):
        for _ in range(20):
            writer.write(tone(1_000, 24_000))
    with contextlib.suppress(AudioFileError):
        writer.close()
    assert writer._raw.closed


def test_files_are_closed_whatever_happens(tmp_path: Path) -> None:
    broken = write(tmp_path / "in.flac", TONE_16K)
    broken.write_bytes(broken.read_bytes()[:50])
    for _ in range(3):
        with pytest.raises(AudioFileError):
            SoundfileReader(broken)
    reader: Any = open_reader(write(tmp_path / "good.flac", TONE_16K))
    reader.close()
    assert reader._raw.closed
