"""What must hold at every step of a simulated call, beside what :class:`PromiseChecker` checks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio
from attrs import define, field

from kernl_rt._core.backlog import LIMIT
from kernl_rt._session.command import Command
from kernl_rt._session.session import RealtimeSession
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import AudioFormat
from kernl_rt.events import (
    AudioDelta,
    ClientEvent,
    HistoryChanged,
    Interrupted,
    ResponseCreated,
    ServerEvent,
    SessionError,
)
from kernl_rt.items import ConversationItem, FunctionCall, FunctionCallOutput, Message
from kernl_rt.testing._ledgers import Wire
from kernl_rt.testing._promises import PromiseChecker
from kernl_rt.testing._watched import WatchedModel

__all__ = ["Witness"]

#: Events between two looks at the lanes.
_EVERY: Final = 8
#: Milliseconds of sound that wait for the link, at most: what a live channel may keep, a piece of it, and what was said
#: before the link was lost.
_MOST_UNSENT: Final = 62_000.0
#: Events that one batch of frames, and the program, may bring.
_READ_AHEAD: Final = 512
_MOST_UNHEARD: Final = 360_000.0
_TURN: Final = re.compile(r"turn (\d+) \((\d+) ms\)")
#: Milliseconds by which ears may be wrong about the length of what they heard.
_MISHEARD: Final = 60


class _Wire(Wire):
    """A connection's ledger that knows copies of frames, which the session ignores, and replies beside the
    conversation, also while another was asked for.
    """

    _before: ServerEvent | None = None

    def received(self, event: ServerEvent) -> None:
        before, self._before = self._before, event
        if event.event_id is None or event != before:
            super().received(event)

    def _created(self, event: ResponseCreated) -> None:
        if self._beside and event.response.conversation_id is None:
            self._beside -= 1
        else:
            super()._created(event)


class _Checker(PromiseChecker):
    def _connected(self) -> Wire:
        self._wires.append(_Wire(self._playout, self._report))
        return self._wires[-1]


@define
class _Asked:
    """Something written, or asked for, that a reply must follow."""

    at: float
    what: str
    command: Command[Any]
    followed: bool = False
    excused: bool = False


@define(eq=False)
class _Bytes:
    """A connection's ledger: how much sound came in."""

    witness: Witness

    def begins(self, event: ClientEvent) -> None:
        self.witness.note(f"> {event.kind}")

    def done(self, event: ClientEvent) -> None: ...

    def cut(self, event: ClientEvent) -> None:
        self.witness.note(f"> {event.kind} was cut")

    def received(self, event: ServerEvent) -> None:
        if isinstance(event, AudioDelta):
            self.witness.received += len(event.audio)
        elif isinstance(event, SessionError):
            self.witness.note(f"< error {event.code} {event.message}")

    def left(self) -> None:
        self.witness.note("left the link")


