"""The page's language, pure: one half for its channel, one for what the session tells it.

:class:`BrowserWire` is the channel's wire. :class:`Mirror` turns the session's events into messages, and never repeats
what a provider or a stranger wrote about an error: such texts have held keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from attrs import frozen

from kernl_rt.channels._wire import Answer, Left, Message, Played
from kernl_rt.channels.browser import _wire
from kernl_rt.config import AudioFormat
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AgentChanged,
    AudioCaptured,
    HistoryChanged,
    InputTranscriptDelta,
    LatencyMeasured,
    OutputTranscriptDelta,
    SessionError,
    SpeechStarted,
    SpeechStopped,
    StatusChanged,
    TextDelta,
    ToolCalled,
    ToolFinished,
    UsageUpdated,
)
from kernl_rt.exceptions import ChannelError
from kernl_rt.items import Message as Spoken

__all__ = ["BrowserWire", "Interruption", "Mirror", "Muting", "Posted", "Typed", "agreed", "problem"]

_T = TypeVar("_T")

#: Of one text in a message to the page, in characters; the rest is cut off, with "…".
_LONGEST = 8_192
#: Of each kind that is remembered: tool calls that run, items that grow, items that are final.
_MOST_KEPT = 64


@frozen
class Muting:
    muted: bool


@frozen
class Typed:
    text: str


@frozen
class Interruption:
    """The human pressed the button that stops the reply."""


def agreed(message: Message, inputs: Sequence[int], outputs: Sequence[int]) -> tuple[AudioFormat, AudioFormat]:
    """The formats, from the page's first message and the server's rates in order of preference.

    Raises:
        ChannelError: it is no hello, or there is no common rate.
    """
    hello = _wire.read(message) if isinstance(message, str) else None
    if not isinstance(hello, _wire.Hello):
        raise ChannelError("the page did not begin with a hello of version 1")
    rate_in = next((rate for rate in inputs if rate in hello.input_rates), None)
    rate_out = next((rate for rate in outputs if rate in hello.output_rates), None)
    if rate_in is None or rate_out is None:
        raise ChannelError(
            f"the page records at {hello.input_rates} and plays at {hello.output_rates} samples a second: "
            f"neither of {list(inputs)} and {list(outputs)}"
        )
    return AudioFormat("pcm16", rate_in), AudioFormat("pcm16", rate_out)


class BrowserWire:
    """One call. With ``push_to_talk`` sound counts only while the button is pressed."""

    #: The page has at least twice as much in hand; each message costs both sides a wake.
    frame_ms: float = 40.0

    def __init__(self, input_format: AudioFormat, output_format: AudioFormat, *, push_to_talk: bool = False) -> None:
        self.input_format = input_format
        self.output_format = output_format
        self.push_to_talk = push_to_talk
        self.pressed: bool = False
        #: Messages that were not understood, or came when they mean nothing.
        self.ignored: int = 0

    def decode(self, message: Message, now: float) -> Sequence[object]:
        """Never raises: what is not understood is counted."""
        if isinstance(message, bytes):
            return () if self.push_to_talk and not self.pressed else (AudioCaptured(message),)
        said = _wire.read(message)
        match said:
            case _wire.PlayedReport():
                return (Played(said.samples * 2, said.clears),)
            case _wire.Ping():
                return (Answer((_wire.write({"type": "pong", "id": said.id}),)),)
            case _wire.Mute():
                return (Muting(said.muted),)
            case _wire.Talk() if self.push_to_talk and said.pressed != self.pressed:
                self.pressed = said.pressed
                return (ActivityStarted(at=now) if said.pressed else ActivityEnded(at=now),)
            case _wire.Text() if said.text.strip():
                return (Typed(said.text),)
            case _wire.Interrupt():
                return (Interruption(),)
            case _wire.Bye():
                return (Left(),)
            case _:
                self.ignored += 1
                return ()

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        return (audio,)

    def encode_mark(self, name: str) -> Sequence[Message]:
        """None: the page counts what it plays."""
        return ()

    def encode_clear(self, clears: int) -> Sequence[Message]:
        return (_wire.write({"type": "clear", "clears": clears}),)

    def encode_goodbye(self) -> Sequence[Message]:
        """None: the close code says it."""
        return ()


# -- what the session tells -------------------------------------------------------------------------------------------


@frozen
class Posted:
    """A message for the page; of those with one ``key`` only the newest need arrive."""

    message: dict[str, Any]
    key: object = None


#: In our own words, by where it happened.
_PROBLEMS = {
    "provider": "The voice service reported a problem.",
    "protocol": "The voice service said something that was not understood.",
    "tool": "A tool could not be run.",
    "playback": "The reply was too long to be played.",
    "channel": "The connection to this page has a problem.",
    "recording": "This call is not recorded any more.",
    "listener": "A part of this service failed. The call goes on.",
    "session": "This service had a problem. The call goes on.",
    "unavailable": "The voice service cannot be reached now.",
    "busy": "All lines are busy.",
    "time_limit": "The call has reached its time limit.",
    "failed": "The call ended because of a fault.",
}

_ROLES = {"user": "user", "assistant": "agent"}
_TOOL_STATES = {"result": "done", "error": "failed", "timeout": "failed", "denied": "failed", "cancelled": "cancelled"}


def problem(code: str) -> dict[str, Any]:
    """An error message of ours."""
    return {"type": "error", "code": code, "message": _PROBLEMS.get(code, _PROBLEMS["failed"])}


class Mirror:
    """Turns what happens in a session into messages for the page. ``tools``: tool calls are shown, too.

    While something is said the page is shown the words as they come; in the end what the conversation holds of it,
    which for an interrupted reply are the words that were heard.
    """

    def __init__(self, *, tools: bool = True) -> None:
        self._calls: dict[str, str] = {}
        self._growing: dict[str, str] = {}
        self._final: dict[str, None] = {}
        self._table: dict[type, Callable[[Any], list[Posted]]] = {
            HistoryChanged: self._history,
            InputTranscriptDelta: self._heard_more,
            OutputTranscriptDelta: self._said_more,
            TextDelta: self._said_more,
            StatusChanged: self._status,
            SpeechStarted: lambda _: [Posted({"type": "speech", "speaking": True})],
            SpeechStopped: lambda _: [Posted({"type": "speech", "speaking": False})],
            LatencyMeasured: self._latency,
            UsageUpdated: self._usage,
            SessionError: self._error,
            AgentChanged: lambda event: [Posted({"type": "agent", "agent": event.to_agent})],
        }
        if tools:
            self._table |= {ToolCalled: self._tool_called, ToolFinished: self._tool_finished}

    def messages(self, event: object) -> list[Posted]:
        """What the page is told of ``event``; most events are nothing to it."""
        tell = self._table.get(type(event))
        return [] if tell is None else tell(event)

    def _history(self, event: HistoryChanged) -> list[Posted]:
        told = []
        for item in (*event.added, *event.updated):
            if isinstance(item, Spoken) and item.role != "system" and item.status in ("completed", "incomplete"):
                identity = item.id or ""
                started = self._growing.pop(identity, None) is not None or identity in self._final
                _keep(self._final, identity, None)
                if item.text or started:
                    interrupted = item.role != "user" and item.status == "incomplete"
                    told.append(_transcript(_ROLES[item.role], identity, item.text, True, interrupted))
        return told

    def _heard_more(self, event: InputTranscriptDelta) -> list[Posted]:
        return self._more("user", event.item_id, event.text, event.cumulative)

    def _said_more(self, event: OutputTranscriptDelta | TextDelta) -> list[Posted]:
        return self._more("agent", event.item_id, event.text, False)

    def _more(self, role: str, item: str, text: str, cumulative: bool) -> list[Posted]:
        if item in self._final:
            return []
        whole = text if cumulative else self._growing.get(item, "") + text
        _keep(self._growing, item, whole[: _LONGEST + 1])
        return [_transcript(role, item, whole, False, False)] if whole else []

    def _status(self, event: StatusChanged) -> list[Posted]:
        return [Posted({"type": "status", "status": event.status, "reason": _short(event.reason or "")})]

    def _latency(self, event: LatencyMeasured) -> list[Posted]:
        seconds = event.to_first_heard
        return [] if seconds is None else [Posted({"type": "latency", "ms": round(seconds * 1000)}, "latency")]

    def _usage(self, event: UsageUpdated) -> list[Posted]:
        total = event.total
        counts = {
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            "total_tokens": total.total_tokens,
            "seconds": total.seconds,
        }
        return [Posted({"type": "usage", **{name: n for name, n in counts.items() if n is not None}}, "usage")]

    def _error(self, event: SessionError) -> list[Posted]:
        return [Posted(problem(event.source))]

    def _tool_called(self, event: ToolCalled) -> list[Posted]:
        arguments = _short(event.arguments)
        _keep(self._calls, event.call_id, arguments)
        return [Posted(_tool(event.call_id, event.name, arguments, "running", ""))]

    def _tool_finished(self, event: ToolFinished) -> list[Posted]:
        state = _TOOL_STATES.get(event.outcome, "failed")
        arguments = self._calls.pop(event.call_id, "")
        return [Posted(_tool(event.call_id, event.name, arguments, state, _short(event.output)))]


def _tool(call: str, name: str, arguments: str, state: str, result: str) -> dict[str, Any]:
    return {"type": "tool", "call": call, "name": name, "arguments": arguments, "state": state, "result": result}


def _transcript(role: str, item: str, text: str, final: bool, interrupted: bool) -> Posted:
    message = {"type": "transcript", "role": role, "item": item, "text": _short(text)}
    return Posted({**message, "final": final, "interrupted": interrupted}, ("transcript", item))


def _keep(kept: dict[str, _T], key: str, value: _T) -> None:
    """The newest ones only, so that no session fills the memory."""
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        kept.pop(next(iter(kept)))


def _short(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be sent
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
