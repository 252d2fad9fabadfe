"""OpenAI's Live models as a factory of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import quote

from attrs import field, frozen

from kernl_rt._transport._scope import bare_task_group
from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.config import Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import ConnectError, HandshakeError, MisconfiguredError, ModelNotFoundError
from kernl_rt.providers._access import SOCKET_SCHEMES, Headers
from kernl_rt.providers.openai._live_codec import PAUSE, LiveCodec
from kernl_rt.providers.openai._live_config import FORMATS, Delegation, check_live, check_live_response
from kernl_rt.providers.openai._live_connection import LiveConnection
from kernl_rt.providers.openai._model import OpenAIModel

__all__ = ["LiveModel", "live"]

#: Seconds: ``expires_at`` is two hours after the start.
_LONGEST = 7_200.0
#: attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies.
_formats: Any = FORMATS


def live(
    model: str = "gpt-live-1",
    *,
    backend: str | Mapping[str, Any] | None = None,
    delegate: str = "delegate",
    store: bool = False,
    pause: float = PAUSE / 1000,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> LiveModel:
    """A full-duplex model of OpenAI's Live API: it hears and speaks at the same time, and nobody takes turns.

    Args:
        backend: the model behind it that thinks and calls the agent's tools: its name, or a whole ``responses`` object
            (``{"model": …, "instructions": …}``). ``None``: where the agent has tools, ``gpt-6-luna``, as in OpenAI's
            guide; where it has none, or only ``delegate``, the client does the work.
        delegate: without a backend, the name of the agent's tool that does the work which the model hands over. Where
            it has a parameter ``request``, that is what the human said; what it returns is spoken.
        store: the provider keeps the session, so that a lost link is followed by a fork of it instead of a new one.
        pause: seconds of silence that end a reply, or the human's turn. The wire says nothing of ends: this is what
            replies and final transcripts are inferred from.
        api_key, base_url, organization, project, headers, config, insecure: as in :func:`realtime`, from the same
            environment variables.

    Raises:
        MisconfiguredError: ``model``, ``backend`` or ``pause`` cannot be, or ``config`` asks for what Live cannot do.
    """
    made = LiveModel(
        name=model,
        backend=backend,
        delegate=delegate,
        store=store,
        pause=pause,
        api_key=api_key,
        base_url=base_url,
        organization=organization,
        project=project,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _backend(_model: object, _attribute: object, backend: Any) -> None:
    name = backend.get("model") if isinstance(backend, Mapping) else backend
    if backend is not None and not (isinstance(name, str) and name.strip()):
        raise MisconfiguredError(
            f"backend={backend!r} is invalid: use a model's name, or a mapping with that under 'model'"
        )


def _pause(_model: object, _attribute: object, pause: Any) -> None:
    if isinstance(pause, bool) or not isinstance(pause, (int, float)) or not 0.1 <= pause <= 60:
        raise MisconfiguredError(f"pause={pause!r} is invalid: use 0.1 to 60 seconds")


def _capabilities(model: Any) -> Capabilities:
    return Capabilities(
        input_formats=_formats,
        output_formats=_formats,
        can_cancel=False,
        can_truncate=False,
        can_delete=False,
        manual_turns=False,
        text_output=False,
        image_input=False,
        continues_after_tools=True,
        synthesises_turns=True,
        can_resume=model.store or model.config.extra.get("store") is True,
        full_duplex=True,
        mutes_on_wire=True,
        max_duration=_LONGEST,
    )


@frozen(kw_only=True)
class LiveModel(OpenAIModel):
    """One model; see :func:`live`."""

    factory: ClassVar[str] = "live"
    example: ClassVar[str] = "gpt-live-1"

    backend: str | Mapping[str, Any] | None = field(default=None, validator=_backend)
    delegate: str = "delegate"
    store: bool = False
    pause: float = field(default=PAUSE / 1000, validator=_pause)
    capabilities: Capabilities = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "capabilities", _capabilities(self))

    @property
    def delegation(self) -> Delegation:
        backend = {"model": self.backend} if isinstance(self.backend, str) else self.backend
        return Delegation(backend, self.delegate)

    def check(self, config: SessionConfig) -> None:
        whole = self.config.merged(config)
        check_live(whole, self.name, self.delegation.chosen(whole))

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse a reply's wishes: the Live model can be told what to say, and nothing else.

        Raises:
            MisconfiguredError: names the option and the fix.
        """
        check_live_response(config)

    def _where(self, options: ConnectOptions) -> str:
        return self.url(options.resume)

    @asynccontextmanager
    async def _opened(
        self, dialled: AbstractAsyncContextManager[MessageStream], options: ConnectOptions
    ) -> AsyncIterator[MessageStream]:
        async with AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(dialled)
            except (ModelNotFoundError, HandshakeError) as error:
                if options.resume is None:
                    raise
                # The session is not there to be forked any more: the next attempt begins a new one.
                raise ConnectError(f"the session cannot be forked: {error}", status=error.status) from error
            yield stream

    @asynccontextmanager
    async def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AsyncIterator[RealtimeConnection]:
        whole = self.config.merged(config)
        codec = LiveCodec(
            self.name,
            delegation=self.delegation,
            defaults=self.config,
            store=self.store,
            resume=options.resume is not None,
            pause=self.pause * 1000,
            redact=redact,
        )
        connection = LiveConnection(stream, codec, whole.input_format or whole.output_format or FORMATS[0])
        try:
            async with bare_task_group() as tasks:
                tasks.start_soon(connection.keep_going, name="kernl_rt live timeline")
                try:
                    yield connection
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            await connection.aclose()

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Live mints no short-lived credentials for WebSockets.

        Raises:
            MisconfiguredError: always.
        """
        raise MisconfiguredError("OpenAI Live mints no short-lived credentials: connect from a server, with the key")

    def url(self, resume: str | None = None) -> str:
        """Where a session connects to; with ``resume``, a fork of that stored session.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        fork = "" if resume is None else f"/{quote(resume, safe='')}/fork"
        return self._address(SOCKET_SCHEMES, f"/live/sessions{fork}", None)
