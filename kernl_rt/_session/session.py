"""A live voice session."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, TypeVar, get_args

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup, TaskStatus

from kernl_rt._core import inputs
from kernl_rt._emitter import Emitter
from kernl_rt._latch import Latch
from kernl_rt._session import watch
from kernl_rt._session.async_listeners import AsyncListeners
from kernl_rt._session.changes import LiveChanges
from kernl_rt._session.driver import Driver
from kernl_rt._session.errors import bare
from kernl_rt._session.guardrails import checked_guardrails, checked_hold_back
from kernl_rt._session.home import Home
from kernl_rt._session.recording import Recorder, Recording
from kernl_rt._session.runner import Runner
from kernl_rt._session.statistics import SessionStatistics, statistics_of
from kernl_rt._session.stream import Streams
from kernl_rt._session.verbs import Verbs
from kernl_rt._session.watch import Watchdog, created_at, unclosed
from kernl_rt.abc import RealtimeChannel, RealtimeModel, RealtimeTransport
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import ConnectOptions, Credential, SessionConfig
from kernl_rt.context import Context
from kernl_rt.events import SessionError, SessionStuck, Status, Usage
from kernl_rt.exceptions import CommandError, MisconfiguredError, SessionStateError
from kernl_rt.guardrail import Guardrail
from kernl_rt.items import ConversationItem
from kernl_rt.policy import ReconnectPolicy

__all__ = ["RealtimeSession"]

T = TypeVar("T")


class RealtimeSession(Verbs[T]):
    """A conversation between a human and a model, from ``async with`` to its end.

    ::

        async with RealtimeSession(agent, channel=channel) as session:
            session.send_message("Hello")
            async for event in session:
                ...

    Entering connects and configures; leaving closes, and nothing of the session is left running. A fatal failure leaves
    the ``async with`` as an exception, also while nobody iterates. An ``error`` event that nobody listens for (no
    ``error`` or ``event`` listener, no iterator) is fatal.

    The verbs (``send_message``, ``send_audio``, ``commit``, ``interrupt`` …) never wait: they may be called from any
    task of the event loop's thread, from a listener or from a tool. Each returns a
    :class:`~kernl_rt._session.command.Command` that may be awaited.

    A session is used once. Generic over the type of the user's own object in ``context``.
    """

    def __init__(
        self,
        agent: RealtimeAgent[T],
        *,
        model: RealtimeModel | None = None,
        channel: RealtimeChannel | None = None,
        transport: RealtimeTransport | None = None,
        context: Context[T] | T | None = None,
        credential: Credential | None = None,
        connect_options: ConnectOptions | None = None,
        recover_after: float | None = None,
        history: Iterable[ConversationItem] = (),
        guardrails: Sequence[Guardrail[T]] = (),
        hold_back: bool | float = False,
        reconnect: ReconnectPolicy | None = ReconnectPolicy(),
        dead_air: float | None = 15.0,
    ) -> None:
        """
        Args:
            agent: who speaks: instructions, voice, tools.
            model: overrides the agent's.
            channel: where the human's audio comes and goes; without one, feed :meth:`send_audio` and listen to
                ``audio``.
            transport: how to reach the model; the best WebSocket of the running backend where ``None``.
            context: the user's own object, or a :class:`~kernl_rt.Context` around it, for tools and instructions.
            credential: a short-lived key, used instead of the model's own.
            connect_options: time limit, headers, size limit, and configuration to lay over the agent's.
            recover_after: seconds. What sounds like speech then only pauses the reply; if no words, and no new reply,
                come within so long after it, it was noise, and the rest of the reply plays on. ``None``: speech always
                interrupts. Needs a channel.
            history: the conversation to go on with, as ``session.history`` or
                :func:`kernl_rt.history.load_history` give it. The model is told the words; sound of its own cannot be
                told, nor what nobody heard.
            guardrails: they read the model's replies, and stop what must not be said. See
                :class:`~kernl_rt.guardrail.Guardrail`.
            hold_back: ``True`` or seconds. A reply's audio is then neither played nor reported before the words that
                came ahead of it have passed all guardrails, the audio at its end not before its last words have; at
                most so many seconds (2 where ``True``), after which it goes on unchecked, and
                ``statistics().discarded`` counts it (``released_unchecked``). ``response.done`` waits for its audio.
            reconnect: what happens when the link is lost: the session dials again, and goes on where it stood
                (``status`` is ``reconnecting`` meanwhile). ``None``: it ends with
                :class:`~kernl_rt.exceptions.ConnectionClosed`.
            dead_air: seconds. While the provider owes something (the rest of a reply, the answer to a turn) it may be
                silent for so long; then the link counts as lost. ``None``: for ever.

        Raises:
            MisconfiguredError: no model, or a channel together with a transport that carries the audio itself.
        """
        if not isinstance(agent, RealtimeAgent):
            raise MisconfiguredError(f"the first argument is a RealtimeAgent, not a {type(agent).__name__}")
        chosen = model or agent.model
        if chosen is None:
            raise MisconfiguredError(f"agent {agent.id!r} has no model: give it one, or pass model= to the session")
        for name, value, port in (
            ("model", chosen, RealtimeModel),
            ("channel", channel, RealtimeChannel),
            ("transport", transport, RealtimeTransport),
        ):
            if value is not None and not isinstance(value, port):
                raise MisconfiguredError(f"{name}= takes a {port.__name__}, not a {type(value).__name__}")
        if channel is not None and transport is not None and transport.handles_audio:
            raise MisconfiguredError(
                "a channel and a transport that handles audio exclude each other: leave the channel out, "
                "or use a transport without audio"
            )
        self._agent = agent
        self._model = chosen
        self._channel = channel
        self._transport = transport
        self._credential = credential
        self._options = connect_options or ConnectOptions()
        if recover_after is not None and not recover_after > 0:
            raise MisconfiguredError(f"recover_after={recover_after!r} must be more than 0 seconds, or None")
        self._recover_after = recover_after
        if reconnect is not None and not isinstance(reconnect, ReconnectPolicy):
            raise MisconfiguredError(f"reconnect= takes a ReconnectPolicy or None, not a {type(reconnect).__name__}")
        if dead_air is not None and not dead_air > 0:
            raise MisconfiguredError(f"dead_air={dead_air!r} must be more than 0 seconds, or None")
        self._reconnect, self._dead_air = reconnect, dead_air
        self._history = _checked_history(history)
        self._guardrails = checked_guardrails(guardrails)
        self._hold_back = checked_hold_back(hold_back, self._guardrails)
        bound: Context[Any] = Context.of(context).bind(self, agent)
        self._context: Context[T] = bound
        self._changes = LiveChanges(chosen, self._options, bound, model is not None, [agent], agent)
        self._own_names = set()
        self._emitter = Emitter(watch.stall_clock)
        self._streams = Streams()
        self._watchdog = Watchdog(self._stuck)
        self._async_listeners = AsyncListeners(self._streams, self._notice, self._watchdog)
        self._recorder = Recorder()
        self._driver: Driver | None = None
        self._runner: Runner | None = None
        self._home: Home | None = None
        self._created_at = created_at()
        #: All but the awaited listeners has ended; and they, too.
        self._stopped, self._closed = Latch(), Latch()
        self._stack: AsyncExitStack | None = None
        self._bare: bare | None = None
        self._started = False

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def agent(self) -> RealtimeAgent[T]:
        """Who speaks: the agent that the session began with, until another has taken over."""
        return self._changes.current

    @property
    def model(self) -> RealtimeModel:
        return self._model

    @property
    def channel(self) -> RealtimeChannel | None:
        return self._channel

    @property
    def context(self) -> Context[T]:
        return self._context

    @property
    def id(self) -> str | None:
        """The provider's id of the session; ``None`` until connected."""
        return self._driver.machine.session_id if self._driver is not None else None

    @property
    def status(self) -> Status:
        if self._driver is None:
            return "closed" if self._closed.is_set() else "idle"
        return self._driver.machine.status

    @property
    def muted(self) -> bool:
        return self._driver.machine.muted if self._driver is not None else False

    @property
    def history(self) -> Sequence[ConversationItem]:
        """The conversation so far, in order, as far as it was heard."""
        return self._driver.machine.history if self._driver is not None else ()

    @property
    def config(self) -> SessionConfig:
        """What was said and accepted: the agent's configuration with all changes since; empty until connected."""
        return self._driver.machine.config if self._driver is not None else SessionConfig()

    @property
    def usage(self) -> Usage:
        """What the session has cost so far."""
        return self._driver.machine.usage if self._driver is not None else Usage()

    def statistics(self) -> SessionStatistics:
        """Every lane with its fill and its losses, now.

        Raises:
            SessionStateError: before connecting.
        """
        if self._driver is None:
            raise SessionStateError("a session has statistics once it has been connected")
        return statistics_of(self._driver)

    # -- recording ----------------------------------------------------------------------------------------------------

    @property
    def recording(self) -> Recording | None:
        """The newest recording of this session; ``None`` where :meth:`record` was never called."""
        return self._recorder.current

    def record(self, path: str | os.PathLike[str], *, title: str | None = None, overwrite: bool = False) -> Recording:
        """Record the conversation from now on into the folder ``path``; before connecting: from its beginning.

        Nothing is recorded without this call, so it is the place to ask for consent: call it when the human has agreed.
        The folder then holds ``audio.wav`` (left the human when it was captured, right the model when it was heard,
        never what was cleared), ``transcript.json`` (the words as heard, with times), ``events.jsonl`` and
        ``timeline.svg``, readable for the owner only. They are complete when the session has ended, and readable at any
        moment before. What is said while muted is not recorded.

        A disk that fails costs the recording, not the call: an ``error`` event whose ``source`` is ``"recording"``.

        Args:
            path: the folder, made where it is missing.
            title: stands in the transcript and over the timeline; the agent's id and the model's name where ``None``.
            overwrite: replace the recording that the folder holds.

        Raises:
            SessionStateError: the session is recorded already, is over, or lives in another thread or event loop.
            MisconfiguredError: both sides' rates differ, and soxr is not installed to make them one. Before connecting
                that, or a folder that cannot be recorded to, is raised where the session is entered.
        """
        return self._recorder.record(path, title, overwrite=overwrite)

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> RealtimeSession[T]:
        self._claim()
        self._stack = stack = AsyncExitStack()
        self._bare = stack.enter_context(bare())
        group = await stack.enter_async_context(anyio.create_task_group())
        try:
            await group.start(self._run)
        except BaseException as exc:
            # ``async with`` does not call __aexit__ when __aenter__ fails: unwind here, with the exception in flight.
            await stack.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._stack is not None
        assert self._bare is not None
        self._bare.body = error
        if kind is None:
            try:
                self.close()
            except BaseException as exc:  # of a listener's, which was told that the session closes
                await self._stack.__aexit__(type(exc), exc, exc.__traceback__)
                raise
        try:
            return await self._stack.__aexit__(kind, error, traceback)
        except CommandError as exc:
            # The body waited for an answer that the session's own failure took away: the failure is the news.
            if exc.__cause__ is None or self._driver is None or exc.__cause__ is not self._driver.error:
                raise
            fatal = self._driver.error
        raise fatal

    async def connect(self, task_group: TaskGroup) -> None:
        """Start the session in a task group that the caller owns; returns once it is connected.

        The session ends with :meth:`close`, or with the group. Its fatal errors are raised in the group.

        Raises:
            ConnectError: the subclass says what failed; nothing is left running.
            MisconfiguredError: the configuration cannot be; nothing was sent.
            SessionStateError: the session was used before.
        """
        self._claim()
        await task_group.start(self._run)

    def close(self, reason: str = "close requested") -> None:
        """Ask the session to end. Returns at once; callable from a tool, a listener or any task; idempotent.

        Raises:
            SessionStateError: before connecting, or from another thread, event loop or process.
        """
        if self._closed.is_set():
            return
        if self._runner is None or self._home is None:
            raise SessionStateError("close() before the session was connected")
        self._home.check("close")
        self._runner.close(reason)

    async def aclose(self, deadline: float = 5.0) -> bool:
        """Ask the session to end and wait until it has, at most ``deadline`` seconds.

        Returns whether it ended in time; what is left then is a tool or a listener that refuses to be cancelled, and
        ``session.stuck`` events and the log say where it waits. Called from one of the session's own tools or
        guardrails, it is cancelled with them. In an ``async def`` listener it waits for everything but the listeners.

        Raises:
            SessionStateError: before connecting, or from another thread, event loop or process.
        """
        self.close()
        ended = self._end
        with anyio.move_on_after(deadline):
            await _until(ended)
        return ended.is_set()

    async def wait_closed(self) -> None:
        """Wait until the session has ended, for whatever reason. Cancelling it changes nothing.

        In an ``async def`` listener it waits for everything but the listeners.

        Raises:
            SessionStateError: from another thread, event loop or process.
        """
        if self._home is not None and not self._closed.is_set():
            self._home.check("wait_closed")
        await _until(self._end)

    @property
    def _end(self) -> Latch:
        return self._stopped if self._async_listeners.running else self._closed

    def _claim(self) -> None:
        if self._started:
            raise SessionStateError("a session is connected once; make a new RealtimeSession for another conversation")
        self._started = True
        self._home = Home.here()

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        """The session's task: everything it owns lives and ends in here."""
        self._runner = runner = Runner(
            agent=self._agent,
            model=self._model,
            channel=self._channel,
            transport=self._transport,
            credential=self._credential,
            options=self._options,
            context=self._context,
            emitter=self._emitter,
            streams=self._streams,
            publish=self._publish,
            recover_after=self._recover_after,
            guardrails=self._guardrails,
            hold_back=self._hold_back,
            reconnect=self._reconnect,
            dead_air=self._dead_air,
            changes=self._changes,
            history=self._history,
        )
        left = unclosed(self, self._created_at)
        try:
            with bare():
                async with self._watchdog, self._recorder, self._async_listeners:
                    try:
                        await runner.run(task_status)
                    finally:
                        self._stopped.set()
                        self._watchdog.watch()
        finally:
            left.detach()
            self._closed.set()

    def _publish(self, driver: Driver) -> None:
        self._driver = driver
        driver.watchdog = self._watchdog
        self._recorder.attach(driver, self._model.name)

    def _stuck(self, event: SessionStuck) -> None:
        if self._driver is not None:
            self._driver.notice(event)

    def _notice(self, event: SessionError) -> None:
        if self._driver is not None:
            self._driver.feed(inputs.ErrorNoticed(event))

    def __repr__(self) -> str:
        return f"<RealtimeSession agent={self.agent.id!r} model={self._model.name!r} {self.status} id={self.id!r}>"


async def _until(event: Latch) -> None:
    """An event belongs to the event loop that it was first waited for in; what is over may be asked of in any."""
    if event.is_set():
        await anyio.lowlevel.checkpoint()
    else:
        await event.wait()


def _checked_history(items: Iterable[ConversationItem]) -> tuple[ConversationItem, ...]:
    history = tuple(items)
    for item in history:
        if not isinstance(item, get_args(ConversationItem)):
            raise MisconfiguredError(f"history holds a {type(item).__name__}: it takes the items of kernl_rt.items")
    return history
