"""Recording a session: sound as it was said and heard, words, events, a picture.

The session's driver has one tap. While something is recorded it is told each input with the actions that followed, in
the same step, and puts what belongs into the files into a bounded feed; the files are a thread's
(:mod:`kernl_rt._session.recording_files`). Nothing is recorded before ``session.record`` was called.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
from attrs import frozen

from kernl_rt._audio.formats import can_resample
from kernl_rt._core import inputs
from kernl_rt._core.actions import Action
from kernl_rt._recording.journal import VERSION
from kernl_rt._session.driver import Driver
from kernl_rt._session.recording_feed import Feed
from kernl_rt.events import SessionError
from kernl_rt.exceptions import MisconfiguredError, RealtimeError, SessionStateError

if TYPE_CHECKING:
    from pathlib import Path

    from kernl_rt._session.recording_files import Disk
    from kernl_rt._session.recording_tap import Tap

__all__ = ["Recorder", "Recording", "RecordingLosses"]

logger = logging.getLogger("kernl_rt")

RecordingState: TypeAlias = Literal["waiting", "running", "stopped", "failed"]

#: Seconds that the files get to be completed when the session ends, and to be opened when it begins; of real time.
FINISH = 5.0
#: Seconds in which the disk usually answers: so long the loop goes round, which costs less than another thread.
ROUNDS = 0.05


@frozen
class RecordingLosses:
    """What the disk was too slow for: ``sound_ms`` of both sides (silence in the file), ``events`` not written."""

    sound_ms: float
    events: int


class Recording:
    """A recording that waits for its session, runs, or is over. Made by :meth:`RealtimeSession.record`.

    ``path`` is the folder.
    """

    def __init__(self, path: Path, title: str | None, disk: Disk | None, *, overwrite: bool) -> None:
        # Here, not at the top: a session that is not recorded need not wait for what writes and draws.
        from kernl_rt._session.recording_files import OSDisk, Writer

        self.path = path
        self._title = title
        self._feed = Feed()
        self._writer = Writer(path, self._feed, disk or OSDisk(), overwrite=overwrite)
        self._driver: Driver | None = None
        self._tap: Tap | None = None
        self._over = False
        self._failure: Exception | None = None
        self._reported = False

    @property
    def state(self) -> RecordingState:
        """``waiting`` until the session connects; ``failed`` where the disk refused."""
        if self.error is not None:
            return "failed"
        if self._over:
            return "stopped"
        return "waiting" if self._tap is None else "running"

    @property
    def error(self) -> Exception | None:
        """Why it failed."""
        return self._failure or self._writer.error

    @property
    def dropped(self) -> RecordingLosses:
        return RecordingLosses(round(self._feed.lost_ms, 1), self._feed.lost_events)

    def stop(self) -> None:
        """Record no more, from now on. Returns at once; the files are completed meanwhile. Idempotent.

        Raises:
            SessionStateError: from another thread, event loop or process.
        """
        if self._over:
            return
        if self._driver is not None:
            self._driver.check_thread("stop")
        self._end()

    async def wait_closed(self) -> None:
        """Wait until the files are complete and closed, or the recording has failed. Cancelling it changes nothing."""
        await _settled(self._writer.done, None)

    # -- the session's side -------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Make the files before the session begins.

        Raises:
            MisconfiguredError: the folder cannot be recorded to.
        """
        self._writer.start()
        await _settled(self._writer.opened, FINISH)
        if (error := self._writer.error) is not None:
            self._reported = True
            if isinstance(error, MisconfiguredError):
                raise error
            raise MisconfiguredError(_reason(self.path, error)) from error

    def _begin(self, driver: Driver, model: str) -> None:
        """From now on.

        Raises:
            MisconfiguredError: the two sides have different rates, and soxr is not installed.
        """
        from kernl_rt._session.recording_tap import Tap

        settings = driver.machine.state.settings
        rates = {settings.input_format.rate, settings.output_format.rate}
        if len(rates) > 1 and not can_resample():
            raise MisconfiguredError(
                f"the human's sound has {settings.input_format.rate} Hz and the model's "
                f"{settings.output_format.rate} Hz; one file for both needs soxr: pip install 'kernl_rt[audio]'"
            )
        rate = max(rates)
        header = {
            "version": VERSION,
            "title": self._title if self._title is not None else f"{settings.agent} · {model}",
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "agent": settings.agent,
            "rate": rate,
            "input_format": str(settings.input_format),
            "output_format": str(settings.output_format),
            "output_rate": settings.output_format.bytes_per_second,
        }
        if not self._writer.started:
            self._writer.start()
        self._driver = driver
        self._tap = Tap(driver, self._feed, rate, header, anyio.current_time())
        driver.tap = self._take

    def _take(self, input: inputs.Input, actions: Sequence[Action], now: float) -> None:
        if self._writer.error is not None:
            self._give_up(self._writer.error)
        elif self._tap is not None:
            try:
                self._tap.take(input, actions, now)
            except Exception as exc:  # a defect of the recording's is not to end the call
                self._failure = exc
                self._give_up(exc)
                self._writer.stop()

    def _give_up(self, error: Exception) -> None:
        """The disk refused: the call goes on without a recording, and is told once."""
        self._detach()
        self._over = self._reported = True
        assert self._driver is not None
        message = f"the recording stopped: {_reason(self.path, error)}"
        self._driver.feed(inputs.ErrorNoticed(SessionError(message, source="recording", cause=error)))

    def _detach(self) -> None:
        if self._driver is not None:
            self._driver.tap = None

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._detach()
            if self._tap is not None:
                self._tap.end(anyio.current_time())
        self._writer.stop()

    async def _close(self) -> None:
        """Complete the files, within :data:`FINISH` seconds."""
        self._end()
        with anyio.CancelScope(shield=True):
            if not await _settled(self._writer.done, FINISH):
                logger.warning("the disk does not take the recording in %s; it is left unfinished", self.path)
        if (error := self._writer.error) is not None and not self._reported:
            self._reported = True
            logger.warning("the recording is incomplete: %s", _reason(self.path, error))


