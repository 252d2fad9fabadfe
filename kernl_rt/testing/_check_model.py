"""What every model must do, as one function to run over your own.

::

    @pytest.mark.anyio
    async def test_my_model_conforms():
        await check_model(lambda: MyModel(...), transport=...)

The far end is whatever you have: a simulator, a fake of your own, the service itself. Each part takes a fresh model
from the factory. A part that finds a fault raises ``AssertionError`` and says which promise of
:class:`~kernl_rt.abc.RealtimeModel` or :class:`~kernl_rt.abc.RealtimeConnection` was broken. Run it in virtual time
where the far end allows it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, evolve, field, frozen

from kernl_rt import events as ev
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import (
    AudioFormat,
    Capabilities,
    ConnectOptions,
    Credential,
    SessionConfig,
    ToolDefinition,
    TurnDetection,
)
from kernl_rt.exceptions import ConnectionClosed, ConnectRefusedError, MisconfiguredError, RealtimeError
from kernl_rt.testing._check_channel import _Bound, _leaves, _require
from kernl_rt.testing._check_model_link import Meddler, Meddling
from kernl_rt.testing._check_model_talk import CutReceive, Talk

__all__ = ["Prompts", "check_model"]

#: Plays the provider until it is cancelled.
Provider = Callable[[RealtimeModel], Coroutine[Any, Any, None]]

#: Leaving takes at most so long, in seconds: a polite goodbye is given two.
_LEAVING = 3.0
_OUTPUT = "Sunny, 21 degrees."
_WEATHER = ToolDefinition(
    "weather",
    "The current weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
_CHANGE = SessionConfig(instructions="Be brief.")


@frozen
class Prompts:
    """What to write to the model so that it does what a check is about.

    ``short``: a reply. ``long``: a reply that lasts long enough to be cancelled in its midst. ``tool``: a call of the
    function ``definition``. ``speech``: a turn of the human, in the input format. ``change``: what a running session is
    changed to, where it can be changed.
    """

    short: str = "hello"
    long: str = "tell me a story"
    tool: str = "what is the weather in Paris"
    definition: ToolDefinition = _WEATHER
    speech: bytes = field(default=b"\0\1\0\2" * 12_000, repr=False)
    change: SessionConfig = _CHANGE


async def check_model(
    factory: Callable[[], RealtimeModel],
    *,
    transport: RealtimeTransport | None = None,
    provider: Provider | None = None,
    config: SessionConfig | None = None,
    prompts: Prompts | None = None,
    options: ConnectOptions | None = None,
    credential: Credential | None = None,
    unknown_frame: str | bytes = '{"type": "kernl_rt.unknown", "event_id": "event_unknown"}',
    broken_frame: str | bytes = '{"type": "resp',
    strict: bool = True,
    timeout: float = 30.0,
) -> None:
    """Check that the models ``factory`` makes keep the promises of :class:`~kernl_rt.abc.RealtimeModel`.

    What a model says it cannot do (:class:`~kernl_rt.config.Capabilities`) is not asked of it, but must be harmless.

    Args:
        factory: makes a model; each may connect several times.
        transport: what the model dials with. Through it the suite breaks the link and forges frames; without one those
            parts are left out.
        provider: plays the provider for the model, in a task beside each part; ``None`` where it answers by itself.
        config: laid under the configuration of every part.
        prompts: what to say to the far end; the defaults suit kernl_rt's simulator.
        options, credential: passed to ``connect``.
        unknown_frame, broken_frame: a frame of an unknown type, and one that cannot be understood.
        strict: ``check`` is expected to refuse what the capabilities exclude.
        timeout: seconds for each wait that must end.

    Raises:
        AssertionError: a promise was broken; the message says which.
    """
    checks = _Checks(factory, transport, provider, config or SessionConfig(), prompts or Prompts(), timeout)
    checks.options, checks.credential = options or ConnectOptions(), credential
    checks.unknown_frame, checks.broken_frame, checks.strict = unknown_frame, broken_frame, strict
    checks.description()
    for part in checks.parts():
        name = part.__name__.replace("_", " ")
        left = _tasks()
        try:
            with _Bound("it", 20 * timeout):
                await part()
        except Exception as error:
            fault = _first(error)
            said = str(fault) if isinstance(fault, AssertionError) else f"{type(fault).__name__} came out: {fault}"
            raise AssertionError(f"{name}: {said}") from fault
        with anyio.move_on_after(_LEAVING):  # the far end may live in the same program, and needs a moment
            while _tasks() > left:  # noqa: ASYNC110 - a count, that nobody announces
                await anyio.sleep(0.01)
        _require(_tasks() <= left, f"{name}: a task is still running")


def _first(error: Exception) -> Exception:
    """A broken promise among the errors, if there is one."""
    if not isinstance(error, ExceptionGroup):
        return error
    leaves = [leaf for leaf in _leaves(error) if isinstance(leaf, Exception)]
    return next((leaf for leaf in leaves if isinstance(leaf, AssertionError)), leaves[0])


def _tasks() -> int:
    """How many tasks run in this event loop."""
    from kernl_rt._transport._backend import running_backend

    if running_backend() == "trio":
        import trio

        return trio.lowlevel.current_statistics().tasks_living
    import asyncio

    return len(asyncio.all_tasks())


@define
class _Checks:
    factory: Callable[[], RealtimeModel]
    transport: RealtimeTransport | None
    provider: Provider | None
    config: SessionConfig
    prompts: Prompts
    timeout: float
    options: ConnectOptions = field(factory=ConnectOptions)
    credential: Credential | None = None
    unknown_frame: str | bytes = ""
    broken_frame: str | bytes = ""
    strict: bool = True
    able: Capabilities = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.able = self.factory().capabilities

    def parts(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        able = self.able
        parts = [self.opening, self.two_at_once, self.a_written_turn, self.a_spoken_reply, self.a_tool_call]
        parts += [self.a_committed_turn] if able.manual_turns else []
        parts += [self.cancelling, self.truncating, self.deleting, self.updating]
        parts += [self.a_mistake_is_an_event, self.a_cancelled_receive]
        parts += [self.leaving, self.leaving_in_the_midst_of_a_reply]
        if self.transport is not None:
            parts += [self.strange_frames, self.the_far_end_leaves, self.the_link_breaks, self.a_refused_connection]
        return parts

    @asynccontextmanager
    async def connected(self, model: RealtimeModel | None = None, *, cut: bool = False) -> AsyncIterator[Talk]:
        """A connection that is not configured yet, with its provider beside it."""
        model = model or self.factory()
        async with anyio.create_task_group() as tasks:
            if self.provider is not None:
                tasks.start_soon(self.provider, model)
            async with self._dial(model) as connection:
                _require(isinstance(connection, RealtimeConnection), "connect() gives a RealtimeConnection")
                receive = CutReceive(connection).receive if cut else connection.receive
                yield Talk(connection, self.able, self.timeout, receive)
            tasks.cancel_scope.cancel()

    def _dial(
        self, model: RealtimeModel, transport: RealtimeTransport | None = None
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        transport = transport or self.transport
        return model.connect(self.config, self.options, credential=self.credential, transport=transport)

    # -- before anything is opened ------------------------------------------------------------------------------------

    def description(self) -> None:
        """Names and flags, and what ``check`` refuses."""
        model, able = self.factory(), self.able
        for name in (model.provider, model.name):
            _require(isinstance(name, str) and name != "", "a model says its provider and its name")
        _require(isinstance(able, Capabilities), "'capabilities' is a Capabilities")
        _require(bool(able.input_formats) and bool(able.output_formats), "a model knows at least one format each way")
        _require(able.max_duration is None or able.max_duration > 0, "'max_duration' is in seconds, or None")
        model.check(self.config)
        if not self.strict:
            return
        refused: list[tuple[bool, str, SessionConfig]] = [
            (True, "input_formats", SessionConfig(input_format=AudioFormat("pcm16", 12_345))),
            (True, "output_formats", SessionConfig(output_format=AudioFormat("pcm16", 12_345))),
            (not able.text_output, "text_output", SessionConfig(output_modality="text")),
            (not able.manual_turns, "manual_turns", SessionConfig(turn_detection=TurnDetection.off())),
        ]
        for excluded, flag, config in refused:
            if excluded:
                _refuses(model, self.config.merged(config), flag)

    # -- talking ------------------------------------------------------------------------------------------------------

    async def opening(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.config)
            named = [
                event.session.id for event in talk.log if isinstance(event, (ev.SessionCreated, ev.SessionUpdated))
            ]
            _require(all(name is None or isinstance(name, str) for name in named), "a session's id is text")

    async def two_at_once(self) -> None:
        """A model is a factory: its connections know nothing of each other."""
        model = self.factory()
        async with self.connected(model) as one, self.connected(model) as other:
            await one.configure(self.text)
            await other.configure(self.text)
            await one.write(self.prompts.short, "item_check_one")
            await other.ask(self.prompts.short, "item_check_other")
            await one.say(ev.ResponseCreate())
            await one.reply()
            made = [event.item.id for event in other.log if isinstance(event, ev.ItemCreated)]
            _require("item_check_one" not in made, "one connection heard what was said over the other")

    @property
    def text(self) -> SessionConfig:
        if not self.able.text_output:
            return self.config
        return self.config.merged(SessionConfig(output_modality="text"))

    async def a_written_turn(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            for number in range(2):
                done = await talk.ask(self.prompts.short, f"item_check_{number}")
                _require(done.response.status in ("completed", None), f"the reply ended as {done.response.status}")
                await talk.silence(done.response.id)
            if self.able.text_output:
                _require(any(isinstance(event, ev.TextDone) for event in talk.log), "a written reply is a TextDone")
                sounds = [event for event in talk.log if isinstance(event, ev.AudioDelta)]
                _require(not sounds, "a reply that was to be written was spoken")

    async def a_spoken_reply(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.spoken)
            done = await talk.ask(self.prompts.short, "item_check")
            self._is_sound(talk)
            await talk.silence(done.response.id)

    @property
    def spoken(self) -> SessionConfig:
        return self.config.merged(SessionConfig(output_modality="audio"))

    def _is_sound(self, talk: Talk) -> None:
        sounds = [event for event in talk.log if isinstance(event, ev.AudioDelta)]
        _require(bool(sounds), "a spoken reply has sound")
        _require(all(isinstance(event.audio, bytes) for event in sounds), "sound is decoded: bytes")
        format = self.config.output_format or self.able.output_formats[0]
        size = sum(len(event.audio) for event in sounds)
        _require(size % format.sample_width == 0, f"{size} bytes of sound are no whole samples of {format}")

    async def a_committed_turn(self) -> None:
        """Push-to-talk: sound, a commit, a reply."""
        async with self.connected() as talk:
            await talk.configure(self.spoken.merged(SessionConfig(turn_detection=TurnDetection.off())))
            speech = self.prompts.speech
            step = max(len(speech) // 10 // 2 * 2, 2)
            await talk.say(*(ev.AudioInputAppend(speech[at : at + step]) for at in range(0, len(speech), step)))
            await talk.say(ev.AudioInputCommit())
            await talk.until(ev.AudioInputCommitted)
            if not self.able.answers_on_commit:
                await talk.say(ev.ResponseCreate())
            await talk.reply()

    async def a_tool_call(self) -> None:
        definition = self.prompts.definition
        async with self.connected() as talk:
            await talk.configure(self.text.merged(SessionConfig(tools=[definition])))
            await talk.ask(self.prompts.tool, "item_check")
            calls = [event for event in talk.log if isinstance(event, ev.ToolCalled)]
            _require(len(calls) == 1, f"one call was due, {len(calls)} came")
            call = calls[0]
            _require(bool(call.call_id), "a call has an id")
            _require(call.name == definition.name, f"the call is named {call.name!r}, not {definition.name!r}")
            _require(
                _is_object(call.arguments), f"arguments are the text of a JSON object, not {call.arguments[:60]!r}"
            )
            _require(talk.log.index(call) < len(talk.log) - 1, "a call comes before the end of its reply")
            await talk.say(ev.ToolResult(call.call_id, _OUTPUT, "item_check_output", call.name))
            await talk.until(ev.ItemCreated, lambda event: getattr(event.item, "call_id", None) == call.call_id)
            if not self.able.continues_after_tools:
                await talk.say(ev.ResponseCreate())
            await talk.reply()

    async def _speaking(self, talk: Talk) -> str | None:
        """A long reply that has begun to speak."""
        await talk.configure(self.spoken)
        await talk.write(self.prompts.long, "item_check")
        await talk.say(ev.ResponseCreate())
        created = await talk.until(ev.ResponseCreated)
        await talk.until(ev.AudioDelta)
        return created.response.id

    async def cancelling(self) -> None:
        async with self.connected() as talk:
            name = await self._speaking(talk)
            await talk.say(ev.ResponseCancel(name))
            done = await talk.until(ev.ResponseDone, errors=not self.able.can_cancel)
            if self.able.can_cancel:
                _require(done.response.status == "cancelled", f"a cancelled reply ended as {done.response.status}")
            await talk.silence(name)
            await talk.ask(self.prompts.short, "item_check_after")

    async def truncating(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.spoken)
            await talk.ask(self.prompts.short, "item_check")
            sound = next(event for event in talk.log if isinstance(event, ev.AudioDelta))
            await talk.say(ev.ItemTruncate(sound.item_id, 10, sound.content_index or 0))
            if self.able.can_truncate:
                cut = await talk.until(ev.ItemTruncated)
                _require((cut.item_id, cut.audio_end_ms) == (sound.item_id, 10), f"another cut was confirmed: {cut!r}")
            await self._lives(talk, self.able.can_truncate)

    async def deleting(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.write("never mind", "item_check_gone")
            await talk.say(ev.ItemDelete("item_check_gone"))
            if self.able.can_delete:
                await talk.until(ev.ItemDeleted, lambda event: event.item_id == "item_check_gone")
            await self._lives(talk, self.able.can_delete)

    async def updating(self) -> None:
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.say(ev.SessionUpdate(self.prompts.change))
            if self.able.can_update and self.able.confirms_configuration:
                updated = await talk.until(ev.SessionUpdated)
                told, wanted = updated.session.config.instructions, self.prompts.change.instructions
                good = wanted is None or told in (None, wanted)
                _require(good, f"the configuration that was accepted says {told!r}")
            await self._lives(talk, self.able.can_update)

    async def _lives(self, talk: Talk, able: bool = True) -> None:
        """The connection still answers, whatever was asked of it; what it is not able to may be refused."""
        await talk.write("still there?", f"item_check_{len(talk.log)}", errors=not able)

    async def a_mistake_is_an_event(self) -> None:
        """What the provider refuses is told, and ends nothing."""
        async with self.connected() as talk:
            await talk.configure(self.text)
            await talk.say(ev.RawClientEvent({"type": "kernl_rt.mistake", "event_id": "event_check_mistake"}))
            await self._lives(talk, able=False)
            for error in (event for event in talk.log if isinstance(event, ev.SessionError)):
                _require(error.source == "provider", f"the provider's refusal is told as one of {error.source}")
                _require(error.message != "", "an error says what is wrong")

    async def a_cancelled_receive(self) -> None:
        """Whenever ``receive`` is cancelled, nothing is lost or doubled: the pieces still add up."""
        async with self.connected(cut=True) as talk:
            await talk.configure(self.spoken)
            for number in range(3):
                done = await talk.ask(self.prompts.short, f"item_check_{number}")
                await talk.silence(done.response.id)
            finals = sum(isinstance(event, (ev.OutputTranscript, ev.TextDone)) for event in talk.log)
            _require(finals >= 3, "a cancelled receive() lost the final words of a reply")

    # -- strange and broken -------------------------------------------------------------------------------------------

    async def strange_frames(self) -> None:
        """Unknown and broken frames are events; the next frame is handled as ever."""
        async with self._meddled() as (talk, link):
            await talk.configure(self.text)
            for frame, wanted in ((self.unknown_frame, ev.RawServerEvent), (self.broken_frame, ev.SessionError)):
                link.forge(frame)
                event = await talk.until(wanted, errors=True)
                if isinstance(event, ev.SessionError):
                    _require(event.source == "protocol", f"a broken frame is told as an error of {event.source}")
                await self._lives(talk)

    async def the_far_end_leaves(self) -> None:
        await self._ended(1000)
        await self._ended(1001)

    async def the_link_breaks(self) -> None:
        await self._ended(1006)

    async def _ended(self, code: int) -> None:
        """What came before is told first; then ``ConnectionClosed``, each time, also to who sends."""
        async with self._meddled() as (talk, link):
            await talk.configure(self.text)
            link.forge(self.unknown_frame)
            link.close(code)
            await talk.until(ev.RawServerEvent)
            for call in (talk.hear, talk.hear, lambda: talk.say(ev.ResponseCreate())):
                try:
                    with _Bound(f"the end of a link that was closed with {code}", self.timeout):
                        await call()
                except ConnectionClosed as closed:
                    _require(closed.code == code, f"the link was closed with {code}, and {closed.code} was told")
                    continue
                except RealtimeError as error:
                    raise AssertionError(f"the end of the link is a ConnectionClosed, not {error!r}") from error
                raise AssertionError("after the end of the link receive() and send() raise ConnectionClosed")

    async def a_refused_connection(self) -> None:
        """What the transport says comes out as it is, and nothing stays open."""
        assert self.transport is not None
        refusal = ConnectRefusedError("nobody listens")
        try:
            async with self._dial(self.factory(), Meddling(self.transport, refusal=refusal)):
                pass
        except ConnectRefusedError as error:
            _require(error is refusal, "the transport's error comes out as it is")
            return
        raise AssertionError("connect() hid that nobody listens")

    @asynccontextmanager
    async def _meddled(self) -> AsyncIterator[tuple[Talk, Meddler]]:
        assert self.transport is not None
        meddling = Meddling(self.transport)
        checks = evolve(self, transport=meddling)
        async with checks.connected() as talk:
            _require(len(meddling.links) == 1, "connect() dials with the transport that it is given, once")
            yield talk, meddling.links[0]
        _require(meddling.open == 0, "leaving closes the link")

    # -- leaving ------------------------------------------------------------------------------------------------------

    async def leaving(self) -> None:
        """By an exception or a cancellation, which come out as they went in; soon, and with the link closed."""
        await self._left(lambda talk: talk.configure(self.text))

    async def leaving_in_the_midst_of_a_reply(self) -> None:
        await self._left(self._speaking)

    async def _left(self, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        meddling = Meddling(self.transport) if self.transport is not None else None
        for way in (self._by_an_exception, self._by_a_cancellation):
            model = self.factory()
            async with anyio.create_task_group() as tasks:
                if self.provider is not None:
                    tasks.start_soon(self.provider, model)
                await way(self._dial(model, meddling), first)
                tasks.cancel_scope.cancel()
            _require(meddling is None or meddling.open == 0, "leaving closes the link")

    async def _by_an_exception(self, dialled: Any, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        mistake = LookupError("of the body")
        start = anyio.current_time()
        try:
            async with dialled as connection:
                await first(Talk(connection, self.able, self.timeout, connection.receive))
                start = anyio.current_time()
                raise mistake
        except LookupError as error:
            _require(error is mistake, "an exception of the body comes out as it is")
        except BaseExceptionGroup as group:
            raise AssertionError("an exception of the body comes out as it is, not in a group") from group
        else:
            raise AssertionError("an exception of the body was swallowed")
        _require(anyio.current_time() - start <= _LEAVING, f"leaving took more than {_LEAVING:g} seconds")

    async def _by_a_cancellation(self, dialled: Any, first: Callable[[Talk], Coroutine[Any, Any, Any]]) -> None:
        start = anyio.current_time()
        with anyio.CancelScope() as scope:
            async with dialled as connection:
                await first(Talk(connection, self.able, self.timeout, connection.receive))
                start = anyio.current_time()
                scope.cancel()
                while True:  # until the cancellation comes through, whatever is still said
                    await connection.receive()
                    await checkpoint()
        _require(scope.cancelled_caught, "a cancellation was swallowed")
        _require(anyio.current_time() - start <= _LEAVING, f"leaving took more than {_LEAVING:g} seconds")


def _refuses(model: RealtimeModel, config: SessionConfig, flag: str) -> None:
    try:
        model.check(config)
    except MisconfiguredError as error:
        _require(str(error) != "", "a refusal names the mistake and the fix")
        return
    raise AssertionError(f"check() refuses what '{flag}' excludes, with MisconfiguredError")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except ValueError:
        return False
