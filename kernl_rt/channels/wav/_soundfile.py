"""FLAC and Ogg files, by way of soundfile (libsndfile; extra ``files``), a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from kernl_rt.channels.wav._codec import check_layout
from kernl_rt.exceptions import AudioFileError

__all__ = ["SoundfileReader", "SoundfileWriter"]

#: Frames decoded at once: 1 to 2 ms of work.
_READ_FRAMES = 4_096
#: What libsndfile says where a file does not tell its length: its writer was killed, or wrote to a pipe.
_UNKNOWN_LENGTH = 2**63 - 1
#: By suffix: libsndfile's container and encoding.
_FORMATS = {".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".oga": ("OGG", "VORBIS")}


class SoundfileReader:
    """A FLAC or Ogg file as mono PCM16 at its own rate, ``read`` piece by piece.

    Raises:
        AudioFileError: the file is damaged or of a kind that is not read, or soundfile is not installed; the message
            begins with the path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._soundfile = _import(path)
        with self._complaining("cannot be read"):
            # The descriptor is ours, so that a file that is refused is closed in time.
            self._raw = path.open("rb")
        try:
            with self._complaining("cannot be read"):
                self._file: Any = self._soundfile.SoundFile(self._raw.fileno(), closefd=False)
            try:
                check_layout(self._file.channels, self._file.samplerate, self._file.frames)
            except AudioFileError as error:
                self._file.close()
                raise AudioFileError(f"{path}: {error}") from None
        except BaseException:  # Ctrl-C, too: nobody gets the object that would close the file
            self._raw.close()
            raise
        self.rate: int = self._file.samplerate
        self._left: int = self._file.frames

    def read(self) -> bytes:
        """The next piece; ``b""`` at the end."""
        if not self._left:
            return b""
        wanted = min(self._left, _READ_FRAMES)
        try:
            with self._complaining("cannot be read"):
                # As floats: decoded to integers, Vorbis that exceeds full scale would turn over.
                frames = self._file.read(wanted, dtype="float32", always_2d=True)
        except AudioFileError:
            if self._file.frames != _UNKNOWN_LENGTH:
                raise
            frames = ()  # there libsndfile knows the end by failing to go on
        if len(frames) < wanted:
            if self._file.frames != _UNKNOWN_LENGTH:
                raise AudioFileError(f"{self.path}: the file is truncated: sound is missing at its end")
            self._left = 0
            if not len(frames):
                return b""
        else:
            self._left -= wanted
        return self._pcm(frames)

    def _pcm(self, frames: Any) -> bytes:
        mono = frames.mean(axis=1) * 32_768.0
        sound: bytes = mono.round().clip(-32_768, 32_767).astype("<i2").tobytes()
        return sound

    def close(self) -> None:
        self._file.close()
        self._raw.close()

    def _complaining(self, what: str) -> Any:
        return _complaining(self._soundfile, self.path, what)


class SoundfileWriter:
    """Mono PCM16 to a FLAC or Ogg (Vorbis) file, which is overwritten. It is whole once it has been closed.

    Raises:
        AudioFileError: the file cannot be written, or soundfile is not installed; the message begins with the path.
    """

    sparse: ClassVar[bool] = False

    def __init__(self, path: Path, rate: int) -> None:
        self.path = path
        self.rate = rate
        #: Samples so far.
        self.samples = 0
        self._soundfile = _import(path)
        container, encoding = _FORMATS[path.suffix.lower()]
        with self._complaining("cannot be opened for writing"):
            self._raw = path.open("wb+")
        try:
            with self._complaining("cannot be written"):
                self._file: Any = self._soundfile.SoundFile(
                    self._raw.fileno(), "w", rate, 1, encoding, format=container, closefd=False
                )
        except BaseException:  # Ctrl-C, too: nobody gets the object that would close the file
            self._raw.close()
            raise

    def write(self, pcm: bytes) -> None:
        """Append PCM16: a second of it takes 1 ms (FLAC) to 8 ms (Vorbis)."""
        if pcm:
            with self._complaining("cannot be written"):
                self._file.buffer_write(pcm, "int16")
            self.samples += len(pcm) // 2

    def pad_to(self, samples: int) -> None:
        """Silence until the file holds so many samples, if it does not already."""
        while self.samples < samples:
            self.write(bytes(2 * min(samples - self.samples, self.rate)))

    def close(self) -> None:
        """The file is closed also when what is left cannot be written."""
        try:
            with self._complaining("cannot be written"):
                self._file.close()
        finally:
            self._raw.close()

    def _complaining(self, what: str) -> Any:
        return _complaining(self._soundfile, self.path, what)


def _import(path: Path) -> Any:
    try:
        return import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: the package without libsndfile
        raise AudioFileError(
            f"{path}: FLAC and Ogg files need soundfile: pip install 'kernl_rt[files]', or use a WAV file"
        ) from error


@contextmanager
def _complaining(soundfile: Any, path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AudioFileError(f"{path}: {what}: {error.strerror or type(error).__name__}") from error
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioFileError(f"{path}: {what}: {reason}") from error
