"""The files of a recording, and the thread that writes them.

The session's event loop never waits for the disk: it hands sound and events to a feed
(:mod:`kernl_rt._session.recording_feed`), from which one thread takes them a few times a second. What is written is
readable at any moment: the header of the sound says what is there, lines are written whole, the transcript and the
picture are replaced as wholes. A program that is killed loses what the thread had not taken yet.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from attrs import define, field

from kernl_rt._audio.pcm import level, pack, unpack
from kernl_rt._audio.resample import Converter, convert
from kernl_rt._recording import AUDIO, EVENTS, TIMELINE, TRANSCRIPT
from kernl_rt._recording.journal import described, written
from kernl_rt._recording.lanes import HEADER_SIZE, LARGEST, LEFT, RIGHT, Side, overlaid, wav_header
from kernl_rt._recording.story import Story
from kernl_rt._recording.timeline import timeline
from kernl_rt._recording.transcript import transcript
from kernl_rt._session.recording_feed import Entry, Feed, Line, Sound
from kernl_rt.config import AudioFormat
from kernl_rt.exceptions import MisconfiguredError, RealtimeError

__all__ = ["Disk", "OSDisk", "Writer"]

#: Seconds between two looks of the thread at what there is to write.
PERIOD = 0.25
#: Seconds between two versions of the transcript and the picture; longer where making one takes long.
DRAW_EVERY = 5.0
_DRAW_SHARE = 20
#: Seconds of sound whose loudness is one value of the picture.
_STEP = 0.05
_OF_SO_MANY = 8


class Disk(Protocol):
    """What a recording needs of the file system. Everything raises :class:`OSError`."""

    def make_folder(self, path: Path) -> None: ...

    def create(self, path: Path, *, overwrite: bool) -> BinaryIO:
        """An empty file to read and write, without a buffer of its own."""
        ...

    def replace(self, path: Path, content: bytes) -> None:
        """Put a whole file in the place of another: a reader sees the one or the other."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, if there is one."""
        ...


class OSDisk:
    """The operating system's. Only the owner may read what is written: people speak in it."""

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, path: Path, *, overwrite: bool) -> BinaryIO:
        mode = "w+b" if overwrite else "x+b"
        # Unbuffered: what was written is the system's, and survives the program.
        return cast("BinaryIO", open(path, mode, buffering=0, opener=_private))

    def replace(self, path: Path, content: bytes) -> None:
        draft = path.with_name(f".{path.name}.new")
        with open(draft, "wb", opener=_private) as file:
            file.write(content)
        os.replace(draft, path)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# -- the thread's side ------------------------------------------------------------------------------------------------


@define
class _Track:
    """One side on its way into the file."""

    format: AudioFormat | None = None
    converter: Converter | None = None
    #: The sample that would follow without a gap; the frame of the file where the next sound goes.
    next: int = 0
    frame: int = 0


@define
class _StereoFile:
    file: BinaryIO
    rate: int
    size: int = 0
    tracks: dict[Side, _Track] = field(factory=lambda: {LEFT: _Track(), RIGHT: _Track()})

    def put(self, sound: Sound) -> Iterable[tuple[int, bytes]]:
        """Write a piece; gives what was written of it, as PCM16 with the number of its first frame."""
        track = self.tracks[sound.side]
        if track.format != sound.format or track.next != sound.start or track.converter is None:
            yield from self._end(sound.side)
            track.format, track.converter = sound.format, convert(sound.format, AudioFormat("pcm16", self.rate))
            track.frame = round(sound.start * self.rate / sound.format.rate)
        track.next = sound.start + len(sound.audio) // sound.format.sample_width
        yield from self._write(sound.side, track.converter.push(sound.audio))

    def _end(self, side: Side) -> Iterable[tuple[int, bytes]]:
        """A run of sound is over: what the converter held back belongs to it."""
        converter = self.tracks[side].converter
        if converter is not None:
            yield from self._write(side, converter.flush())

    def finish(self) -> None:
        for side in self.tracks:
            for _ in self._end(side):
                pass
        self.write_header()

    def _write(self, side: Side, pcm: bytes) -> Iterable[tuple[int, bytes]]:
        track, piece = self.tracks[side], 2 * self.rate
        for start in range(0, len(pcm), piece):
            mono = pcm[start : start + piece]
            at = HEADER_SIZE + 4 * track.frame
            if 4 * track.frame + 2 * len(mono) > LARGEST:
                raise RealtimeError("audio.wav has grown to 4 GiB, which is all that a WAV file can hold")
            self.file.seek(at)
            there = _read(self.file, 2 * len(mono))
            self.file.seek(at)
            _write_all(self.file, overlaid(there[: len(there) - len(there) % 4], side, mono))
            self.size = max(self.size, 4 * track.frame + 2 * len(mono))
            yield track.frame, mono
            track.frame += len(mono) // 2

    def write_header(self) -> None:
        self.file.seek(0)
        _write_all(self.file, wav_header(self.rate, self.size))


def _loudness(pcm: bytes) -> float:
    """Of a picture's stroke: a few of the samples say it as well as all of them."""
    return level(pack(unpack(pcm)[::_OF_SO_MANY])).rms