@define(eq=False)
class Witness:
    """Collects ``broken`` and the ``log``. ``said`` is what the brain said, by the first word of it."""

    format: AudioFormat
    said: Mapping[str, str]
    log: list[str]
    broken: list[str] = field(factory=list)
    checker: PromiseChecker = field(factory=_Checker)
    #: Bytes of sound that the model has sent.
    received: int = 0
    #: What each spoken turn really lasted, in milliseconds.
    spoken: dict[int, int] = field(factory=dict)
    created: list[float] = field(factory=list)
    handles: list[tuple[str, Command[Any]]] = field(factory=list)
    asked: list[_Asked] = field(factory=list)
    _start: float = field(factory=anyio.current_time)
    _session: RealtimeSession[Any] | None = None
    _channel: MemoryChannel | None = None
    _history: Sequence[ConversationItem] = ()
    _unheard: set[str] = field(factory=set)
    _events: int = 0
    _told: set[str] = field(factory=set)

    # -- what it is told ----------------------------------------------------------------------------------------------

    def note(self, what: str) -> None:
        self.log.append(f"{anyio.current_time() - self._start:11.6f} {what}")

    def violation(self, rule: str, why: str) -> None:
        """``rule`` is told once; what follows from it is in the log."""
        self.note(f"VIOLATION {rule}: {why}")
        if rule not in self._told:
            self._told.add(rule)
            self.broken.append(f"{rule}: {why} (at {anyio.current_time() - self._start:.6f} s)")

    def watch(self, session: RealtimeSession[Any], channel: MemoryChannel) -> None:
        self._session, self._channel = session, channel
        self.checker.watch(session)
        session.on("event", self._hear)

    def model(self, model: Any) -> Any:
        return self.checker.model(WatchedModel(model, lambda: _Bytes(self)))

    def handle(self, verb: str, command: Command[Any], *, wants_reply: bool = False) -> None:
        self.handles.append((verb, command))
        if wants_reply:
            self.asked.append(_Asked(anyio.current_time(), f"{verb} #{command.number}", command))

    def excuse(self) -> None:
        """What was asked for so far was taken back, or refused: no reply need come."""
        for asked in self.asked:
            asked.excused = True

    # -- at every step ------------------------------------------------------------------------------------------------

    def _hear(self, event: Any) -> None:
        if event.kind == "loop.stalled":
            return  # of real time, so not the same in each run
        self.note(_line(event))
        self._events += 1
        if isinstance(event, HistoryChanged):
            self._check_history(event)
        elif isinstance(event, ResponseCreated):
            self._reply_begins()
        elif isinstance(event, SessionError):
            self.excuse()
        elif isinstance(event, Interrupted):
            if event.item_id is not None and event.heard_ms <= 0:
                self._unheard.add(event.item_id)
            if event.reason == "requested":
                self.excuse()
        self._check_sound()
        if self._events % _EVERY == 0:
            self.check_lanes()

    def _reply_begins(self) -> None:
        now = anyio.current_time()
        self.created.append(now)
        for asked in self.asked:
            asked.followed = asked.followed or asked.at < now or asked.command.state != "pending"

    def _check_sound(self) -> None:
        if self._channel is None:
            return
        heard = self._channel.statistics().heard
        if heard > self.received:
            self.violation("playback within what was received", f"{heard} bytes heard, {self.received} received")

    def check_lanes(self) -> None:
        """Every lane keeps to its bound."""
        if self._session is None or self._session.status == "idle":
            return
        now = self._session.statistics()
        bounds = {
            "commands": (now.open_commands, LIMIT),
            "unanswered": (now.unanswered, LIMIT + 1),
            "to_model": (now.to_model.waiting, 4_096),
            "to_model_ms": (now.to_model.audio_ms, _MOST_UNSENT),
            "to_channel_ms": (now.to_channel.audio_ms, _MOST_UNHEARD),
            "waiting_replies": (now.waiting_replies, LIMIT),
            "held_back_ms": (now.held_back_ms, _MOST_UNHEARD),
        }
        for index, each in enumerate(now.streams):
            # One that blocks stops the reading: what was read by then, and what the program itself does, comes on top.
            bounds[f"stream {index}"] = (each.waiting, each.limit + (_READ_AHEAD if each.policy == "block" else 0))
        for lane, (fill, bound) in bounds.items():
            if fill > bound:
                self.violation("bounded lanes", f"{lane} holds {fill}, {bound} are allowed")

    # -- history ------------------------------------------------------------------------------------------------------

    def _check_history(self, event: HistoryChanged) -> None:
        items, before = event.items, self._history
        self._history = items
        ids = [item.id for item in items if item.id is not None]
        if len(ids) != len(set(ids)):
            self.violation("history has each item once", str([key for key, n in Counter(ids).items() if n > 1]))
        expected = Counter(map(_key, before)) - Counter(map(_key, event.removed)) + Counter(map(_key, event.added))
        named = Counter(map(_key, items))
        if sum(expected.values()) != sum(named.values()):
            self.violation("history is what its changes say", f"{sorted(expected)} became {sorted(named)}")
        self._check_calls(items)
        for item in items:
            if isinstance(item, Message) and item.role == "assistant":
                self._check_words(item)
        self._check_turns(items)

    def _check_calls(self, items: Sequence[ConversationItem]) -> None:
        calls, outputs = set[str | None](), set[str]()
        for item in items:
            if isinstance(item, FunctionCall):
                if item.call_id in calls:
                    self.violation("history has each call once", repr(item.call_id))
                calls.add(item.call_id)
            elif isinstance(item, FunctionCallOutput):
                if item.call_id in outputs:
                    self.violation("history has each outcome once", item.call_id)
                outputs.add(item.call_id)

    def _check_words(self, item: Message) -> None:
        text = item.text
        if not text:
            return
        whole = self.said.get(text.split()[0])
        if whole is None or not whole.startswith(text):
            self.violation("history holds what was said", f"{text!r} of {whole!r}")
        if item.id in self._unheard:
            self.violation("history holds what was heard", f"{text!r}, of which nothing was heard")

    def _check_turns(self, items: Sequence[ConversationItem]) -> None:
        """No sound of the human's is told twice, also where it was said again on another link."""
        told = Counter[int]()
        for item in items:
            if isinstance(item, Message) and item.role == "user":
                for turn, ms in _TURN.findall(item.text):
                    told[int(turn)] += int(ms)
        for turn, ms in told.items():
            if ms > self.spoken.get(turn, 0) + _MISHEARD:
                self.violation("a turn is told once", f"turn {turn} lasted {self.spoken.get(turn)} ms, {ms} are told")

    # -- at the end ---------------------------------------------------------------------------------------------------

    def check_handles(self) -> None:
        for verb, command in self.handles:
            if command.state == "pending":
                self.violation("every handle settles", f"{verb} #{command.number} does not")

    def check_answered(self) -> None:
        """Whatever was written and taken had a reply after it."""
        for asked in self.asked:
            if asked.command.state == "acknowledged" and not asked.followed and not asked.excused:
                self.violation("no wish for a reply is lost", f"{asked.what} at {asked.at - self._start:.3f} s")

    def check_provider(self, items: Sequence[Mapping[str, Any]]) -> None:
        """The provider's conversation is the session's history."""
        here = [text for text in map(_written, self._history) if text]
        there = ["".join(str(part.get("text") or "") for part in each.get("content") or ()) for each in items]
        there = [text for each, text in zip(items, there, strict=True) if each.get("role") == "user" and text]
        missing = Counter(here) - Counter(there)
        twice = [text for text, times in Counter(there).items() if times > 1 and text.startswith(("note", "say"))]
        if missing:
            self.violation("the provider knows what was said", f"it lacks {sorted(missing)}")
        if twice:
            self.violation("nothing is said twice", f"the provider has {twice} more than once")
        told = Counter(str(each.get("call_id")) for each in items if each.get("type") == "function_call_output")
        lost = {item.call_id for item in self._history if isinstance(item, FunctionCallOutput)} - set(told)
        lost -= {item.call_id for item in self._history if isinstance(item, FunctionCall) and _torn(item)}
        if lost:
            self.violation("the provider knows every outcome", f"it lacks that of {sorted(lost)}")
        if again := [call for call, times in told.items() if times > 1]:
            self.violation("one outcome per tool call", f"the provider has {again} more than once")

    def collect(self, check: Callable[[], None]) -> None:
        """Run a check that raises, and keep what it says."""
        try:
            check()
        except AssertionError as exc:
            if exc not in self.checker.broken:
                self.broken.append(f"{type(exc).__name__}: {exc}")


def _torn(call: FunctionCall) -> bool:
    """Its arguments are no JSON: another link is not told of it."""
    try:
        json.loads(call.arguments or "{}")
    except ValueError:
        return True
    return False


def _key(item: ConversationItem) -> str:
    return f"{item.type} {item.id or getattr(item, 'call_id', '')}"


def _written(item: ConversationItem) -> str | None:
    if not isinstance(item, Message) or item.role != "user":
        return None
    return "".join(part.text or "" for part in item.content)


def _line(event: Any) -> str:
    """An event in the log: what tells it apart, and nothing that depends on real time."""
    names = ("name", "response_id", "item_id", "call_id", "status", "reason", "outcome", "heard_ms", "code", "message")
    told = [f"{name}={value}" for name in names if (value := getattr(event, name, None)) is not None]
    if isinstance(event, AudioDelta):
        told.append(f"{len(event.audio)} bytes")
    elif isinstance(event, HistoryChanged):
        told += [f"{len(event.items)} items", *(f"+{_key(item)}" for item in event.added)]
    return " ".join(["*", event.kind, *told])
