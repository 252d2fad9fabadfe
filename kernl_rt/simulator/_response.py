"""One reply, from ``response.created`` to its one ``response.done``.

When the reply is known, it is laid out as steps in time: a message opens, its transcript runs ahead of its sound, it
closes; calls open, their arguments arrive, they close. ``advance`` takes the steps whose time has come. Whatever is
open when the reply is cancelled is closed with every ``.done`` that it owes, as the provider does.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import define, field, frozen

from kernl_rt.config import AudioFormat
from kernl_rt.simulator._conversation import Conversation, Item
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._reply import Pace, Reply, ToolCall
from kernl_rt.simulator._tokens import Usage, audio_tokens, pieces, text_tokens

__all__ = ["Response", "Wishes", "snapshot"]

Emit: TypeAlias = Callable[..., None]
Status: TypeAlias = Literal["in_progress", "completed", "cancelled", "incomplete", "failed"]
_OBFUSCATED = 16


@frozen
class Wishes:
    """What one reply is to be: the session's settings with those of ``response.create`` laid over them."""

    modality: Literal["audio", "text"]
    format: AudioFormat
    format_shown: Mapping[str, Any]
    voice: Any
    speed: float
    max_output_tokens: int | Literal["inf"]
    metadata: Mapping[str, str] | None
    instructions: str
    tools: list[Mapping[str, Any]]
    tool_choice: str | Mapping[str, Any]
    #: The items it answers; ``None`` for the conversation.
    input: list[Item] | None


@define
class _Open:
    """The output item that is being written."""

    item: Item
    index: int
    said: str = ""
    sound: list[bytes] = field(factory=list)


@frozen
class _Step:
    due: float
    do: Literal["message", "text", "audio", "close", "call", "arguments", "finish"]
    value: Any = None


def snapshot(item: Item) -> dict[str, Any]:
    """The item's object as it is now, safe to send later."""
    shown = dict(item.shown)
    if "content" in shown:
        shown["content"] = [dict(part) for part in shown["content"]]
    return shown


