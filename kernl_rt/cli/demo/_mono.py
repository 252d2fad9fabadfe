"""A sound alone in a file."""

from __future__ import annotations

import wave
from pathlib import Path

from kernl_rt.exceptions import AudioFileError

__all__ = ["write_mono"]


def write_mono(path: Path, pcm: bytes, rate: int) -> None:
    """PCM16 as a WAV file.

    Raises:
        AudioFileError: the file cannot be written; the message begins with the path.
    """
    try:
        # Opened here and not by ``wave``, which would complain about itself later when the path is wrong.
        with path.open("wb") as disk, wave.open(disk, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(pcm)
    except OSError as error:
        raise AudioFileError(f"{path}: cannot be written: {error.strerror or type(error).__name__}") from error
