"""What an ElevenLabs agent says: the engine's replies as the service's turns.

The service numbers turns, tells what the human said before the answer to it, and corrects what was not heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pybase64
from attrs import field, frozen

from kernl_rt.config import AudioFormat
from kernl_rt.simulator._protocols._elevenlabs_schema import EVENTS
from kernl_rt.simulator._protocols._resampler import Resampler
from kernl_rt.simulator._sound import babble

__all__ = ["INVALID", "OPERATIONAL", "TIME_UP", "AgentSound", "Turns", "Wishes", "json_text"]

OPERATIONAL, INVALID = 1002, 1008
TIME_UP = (1000, "Max conversation duration reached.")
#: Faults of the engine's protocol that this one does not know: races.
_HARMLESS = frozenset(
    {"conversation_already_has_active_response", "response_cancel_not_active", "input_audio_buffer_commit_empty"}
)


@frozen
class AgentSound:
    """The format that an agent is set to, both ways, by the service's name for it."""

    name: str

    @property
    def pcm(self) -> bool:
        return self.name.startswith("pcm")

    @property
    def rate(self) -> int:
        return int(self.name.partition("_")[2])

    @property
    def engine(self) -> AudioFormat:
        """What the engine speaks behind it."""
        return AudioFormat("pcm16", 24_000) if self.pcm else AudioFormat("g711_ulaw", 8_000)


@frozen
class Wishes:
    """What the client's first message says of what it wants to be told."""

    text_only: bool = False
    greeting: str = ""
    events: frozenset[str] = frozenset(EVENTS)
    #: Tools whose results the agent does not wait for.
    no_answer: frozenset[str] = field(factory=frozenset)


