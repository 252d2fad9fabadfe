"""What of a session's steps belongs into a recording: sound with its place, events with their time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define

from kernl_rt._core import actions, inputs
from kernl_rt._recording.heard import Heard, HeardLine, Label
from kernl_rt._recording.journal import described
from kernl_rt._recording.lanes import LEFT, RIGHT, Lane, Side
from kernl_rt._session.driver import Driver
from kernl_rt._session.recording_feed import Begun, Feed, Line, Sound
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, AudioDelta, AudioPlayed, CustomEvent, Interrupted

__all__ = ["Tap"]

#: Seconds of heard sound that one line tells of, at most; and by which its pieces may be apart.
_SPAN = 1.0
_JITTER = 0.06


@define
class _Span:
    """A stretch of heard sound that is not told yet."""

    label: Label | None
    start: float
    end: float
    size: int

    def goes_on(self, heard: Heard) -> bool:
        return self.label == heard.label and abs(heard.at - self.end) < _JITTER


class Tap:
    """Told of every step of the session, in order, while it is recorded. ``now`` is when that begins."""

    def __init__(self, driver: Driver, feed: Feed, rate: int, header: dict[str, Any], now: float) -> None:
        state = driver.machine.state
        self._driver = driver
        self._feed = feed
        self._start = now
        self._output = state.settings.output_format
        self._has_channel = state.settings.has_channel
        self._left = Lane(state.settings.input_format.rate)
        self._input = state.settings.input_format
        self._right = Lane(self._output.rate)
        #: Seconds of the human's sound so far.
        self._said = 0.0
        self._span: _Span | None = None
        #: The time of the newest line.
        self._last = 0.0
        self._half = b""
        waiting = [audio for audio in driver.to_channel if audio is not None]
        playback = state.playback
        self._line = HeardLine(
            self._output,
            marks=state.settings.marks,
            position=self._output.size(playback.heard_ms + 0.01),
            ahead=max(playback.pending - sum(map(len, waiting)), 0),
            now=now,
        )
        for audio in waiting:
            self._line.sent(audio, None, now)
        feed.put(Begun(rate))
        self._tell("recording", "recording.started", header, now)

    # -- the steps ----------------------------------------------------------------------------------------------------

    def take(self, input: inputs.Input, outcome: Sequence[actions.Action], now: float) -> None:
        if isinstance(input, AudioCaptured):
            self._captured(input.audio, _past(input.at, now))
        elif isinstance(input, inputs.AudioSubmitted):
            # It was said before it was handed over.
            self._captured(input.audio, now - self._input.ms(len(input.audio)) / 1000)
        elif isinstance(input, AudioPlayed):
            self._hear(self._line.mark(input.position_ms, _past(input.at, now)))
        elif isinstance(input, inputs.PlaybackCleared):
            self._hear(self._line.cut(input.position_ms, now))
        else:
            self._hear(self._line.advance(now))
        if outcome:
            self._follow(outcome, now)

    def _follow(self, outcome: Sequence[actions.Action], now: float) -> None:
        stopped = [
            action.event.response_id
            for action in outcome
            if type(action) is actions.Emit and type(action.event) is Interrupted
        ]
        for index, action in enumerate(outcome):
            if isinstance(action, actions.Emit):
                self._event(action.event, now)
            elif isinstance(action, actions.Play):
                self._play(action.audio, outcome[index + 1 : index + 2], stopped, now)
            elif isinstance(action, actions.UseInputFormat):
                self._use_format(action.format)

    def _play(self, audio: bytes, following: Sequence[actions.Action], stopped: list[str | None], now: float) -> None:
        """Sound of a reply is reported right after it was sent; what is not reported plays again."""
        for action in following:
            event = action.event if isinstance(action, actions.Emit) else None
            if isinstance(event, AudioDelta) and event.audio is audio:
                self._line.sent(audio, Label(event.response_id, event.item_id), now)
                return
        self._line.sent_again(audio, now, stopped=stopped)

    def _event(self, event: Any, now: float) -> None:
        if isinstance(event, AudioDelta):
            if not self._has_channel and event.response_id not in self._driver.machine.state.asides:
                self._line.sent(event.audio, Label(event.response_id, event.item_id), now)
        elif isinstance(event, Interrupted) and not self._has_channel:
            self._hear(self._line.drop(event.response_id, now))
        if not getattr(event, "sheddable", False):
            self._tell_span(now)
        # The user's own object may change before the thread reads it.
        payload = _own(event) if isinstance(event, CustomEvent) else event
        self._tell("session", event.kind, payload, now)

    def _use_format(self, format: AudioFormat) -> None:
        if format != self._input:
            lane = Lane(format.rate)
            lane.end = round(self._left.end * format.rate / self._left.rate)
            self._left, self._input = lane, format

    # -- sound --------------------------------------------------------------------------------------------------------

    def _captured(self, audio: bytes, at: float) -> None:
        state = self._driver.machine.state
        if state.muted or not state.lifecycle.live:
            return  # what the model was not to hear is not written down either
        width = self._input.sample_width
        samples = len(audio) // width
        early = max(round((self._start - at) * self._input.rate), 0)
        if early < samples:
            at += early / self._input.rate
            self._place(LEFT, self._left, audio[early * width : samples * width], self._input, at)
            self._said += (samples - early) / self._input.rate

    def _hear(self, sounds: Sequence[Heard]) -> None:
        for heard in sounds:
            self._note(heard)
            sound = self._half + heard.audio
            whole = len(sound) - len(sound) % self._output.sample_width
            self._half = sound[whole:]
            early = max(round((self._start - heard.at) * self._output.rate), 0) * self._output.sample_width
            at = heard.at + early / self._output.bytes_per_second
            if early < whole:
                self._place(RIGHT, self._right, sound[early:whole], self._output, at, fresh=heard.fresh)

    def _place(
        self, side: Side, lane: Lane, audio: bytes, format: AudioFormat, at: float, *, fresh: bool = False
    ) -> None:
        start = lane.place(len(audio) // format.sample_width, at - self._start, fresh=fresh)
        self._feed.put(Sound(side, start, audio, format))

    # -- lines --------------------------------------------------------------------------------------------------------

    def _note(self, heard: Heard) -> None:
        """Tell of what was heard, a second in one line."""
        end = heard.at + self._output.ms(len(heard.audio)) / 1000
        span = self._span
        if span is not None and span.goes_on(heard) and end - span.start <= _SPAN:
            span.end, span.size = end, span.size + len(heard.audio)
            return
        if span is not None:
            self._tell_span(heard.at)
        self._span = _Span(heard.label, heard.at, end, len(heard.audio))

    def _tell_span(self, now: float) -> None:
        span, self._span = self._span, None
        if span is not None:
            told: dict[str, Any] = {
                "from": round(span.start - self._start, 6),
                "to": round(span.end - self._start, 6),
                "audio": {"bytes": span.size},
            }
            if span.label is not None:
                told |= {"response_id": span.label.response_id, "item_id": span.label.item_id}
            self._tell("recording", "recording.heard", told, max(now, span.end))

    def _tell(self, source: str, kind: str, payload: Any, now: float) -> None:
        heard = self._output.ms(self._line.heard) / 1000
        # What was heard is told when it is known; the lines stay in the order in which they were told.
        self._last = max(self._last, round(now - self._start, 6))
        self._feed.put(Line(self._last, round(self._said, 6), round(heard, 6), source, kind, payload))

    def end(self, now: float) -> None:
        self._hear(self._line.advance(now))
        self._tell_span(now)
        self._tell("recording", "recording.stopped", {}, now)


def _own(event: CustomEvent) -> dict[str, Any]:
    """An event of the user's. Their object may be anything, also one that cannot be read."""
    try:
        return described(event)
    except Exception:  # whatever their attributes raise: it is their object's matter, not the recording's
        return {"name": event.name, "data": f"<{type(event.data).__name__}>"}


def _past(at: float | None, now: float) -> float:
    """The moment that a channel gives, where it gives one: nothing was said or heard in the future."""
    return at if at is not None and at <= now else now