class Response:
    """A reply under way."""

    def __init__(
        self,
        id: str,
        wishes: Wishes,
        *,
        conversation: Conversation | None,
        conversation_id: str | None,
        ids: Ids,
        emit: Emit,
        pace: Pace,
    ) -> None:
        self.id = id
        self.wishes = wishes
        #: ``None`` where the reply is spoken beside the conversation (``conversation: "none"``).
        self.conversation = conversation
        self.status: Status = "in_progress"
        self.status_details: dict[str, Any] | None = None
        self.usage = Usage()
        #: When ``response.created`` is due, until it has been sent.
        self.created_at: float | None = None
        #: Items that must have been listened to before it can think.
        self.waiting_for: set[str] = set()
        self.thinking = False
        #: The items of the conversation that it answers.
        self.answers: list[Item] = []
        self.first_audio_at: float | None = None
        self._conversation_id = conversation_id
        self._ids = ids
        self._emit = emit
        self._pace = pace
        self._steps: deque[_Step] = deque()
        self._output: list[Item] = []
        self._open: _Open | None = None
        self._cut = False

    @property
    def due(self) -> float | None:
        return self._steps[0].due if self._steps else self.created_at

    @property
    def audio_ms(self) -> float:
        return sum(item.audio_ms for item in self._output)

    def shown(self) -> dict[str, Any]:
        done = self.status != "in_progress"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self.status_details,
            "output": [snapshot(item) for item in self._output] if done else [],
            "conversation_id": self._conversation_id,
            "output_modalities": [self.wishes.modality],
            "max_output_tokens": self.wishes.max_output_tokens,
            "audio": {"output": {"format": dict(self.wishes.format_shown), "voice": self.wishes.voice}},
            "usage": self.usage.shown() if done else None,
            "metadata": self.wishes.metadata,
        }

    # -- laying it out

    def plan(self, reply: Reply, now: float) -> None:
        """Lay out ``reply`` from ``now`` on; sound must already be in the reply when it is to be spoken."""
        at = now + reply.delay + self._pace.first_output
        words, audio, calls = self._within_limit(reply)
        if reply.text:
            at = self._plan_message(words, audio, at)
        for call in calls:
            self._steps.append(_Step(at, "call", call))
            for piece in _cut(call.arguments, 6):
                at += self._pace.token
                self._steps.append(_Step(at, "arguments", piece))
            self._steps.append(_Step(at, "close"))
        self._steps.append(_Step(at, "finish"))

    def _plan_message(self, words: list[str], audio: bytes, at: float) -> float:
        self._steps.append(_Step(at, "message"))
        token = self._pace.token
        chunk = max(self.wishes.format.size(self._pace.chunk_ms), self.wishes.format.sample_width)
        chunks = [audio[start : start + chunk] for start in range(0, len(audio), chunk)]
        interval = self._pace.chunk_ms / 1000 / self._pace.speed
        if chunks and words:
            # The transcript leads: its last word is out when little more than half of the sound is.
            token = min(token, interval * len(chunks) * 0.6 / len(words))
        steps = [_Step(at + token * index, "text", word) for index, word in enumerate(words)]
        steps += [_Step(at + interval * index, "audio", sound) for index, sound in enumerate(chunks)]
        steps.sort(key=lambda step: step.due)
        self._steps.extend(steps)
        end = max((step.due for step in steps), default=at)
        self._steps.append(_Step(end, "close"))
        return end

    def _within_limit(self, reply: Reply) -> tuple[list[str], bytes, list[ToolCall]]:
        """The part of a reply that ``max_output_tokens`` allows."""
        words, audio, calls = pieces(reply.text), reply.audio or b"", list(reply.tool_calls)
        if self.wishes.modality == "text":
            audio = b""
        limit = self.wishes.max_output_tokens
        if limit == "inf":
            return words, audio, calls
        cost = text_tokens(reply.text) + audio_tokens(self.wishes.format.ms(len(audio)), spoken=True)
        if cost > limit:
            self._cut = True
            share = limit / cost
            kept = int(len(audio) * share) // 2 * 2
            return words[: max(1, int(len(words) * share))], audio[:kept], []
        for index, call in enumerate(calls):
            cost += text_tokens(call.arguments) + text_tokens(call.name)
            if cost > limit:
                self._cut = True
                return words, audio, calls[:index]
        return words, audio, calls

    # -- carrying it out

    def advance(self, now: float) -> None:
        """Send what is due at ``now``."""
        while self._steps and self._steps[0].due <= now:
            step = self._steps.popleft()
            if step.do == "message":
                self._open_message()
            elif step.do == "text":
                self._say(step.value)
            elif step.do == "audio":
                self._sound(step.value, now)
            elif step.do == "call":
                self._open_call(step.value)
            elif step.do == "arguments":
                self._argue(step.value)
            elif step.do == "close":
                self._close(complete=not (self._cut and self._steps[0].do == "finish"))
            elif self._cut:
                self._end("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
            else:
                self._end("completed", None)

    def cancel(self, reason: Literal["turn_detected", "client_cancelled"]) -> None:
        """Stop now: close what is open, and end as ``cancelled``."""
        self._steps.clear()
        if self._open is not None:
            self._close(complete=False)
        self._end("cancelled", {"type": "cancelled", "reason": reason})

    def fail(self, message: str) -> None:
        """Stop now and end as ``failed``: the only place where such a failure is told."""
        self._steps.clear()
        if self._open is not None:
            self._close(complete=False)
        error = {"type": "server_error", "code": None, "message": message}
        self._end("failed", {"type": "failed", "error": error})

    def _end(self, status: Status, details: dict[str, Any] | None) -> None:
        self.status = status
        self.status_details = details
        self._emit("response.done", response=self.shown())

    def _start(self, shown: dict[str, Any]) -> None:
        item = Item(shown, complete=False)
        self._open = _Open(item, len(self._output))
        self._output.append(item)
        self._emit(
            "response.output_item.added", response_id=self.id, output_index=self._open.index, item=snapshot(item)
        )
        if self.conversation is not None:
            previous = self.conversation.add(item)
            self._emit("conversation.item.added", previous_item_id=previous, item=snapshot(item))

    def _open_message(self) -> None:
        self._start(
            {
                "id": self._ids.new("item"),
                "type": "message",
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
        )
        self._in_part("response.content_part.added", part=self._part(""))

    def _part(self, said: str) -> dict[str, Any]:
        if self.wishes.modality == "audio":
            return {"type": "audio", "transcript": said}
        return {"type": "text", "text": said}

    def _in_item(self, type: str, **fields: Any) -> None:
        assert self._open is not None
        place = {"response_id": self.id, "item_id": self._open.item.id, "output_index": self._open.index}
        self._emit(type, **place, **fields)

    def _in_part(self, type: str, **fields: Any) -> None:
        self._in_item(type, content_index=0, **fields)

    def _obfuscation(self, delta: str) -> str:
        return self._ids.letters(_OBFUSCATED - len(delta.encode()) % _OBFUSCATED)

    def _say(self, delta: str) -> None:
        assert self._open is not None
        self._open.said += delta
        self.usage.output_text += text_tokens(delta)
        spoken = self.wishes.modality == "audio"
        type = "response.output_audio_transcript.delta" if spoken else "response.output_text.delta"
        self._in_part(type, delta=delta, obfuscation=self._obfuscation(delta))

    def _sound(self, audio: bytes, now: float) -> None:
        assert self._open is not None
        if self.first_audio_at is None:
            self.first_audio_at = now
        item, before = self._open.item, self._open.item.audio_ms
        self._open.sound.append(audio)
        item.audio_ms += self.wishes.format.ms(len(audio))
        self.usage.output_audio += audio_tokens(item.audio_ms, spoken=True) - audio_tokens(before, spoken=True)
        self._in_part("response.output_audio.delta", delta=base64.b64encode(audio).decode())

    def _open_call(self, call: ToolCall) -> None:
        self._start(
            {
                "id": self._ids.new("item"),
                "type": "function_call",
                "status": "in_progress",
                "name": call.name,
                "call_id": self._ids.new("call", 16),
                "arguments": "",
            }
        )
        self.usage.output_text += text_tokens(call.name)

    def _argue(self, delta: str) -> None:
        assert self._open is not None
        self._open.said += delta
        self.usage.output_text += text_tokens(delta)
        self._in_item(
            "response.function_call_arguments.delta",
            call_id=self._open.item.shown["call_id"],
            delta=delta,
            obfuscation=self._obfuscation(delta),
        )

    def _close(self, *, complete: bool) -> None:
        assert self._open is not None
        item, said = self._open.item, self._open.said
        item.shown["status"] = "completed" if complete else "incomplete"
        item.complete = True
        if item.type == "function_call":
            self._close_call(item, said)
        else:
            self._close_message(item, said)
        if self.conversation is not None:
            # As recorded: only written messages name their predecessor again.
            written = item.type == "message" and self.wishes.modality == "text"
            known = self.conversation.find(item.id) is item
            previous = self.conversation.before(item) if written and known else None
            self._emit("conversation.item.done", previous_item_id=previous, item=snapshot(item))
        self._emit("response.output_item.done", response_id=self.id, output_index=self._open.index, item=snapshot(item))
        self._open = None

    def _close_call(self, item: Item, said: str) -> None:
        item.shown["arguments"] = said
        self._in_item(
            "response.function_call_arguments.done",
            call_id=item.shown["call_id"],
            name=item.shown["name"],
            arguments=said,
        )

    def _close_message(self, item: Item, said: str) -> None:
        assert self._open is not None
        if self.wishes.modality == "audio":
            item.audio = b"".join(self._open.sound)
            item.shown["content"] = [{"type": "output_audio", "transcript": None if item.truncated else said}]
            self._in_part("response.output_audio.done")
            self._in_part("response.output_audio_transcript.done", transcript=said)
        else:
            item.shown["content"] = [{"type": "output_text", "text": said}]
            self._in_part("response.output_text.done", text=said)
        self._in_part("response.content_part.done", part=self._part(said))


def _cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]
