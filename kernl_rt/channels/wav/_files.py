"""The files that a channel speaks and records to: what kind one is, and what all kinds can do."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from kernl_rt.channels.wav._file import WavReader, WavWriter
from kernl_rt.channels.wav._soundfile import SoundfileReader, SoundfileWriter
from kernl_rt.exceptions import AudioFileError

__all__ = ["Reader", "Writer", "open_reader", "open_writer", "rate_of"]

#: How the files begin that soundfile reads for us.
_MAGIC = (b"fLaC", b"OggS")
_WRITERS: dict[str, type[WavWriter] | type[SoundfileWriter]] = {
    ".wav": WavWriter,
    ".wave": WavWriter,
    ".flac": SoundfileWriter,
    ".ogg": SoundfileWriter,
    ".oga": SoundfileWriter,
}


class Reader(Protocol):
    """A file as mono PCM16 at its own ``rate``."""

    @property
    def rate(self) -> int: ...
    def read(self) -> bytes: ...
    def close(self) -> None: ...


class Writer(Protocol):
    """A file that is written, of mono PCM16; ``samples`` so far. Long quiet costs nothing where it is ``sparse``."""

    sparse: ClassVar[bool]

    @property
    def rate(self) -> int: ...
    @property
    def samples(self) -> int: ...
    def write(self, pcm: bytes) -> None: ...
    def pad_to(self, samples: int) -> None: ...
    def close(self) -> None: ...


def open_reader(path: Path) -> Reader:
    """Of the kind that the file is, whatever its name says.

    Raises:
        AudioFileError: it is missing, damaged or of no kind that is read; the message begins with the path.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be opened: {error.strerror or type(error).__name__}") from error
    return SoundfileReader(path) if magic in _MAGIC else WavReader(path)


def open_writer(path: Path, rate: int) -> Writer:
    """Of the kind that the suffix says.

    Raises:
        AudioFileError: it cannot be written, or there is no such kind; the message begins with the path.
    """
    kind = _WRITERS.get(path.suffix.lower())
    if kind is None:
        suffix = repr(path.suffix) if path.suffix else "no suffix"
        raise AudioFileError(f"{path}: {suffix} names no kind of sound file: use .wav, .flac or .ogg")
    return kind(path, rate)


def rate_of(path: Path) -> int | None:
    """A file's samples per second; ``None`` where it cannot be read, of which :func:`open_reader` tells."""
    try:
        reader = open_reader(path)
    except AudioFileError:
        return None
    rate = reader.rate
    reader.close()
    return rate
