"""What each part of checking a model begins with: a connection, and something to talk about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from attrs import define, field, frozen

from kernl_rt import events as ev
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import Capabilities, ConnectOptions, Credential, SessionConfig, ToolDefinition
from kernl_rt.testing._check_model_talk import CutReceive, Talk
from kernl_rt.testing._checking import require

__all__ = ["Prompts", "Provider", "Setup"]

#: Plays the provider until it is cancelled.
Provider = Callable[[RealtimeModel], Coroutine[Any, Any, None]]

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


@define
class Setup:
    """The models that are checked, and how."""

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

    @asynccontextmanager
    async def connected(self, model: RealtimeModel | None = None, *, cut: bool = False) -> AsyncIterator[Talk]:
        """A connection that is not configured yet, with its provider beside it."""
        model = model or self.factory()
        async with anyio.create_task_group() as tasks:
            if self.provider is not None:
                tasks.start_soon(self.provider, model)
            async with self.dial(model) as connection:
                require(isinstance(connection, RealtimeConnection), "connect() gives a RealtimeConnection")
                receive = CutReceive(connection).receive if cut else connection.receive
                yield Talk(connection, self.able, self.timeout, receive)
            tasks.cancel_scope.cancel()

    def dial(
        self, model: RealtimeModel, transport: RealtimeTransport | None = None
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        transport = transport or self.transport
        return model.connect(self.config, self.options, credential=self.credential, transport=transport)

    @property
    def text(self) -> SessionConfig:
        if not self.able.text_output:
            return self.config
        return self.config.merged(SessionConfig(output_modality="text"))

    @property
    def spoken(self) -> SessionConfig:
        return self.config.merged(SessionConfig(output_modality="audio"))

    async def speaking(self, talk: Talk) -> str | None:
        """A long reply that has begun to speak."""
        await talk.configure(self.spoken)
        await talk.write(self.prompts.long, "item_check")
        await talk.say(ev.ResponseCreate())
        created = await talk.until(ev.ResponseCreated)
        await talk.until(ev.AudioDelta)
        return created.response.id

    async def lives(self, talk: Talk, able: bool = True) -> None:
        """The connection still answers, whatever was asked of it; what it is not able to may be refused."""
        await talk.write("still there?", f"item_check_{len(talk.log)}", errors=not able)
