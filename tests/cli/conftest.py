"""A file that asks something."""

from __future__ import annotations

import math
import wave
from array import array
from pathlib import Path

import pytest


@pytest.fixture
def question(tmp_path: Path) -> Path:
    """A WAV file in which a tone is heard for a second, loud enough to be taken for speech."""
    path = tmp_path / "question.wav"
    tone = array("h", [int(8_000 * math.sin(index / 10)) for index in range(24_000)])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(tone.tobytes())
    return path
