"""A witness beside a session, that says afterwards which of its promises were broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, TypeVar

import anyio

from kernl_rt._session.session import RealtimeSession
from kernl_rt.abc import RealtimeChannel, RealtimeModel
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.events import Interrupted, StatusChanged
from kernl_rt.testing._grammar import BrokenPromise, Promise, TraceGrammar
from kernl_rt.testing._ledgers import Playout, Wire
from kernl_rt.testing._scripted import ScriptedModel
from kernl_rt.testing._watched import WatchedChannel, WatchedModel

__all__ = ["PromiseChecker"]

T = TypeVar("T")


class PromiseChecker:
    """Watches one session, its model and its channel, and checks what a session promises whatever happens to it.

    ::

        checker = PromiseChecker()
        session = RealtimeSession(agent, model=checker.model(model), channel=checker.channel(channel))
        checker.watch(session)
        async with session:
            ...
        checker.check()

    ===============================  ===================================================================================
    ``no task outlives``             when :meth:`check` is called, no task runs that did not run when the checker was
                                     made
    ``closed last and once``         the status ``closed`` comes once, and nothing after it
    ``closed in time``               from ``closing`` to ``closed`` at most ``bound`` seconds
    ``everything released``          connections and the channel were left; a :class:`ScriptedModel` and a
                                     ``MemoryChannel`` say so themselves
    ``one reply at a time``          no ``response.create`` while a reply runs, or while another waits for its answer
    ``one outcome per tool call``    each call ends once, and the model is told once
    ``a call runs once``             where the tools say :meth:`ran`
    ``silent after interrupted``     no sound of an interrupted reply is sent to the channel
    ``truncated at what was heard``  whole milliseconds, no more than was received, no more than the channel says was
                                     heard
    ``played in order``              what is sent to the channel is the next sound of a reply that was received
    ``played without gaps``          the replies before it were sent whole, or interrupted
    ``whole frames in order``        one event is sent at a time, and none after one that was cut half way
    ===============================  ===================================================================================

    Also the whole grammar of a trace: see :class:`TraceGrammar`.

    Leave out the model or the channel, and what needs them is not checked. Listening counts as hearing errors: an
    ``error`` that nobody else listens for does not end a watched session.
    """

    def __init__(self, *, bound: float = 5.0, strict: bool = False) -> None:
        """``bound`` is in seconds; ``strict`` is the grammar's. Make it in the event loop."""
        #: Everything that was broken so far, in order.
        self.broken: list[BrokenPromise] = []
        #: Every event of the session, in order.
        self.trace: list[Any] = []
        self._bound = bound
        self._grammar = TraceGrammar(strict=strict)
        self._playout = Playout(self._report)
        self._wires: list[Wire] = []
        self._scripted: ScriptedModel | None = None
        self._memory: MemoryChannel | None = None
        self._tasks = {task.id for task in anyio.get_running_tasks()}
        self._closing: float | None = None
        self._runs: Counter[str] = Counter()

    # -- whom to watch ------------------------------------------------------------------------------------------------

    def model(self, model: RealtimeModel) -> RealtimeModel:
        """``model``, watched: give this one to the session. What else it offers is passed through."""
        if isinstance(model, ScriptedModel):
            self._scripted = model
        return WatchedModel(model, self._connected)

    def channel(self, channel: RealtimeChannel) -> RealtimeChannel:
        """``channel``, watched: give this one to the session."""
        if isinstance(channel, MemoryChannel):
            self._memory = channel
        self._playout.has_channel = True
        self._playout.reports_playback = channel.reports_playback
        return WatchedChannel(channel, self._playout)

    def watch(self, session: RealtimeSession[Any]) -> None:
        """Listen to everything. Before connecting, so that nothing is missed."""
        session.on("event", self._hear)

    def ran(self, call_id: str) -> None:
        """For your tools: this call is being carried out (``context.call_id`` of a tool's context)."""
        self._runs[call_id] += 1
        if self._runs[call_id] > 1:
            self._report("a call runs once", call_id, f"it is carried out for the {self._runs[call_id]}. time")

    # -- what became of it --------------------------------------------------------------------------------------------

    def check(self, *, running: Collection[str] = ()) -> None:
        """The session is over: were all promises kept?

        ``running`` names tasks of your own that were started since and still run.

        Raises:
            BrokenPromise: the first that was broken; its notes tell the others.
        """
        self._check_tasks(running)
        self._check_released()
        if self.trace:
            self._in_grammar(self._grammar.end)
        if self.broken:
            first, *others = self.broken
            for other in others:
                first.add_note(f"also: {other}")
            raise first

    def _check_tasks(self, running: Collection[str]) -> None:
        for task in anyio.get_running_tasks():
            if task.id not in self._tasks and task.name not in running:
                self._report("no task outlives", task, f"{task.name!r} still runs")

    def _check_released(self) -> None:
        if any(wire.is_open for wire in self._wires):
            self._report("everything released", None, "a connection to the model was never left")
        elif self._scripted is not None and not all(peer.closed.is_set() for peer in self._scripted.peers):
            self._report("everything released", None, "the scripted model's connection was never closed")
        if self._playout.is_open:
            self._report("everything released", None, "the channel was never left")
        elif self._memory is not None and not _is_released(self._memory):
            self._report("everything released", None, "the memory channel was never closed")

    def _connected(self) -> Wire:
        self._wires.append(Wire(self._playout, self._report))
        return self._wires[-1]

    def _hear(self, event: Any) -> None:
        self.trace.append(event)
        self._in_grammar(lambda: self._grammar.feed(event))
        if isinstance(event, Interrupted):
            self._playout.interrupted(event.response_id)
        elif isinstance(event, StatusChanged):
            self._time(event)

    def _time(self, event: StatusChanged) -> None:
        now = anyio.current_time()
        if event.status == "closing":
            self._closing = now
        elif event.status == "closed" and self._closing is not None and now - self._closing > self._bound:
            why = f"it took {now - self._closing:g} s to close; {self._bound:g} s are allowed"
            self._report("closed in time", event, why)

    def _in_grammar(self, step: Any) -> None:
        try:
            step()
        except BrokenPromise as exc:
            self.broken.append(exc)

    def _report(self, promise: Promise, event: object, why: str) -> None:
        self.broken.append(BrokenPromise(promise, event, why))


def _is_released(channel: MemoryChannel) -> bool:
    call = channel._line.call
    return call is None or call.closed
