"""What happened in a conversation, noted as it happens: who said what and when, what was heard, how long it took.

The views are drawn from these notes; the files are the recording's (``session.record``). Times are seconds since the
beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from attrs import Factory, define

from kernl_rt._audio.pcm import level
from kernl_rt._recording.story import Latency, Loudness, Reply, ToolRun, Utterance
from kernl_rt.config import AudioFormat
from kernl_rt.events import (
    AudioDelta,
    HistoryChanged,
    InputTranscript,
    Interrupted,
    OutputTranscript,
    OutputTranscriptDelta,
    ResponseDone,
    SessionError,
    StatusChanged,
    ToolCalled,
    ToolFinished,
)
from kernl_rt.items import Message

__all__ = ["Latency", "Loudness", "Notes", "Reply", "ToolRun", "Utterance"]


@define
class Notes:
    """Fed by the session's events and by both ends of the channel. ``on_line`` is told what a reader wants to know."""

    start: float
    format: AudioFormat
    on_line: Callable[[float, str, str], None] = lambda at, who, text: None
    status: str = "idle"
    utterances: list[Utterance] = Factory(list)
    replies: list[Reply] = Factory(list)
    tools: list[ToolRun] = Factory(list)
    errors: list[str] = Factory(list)
    human_loudness: list[Loudness] = Factory(list)
    model_loudness: list[Loudness] = Factory(list)
    latencies: list[Latency] = Factory(list)
    _changed: anyio.Event = Factory(anyio.Event)

    @property
    def now(self) -> float:
        return anyio.current_time() - self.start

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until ``true()`` is."""
        while not true():
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # -- the human ----------------------------------------------------------------------------------------------------

    def human_began(self, text: str, at: float) -> None:
        self.utterances.append(Utterance(text, at - self.start))
        self.on_line(self.now, "caller", f"“{text}”")

    def human_ended(self, at: float) -> None:
        self.utterances[-1].end = at - self.start
        self._notify()

    def human_sound(self, pcm: bytes, at: float) -> None:
        self._note_loudness(self.human_loudness, pcm, at)

    def model_sound(self, pcm: bytes, at: float) -> None:
        """``pcm`` was heard, from the moment ``at`` on."""
        self._note_loudness(self.model_loudness, pcm, at)
        reply = next((reply for reply in self.replies if not reply.over), None)
        if reply is None and self.replies:
            reply = self.replies[-1]
        if reply is not None:
            self._heard(reply, len(pcm), at - self.start)
        self._notify()

    def _note_loudness(self, noted: list[Loudness], pcm: bytes, at: float) -> None:
        begin = at - self.start
        noted.append(Loudness(begin, begin + self.format.ms(len(pcm)) / 1000, level(pcm).rms))

    def _heard(self, reply: Reply, size: int, begin: float) -> None:
        if not reply.heard:
            self._answered("first_heard", begin, "first sound heard")
        end = begin + self.format.ms(size) / 1000
        if reply.heard and begin - reply.heard[-1][1] < 0.06:
            reply.heard[-1] = (reply.heard[-1][0], end)
        else:
            reply.heard.append((begin, end))
        reply.heard_bytes += size
        self._told(reply)

    def _told(self, reply: Reply) -> None:
        if reply.over and reply.interrupted_at is None and not reply.told:
            reply.told = True
            self.on_line(self.now, "agent", f"“{reply.text}”")

    # -- the session --------------------------------------------------------------------------------------------------

    def take(self, event: Any) -> None:
        """An event of the session's."""
        now = self.now
        match event:
            case AudioDelta():
                self._received(event, now)
            case OutputTranscriptDelta():
                self._reply(event.response_id, event.item_id).text += event.text
            case OutputTranscript():
                self._reply(event.response_id, event.item_id).text = event.text
            case InputTranscript():
                self._understood(event.text, now)
            case ResponseDone():
                for reply in self.replies:
                    if reply.response_id == event.response_id:
                        reply.complete = True
                        self._told(reply)
            case Interrupted():
                self._interrupted(event, now)
            case HistoryChanged():
                self._remember(event)
            case ToolCalled():
                self.tools.append(ToolRun(event.call_id, event.name, event.arguments, now))
                self._answered("first_call", now, "tool called")
                self.on_line(now, "tool", f"{event.name}({event.arguments}) …")
            case ToolFinished():
                self._finished(event, now)
            case StatusChanged():
                self.status = event.status
                self.on_line(now, "session", event.status + (f": {event.reason}" if event.reason else ""))
            case SessionError():
                self.errors.append(event.message)
                self.on_line(now, "error", event.message)
            case _:
                return
        self._notify()

    def _reply(self, response_id: str | None, item_id: str) -> Reply:
        for reply in reversed(self.replies):
            if reply.item_id == item_id:
                return reply
        self.replies.append(Reply(response_id, item_id))
        return self.replies[-1]

    def _received(self, event: AudioDelta, now: float) -> None:
        reply = self._reply(event.response_id, event.item_id)
        if not reply.received:
            self._answered("first_received", now, "first sound received")
        reply.received.append((now, len(event.audio)))
        reply.received_bytes += len(event.audio)

    def _understood(self, text: str, now: float) -> None:
        for utterance in self.utterances:
            if utterance.understood is None:
                utterance.understood = text
                break
        self.on_line(now, "model", f"understood “{text}”")

    def _interrupted(self, event: Interrupted, now: float) -> None:
        for reply in self.replies:
            if reply.item_id == event.item_id:
                reply.interrupted_at, reply.heard_ms = now, event.heard_ms
                spoken = self.utterances[-1] if self.utterances else None
                if event.reason == "speech" and spoken is not None:
                    self.latencies.append(Latency("barge-in → silence", now - spoken.start, spoken.start))
                self.on_line(now, "agent", f"interrupted after {event.heard_ms:,} ms heard, the rest is forgotten")

    def _remember(self, event: HistoryChanged) -> None:
        cut = {reply.item_id: reply for reply in self.replies if reply.interrupted_at is not None}
        for item in event.items:
            if isinstance(item, Message) and item.id in cut:
                reply = cut[item.id]
                if item.text and not reply.kept:
                    self.on_line(self.now, "history", f"keeps “{item.text}”")
                reply.kept = item.text or reply.kept

    def _finished(self, event: ToolFinished, now: float) -> None:
        for run in self.tools:
            if run.call_id == event.call_id:
                run.end, run.outcome, run.output = now, event.outcome, event.output
                self.on_line(now, "tool", f"{run.name} {told(run)}")

    def _answered(self, what: str, at: float, label: str) -> None:
        """The beginning of an answer to what the human said last, if it is the first of its kind."""
        spoken = self.utterances[-1] if self.utterances else None
        if spoken is None or spoken.end is None or getattr(spoken, what) is not None:
            return
        setattr(spoken, what, at)
        label = f"question {len(self.utterances)} → {label}"
        self.latencies.append(Latency(label, at - spoken.end, spoken.end))


def told(run: ToolRun) -> str:
    """How a tool ended, in words."""
    if run.end is None:
        return "is running"
    took = f"{run.end - run.start:.2f} s"
    return f"→ {run.output!r} in {took}" if run.outcome == "result" else f"{run.outcome} after {took}"
