"""Transcripts of what the user said. They come when they come: before the reply, between its deltas, after it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from kernl_rt.simulator._conversation import Item
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._reply import Pace
from kernl_rt.simulator._tokens import audio_tokens, pieces, text_tokens

__all__ = ["Transcripts"]

_PREFIX = "conversation.item.input_audio_transcription."
_OBFUSCATED = 16


@frozen
class _Step:
    due: float
    type: str
    fields: Mapping[str, Any]
    #: The item whose transcript is complete with this step.
    completes: Item | None = None
    transcript: str = ""


class Transcripts:
    """Which items are to be transcribed, and the frames that will say how."""

    def __init__(self, ids: Ids, pace: Pace, emit: Callable[..., None]) -> None:
        self._ids = ids
        self._pace = pace
        self._emit = emit
        self._expected: dict[str, Mapping[str, Any]] = {}
        self._steps: deque[_Step] = deque()

    @property
    def due(self) -> float | None:
        return self._steps[0].due if self._steps else None

    def expect(self, item_id: str, settings: Mapping[str, Any]) -> None:
        self._expected[item_id] = settings

    def heard(self, item: Item, text: str, failure: str | None, now: float) -> None:
        """Lay the transcript of ``item`` out in time, if one was asked for."""
        settings = self._expected.pop(item.id, None)
        if settings is None:
            return
        place = {"item_id": item.id, "content_index": 0}
        # Steps stay in order of time: one transcript after the other, as one engine writes them.
        at = max(now + self._pace.transcription, self._steps[-1].due if self._steps else now)
        if failure is not None:
            error = {"type": "transcription_error", "code": None, "message": failure, "param": None}
            self._steps.append(_Step(at, "failed", {**place, "error": error}))
            return
        for piece in pieces(text):
            obfuscation = self._ids.letters(_OBFUSCATED - len(piece.encode()) % _OBFUSCATED)
            self._steps.append(_Step(at, "delta", {**place, "delta": piece, "obfuscation": obfuscation}))
            at += self._pace.token
        done = {**place, "transcript": text, "usage": _usage(item, text, settings)}
        self._steps.append(_Step(at, "completed", done, item, text))

    def advance(self, now: float) -> None:
        while self._steps and self._steps[0].due <= now:
            step = self._steps.popleft()
            if step.completes is not None:
                for part in step.completes.shown["content"]:
                    part["transcript"] = step.transcript
            self._emit(_PREFIX + step.type, **step.fields)


def _usage(item: Item, text: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """As recorded, models that are billed by time say seconds; those of the gpt-4o family say tokens."""
    if not str(settings.get("model") or "").startswith("gpt-4o"):
        return {"type": "duration", "seconds": math.ceil(item.audio_ms / 1000)}
    heard, written = audio_tokens(item.audio_ms, spoken=False), text_tokens(text)
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "output_tokens": written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }
