"""A live voice session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, Unpack, get_args, overload

import anyio
import pybase64
from anyio.abc import TaskGroup, TaskStatus

from kernl_rt._core import inputs
from kernl_rt._emitter import Emitter, Listener
from kernl_rt._session.async_listeners import AsyncListeners
from kernl_rt._session.changes import ConfigChanges, LiveChanges
from kernl_rt._session.command import Command
from kernl_rt._session.driver import Driver
from kernl_rt._session.errors import bare
from kernl_rt._session.guardrails import checked_guardrails, checked_hold_back
from kernl_rt._session.images import image_message
from kernl_rt._session.runner import Runner
from kernl_rt._session.statistics import SessionStatistics, statistics_of
from kernl_rt._session.stream import BUFFER, EventStream, Policy, Streams
from kernl_rt.abc import RealtimeChannel, RealtimeModel, RealtimeTransport
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import ConnectOptions, Credential, ResponseConfig, SessionConfig
from kernl_rt.context import Context
from kernl_rt.events import ClientEvent, CustomEvent, RawClientEvent, Response, SessionError, Status, Usage
from kernl_rt.exceptions import CommandError, LaneFull, MisconfiguredError, SessionStateError
from kernl_rt.guardrail import Guardrail
from kernl_rt.items import ContentPart, ConversationItem, Message

__all__ = ["RealtimeSession"]

T = TypeVar("T")
ListenerT = TypeVar("ListenerT", bound=Callable[[Any], Any])


class RealtimeSession(Generic[T]):
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
    ) -> None:
        """
        Args:
            agent: who speaks: instructions, voice, tools.
            model: overrides the agent's.
            channel: where the human's audio comes and goes; without one, feed :meth:`send_audio` and listen to
            ``audio``. transport: how to reach the model; the best WebSocket of the running backend where ``None``.
            context: the user's own object, or a :class:`~kernl_rt.Context` around it, for tools and instructions.
            recover_after: seconds. What sounds like speech then only pauses the reply; if no words, and no new reply, come
                within so long after it, it was noise, and the rest of the reply plays on. ``None``: speech always
                interrupts. Needs a channel.
            history: the conversation to go on with, as ``session.history`` or :func:`kernl_rt.history.load_history` give
                it. The model is told the words; sound of its own cannot be told, nor what nobody heard.
            guardrails: they read the model's replies, and stop what must not be said. See
                :class:`~kernl_rt.guardrail.Guardrail`.
            hold_back: ``True`` or seconds. A reply's audio is then neither played nor reported before the words that
                came ahead of it have passed all guardrails, the audio at its end not before its last words have; at
                most so many seconds (2 where ``True``), after which it goes on unchecked, and
                ``statistics().discarded`` counts it (``released_unchecked``). ``response.done`` waits for its audio.
            credential: a short-lived key, used instead of the model's own.

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
        self._history = _checked_history(history)
        self._guardrails = checked_guardrails(guardrails)
        self._hold_back = checked_hold_back(hold_back, self._guardrails)
        bound: Context[Any] = Context.of(context).bind(self, agent)
        self._context: Context[T] = bound
        self._changes = LiveChanges(chosen, self._options, bound, model is not None, [agent], agent)
        self._emitter = Emitter()
        self._streams = Streams()
        self._async_listeners = AsyncListeners(self._streams, self._notice)
        self._driver: Driver | None = None
        self._runner: Runner | None = None
        self._closed = anyio.Event()
        self._stack: AsyncExitStack | None = None
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

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> RealtimeSession[T]:
        self._claim()
        self._stack = stack = AsyncExitStack()
        stack.enter_context(bare())
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
        if kind is None:
            self.close()
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
            SessionStateError: before connecting.
        """
        if self._runner is None:
            raise SessionStateError("close() before the session was connected")
        self._runner.close(reason)

    async def aclose(self, deadline: float = 5.0) -> bool:
        """Ask the session to end and wait until it has, at most ``deadline`` seconds.

        Returns whether it ended in time; what is left then is a tool that refuses to be cancelled. Called from one of
        the session's own tools, it is cancelled with the tool.

        Raises:
            SessionStateError: before connecting.
        """
        self.close()
        with anyio.move_on_after(deadline):
            await self._closed.wait()
        return self._closed.is_set()

    async def wait_closed(self) -> None:
        """Wait until the session has ended, for whatever reason. Cancelling it changes nothing."""
        await self._closed.wait()

    def _claim(self) -> None:
        if self._started:
            raise SessionStateError("a session is connected once; make a new RealtimeSession for another conversation")
        self._started = True

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
            changes=self._changes,
            history=self._history,
        )
        try:
            with bare():
                async with self._async_listeners:
                    await runner.run(task_status)
        finally:
            self._closed.set()

    def _publish(self, driver: Driver) -> None:
        self._driver = driver

    def _notice(self, event: SessionError) -> None:
        if self._driver is not None:
            self._driver.feed(inputs.ErrorNoticed(event))

    # -- verbs --------------------------------------------------------------------------------------------------------

    def send_message(self, text: str, *, reply: bool = True) -> Command[ConversationItem]:
        """Say something in writing, and ask for the reply to it (``reply=False``: do not ask).

        The message goes out at once, also while the model speaks; the reply follows the one that runs. The handle
        settles when the provider has taken the message.

        Raises:
            SessionStateError: not connected.
            LaneFull: too many commands wait for an answer; this one was not taken.
        """
        if not isinstance(text, str):
            raise MisconfiguredError(f"a message is text, not a {type(text).__name__}")
        item = Message("user", [ContentPart("input_text", text=text)])
        return self._command("send_message", lambda number: inputs.ItemSubmitted(number, item, reply))

    def send_item(self, item: ConversationItem, *, reply: bool = False) -> Command[ConversationItem]:
        """Add any item to the conversation, and ask for a reply to it if ``reply``. Raises as :meth:`send_message`."""
        return self._command("send_item", lambda number: inputs.ItemSubmitted(number, item, reply))

    def send_image(
        self,
        image: bytes | bytearray | memoryview | str,
        *,
        mime_type: str | None = None,
        detail: Literal["auto", "low", "high"] | None = None,
        text: str | None = None,
        reply: bool = True,
    ) -> Command[ConversationItem]:
        """Show the model a picture, with ``text`` before it, and ask for the reply to it.

        ``image`` is the bytes of a file (at most 10 MiB), a ``data:image/…;base64,`` URL, or an ``https:`` URL, which
        not every provider fetches. ``mime_type`` is found out for PNG, JPEG, GIF and WebP; OpenAI knows PNG and JPEG.
        ``detail`` says how closely the model looks. Raises as :meth:`send_message`, and

        Raises:
            MisconfiguredError: the model takes no images; or the image is too large or of an unknown kind.
        """
        if not self._model.capabilities.image_input:
            raise MisconfiguredError(
                f"{self._model.provider}'s {self._model.name} takes no images; describe it in words"
            )
        return self.send_item(image_message(image, mime_type, detail, text), reply=reply)

    async def ask(self, text: str) -> Response:
        """Send a message and wait for the whole reply to it, tool calls and the answer to them included.

        Cancelling it leaves the message in the conversation.

        Raises:
            CommandRejected: the provider refused the message, or failed to reply.
            CommandLost: the link ended first.
            CommandAborted: the session was closed first.
        """
        item = Message("user", [ContentPart("input_text", text=text)])
        command: Command[Response] = self._command(
            "ask", lambda number: inputs.ItemSubmitted(number, item, reply=True, ask=True)
        )
        return await command.settled()

    def send_audio(self, pcm: bytes | bytearray | memoryview | str) -> None:
        """Send sound of the human, in the session's input format; a ``str`` is base64. Nothing is sent while muted.

        Raises:
            SessionStateError: not connected.
            MisconfiguredError: ``pcm`` is neither bytes nor valid base64.
            LaneFull: more than 8 MiB wait for the link; this sound was not taken.
        """
        driver = self._live("send_audio")
        if isinstance(pcm, str):
            try:
                pcm = pybase64.b64decode(pcm, validate=True)
            except ValueError:
                raise MisconfiguredError(
                    "send_audio() got a str that is not base64; pass the bytes as they are"
                ) from None
        elif not isinstance(pcm, (bytes, bytearray, memoryview)):
            raise MisconfiguredError(f"send_audio() takes bytes or base64 text, not a {type(pcm).__name__}")
        if driver.outbox.full:
            raise LaneFull("8 MiB of audio wait for the link, which is stalled; this audio was not taken")
        driver.feed(inputs.AudioSubmitted(bytes(pcm)))

    def commit(self, *, reply: bool = True) -> Command[None]:
        """End the human's turn (push-to-talk) and ask for the reply (``reply=False``: do not ask).

        The handle settles when the provider has taken the turn, and is rejected where no audio was sent.

        Raises:
            SessionStateError: not connected.
            LaneFull: too many commands wait for an answer.
        """
        return self._command("commit", lambda number: inputs.TurnCommitted(number, reply))

    def request_reply(self, config: ResponseConfig | None = None) -> Command[Response]:
        """Ask for a reply without saying anything; the handle settles with it when it is over. Raises as ``commit``,
        and

        Raises:
            MisconfiguredError: the model cannot do what ``config`` asks.
        """
        if config is not None:
            self._model.check_response(config)
        return self._command("request_reply", lambda number: inputs.ReplyRequested(number, config))

    def interrupt(self) -> Command[None]:
        """Stop the reply: generation is cancelled, playback is cleared, and the item is cut at what was heard.

        Does nothing where nothing runs or plays. Raises as ``commit``.
        """
        return self._command("interrupt", inputs.InterruptRequested)

    def hang_up(self, *, after_playout: bool = True, timeout: float = 30.0) -> Command[bool]:
        """End the session when the goodbye has been heard, at most ``timeout`` seconds from now; or at once.

        The goodbye is over when no reply runs or is owed, no tool works, and nothing waits to be heard. A human who
        speaks meanwhile revokes it. The handle settles with whether the session ends. Raises as ``commit``.
        """
        return self._command("hang_up", lambda number: inputs.HangUpRequested(number, after_playout, timeout))

    def approve(self, call_id: str, *, always: bool = False) -> Command[None]:
        """Let a tool call run that waits for consent; ``always``: and every later call of that tool.

        The handle is rejected where no such call waits. Raises as ``commit``.
        """
        return self._command("approve", lambda number: inputs.ApprovalGiven(number, call_id, always))

    def reject(self, call_id: str, reason: str | None = None) -> Command[None]:
        """Refuse a tool call that waits for consent; the model is told ``reason``. As :meth:`approve` otherwise."""
        return self._command("reject", lambda number: inputs.ApprovalRefused(number, call_id, reason))

    def update(
        self, config: SessionConfig | None = None, /, **changes: Unpack[ConfigChanges]
    ) -> Command[SessionConfig]:
        """Change the configuration: ``session.update(instructions="…")``. What stays ``None`` stays as it is.

        Only what differs is sent; where nothing does, the handle settles at once. The change holds once the provider has
        accepted it: the handle then settles with the whole configuration. Changes are made one after the other, in the
        order in which they were asked for. To change what tools there are, use :meth:`update_agent`.

        Raises:
            SessionStateError: not connected.
            MisconfiguredError: an unknown option, or what the model cannot do; a voice other than the one that was
                heard; another audio format, once audio was heard or with a channel. Nothing was sent.
            LaneFull: too many commands wait for an answer.

        Awaiting the handle raises :class:`~kernl_rt.exceptions.CommandRejected` where the provider refuses, and
        :class:`~kernl_rt.exceptions.CommandLost` where it says nothing for 10 seconds; nothing has changed here then.
        """
        return self._changes.update(self._free("update"), config, changes)

    def update_agent(self, agent: RealtimeAgent[T], /) -> Command[SessionConfig]:
        """Let another agent speak: its instructions, its tools, and its voice where none was heard yet.

        As :meth:`update`: only what differs is sent, and the agent changes once the provider has accepted it (an
        ``agent.changed`` event). Tools that run go on to their end. The session keeps its model, its audio formats and
        what the new agent says nothing about. Instructions that are a function are called first; what they raise, the
        handle raises.
        """
        return self._changes.update_agent(self._free("update_agent"), agent)

    async def handoff(self, agent: RealtimeAgent[Any] | Callable[[], RealtimeAgent[Any]], /) -> RealtimeAgent[Any]:
        """What a :func:`~kernl_rt.handoff` tool does: :meth:`update_agent`, and wait until it is so.

        For tools of your own that decide to whom. A failure is also an ``error`` event. Returns the agent. Cancelling it
        does not take the change back.
        """
        return await self._changes.handoff(self._free("handoff"), agent)

    def mute(self) -> None:
        """From now on the human's sound is not sent. Raises :class:`SessionStateError` where not connected."""
        self._live("mute").feed(inputs.MuteChanged(True))

    def unmute(self) -> None:
        self._live("unmute").feed(inputs.MuteChanged(False))

    def activity_started(self) -> None:
        """Your own detector heard the human begin to speak: the reply is interrupted."""
        self._live("activity_started").feed(inputs.ActivityReported(True))

    def activity_ended(self) -> None:
        """Your own detector heard the human stop: with turn detection off, the turn is committed."""
        self._live("activity_ended").feed(inputs.ActivityReported(False))

    def send(self, event: ClientEvent | Mapping[str, Any]) -> Command[Any]:
        """Send any client event, or (a mapping) anything that the vocabulary lacks, as it is. Raises as ``commit``.

        A request for a reply still waits for its turn.
        """
        if isinstance(event, Mapping):
            event = RawClientEvent(dict(event))
        submitted = event
        return self._command("send", lambda number: inputs.EventSubmitted(number, submitted))

    def _command(self, verb: str, make: Callable[[int], inputs.Input]) -> Command[Any]:
        return self._free(verb).command(verb, make)

    def _free(self, verb: str) -> Driver:
        """The driver, if it can take a command."""
        driver = self._live(verb)
        if driver.machine.full:
            raise LaneFull(f"too many commands wait for the provider's answer; {verb}() was not taken")
        return driver

    def _live(self, verb: str) -> Driver:
        driver = self._driver
        if driver is None:
            raise SessionStateError(f"{verb}() before the session was connected: use it inside 'async with session'")
        driver.check_thread(verb)
        if not driver.machine.state.lifecycle.live:
            raise SessionStateError(f"{verb}() while the session is {driver.machine.status}")
        return driver

    # -- events -------------------------------------------------------------------------------------------------------

    @overload
    def on(self, topic: str, listener: Listener) -> RealtimeSession[T]: ...

    @overload
    def on(self, topic: str) -> Callable[[ListenerT], ListenerT]: ...

    def on(self, topic: str, listener: Listener | None = None) -> Any:
        """Call ``listener(event)`` for each event of ``topic``: a topic, a kind, or ``"event"`` for all. Chainable.

        Without ``listener``, a decorator. An ``async def`` listener is awaited, one event after the other, in a task of
        the session's. What a listener raises becomes an ``error`` event.
        """
        return self._register(topic, listener, once=False)

    @overload
    def once(self, topic: str, listener: Listener) -> RealtimeSession[T]: ...

    @overload
    def once(self, topic: str) -> Callable[[ListenerT], ListenerT]: ...

    def once(self, topic: str, listener: Listener | None = None) -> Any:
        """As :meth:`on`, for the next such event only."""
        return self._register(topic, listener, once=True)

    def _register(self, topic: str, listener: Listener | None, *, once: bool) -> Any:
        if not topic or not isinstance(topic, str):
            raise MisconfiguredError(f"a topic is a name such as 'audio' or 'event', not {topic!r}")
        if listener is None:

            def decorate(function: ListenerT) -> ListenerT:
                self._register(topic, function, once=once)
                return function

            return decorate
        if not callable(listener):
            raise MisconfiguredError(f"a listener is a function of one event, not a {type(listener).__name__}")
        if not self._async_listeners.add(topic, listener, once=once):
            self._emitter.on(topic, listener, once=once)
        return self

    def off(self, topic: str, listener: Listener) -> RealtimeSession[T]:
        """Remove a listener that ``on`` or ``once`` registered; one that is not registered is ignored. Chainable."""
        if not self._async_listeners.remove(topic, listener):
            self._emitter.off(topic, listener)
        return self

    def emit(self, event: str | CustomEvent, data: Any = None) -> RealtimeSession[T]:
        """Put an event of your own into the stream, in order with all others. Chainable.

        Raises:
            SessionStateError: not connected.
        """
        custom = event if isinstance(event, CustomEvent) else CustomEvent(event, data)
        self._live("emit").feed(inputs.EventEmitted(custom))
        return self

    def events(self, *topics: str, policy: Policy = "shed", buffer: int = BUFFER) -> EventStream:
        """An iterator over the events of ``topics`` (topics or kinds; all where none are named), from now on.

        Make it before connecting to see everything from the start. ``policy`` says what happens when its ``buffer`` (a
        number of events) is full: see :mod:`kernl_rt._session.stream`. It ends after the ``closed`` status.
        """
        return self._streams.open(topics, policy, buffer)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.events()

    def __repr__(self) -> str:
        return f"<RealtimeSession agent={self.agent.id!r} model={self._model.name!r} {self.status} id={self.id!r}>"


def _checked_history(items: Iterable[ConversationItem]) -> tuple[ConversationItem, ...]:
    history = tuple(items)
    for item in history:
        if not isinstance(item, get_args(ConversationItem)):
            raise MisconfiguredError(f"history holds a {type(item).__name__}: it takes the items of kernl_rt.items")
    return history