def _read(file: BinaryIO, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _write_all(file: BinaryIO, content: bytes) -> None:
    """A file without a buffer may take less than it is given."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class Writer:
    """Writes one recording, in a thread of its own, from :meth:`start` until :meth:`stop` and its last write."""

    def __init__(self, folder: Path, feed: Feed, disk: Disk, *, overwrite: bool) -> None:
        self.folder = folder
        self._feed = feed
        self._disk = disk
        self._overwrite = overwrite
        self._stop = threading.Event()
        #: The folder is there and can be written to, or not; the files are closed.
        self.opened, self.done = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self._events: BinaryIO | None = None
        self._sound: _StereoFile | None = None
        self._story = Story()
        self._draw_at = 0.0
        self._told = (0.0, 0)
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="kernl_rt recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what there is, close the files, and end."""
        self._stop.set()
        if not self.started:
            self.done.set()

    def _run(self) -> None:
        try:
            try:
                self._open()
                self.opened.set()
                while not self._stop.wait(PERIOD):
                    self._write(self._feed.take())
                self._write(self._feed.take())
                self._finish()
            except Exception:  # a full disk, a defect: told below, once the sound that is there can be read
                self._rescue()
                raise
            finally:
                self._close()
        except Exception as exc:  # it is the session's to tell
            self.error = exc
        finally:
            self.opened.set()
            self.done.set()

    def _open(self) -> None:
        disk, folder = self._disk, self.folder
        try:
            disk.make_folder(folder)
            self._events = disk.create(folder / EVENTS, overwrite=self._overwrite)
        except FileExistsError:
            raise MisconfiguredError(
                f"{folder}: holds a recording already; record to another folder, or with overwrite=True"
            ) from None
        for name in (AUDIO, TRANSCRIPT, TIMELINE):
            disk.remove(folder / name)
        self._draw_at = time.monotonic() + DRAW_EVERY

    def _write(self, batch: list[Entry]) -> None:
        lines: list[bytes] = []
        sounded = False
        for entry in batch:
            if isinstance(entry, Line):
                lines.append(self._line(entry))
            elif isinstance(entry, Sound):
                self._put(entry)
                sounded = True
            else:
                self._sound = _StereoFile(self._disk.create(self.folder / AUDIO, overwrite=True), entry.rate)
                self._sound.write_header()
        if sounded and self._sound is not None:
            self._sound.write_header()
        assert self._events is not None
        _write_all(self._events, b"".join([*lines, *self._losses()]))
        if batch and time.monotonic() >= self._draw_at:
            self._draw()

    def _put(self, sound: Sound) -> None:
        file, story = self._sound, self._story
        assert file is not None
        loudness = story.human_loudness if sound.side == LEFT else story.model_loudness
        step = 2 * max(int(file.rate * _STEP), 1)
        for frame, pcm in file.put(sound):
            for start in range(0, len(pcm), step):
                loudness.add((frame + start // 2) / file.rate, _loudness(pcm[start : start + step]))

    def _line(self, entry: Line) -> bytes:
        payload = entry.payload
        told: Mapping[str, Any] = payload if isinstance(payload, Mapping) else described(payload)
        line = {
            "t": entry.t,
            "said": entry.said,
            "heard": entry.heard,
            "source": entry.source,
            "kind": entry.kind,
            **{name: value for name, value in told.items() if name not in ("t", "said", "heard", "source", "kind")},
        }
        self._story.take(line)
        return written(line)

    def _losses(self) -> list[bytes]:
        """What the disk was too slow for is said in the recording itself."""
        now = (self._feed.lost_ms, self._feed.lost_events)
        if now == self._told:
            return []
        self._told = now
        told = {"sound_ms": round(now[0], 1), "events": now[1]}
        return [self._line(Line(self._story.seconds, 0.0, 0.0, "recording", "recording.dropped", told))]

    def _draw(self) -> None:
        """The transcript and the picture, as they are now."""
        began = time.monotonic()
        self._disk.replace(self.folder / TRANSCRIPT, transcript(self._story).encode("utf-8"))
        self._disk.replace(self.folder / TIMELINE, timeline(self._story, title=self._story.title).encode("utf-8"))
        took = time.monotonic() - began
        self._draw_at = time.monotonic() + max(DRAW_EVERY, _DRAW_SHARE * took)

    def _finish(self) -> None:
        if self._sound is not None:
            self._sound.finish()
            self._draw()
        else:  # the session could not even begin
            self._disk.remove(self.folder / EVENTS)

    def _rescue(self) -> None:
        """What was written before the failure stays readable, if the disk still takes that much."""
        if self._sound is not None:
            with contextlib.suppress(OSError):  # the first error is the one to be told
                self._sound.write_header()

    def _close(self) -> None:
        files = [self._events, *([self._sound.file] if self._sound is not None else [])]
        failed: OSError | None = None
        for file in files:
            try:
                if file is not None:
                    file.close()
            except OSError as exc:
                failed = failed or exc
        if failed is not None:
            raise failed
