"""The driver: one synchronous step from a fact to everything that follows from it.

``feed`` is the only place where the machine changes. It never waits and is not re-entrant: what a listener feeds while
it runs is queued and handled next. After each input all actions are carried out: model, channel and tools as they come,
listeners last, so that a listener cannot lose audio or a cancel.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import anyio

from kernl_rt._core import actions, inputs
from kernl_rt._core.backlog import LIMIT
from kernl_rt._core.lanes import Outbox
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt._core.rules.reply import PLAYBACK_LIMIT
from kernl_rt._emitter import Emitter, Listener, name_of
from kernl_rt._parking import Parking
from kernl_rt._session.command import Command
from kernl_rt._session.home import Home
from kernl_rt._session.stream import Streams, topics_of
from kernl_rt._session.watch import Watchdog
from kernl_rt.events import Draining, Interrupted, LoopStalled, ResponseCreated, ServerEvent, SessionError, SessionStuck

__all__ = ["Driver", "nowhere"]

logger = logging.getLogger("kernl_rt")


class Write(Protocol):
    def __call__(self, *, urgent: bool) -> None: ...


def nowhere(*, urgent: bool) -> None:
    """There is no link: what is to be said waits for the next."""


class Driver:
    """Owns the machine and everything its actions go to."""

    def __init__(self, settings: Settings, emitter: Emitter, streams: Streams, *, live: bool) -> None:
        self.machine = SessionMachine(settings)
        self.emitter = emitter
        self.streams = streams
        self.outbox = Outbox(settings.input_format, live=live)
        self.to_channel: deque[bytes | None] = deque()
        #: Bytes of sound in it.
        self.channel_bytes = 0
        self.to_tools: list[actions.StartTool | actions.CheckApproval] = []
        self.model_gate, self.channel_gate = Parking(), Parking()
        #: Opened for the session's own task: something to start, an earlier deadline, or the end.
        self.work_gate = Parking()
        self.to_guardrails: list[actions.StartCheck] = []
        self.room_gate = Parking()
        self.stopped = False
        self.error: Exception | None = None
        #: Set by the session: give up connecting; give up the link that there is.
        self.give_up: Callable[[], None] = lambda: None
        #: Set while there is a link: write what waits for it, or of that what is urgent.
        self.write: Write = nowhere
        self.hang_up: Callable[[], None] = lambda: None
        #: When to dial again, and with which handle; ``None`` while no other link is wanted.
        self.redial: tuple[float, str | None] | None = None
        #: Set by the session while a channel is open; answers with the position heard.
        self.clear_channel: Callable[[], float] | None = None
        self.cancel_tool: Callable[[str], None] = lambda call_id: None
        self.switch_agent: Callable[[int], None] = lambda number: None
        #: Told of every step while the session is recorded.
        self.tap: Callable[[inputs.Input, Sequence[actions.Action], float], None] | None = None
        #: The session's own takes this one's place.
        self.watchdog = Watchdog(self.notice)
        self._commands: dict[int, Command[Any]] = {}
        self._number = 0
        self._queue: deque[inputs.Input] = deque()
        #: Something was put into the outbox and not yet offered to the link.
        self._unsent = False
        #: More has come from the model at the same time: it may take a request back.
        self._more = False
        self._feeding = False
        self._home = Home.here()
        self._now = self._home.clock
        #: Until when the session's own task sleeps, at the latest.
        self._sleeps_until = math.inf

    # -- in -----------------------------------------------------------------------------------------------------------

    def feed(self, input: inputs.Input) -> None:
        self._accept(input)
        if not self._feeding:
            self._feeding = True
            try:
                self._work()
            finally:
                self._feeding = False
                self._set_clock()

    def feed_all(self, events: Sequence[ServerEvent]) -> None:
        """What came from the model at once. A link that is given up meanwhile has no more to say."""
        self._feeding = True
        last = len(events) - 1
        try:
            for index, event in enumerate(events):
                if self.redial is not None:
                    return
                self._more = index < last
                self._accept(event)
                self._work()
        finally:
            self._feeding = self._more = False
            self._set_clock()

    def _accept(self, input: inputs.Input) -> None:
        if type(input) is ResponseCreated and (asked := self.machine.asked) is not None and self.outbox.recall(asked):
            self._queue.append(inputs.RequestOvertaken(asked))
        self._queue.append(input)

    def _work(self) -> None:
        queue = self._queue
        while queue:
            self._step(queue.popleft())

    def _step(self, input: inputs.Input) -> None:
        heard: list[Any] = []
        self._decide(input, heard)
        while self._queue and type(self._queue[0]) is inputs.PlaybackCleared:
            self._decide(self._queue.popleft(), heard)  # the channel has answered: it belongs to this step
        if self._unsent:
            self._offer()
        interrupt: BaseException | None = None
        for event in heard:
            try:
                self._tell(event)
            except BaseException as exc:  # Ctrl-C in a listener: it goes on its way once the rest has been told
                interrupt = interrupt or exc
        if interrupt is not None:
            raise interrupt

    def _decide(self, input: inputs.Input, heard: list[Any]) -> None:
        """What is to be told goes to ``heard``."""
        now = self._now()
        outcome = self.machine.feed(input, now)
        if self.tap is not None:
            self.tap(input, outcome, now)
        for action in outcome:
            if type(action) is actions.Emit:
                heard.append(action.event)
            else:
                _ROUTES[type(action)](self, action)

    def _set_clock(self) -> None:
        """Once for all that was fed: nobody could wait in between."""
        deadline = self.machine.deadline
        if deadline is not None and deadline < self._sleeps_until:
            self._sleeps_until = deadline
            self.work_gate.wake()

    def next_deadline(self) -> float | None:
        """When the session's task is to feed a ``Tick``; it is woken if that moves nearer, and may sleep on."""
        deadline = self.machine.deadline
        self._sleeps_until = math.inf if deadline is None else deadline
        return deadline

    def command(self, verb: str, make: Callable[[int], inputs.Input]) -> Command[Any]:
        """Feed a verb of the caller's, and give its handle."""
        self.check_thread(verb)
        self._number += 1
        command: Command[Any] = Command(verb, self._number)
        self._commands[command.number] = command
        self.feed(make(command.number))
        return command

    def check_thread(self, verb: str) -> None:
        """Refuse a caller in another process, thread or event loop; of what is over there is nothing to protect."""
        if self.machine.status != "closed":
            self._home.check(verb)

    @property
    def full(self) -> bool:
        """No more commands are taken: too many wait for an answer, or for the socket."""
        # One request for a reply may stand among the commands that wait for the socket.
        return self.machine.full or len(self._commands) >= LIMIT or self.outbox.commands > LIMIT

    @property
    def open_commands(self) -> int:
        return len(self._commands)

    # -- out ----------------------------------------------------------------------------------------------------------

    def _send(self, action: actions.Send) -> None:
        self.outbox.push(action)
        self._unsent = True

    def _offer(self) -> None:
        """Give the link what waits, before anybody is told of the step: what stops a reply must not wait for that."""
        self._unsent = self._more
        self.write(urgent=self._more)

    @property
    def has_room(self) -> bool:
        """Whether a source that can wait should go on."""
        return self.machine.state.lifecycle.linked and self.outbox.has_room

    def _play(self, action: actions.Play) -> None:
        self.to_channel.append(action.audio)
        self.channel_bytes += len(action.audio)
        self.channel_gate.wake()
        if self.channel_bytes > PLAYBACK_LIMIT:
            self.feed(inputs.SpeakerStuck())

    def _flush(self, action: actions.FlushPlayback) -> None:
        self.to_channel.append(None)
        self.channel_gate.wake()

    def _clear(self, action: actions.ClearPlayback) -> None:
        """Drop our own queue first, then the channel's, so that nothing slips in between."""
        self.to_channel.clear()
        self.channel_bytes = 0
        if self.clear_channel is not None:
            try:
                position = self.clear_channel()
            except Exception as exc:
                self.feed(inputs.ChannelFailed(exc))
            else:
                # Before all that waits to be fed: it belongs to this step, and a close would not hear it any more.
                self._queue.appendleft(inputs.PlaybackCleared(position))

    def _start_tool(self, action: actions.StartTool | actions.CheckApproval) -> None:
        self.to_tools.append(action)
        self.work_gate.wake()

    def _start_check(self, action: actions.StartCheck) -> None:
        self.to_guardrails.append(action)
        self.work_gate.wake()

    def _cancel_tool(self, action: actions.CancelTool) -> None:
        self.cancel_tool(action.call_id)

    def _settle(self, action: actions.Settle) -> None:
        command = self._commands.pop(action.command)
        if command.settle(action.error, action.result) or action.error is None:
            return
        if command.state in ("lost", "aborted") and not self.machine.state.lifecycle.live:
            return  # the session's own end says so already
        refused = command.state == "rejected"
        message = f"{command.verb}() {'was refused' if refused else 'failed'}: {action.error}"
        code = getattr(action.error, "code", None)
        source: Literal["provider", "session"] = "provider" if refused else "session"
        self.feed(inputs.ErrorNoticed(SessionError(message, code=code, source=source, cause=action.error)))

    def _switch_agent(self, action: actions.SwitchAgent) -> None:
        self.switch_agent(action.agent)

    def _use_input_format(self, action: actions.UseInputFormat) -> None:
        self.outbox.use_format(action.format)

    def _disconnect(self, action: actions.Disconnect) -> None:
        self.stop(action.error)

    def stop(self, error: Exception | None) -> None:
        """Ask the session's task to end everything; the first reason counts."""
        if not self.stopped:
            self.stopped, self.error = True, error
            self.watchdog.begin()
            self.work_gate.wake()
            self.give_up()

    def _reconnect(self, action: actions.Reconnect) -> None:
        self.outbox.clear()
        self.redial = (anyio.current_time() + action.delay, action.resume)
        self.hang_up()

    # -- consumers ----------------------------------------------------------------------------------------------------

    def _tell(self, event: Any) -> None:
        names = topics_of(event)
        if type(event) is SessionError and not self._somebody_hears(names):
            self._unheard(event)
        if self.streams.any:
            self._push(names, event)
        self.emitter.emit(names, event, self._listener_failed, self._listener_stalled)

    def _push(self, names: tuple[str, ...], event: Any) -> None:
        """In a frame of its own: what a listener raises keeps the one above, and that must keep no iterator alive."""
        interrupted = type(event) is Interrupted
        for stream in self.streams:
            if interrupted:
                stream.purge(event.response_id)
            if stream.hears(names):
                stream.push(event)

    def _unheard(self, event: SessionError) -> None:
        """Nobody listens: fatal, but for a tool's error, which the model has been told, and a recording's."""
        if event.source in ("tool", "recording"):
            logger.warning("%s", event.message)
        else:
            self.feed(inputs.Failed(event.error))

    def _somebody_hears(self, names: tuple[str, ...]) -> bool:
        return any(self.emitter.listens(name) for name in names) or any(s.hears(names) for s in self.streams)

    def notice(self, event: SessionStuck | LoopStalled | Draining) -> None:
        self.feed(inputs.ConditionNoticed(event))

    def _listener_stalled(self, listener: Listener, event: Any, seconds: float) -> None:
        """Name it; but one that is slow to hear of it is not told so again, which would never end."""
        name = name_of(listener)
        logger.warning("listener %s blocked the event loop for %.0f ms during %s", name, seconds * 1000, event.kind)
        if type(event) is not LoopStalled:
            self.notice(LoopStalled(name, round(seconds * 1000, 1), event.kind))

    def _listener_failed(self, listener: Listener, exc: Exception) -> None:
        name = name_of(listener)
        logger.debug("listener %s raised %s", name, type(exc).__name__)
        message = f"listener {name} raised {type(exc).__name__}: {exc}"
        self.feed(inputs.ErrorNoticed(SessionError(message, source="listener", cause=exc)))


_ROUTES: dict[type, Callable[[Driver, Any], None]] = {
    actions.Send: Driver._send,
    actions.Play: Driver._play,
    actions.FlushPlayback: Driver._flush,
    actions.ClearPlayback: Driver._clear,
    actions.StartTool: Driver._start_tool,
    actions.CheckApproval: Driver._start_tool,
    actions.CancelTool: Driver._cancel_tool,
    actions.StartCheck: Driver._start_check,
    actions.Settle: Driver._settle,
    actions.SwitchAgent: Driver._switch_agent,
    actions.UseInputFormat: Driver._use_input_format,
    actions.Disconnect: Driver._disconnect,
    actions.Reconnect: Driver._reconnect,
}
