"""Recordings in virtual time: the disk answers in real time, so the loop goes round until it has."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual clock jumps while a thread works: no timer of the session's may expire meanwhile."""
    monkeypatch.setattr("kernl_rt._session.recording.ROUNDS", 5.0)
