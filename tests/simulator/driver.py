"""Drives an engine by hand: the client's frames in, time as the test wants it, the brain answered on the spot."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from kernl_rt.config import AudioFormat
from kernl_rt.simulator import Engine, Faults, Listening, Reply, Turn
from kernl_rt.simulator._skills import answer

Frame = dict[str, Any]


class Talk:
    """One session with an engine. ``brain`` is a plain function; spoken replies get 100 ms of sound per word."""

    def __init__(
        self,
        brain: Callable[[Turn], Reply] = answer,
        *,
        ears: Callable[[Listening], str] = lambda job: "hello",
        on_frame: Callable[[Frame], None] = lambda frame: None,
        faults: Faults | None = None,
        **options: Any,
    ) -> None:
        self.now = 1000.0
        self.faults = faults or Faults()
        self.engine = Engine(now=self.now, faults=self.faults, **options)
        self.frames: list[Frame] = []
        self.turns: list[Turn] = []
        self._brain = brain
        self._ears = ears
        self._on_frame = on_frame
        self._poll()

    @classmethod
    def saying(cls, *replies: str | Reply, **options: Any) -> Talk:
        lines = iter(replies)

        def brain(turn: Turn) -> Reply:
            line = next(lines)
            return Reply(line) if isinstance(line, str) else line

        return cls(brain, **options)

    def _poll(self) -> list[Frame]:
        new = self.engine.poll(self.now)
        for frame in new:
            self._on_frame(frame)
        self.frames += new
        return new

    def work(self) -> None:
        """Answer what the engine wants thought and listened about."""
        for job in self.engine.jobs():
            if isinstance(job, Listening):
                self.engine.words(job.item_id, self._ears(job), self.now)
                continue
            self.turns.append(job.turn)
            reply = self._brain(job.turn)
            if job.spoken and reply.text and reply.audio is None:
                reply = evolve(reply, audio=job.format.silence * (len(reply.text.split()) * job.format.rate // 10))
            self.engine.reply(job.response_id, reply, self.now)

    def send(self, type: str, **fields: Any) -> list[Frame]:
        """Send a frame; what comes back at once."""
        return self.give({"type": type, **fields})

    def give(self, frame: object) -> list[Frame]:
        self.engine.receive(frame, self.now)
        return self._settle()

    def _settle(self) -> list[Frame]:
        new = self._poll()
        for _ in range(10):
            self.work()
            more = self._poll()
            new += more
            if not more:
                break
        return new

    def wait(self, seconds: float) -> list[Frame]:
        """Let time pass, deadline by deadline."""
        end = self.now + seconds
        new: list[Frame] = []
        while self.engine.deadline is not None and self.engine.deadline <= end:
            self.now = max(self.now, self.engine.deadline)
            new += self._settle()
        self.now = end
        return new + self._settle()

    def until(self, type: str, seconds: float = 60.0) -> list[Frame]:
        """Let time pass until a frame of this type has come."""
        end = self.now + seconds
        new: list[Frame] = []
        while not any(frame["type"] == type for frame in new):
            deadline = self.engine.deadline
            assert deadline is not None
            assert deadline <= end, f"no {type}; only {types(new)}"
            self.now = max(self.now, deadline)
            new += self._settle()
        return new

    def ask(self, text: str, **response: Any) -> list[Frame]:
        """A whole written turn."""
        self.say(text)
        new = self.send("response.create", **({"response": response} if response else {}))
        return new if "response.done" in types(new) else new + self.until("response.done")

    def say(self, text: str, **item: Any) -> list[Frame]:
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}], **item}
        return self.send("conversation.item.create", item=message)

    def hear(self, audio: bytes, chunk: int = 4_800) -> list[Frame]:
        """Sound from the client, in chunks, without time passing."""
        new: list[Frame] = []
        for at in range(0, len(audio), chunk):
            new += self.send("input_audio_buffer.append", audio=b64(audio[at : at + chunk]))
        return new

    def configure(self, **session: Any) -> list[Frame]:
        return self.send("session.update", session={"type": "realtime", **session})

    def turn_detection(self, settings: Mapping[str, Any] | None) -> list[Frame]:
        return self.configure(audio={"input": {"turn_detection": settings}})


def b64(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


def types(frames: list[Frame]) -> list[str]:
    return [frame["type"] for frame in frames]


def of(frames: list[Frame], type: str) -> list[Frame]:
    return [frame for frame in frames if frame["type"] == type]


def only(frames: list[Frame], type: str) -> Frame:
    [frame] = of(frames, type)
    return frame


def errors(frames: list[Frame]) -> list[Frame]:
    return [frame["error"] for frame in of(frames, "error")]


def silence(seconds: float, rate: int = 24_000) -> bytes:
    return bytes(2 * int(seconds * rate))


def tone(seconds: float, rate: int = 24_000, amplitude: int = 8_000) -> bytes:
    """A voice, for an energy detector."""
    return array(
        "h", [int(amplitude * math.sin(index * 2 * math.pi * 220 / rate)) for index in range(int(seconds * rate))]
    ).tobytes()


def format_of(rate: int) -> AudioFormat:
    return AudioFormat("pcm16", rate)
