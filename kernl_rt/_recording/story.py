"""What happened in a conversation, read from the lines of its recording.

A live recording and ``kernl-rt replay`` feed it the same lines. Times are seconds since the recording began. What it
keeps grows with the words that were said, as the history does, never with the sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import Factory, define

from kernl_rt._core.conversation import heard_text

__all__ = ["Envelope", "Latency", "Loudness", "Reply", "Said", "Story", "ToolRun", "Utterance"]

Line: TypeAlias = Mapping[str, Any]

#: Seconds by which stretches of one reply may be apart and still count as one.
_JITTER = 0.06
#: Arrivals of one reply that are kept, for the picture.
_ARRIVALS = 512


@define
class Utterance:
    """The human spoke. The last three are moments at which an answer to it began."""

    text: str
    start: float
    end: float | None = None
    understood: str | None = None
    first_call: float | None = None
    first_received: float | None = None
    first_heard: float | None = None
    item_id: str | None = None


@define
class Reply:
    """The model spoke: what was received, and what of it was heard."""

    response_id: str | None
    item_id: str
    text: str = ""
    received: list[tuple[float, int]] = Factory(list)
    heard: list[tuple[float, float]] = Factory(list)
    received_bytes: int = 0
    heard_bytes: int = 0
    #: All that will be received has been.
    complete: bool = False
    interrupted_at: float | None = None
    heard_ms: int = 0
    #: What the conversation remembers of it, where it was interrupted.
    kept: str | None = None
    told: bool = False
    #: The id of the agent that spoke.
    agent: str = ""

    @property
    def over(self) -> bool:
        return self.interrupted_at is not None or (self.complete and self.heard_bytes >= self.received_bytes)

    @property
    def words_heard(self) -> str:
        """The words so far, as far as they were heard, spread evenly over the sound."""
        if self.kept is not None:
            return self.kept
        return heard_text(self.text, self.heard_bytes, self.received_bytes) if self.received_bytes else ""


@define
class ToolRun:
    call_id: str
    name: str
    arguments: str
    start: float
    end: float | None = None
    outcome: str | None = None
    output: str = ""


@define
class Latency:
    what: str
    seconds: float
    start: float


@define
class Loudness:
    """How loud a stretch of sound was: ``rms`` is a fraction of full scale."""

    start: float
    end: float
    rms: float


@define
class Said:
    """A message of the conversation: who, what, since when. ``agent`` is the id of the one who spoke."""

    role: str
    text: str
    at: float
    agent: str = ""


class Envelope:
    """Loudness over time in a bounded number of steps: their width doubles when they are too many."""

    def __init__(self, width: float = 0.05, most: int = 4_096) -> None:
        self.width: float = width
        self._most = most
        self._steps: list[float] = []

    def add(self, at: float, rms: float) -> None:
        """At the moment ``at`` it was so loud; the loudest of a step counts."""
        while at >= self.width * self._most:
            self._halve()
        index = max(int(at / self.width), 0)
        if index >= len(self._steps):
            self._steps.extend([0.0] * (index + 1 - len(self._steps)))
        self._steps[index] = max(self._steps[index], rms)

    def _halve(self) -> None:
        pairs = range(0, len(self._steps), 2)
        self._steps = [max(self._steps[index : index + 2]) for index in pairs]
        self.width *= 2

    def stretches(self) -> list[Loudness]:
        return [
            Loudness(index * self.width, (index + 1) * self.width, rms)
            for index, rms in enumerate(self._steps)
            if rms > 0
        ]


@define
class Story:
    """Fed line by line. ``human_loudness`` and ``model_loudness`` come from the sound itself."""

    title: str = ""
    started: str = ""
    agent: str = ""
    #: Bytes of the model's sound in a second.
    output_rate: int = 48_000
    seconds: float = 0.0
    utterances: list[Utterance] = Factory(list)
    replies: list[Reply] = Factory(list)
    tools: list[ToolRun] = Factory(list)
    errors: list[str] = Factory(list)
    latencies: list[Latency] = Factory(list)
    messages: dict[str, Said] = Factory(dict)
    #: Items that were deleted from the conversation.
    removed: set[str] = Factory(set)
    human_loudness: Envelope = Factory(Envelope)
    model_loudness: Envelope = Factory(Envelope)
    #: The recording came to its end.
    complete: bool = False
    _by_item: dict[str, Reply] = Factory(dict)

    def take(self, line: Line) -> None:
        """The next line. What a later version says, and what is not as expected, is passed over."""
        at = line["t"]
        self.seconds = max(self.seconds, at)
        told = _TOLD.get(line["kind"])
        if told is None:
            return
        try:
            told(self, line, at)
        except (KeyError, TypeError, AttributeError, ValueError):
            self.errors.append(f"line at {at:.3f} s cannot be understood: {line['kind']}")

    def _started(self, line: Line, at: float) -> None:
        self.title, self.started = str(line.get("title", "")), str(line.get("started", ""))
        self.agent, self.output_rate = str(line.get("agent", "")), int(line.get("output_rate", self.output_rate))

    def _stopped(self, line: Line, at: float) -> None:
        self.complete = True

    # -- the human ----------------------------------------------------------------------------------------------------

    def _speech(self, line: Line, at: float) -> None:
        self.utterances.append(Utterance("", at, item_id=line.get("item_id")))

    def _silence(self, line: Line, at: float) -> None:
        if self.utterances and self.utterances[-1].end is None:
            self.utterances[-1].end = at
            self.utterances[-1].item_id = self.utterances[-1].item_id or line.get("item_id")

    def _understood(self, line: Line, at: float) -> None:
        item_id, text = line["item_id"], str(line.get("text", ""))
        mine = [said for said in self.utterances if said.item_id == item_id]
        mine = mine or [said for said in self.utterances if said.item_id is None and not said.text]
        if mine:
            mine[0].text, mine[0].item_id = text, item_id

    # -- the model ----------------------------------------------------------------------------------------------------

    def _reply(self, response_id: str | None, item_id: str) -> Reply:
        found = self._by_item.get(item_id)
        if found is None:
            found = self._by_item[item_id] = Reply(response_id, item_id, agent=self.agent)
            self.replies.append(found)
        return found

    def _received(self, line: Line, at: float) -> None:
        reply, size = self._reply(line.get("response_id"), line["item_id"]), int(line["audio"]["bytes"])
        reply.received_bytes += size
        if len(reply.received) < _ARRIVALS:
            reply.received.append((at, size))
        else:
            reply.received[-1] = (at, reply.received[-1][1] + size)

    def _more_words(self, line: Line, at: float) -> None:
        self._reply(line.get("response_id"), line["item_id"]).text += line.get("text", "")

    def _all_words(self, line: Line, at: float) -> None:
        self._reply(line.get("response_id"), line["item_id"]).text = line.get("text", "")

    def _done(self, line: Line, at: float) -> None:
        response_id = line["response"].get("id")
        for reply in self.replies:
            if reply.response_id == response_id:
                reply.complete = True

    def _heard(self, line: Line, at: float) -> None:
        start, end = float(line["from"]), float(line["to"])
        if line.get("item_id") is None:
            return
        reply = self._reply(line.get("response_id"), line["item_id"])
        reply.heard_bytes += int(line["audio"]["bytes"])
        if reply.heard and start - reply.heard[-1][1] < _JITTER:
            reply.heard[-1] = (reply.heard[-1][0], end)
            return
        reply.heard.append((start, end))
        asked = [said for said in self.utterances if said.end is not None and said.end <= start]
        if asked and asked[-1].first_heard is None and len(reply.heard) == 1:
            asked[-1].first_heard = start

    def _interrupted(self, line: Line, at: float) -> None:
        reply = self._by_item.get(line.get("item_id") or "")
        if reply is not None:
            reply.interrupted_at, reply.heard_ms = at, int(line.get("heard_ms", 0))
            reply.kept = heard_text(reply.text, reply.heard_bytes, max(reply.received_bytes, 1))

    def _measured(self, line: Line, at: float) -> None:
        if (seconds := line.get("barge_in")) is not None:
            self.latencies.append(Latency("barge-in → silence", float(seconds), at - float(seconds)))

    # -- the conversation ---------------------------------------------------------------------------------------------

    def _remembered(self, line: Line, at: float) -> None:
        for item in (*line.get("added", ()), *line.get("updated", ())):
            if item.get("type") != "message" or item.get("id") is None:
                continue
            known = self.messages.setdefault(item["id"], Said(item.get("role", ""), "", at, self.agent))
            known.text = item.get("text", "")
            reply = self._by_item.get(item["id"])
            if reply is not None and item.get("status") == "incomplete":
                reply.kept = known.text
        for item_id in line.get("removed", ()):
            self.messages.pop(item_id, None)
            self.removed.add(item_id)

    def _agent_changed(self, line: Line, at: float) -> None:
        self.agent = str(line["to_agent"])

    def _called(self, line: Line, at: float) -> None:
        self.tools.append(ToolRun(line["call_id"], line["name"], line.get("arguments", ""), at))

    def _finished(self, line: Line, at: float) -> None:
        for run in self.tools:
            if run.call_id == line["call_id"]:
                run.end, run.outcome, run.output = at, line["outcome"], line.get("output", "")

    def _failed(self, line: Line, at: float) -> None:
        self.errors.append(str(line.get("message", "")))


_TOLD = {
    "recording.started": Story._started,
    "recording.stopped": Story._stopped,
    "recording.heard": Story._heard,
    "speech.started": Story._speech,
    "speech.stopped": Story._silence,
    "channel.activity.started": Story._speech,
    "channel.activity.ended": Story._silence,
    "transcript.input": Story._understood,
    "audio.output.delta": Story._received,
    "transcript.output.delta": Story._more_words,
    "transcript.output": Story._all_words,
    "response.done": Story._done,
    "interrupted": Story._interrupted,
    "latency": Story._measured,
    "history": Story._remembered,
    "agent.changed": Story._agent_changed,
    "tool.call": Story._called,
    "tool.finished": Story._finished,
    "session.error": Story._failed,
}