class Recorder:
    """What a session has for recording: an asynchronous context around all that runs in it."""

    def __init__(self) -> None:
        #: The operating system's, if none is given.
        self.disk: Disk | None = None
        self.current: Recording | None = None
        self._begun: list[Recording] = []
        self._driver: Driver | None = None
        self._model = ""
        self._left = False

    def record(self, path: str | os.PathLike[str], title: str | None, *, overwrite: bool) -> Recording:
        status = "closed" if self._left else "idle" if self._driver is None else self._driver.machine.status
        if status in ("closing", "closed"):
            raise SessionStateError(f"record() while the session is {status}")
        if self.current is not None and self.current.state in ("waiting", "running"):
            raise SessionStateError(f"the session is being recorded to {self.current.path} already: stop() that first")
        from pathlib import Path

        recording = Recording(Path(path), title, self.disk, overwrite=overwrite)
        if self._driver is not None:
            self._driver.check_thread("record")
            recording._begin(self._driver, self._model)
        self.current = recording
        self._begun = [one for one in self._begun if not one._writer.done.is_set()] + [recording]
        return recording

    def attach(self, driver: Driver, model: str) -> None:
        """The session's formats are known; nothing was sent yet."""
        self._driver, self._model = driver, model
        if self.current is not None and self.current.state == "waiting":
            self.current._begin(driver, model)

    async def __aenter__(self) -> Recorder:
        if self.current is not None and self.current.state == "waiting":
            try:
                await self.current._open()
            except BaseException:  # cancelled, too: the thread that writes must not outlive the session
                await self._close()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._left = True
        for recording in self._begun:
            await recording._close()


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{path}: cannot be written: {error.strerror or type(error).__name__}"
    return str(error) if isinstance(error, RealtimeError) else f"{path}: {type(error).__name__}: {error}"


async def _settled(event: threading.Event, limit: float | None) -> bool:
    """Wait for a thread, at most ``limit`` seconds of real time. Returns whether it was so.

    The time of the event loop does not count here: it may be virtual, and the disk's never is.
    """
    began = time.monotonic()
    while not event.is_set() and time.monotonic() - began < ROUNDS:
        await anyio.lowlevel.checkpoint()
    if event.is_set():
        return True
    left = None if limit is None else max(limit - (time.monotonic() - began), 0.0)
    return await anyio.to_thread.run_sync(event.wait, left, abandon_on_cancel=True)
