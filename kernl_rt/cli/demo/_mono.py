"""A sound alone in a file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from kernl_rt.channels.wav._file import WavWriter

__all__ = ["write_mono"]


def write_mono(path: Path, pcm: bytes, rate: int) -> None:
    """PCM16 as a WAV file.

    Raises:
        AudioFileError: the file cannot be written; the message begins with the path.
    """
    with closing(WavWriter(path, rate)) as file:
        file.write(pcm)
