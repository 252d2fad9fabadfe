"""Where the calls of a server are recorded: a new folder for each."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kernl_rt import RealtimeChannel, RealtimeSession
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.exceptions import MisconfiguredError, RealtimeError

__all__ = ["CallRecordings"]

_logger = logging.getLogger("kernl_rt")

#: Of a call's id, which a carrier or a provider has made up, in the name of a folder.
_LONGEST_ID = 64


class CallRecordings:
    """Records each call to a folder of its own inside ``folder``: ``2026-05-04T13-45-10.123Z-<id>``.

    The id is the carrier's of a phone call, else the session's. What fails costs the recording, never the call.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Path = Path(folder)

    def prepare(self) -> None:
        """Make the folder, so that a mistake is noticed before the first call.

        Raises:
            MisconfiguredError: nothing can be recorded there.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MisconfiguredError(f"calls cannot be recorded to {self.folder}: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise MisconfiguredError(f"calls cannot be recorded to {self.folder}: it is not this user's to write")

    @contextmanager
    def recording(self, session: RealtimeSession[Any], channel: RealtimeChannel) -> Iterator[None]:
        """Record ``session``, which is connected. One that is recorded already, by its maker, is left alone."""
        if session.recording is not None:
            yield
            return
        folder = self.folder / _name(session, channel)
        # Only once it is connected: before, a disk that refuses would refuse the call.
        try:
            recording = session.record(folder)
        except (RealtimeError, RuntimeError) as error:  # the sides have two rates; no thread is left for the files
            _logger.error("a call is not recorded: %s", error)
            yield
            return
        try:
            yield
        finally:
            if recording.error is not None:
                _logger.error("the recording of a call failed: %s: %s", folder, recording.error)


def _name(session: RealtimeSession[Any], channel: RealtimeChannel) -> str:
    called = channel.call_id if isinstance(channel, PhoneChannel) else session.id
    plain = re.sub(r"[^A-Za-z0-9_-]+", "", called or "")[:_LONGEST_ID] or secrets.token_hex(8)
    now = datetime.now(UTC)
    return f"{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond // 1000:03}Z-{plain}"
