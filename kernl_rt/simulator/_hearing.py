"""What the client lets the model hear: the audio buffer, turns found in it or committed by hand, and long silences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kernl_rt.simulator._conversation import Item
from kernl_rt.simulator._input import InputBuffer
from kernl_rt.simulator._items import announce, audio_of
from kernl_rt.simulator._response import Response
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._state import State
from kernl_rt.simulator._transcripts import Transcripts
from kernl_rt.simulator._vad import Boundary

__all__ = ["Hearing"]

_SHORTEST_COMMIT_MS = 100


class Hearing:
    """The handlers of ``input_audio_buffer.*``.

    ``interrupt`` is called when a speaker interrupts the reply, ``answer`` when a turn is to be answered.
    """

    def __init__(self, state: State, interrupt: Callable[[], None], answer: Callable[[], None]) -> None:
        self._state = state
        self._interrupt = interrupt
        self._answer = answer
        self._buffer = InputBuffer()
        self._transcripts = Transcripts(state.ids, state.pace, state.emit)
        #: The item that the speech under way will become, and where it began.
        self._speech: tuple[str, int] | None = None
        self._idle_at: float | None = None
        self._idle_from_ms = 0.0

    @property
    def due(self) -> float | None:
        moments = [moment for moment in (self._idle_at, self._transcripts.due) if moment is not None]
        return min(moments, default=None)

    def advance(self) -> None:
        """Everything that is due now."""
        self._transcripts.advance(self._state.now)
        if self._idle_at is not None and self._idle_at <= self._state.now:
            self._idle_timeout()

    def configure(self) -> None:
        """Take the session's audio format and turn detection into use."""
        self._buffer.configure(self._state.session.input_format, self._state.session.turn_detection)
        self._speech = None
        self._idle_at = None

    def heard(self, item_id: str, text: str, failure: str | None) -> bool:
        """What the ears made of an item. False where nobody asked any more."""
        item = self._state.listening.pop(item_id, None)
        if item is None:
            return False
        item.heard = text
        self._transcripts.heard(item, text, failure, self._state.now)
        return True

    def append(self, request: Mapping[str, Any]) -> None:
        for boundary in self._buffer.append(audio_of(request["audio"], "audio", self._state.session.input_format)):
            if boundary.kind == "started":
                self._speech_started(boundary)
            else:
                self._speech_stopped(boundary)

    def _detects(self, setting: str) -> bool:
        return bool((self._state.session.turn_detection or {}).get(setting))

    def _speech_started(self, boundary: Boundary) -> None:
        item_id = self._state.ids.new("item")
        self._speech = (item_id, boundary.ms)
        self._idle_at = None
        self._state.emit("input_audio_buffer.speech_started", audio_start_ms=boundary.ms, item_id=item_id)
        if self._detects("interrupt_response"):
            self._interrupt()

    def _speech_stopped(self, boundary: Boundary) -> None:
        assert self._speech is not None
        item_id, start = self._speech
        self._state.emit("input_audio_buffer.speech_stopped", audio_end_ms=boundary.ms, item_id=item_id)
        self._commit(item_id, self._buffer.take(start, boundary.ms))
        if self._detects("create_response"):
            self._answer()

    def commit(self, request: Mapping[str, Any]) -> None:
        held = self._buffer.ms
        if held < _SHORTEST_COMMIT_MS:
            raise Refusal(
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {held:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        item_id = self._speech[0] if self._speech is not None else self._state.ids.new("item")
        audio = self._buffer.take()
        self._buffer.clear(detection=self._state.session.turn_detection)
        self._commit(item_id, audio)

    def _commit(self, item_id: str, audio: bytes) -> None:
        """Make sound into an item. It never asks for a reply."""
        state = self._state
        self._speech = None
        self._idle_at = None
        previous = state.conversation.last_id
        content = [{"type": "input_audio", "transcript": None}]
        shown = {"id": item_id, "type": "message", "status": "completed", "role": "user", "content": content}
        item = Item(shown, audio, state.session.input_format.ms(len(audio)))
        state.emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        state.conversation.add(item)
        announce(state, item, previous)
        state.conversation.forget_old_audio()
        if state.session.transcription is not None:
            self._transcripts.expect(item_id, state.session.transcription)
        state.listen(item)

    def clear(self, request: Mapping[str, Any]) -> None:
        self._buffer.clear(detection=self._state.session.turn_detection)
        self._speech = None
        self._state.emit("input_audio_buffer.cleared")

    def stop_waiting(self) -> None:
        """A reply begins: nobody is idle."""
        self._idle_at = None

    def wait_for_user(self, response: Response) -> None:
        """A reply has ended: from the moment it has been heard, the user has ``idle_timeout_ms`` to say something."""
        timeout = (self._state.session.turn_detection or {}).get("idle_timeout_ms")
        if timeout is None or self._speech is not None:
            return
        began = self._state.now if response.first_audio_at is None else response.first_audio_at
        heard_at = max(self._state.now, began + response.audio_ms / 1000)
        self._idle_at = heard_at + timeout / 1000
        self._idle_from_ms = self._buffer.position_ms

    def _idle_timeout(self) -> None:
        """Nobody has spoken since the last reply was heard: the silence becomes a turn, and is answered."""
        item_id = self._state.ids.new("item")
        start, end = int(self._idle_from_ms), int(self._buffer.position_ms)
        self._state.emit(
            "input_audio_buffer.timeout_triggered", audio_start_ms=start, audio_end_ms=end, item_id=item_id
        )
        self._commit(item_id, self._buffer.take())
        self._answer()
