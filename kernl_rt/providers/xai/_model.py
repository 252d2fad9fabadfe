"""xAI's voice models as a factory of connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar

from attrs import field, frozen

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.config import (
    Capabilities,
    ConnectOptions,
    Credential,
    ResponseConfig,
    Secret,
    SessionConfig,
    TurnDetection,
)
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    address,
    check_expiry,
)
from kernl_rt.providers._connection import CodecConnection
from kernl_rt.providers._dialect._secrets import mint
from kernl_rt.providers._keyed import KeyedModel
from kernl_rt.providers.xai._check import check_response, check_session
from kernl_rt.providers.xai._codec import XAICodec
from kernl_rt.providers.xai._config import FORMATS, LAYOUT

__all__ = ["XAIModel", "realtime"]

_BASE_URL = "https://api.x.ai/v1"
#: Until it is told otherwise, the service waits for commits; a session listens.
_LISTENING = SessionConfig(turn_detection=TurnDetection.server_vad())
#: attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies.
_formats: Any = FORMATS
_CAPABILITIES = Capabilities(
    input_formats=_formats,
    output_formats=_formats,
    can_truncate=False,
    text_output=False,
    image_input=False,
    answers_on_commit=True,
    can_resume=True,
    replays_on_resume=True,
    max_duration=3600.0,
)


def realtime(
    model: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    server_tools: Iterable[Mapping[str, Any]] = (),
    resumption: bool = True,
    insecure: bool = False,
) -> XAIModel:
    """A voice model of xAI: ``grok-voice-latest``, or one of its versions.

    The key is read from ``XAI_API_KEY`` when a session connects, if it is not given. ``base_url`` is
    ``https://api.x.ai/v1`` unless told. ``headers`` are added to every request and win over ours. ``config`` is laid
    under the configuration of every session.

    ``server_tools`` are tools that xAI calls by itself, as its session object has them (``{"type": "web_search"}``,
    ``{"type": "x_search"}``, ``{"type": "file_search", …}``); they stand beside the agent's own.

    ``resumption``: after a link was lost, go on with the conversation as xAI has kept it (for half an hour); what it
    has not kept is told again. ``False`` tells a new conversation all of it, as it was heard.

    Raises:
        MisconfiguredError: ``model`` is empty, or ``config`` asks for what xAI cannot do.
    """
    made = XAIModel(
        name=model,
        api_key=api_key,
        base_url=base_url,
        headers=headers or {},
        config=config or SessionConfig(),
        server_tools=server_tools,
        resumption=resumption,
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _tools(tools: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    given = tuple(tools)
    for tool in given:
        if not isinstance(tool, Mapping) or not isinstance(tool.get("type"), str):
            raise MisconfiguredError("server_tools is invalid: use mappings with a type, as {'type': 'web_search'}")
    return given


@frozen(kw_only=True)
class XAIModel(KeyedModel):
    """One model; see :func:`realtime`."""

    example: ClassVar[str] = "grok-voice-latest"
    key_variable: ClassVar[str] = "XAI_API_KEY"

    provider: str = field(default="xai", init=False, repr=False)
    server_tools: Sequence[Mapping[str, Any]] = field(default=(), converter=_tools, repr=False)
    resumption: bool = True
    capabilities: Capabilities = field(default=_CAPABILITIES, repr=False)

    def check(self, config: SessionConfig) -> None:
        check_session(self.config.merged(config))

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse a reply's wishes that this model cannot fulfil.

        Raises:
            MisconfiguredError: names the option, the mistake and the fix.
        """
        check_response(config)

    def _where(self, options: ConnectOptions) -> str:
        return self.url(options.resume)

    def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        defaults = self._defaults(resume=options.resume is not None)
        codec = XAICodec(defaults, server_tools=self.server_tools, redact=redact)
        return nullcontext(CodecConnection(stream, codec))

    def _defaults(self, *, resume: bool) -> SessionConfig:
        wanted = {"resumption": {"enabled": True}} if self.resumption or resume else {}
        return _LISTENING.merged(SessionConfig(extra=wanted)).merged(self.config)

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a client secret, which opens sessions until it expires.

        ``expires_after`` is 1 to 3600 seconds; xAI's default is 600.

        Raises:
            MisconfiguredError: no key, or ``expires_after`` is out of range.
            ConnectError: xAI refused; the subclass says why.
            ProtocolError: the answer holds no secret.
        """
        check_expiry(expires_after, 1, 3600)
        config = config or SessionConfig()
        self.check(config)
        session = {**LAYOUT.encode_session(self.config.merged(config)), "model": self.name}
        url = self._address(WEB_SCHEMES, "/realtime/client_secrets", {})
        self._check_secure(url)
        return await mint(url, self._headers(None, {}), session, expires_after, anchor=None)

    def url(self, resume: str | None = None) -> str:
        """Where a session connects to; ``resume`` names the conversation to go on with.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        return self._address(SOCKET_SCHEMES, "/realtime", {"model": self.name, "conversation_id": resume})

    def _address(self, schemes: Mapping[str, str], path: str, query: Mapping[str, str | None]) -> str:
        base = self.base_url or _BASE_URL
        return address(base, schemes, path, query.items(), called="base_url", example=_BASE_URL)