class Turns:
    """One conversation's. ``wishes`` are set when the client has said them."""

    def __init__(self, conversation_id: str, sound: AgentSound, *, now: float) -> None:
        self.wishes = Wishes()
        #: The close code and reason, once the conversation is over.
        self.closing: tuple[int, str] | None = None
        self.running = False
        #: The calls that wait for a result.
        self.calls: set[str] = set()
        self._conversation_id = conversation_id
        self._format = sound
        self._resampler = Resampler(sound.engine.rate, sound.rate)
        self._said: list[str] = []
        self._ready = False
        #: The service's running number; the turn that runs has the last.
        self._number = 0
        self._words = ""
        self._told = False
        self._writing = False
        self._heard = ""
        #: A turn of the human's was taken and its words are not known: what the agent says waits for them.
        self._awaiting: set[str] = set()
        self._queue: list[str] = []
        #: When the human has heard all that was sent, by the clock.
        self._now = self._heard_at = now

    def end(self, code: int, reason: str) -> None:
        self.closing = self.closing or (code, reason[:120])

    def write(self, frame: Mapping[str, Any], now: float) -> Sequence[str]:
        """The messages that tell the client of one frame of the engine's."""
        self._now = now
        self._write(frame["type"], frame)
        said, self._said = self._said, []
        return said

    def _say(self, kind: str, key: str, **content: Any) -> None:
        if kind in self.wishes.events:
            self._said.append(json_text({"type": kind, key: content}))

    def _agent_says(self, kind: str, key: str, **content: Any) -> None:
        """As :meth:`_say`, after the words of the human that it answers."""
        if kind in self.wishes.events:
            message = json_text({"type": kind, key: {**content, "event_id": self._number}})
            (self._queue if self._awaiting else self._said).append(message)

    def _write(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "session.updated":
            self._open()
        elif kind == "error":
            self._fault(frame["error"])
        elif kind.startswith(("input_audio_buffer.", "conversation.item.input_audio_transcription.")):
            self._write_human(kind.rpartition(".")[2], frame)
        elif kind.startswith("response."):
            self._write_reply(kind.removeprefix("response."), frame)

    def _open(self) -> None:
        if self._ready:
            return
        self._ready = True
        formats = {"agent_output_audio_format": self._format.name, "user_input_audio_format": self._format.name}
        kind = "conversation_initiation_metadata"
        self._say(kind, f"{kind}_event", conversation_id=self._conversation_id, **formats)
        if self.wishes.greeting:
            self._number += 1
            if not self.wishes.text_only:
                sound = babble(self.wishes.greeting, self._format.engine, pitch=140, speed=1.0)
                self._sound(sound)
            self._agent_says("agent_response", "agent_response_event", agent_response=self.wishes.greeting)
            self._agent_says("agent_response_complete", "agent_response_complete_event")

    def _fault(self, error: Mapping[str, Any]) -> None:
        if error.get("code") in _HARMLESS:
            return
        if error.get("code") == "session_expired":
            self._error(1000, "max_duration_exceeded", TIME_UP[1])
            return
        self._error(INVALID, "invalid_message", error["message"])
        self.end(INVALID, error["message"])

    def _error(self, code: int, kind: str, message: str) -> None:
        said = {"code": code, "error_type": kind, "message": message, "reason": None}
        self._said.append(json_text({"type": "error", "error_event": said}))

    def _write_human(self, kind: str, frame: Mapping[str, Any]) -> None:
        if kind == "speech_started" and not self.running and self._now < self._heard_at:
            self._heard_at = self._now
            self._say("interruption", "interruption_event", event_id=self._number)
            self._correct()
        elif kind == "committed":
            self._awaiting.add(frame["item_id"])
            self._heard = ""
        elif kind == "delta":
            self._heard += frame["delta"]
            self._say(
                "tentative_user_transcript",
                "tentative_user_transcription_event",
                user_transcript=self._heard,
                event_id=self._number + 1,
            )
        elif kind in ("completed", "failed"):
            self._awaiting.discard(frame["item_id"])
            if kind == "completed" and frame["transcript"]:
                words = {"user_transcript": frame["transcript"], "event_id": self._number + (not self.running)}
                self._say("user_transcript", "user_transcription_event", **words)
            if not self._awaiting:
                self._said += self._queue
                self._queue.clear()

    def _write_reply(self, kind: str, frame: Mapping[str, Any]) -> None:
        match kind:
            case "created":
                self._number += 1
                self.running, self._words, self._told, self._writing = True, "", False, False
            case "output_audio_transcript.delta":
                self._words += frame["delta"]
            case "output_audio_transcript.done":
                self._tell_words()
            case "output_audio.delta":
                self._sound(pybase64.b64decode(frame["delta"]))
            case "output_text.delta":
                self._write_part(frame["delta"])
            case "output_text.done":
                self._agent_says("agent_chat_response_part", "text_response_part", text="", type="stop")
                self._tell_words()
            case "function_call_arguments.done":
                self._call(frame)
            case "done":
                self._end_reply(frame["response"])

    def _sound(self, audio: bytes) -> None:
        self._heard_at = max(self._now, self._heard_at) + self._format.engine.ms(len(audio)) / 1000
        if self._format.pcm:
            audio = self._resampler.push(audio)
        self._agent_says("audio", "audio_event", audio_base_64=pybase64.b64encode_as_string(audio))

    def _write_part(self, text: str) -> None:
        if not self._writing:
            self._writing = True
            self._agent_says("agent_chat_response_part", "text_response_part", text="", type="start")
        self._words += text
        self._agent_says("agent_chat_response_part", "text_response_part", text=text, type="delta")

    def _tell_words(self) -> None:
        if self._words and not self._told:
            self._told = True
            self._agent_says("agent_response", "agent_response_event", agent_response=self._words)

    def _call(self, frame: Mapping[str, Any]) -> None:
        waits = frame["name"] not in self.wishes.no_answer
        if waits:
            self.calls.add(frame["call_id"])
        self._agent_says(
            "client_tool_call",
            "client_tool_call",
            tool_name=frame["name"],
            tool_call_id=frame["call_id"],
            parameters=msgspec.json.decode(frame["arguments"] or "{}"),
            expects_response=waits,
        )

    def _end_reply(self, response: Mapping[str, Any]) -> None:
        self.running = False
        if response["status"] == "failed":
            self._error(OPERATIONAL, "llm_error", response["status_details"]["error"]["message"])
            self.end(OPERATIONAL, "LLM error.")
        elif response["status"] == "cancelled":
            self._queue.clear()
            self._heard_at = self._now
            self._say("interruption", "interruption_event", event_id=self._number)
            self._correct()
        else:
            self._agent_says("agent_response_complete", "agent_response_complete_event")
            tokens = (response["usage"] or {}).get("input_tokens", 0)
            usage = {"model": "simulator", "context_tokens": tokens, "context_limit_tokens": 32_000}
            self._agent_says("context_usage", "context_usage_event", **usage)

    def _correct(self) -> None:
        """By the service's reckoning, half of what it said was heard."""
        words = self._words.split()
        if words and self._told:
            corrected = " ".join(words[: len(words) // 2]) + "..."
            self._say(
                "agent_response_correction",
                "agent_response_correction_event",
                original_agent_response=self._words,
                corrected_agent_response=corrected,
                event_id=self._number,
            )


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
