"""The channel of files: a microphone that is a file, a loudspeaker that is a file, and when to hang up."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt._audio.formats import check_offered, offered
from kernl_rt._audio.playout import Heard, Pace
from kernl_rt._audio.resample import Converter, convert
from kernl_rt.abc import RealtimeChannel
from kernl_rt.channels._speaker import Speaker, check_send_ahead
from kernl_rt.channels.wav._files import Writer, open_reader, open_writer, rate_of
from kernl_rt.channels.wav._source import WavSource
from kernl_rt.config import G711_ALAW, G711_ULAW, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.events import ChannelEvent
from kernl_rt.exceptions import AudioFileError, MisconfiguredError, SessionStateError

__all__ = ["WavChannel"]

_USUAL = (PCM16_24K, PCM16_16K, PCM16_8K, G711_ULAW, G711_ALAW)
_EARLY = 1e-6
#: Quiet that is written only when sound follows it, in seconds: a file usually ends with its last sound.
_KEPT_BACK = 5.0


class WavChannel(RealtimeChannel):
    """Speaks the file ``input``, records to the file ``output``; either may be ``None``. WAV, FLAC or Ogg.

    Args:
        realtime: speak and play at the pace of the clock.
        gaps: whether ``output`` keeps the timeline, with silence where nothing was played, so that it is what the
            human would have heard; else the replies stand back to back. Default: as ``realtime``.
        tail: seconds of silence after the file; ``None``: until the end (without ``realtime`` two seconds at once, the
            rest at the pace of the clock).
        hang_up_after: seconds of quiet after the reply, or ``None``.
        reply_timeout: seconds to wait for a reply.
        send_ahead_ms: sound that ``send`` accepts before it is heard.
        input_formats: what the session may choose from; by default the file's own rate and what it can be converted to.
        output_formats: likewise, by default what models usually speak.

    A channel is opened once.
    """

    def __init__(
        self,
        input: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        *,
        realtime: bool = True,
        gaps: bool | None = None,
        tail: float | None = None,
        hang_up_after: float | None = 2.0,
        reply_timeout: float = 30.0,
        send_ahead_ms: float = 200.0,
        input_formats: Sequence[AudioFormat] | None = None,
        output_formats: Sequence[AudioFormat] | None = None,
    ) -> None:
        if input is None and output is None:
            raise MisconfiguredError("a WavChannel needs an input file, an output file, or both")
        if gaps and not realtime:
            raise MisconfiguredError("gaps=True needs realtime=True: without a clock there is no timeline to keep")
        for name, seconds in (("tail", tail), ("hang_up_after", hang_up_after), ("reply_timeout", reply_timeout)):
            if seconds is not None and not 0 <= seconds < math.inf:
                raise MisconfiguredError(f"{name}={seconds!r} is no number of seconds: use 0 or more, finite")
        if input_formats == () or output_formats == () or input_formats == [] or output_formats == []:
            raise MisconfiguredError("a channel needs at least one input format and one output format")
        check_send_ahead(send_ahead_ms)
        self.input: Path | None = None if input is None else Path(input)
        self.output: Path | None = None if output is None else Path(output)
        self.live = realtime
        self.input_formats: Sequence[AudioFormat] = tuple(input_formats or _spoken_formats(self.input))
        self.output_formats: Sequence[AudioFormat] = tuple(output_formats or offered(_USUAL))
        self._realtime = realtime
        self._gaps = realtime if gaps is None else gaps
        self._tail = tail
        self._hang_up_after = hang_up_after
        self._reply_timeout = reply_timeout
        self._send_ahead_ms = send_ahead_ms
        self._line: _Line | None = None
        self._held = 0
        self._released_at = -math.inf
        self._hung_up = False

    @asynccontextmanager
    async def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AsyncIterator[None]:
        if self._line is not None:
            raise SessionStateError("this WavChannel has been opened before: make a new one for each session")
        check_offered(input_format, self.input_formats, "input")
        check_offered(output_format, self.output_formats, "output")
        with ExitStack() as files:
            source = self._open_input(input_format, files)
            recorder = self._open_output(output_format, files)
            pace: Pace = "realtime" if self._realtime else "instant"
            on_heard = None if recorder is None else recorder.put
            speaker = Speaker(output_format, pace, send_ahead_ms=self._send_ahead_ms, on_heard=on_heard)
            line = self._line = _Line(source, speaker, recorder)
            files.pop_all()
        try:
            yield
        except BaseException as error:  # cancelled, too: the file is completed; the first error is the one to be told
            try:
                line.close()
            except AudioFileError as second:
                error.add_note(f"also: {second}")
            raise
        line.close()

    def _open_input(self, audio_format: AudioFormat, files: ExitStack) -> WavSource | None:
        if self.input is None:
            return None
        reader = open_reader(self.input)
        files.callback(reader.close)
        return WavSource(reader, audio_format, paced=self._realtime, tail=self._tail)

    def _open_output(self, audio_format: AudioFormat, files: ExitStack) -> _Recorder | None:
        if self.output is None:
            return None
        if self.input is not None and self.output.exists() and self.output.samefile(self.input):
            raise MisconfiguredError(f"{self.output} is both input and output: name another file for the reply")
        writer = open_writer(self.output, audio_format.rate)
        files.callback(writer.close)
        return _Recorder(writer, audio_format, anyio.current_time() if self._gaps else None)

    async def receive(self) -> ChannelEvent:
        self._open_line()
        await checkpoint()
        while True:
            line = self._open_line()
            line.raise_failure()
            if self._hung_up:
                raise anyio.EndOfStream
            now = anyio.current_time()
            line.speaker.advance()
            if line.recorder is not None and not line.speaker.playout.pending:
                line.recorder.keep_up(now)
            if (mark := line.speaker.take_mark()) is not None:
                return mark
            hang_up_at = frame_at = None
            if line.source is not None:
                line.source.start(now)
                hang_up_at = self._hang_up_at(line, line.source)
                if hang_up_at is not None and hang_up_at <= now + _EARLY:
                    self.hang_up()
                    continue
                if (frame := line.source.take(now)) is not None:
                    return frame
                hang_up_at = self._hang_up_at(line, line.source)  # the file may just have ended
                frame_at = line.source.due_at
            moments = [at for at in (line.speaker.playout.mark_at, frame_at, hang_up_at) if at is not None]
            await line.speaker.wait(min(moments, default=None))

    async def send(self, audio: bytes) -> None:
        line = self._open_line()
        line.raise_failure()
        await line.speaker.send(audio)

    async def flush(self) -> None:
        await self._open_line().speaker.flush()

    def clear(self) -> float:
        if self._line is None:
            return 0.0
        if not self._line.closed:
            self._line.speaker.clear()
        return self._line.speaker.playout.position_ms

    def hold(self) -> None:
        """Do not hang up: something that the human cannot hear is at work. Each call takes one :meth:`release`."""
        self._held += 1

    def release(self) -> None:
        """Undo one :meth:`hold`; the quiet counts from now.

        Raises:
            SessionStateError: it is not held.
        """
        if not self._held:
            raise SessionStateError("this WavChannel is not held: call hold() before release()")
        self._held -= 1
        if self._line is not None:
            self._released_at = anyio.current_time()
            self._line.speaker.notify()

    def hang_up(self) -> None:
        """Leave: ``receive`` raises ``anyio.EndOfStream``, and what is sent is discarded. Idempotent."""
        self._hung_up = True
        if self._line is not None:
            self._line.speaker.end()

    def _hang_up_at(self, line: _Line, source: WavSource) -> float | None:
        playout, sent_at = line.speaker.playout, line.speaker.last_sent_at
        if self._hang_up_after is None or self._held or source.ended_at is None or playout.pending:
            return None
        replied = sent_at is not None and (source.spoke_at is None or sent_at >= source.spoke_at)
        quiet_since = max(source.ended_at, self._released_at, playout.quiet_since if sent_at is not None else 0.0)
        return quiet_since + (self._hang_up_after if replied else self._reply_timeout)

    def _open_line(self) -> _Line:
        if self._line is None:
            raise SessionStateError("this WavChannel is not open: use it within 'async with channel.open(…)'")
        if self._line.closed:
            raise SessionStateError("this WavChannel has been closed")
        return self._line


def _spoken_formats(path: Path | None) -> tuple[AudioFormat, ...]:
    """The file's own rate first: what the model knows too needs no conversion. A file that cannot be read says so when
    the channel is opened.
    """
    rate = None if path is None else rate_of(path)
    return offered(_USUAL if rate is None else [AudioFormat("pcm16", rate)])


class _Line:
    """What exists from ``open`` on."""

    def __init__(self, source: WavSource | None, speaker: Speaker, recorder: _Recorder | None) -> None:
        self.source = source
        self.speaker = speaker
        self.recorder = recorder
        self.closed = False

    def raise_failure(self) -> None:
        if self.recorder is not None and self.recorder.failure is not None:
            raise self.recorder.failure

    def close(self) -> None:
        self.closed = True
        try:
            self.speaker.end()  # records what has been heard until now
        finally:
            if self.source is not None:
                self.source.close()
            if self.recorder is not None:
                self.recorder.close()


class _Recorder:
    """Writes what was heard. ``start`` is the moment at which the file begins; ``None``: without gaps."""

    def __init__(self, writer: Writer, audio_format: AudioFormat, start: float | None) -> None:
        self._writer = writer
        self._converter: Converter = convert(audio_format, AudioFormat("pcm16", audio_format.rate))
        self._start = start
        #: Why nothing more is written. Raised by the channel's next verb that may raise; ``clear`` may not.
        self.failure: AudioFileError | None = None

    def put(self, heard: Heard) -> None:
        if self.failure is not None:
            return
        try:
            if self._start is not None:
                self._pad(round((heard.at - self._start) * self._writer.rate))
            self._writer.write(self._converter.push(heard.audio))
        except AudioFileError as error:
            self.failure = error

    def keep_up(self, now: float) -> None:
        """Nothing plays: where quiet has to be encoded, do it little by little, not hours of it at once."""
        if self._start is None or self.failure is not None or self._writer.sparse:
            return
        quiet = round((now - self._start - _KEPT_BACK) * self._writer.rate)
        if quiet - self._writer.samples > self._writer.rate:
            try:
                self._writer.pad_to(quiet)
            except AudioFileError as error:
                self.failure = error

    def _pad(self, samples: int) -> None:
        # Under a millisecond is rounding within a run of sound, where a gap would click.
        if samples - self._writer.samples > self._writer.rate // 1_000:
            self._writer.pad_to(samples)

    def close(self) -> None:
        """Raises what could not be written, unless the writer says so itself."""
        try:
            self._writer.close()
        except AudioFileError as error:
            self.failure = self.failure or error
        if self.failure is not None:
            raise self.failure
