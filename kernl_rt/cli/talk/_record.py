"""``--record``: the conversation is written down, and the person is told so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kernl_rt import RealtimeSession
from kernl_rt._recording import EVENTS
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["record", "tell_recorded"]


def record(session: RealtimeSession[Any], folder: str | None) -> None:
    """Record ``session``, which is not connected yet, if ``folder`` says where to.

    Raises:
        MisconfiguredError: a recording is there already.
    """
    if folder is None:
        return
    if (Path(folder) / EVENTS).exists():
        raise MisconfiguredError(f"--record {folder}: holds a recording already; name another folder")
    session.record(folder)
    print(f"this conversation is recorded to {folder}", flush=True)


def tell_recorded(session: RealtimeSession[Any]) -> None:
    """Say where the recording is, once the session is over."""
    recording = session.recording
    if recording is not None and recording.state == "stopped" and (recording.path / EVENTS).exists():
        print(f"the recording is in {recording.path}; 'kernl-rt replay {recording.path}' prints it", flush=True)
