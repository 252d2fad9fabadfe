"""What OpenAI's Live API sends, and when: numbered messages, on a timeline that the client's sound moves on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import pybase64

from kernl_rt.config import PCM16_16K, PCM16_24K, AudioFormat
from kernl_rt.simulator._protocols._resampler import Resampler

__all__ = ["Messages", "Timeline", "answer"]

_STEP = 200.0
_USAGE_EVERY = 15_000.0


class Messages:
    """What is to be sent."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._count = 0

    def take(self) -> list[str]:
        said, self.said = self.said, []
        return said

    def say(self, type: str, frame: Mapping[str, Any] = {}, *, named: bool = True, **fields: Any) -> None:
        self.put({**answer(type, frame), **fields}, named=named)

    def put(self, said: Mapping[str, Any], *, named: bool = True) -> None:
        whole = {"event_id": self.name("event"), **said} if named else said
        self.said.append(msgspec.json.encode(whole).decode())

    def name(self, kind: str) -> str:
        return f"{kind}_live_{self.next()}"

    def next(self) -> int:
        """The running number of what is said."""
        self._count += 1
        return self._count


def answer(type: str, frame: Mapping[str, Any]) -> dict[str, Any]:
    named = frame.get("event_id")
    return {"type": type} if named is None else {"type": type, "client_event_id": named}


class Timeline:
    """For every 200 ms of sound that comes in, 200 ms go out: what the model says, or silence."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        #: Set by the start of the session.
        self.format: AudioFormat = PCM16_24K
        self.muted = False
        self.heard_ms = 0.0
        self.spoken_ms = 0.0
        #: What the client is told next, with its place on the timeline.
        self.acks: list[dict[str, Any]] = []
        self._usage_ms = _USAGE_EVERY
        #: What the model is about to say: sound and words, in order.
        self._speech: deque[bytes | str] = deque()
        self._up, self._down = Resampler(16_000, 24_000), Resampler(24_000, 16_000)

    def hear(self, sound: bytes) -> bytes:
        """The client's sound; gives what the engine is to hear of it."""
        self.heard_ms += self.format.ms(len(sound))
        if self.muted:
            sound = self.format.silence * (len(sound) // self.format.sample_width)
        return self._up.push(sound) if self.format == PCM16_16K else sound

    def speak(self, piece: bytes | str) -> None:
        """Sound of the engine's, or words."""
        if isinstance(piece, bytes) and self.format == PCM16_16K:
            piece = self._down.push(piece)
        self._speech.append(piece)

    def fall_silent(self) -> None:
        self._speech.clear()

    def move_on(self) -> None:
        """As much goes out as has come in."""
        while self.heard_ms - self.spoken_ms >= _STEP:
            start, self.spoken_ms = self.spoken_ms, self.spoken_ms + _STEP
            times: dict[str, Any] = {"start_ms": int(start), "end_ms": int(self.spoken_ms)}
            for ack in self.acks:
                self._messages.put({**ack, "start_ms": times["start_ms"], "end_ms": times["start_ms"]})
            self.acks.clear()
            sound, words = self._next_sound()
            self._messages.say("session.output_audio.delta", delta=pybase64.b64encode_as_string(sound), named=False)
            for text in words:
                self._messages.say("session.output_transcript.delta", delta=text, **times)
            if self.spoken_ms >= self._usage_ms:
                self._usage_ms += _USAGE_EVERY
                self._messages.say("session.usage.updated", usage=self.usage(), context_window={"usage_ratio": 0.01})

    def _next_sound(self) -> tuple[bytes, list[str]]:
        size = self.format.size(_STEP)
        sound, words = bytearray(), list[str]()
        while self._speech and len(sound) < size:
            piece = self._speech.popleft()
            if isinstance(piece, str):
                words.append(piece)
                continue
            room = size - len(sound)
            sound += piece[:room]
            if len(piece) > room:
                self._speech.appendleft(piece[room:])
        missing = (size - len(sound)) // self.format.sample_width
        return bytes(sound) + self.format.silence * missing, words

    def usage(self) -> dict[str, Any]:
        return {"seconds": round(self.spoken_ms / 1000, 3)}
