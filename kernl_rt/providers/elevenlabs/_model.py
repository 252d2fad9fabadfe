"""Agents of ElevenLabs as factories of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers, redact
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import (
    PCM16_16K,
    AudioFormat,
    Capabilities,
    ConnectOptions,
    Credential,
    ResponseConfig,
    Secret,
    SessionConfig,
)
from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    as_secret,
    base_parts,
    check_secure,
    environment,
    merged_headers,
    possible_key,
    secret_headers,
    transport_to,
    without_credentials,
)
from kernl_rt.providers.elevenlabs._codec import AgentsCodec
from kernl_rt.providers.elevenlabs._config import Options, check_format, check_response, check_session
from kernl_rt.providers.elevenlabs._connection import AgentsConnection

__all__ = ["ElevenLabsAgent", "agent"]

_BASE_URL = "https://api.elevenlabs.io"
_PATH = "/v1/convai/conversation"
#: How long a signed URL opens conversations; the service does not say it.
_SIGNED_FOR = timedelta(minutes=15)


def agent(
    agent_id: str,
    *,
    api_key: str | Secret | None = None,
    public: bool = False,
    first_message: str | None = None,
    language: str | None = None,
    dynamic_variables: Mapping[str, str | float | bool] | None = None,
    custom_llm_extra_body: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    environment: str | None = None,
    branch_id: str | None = None,
    input_format: AudioFormat = PCM16_16K,
    output_format: AudioFormat = PCM16_16K,
    max_duration: float | None = None,
    base_url: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> ElevenLabsAgent:
    """An agent that was set up at ElevenLabs.

    With a key (``api_key``, else the environment variable ``ELEVENLABS_API_KEY``) each session asks for a signed URL,
    which private agents need; without one, or with ``public=True``, the agent is reached by its id.

    ``first_message`` and ``language`` are *overrides*, as are the instructions, voice, speed, language, keywords,
    reasoning effort and ``output_modality="text"`` of a session's configuration: the agent's security settings have to
    allow each. What is not said is left to the agent; instructions that are empty are not said. ``dynamic_variables``
    fill the placeholders of the agent's prompt. ``custom_llm_extra_body``, ``user_id``, ``environment`` and
    ``branch_id`` go along as they are.

    ``input_format`` and ``output_format`` say what the agent *is* set to (PCM16 at 16 kHz where nothing was changed); a
    session in which it turns out to speak another is refused. ``max_duration``: seconds after which the agent ends a
    conversation, if you want the link to be changed before. ``config`` is laid under the configuration of every
    session. ``base_url`` (default ``https://api.elevenlabs.io``) is where the service is; without TLS it is taken for
    this machine only, unless ``insecure=True``.

    Raises:
        MisconfiguredError: ``agent_id`` is empty, a format is none that an agent can have, or ``config`` asks for what
            an agent cannot be told.
    """
    options = Options(
        first_message=first_message,
        language=language,
        dynamic_variables=dynamic_variables,
        custom_llm_extra_body=custom_llm_extra_body,
        user_id=user_id,
        environment=environment,
        branch_id=branch_id,
    )
    made = ElevenLabsAgent(
        name=agent_id,
        api_key=api_key,
        public=public,
        options=options,
        input_format=input_format,
        output_format=output_format,
        max_duration=max_duration,
        base_url=base_url or _BASE_URL,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _named(_model: object, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise MisconfiguredError(f"agent_id={name!r} is invalid: use an agent's id, such as 'agent_01…'")


def _lasting(_model: object, _attribute: object, seconds: Any) -> None:
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0):
        raise MisconfiguredError(f"max_duration={seconds!r} is invalid: use seconds above 0, or None")


def _format(_model: object, attribute: Any, format: Any) -> None:
    check_format(attribute.name, format)


def _formats(format: AudioFormat) -> Any:
    """attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies."""
    return (format,)


@frozen(kw_only=True)
class ElevenLabsAgent(RealtimeModel):
    """One agent; see :func:`agent`."""

    provider: str = field(default="elevenlabs", init=False, repr=False)
    name: str = field(validator=_named)
    api_key: Secret | None = field(default=None, converter=as_secret)
    public: bool = False
    options: Options = field(factory=Options, repr=False)
    input_format: AudioFormat = field(default=PCM16_16K, validator=_format, repr=False)
    output_format: AudioFormat = field(default=PCM16_16K, validator=_format, repr=False)
    max_duration: float | None = field(default=None, validator=_lasting, repr=False)
    base_url: str = field(default=_BASE_URL, repr=lambda url: repr(without_credentials(url)))
    headers: Headers = field(factory=dict, converter=secret_headers, repr=False)
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    insecure: bool = field(default=False, repr=False)
    capabilities: Capabilities = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        able = Capabilities(
            input_formats=_formats(self.input_format),
            output_formats=_formats(self.output_format),
            can_cancel=False,
            can_truncate=False,
            can_delete=False,
            can_update=False,
            manual_turns=False,
            image_input=False,
            answers_on_message=True,
            # The agent goes on by itself, but the codec opens its reply when it is asked for, as for all others.
            continues_after_tools=False,
            synthesises_turns=True,
            confirms_configuration=False,
            max_duration=self.max_duration,
        )
        object.__setattr__(self, "capabilities", able)

    def check(self, config: SessionConfig) -> None:
        check_session(self.config.merged(config), self.input_format, self.output_format)

    def check_response(self, config: ResponseConfig) -> None:
        """A single reply takes no wishes.

        Raises:
            MisconfiguredError: there are some.
        """
        check_response(config)

    @asynccontextmanager
    async def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AsyncIterator[RealtimeConnection]:
        self.check(config)
        # The URL is a secret as long as it is held in a variable.
        url = await self._where(credential, options.timeout)
        transport = transport_to(url.reveal(), transport, insecure=self.insecure, factory="agent", called="URL")
        headers = merged_headers({}, self.headers, secret_headers(options.headers))
        limit = options.max_message_size
        async with transport.connect(url.reveal(), headers=headers, max_message_size=limit) as stream:
            yield AgentsConnection(stream, self._codec(_redactor(url, self._key(), headers)))

    def _codec(self, redact: Callable[[str], str]) -> AgentsCodec:
        return AgentsCodec(
            self.options,
            defaults=self.config,
            input_format=self.input_format,
            output_format=self.output_format,
            redact=redact,
        )

    async def _where(self, credential: Credential | None, timeout: float) -> Secret:
        """The address of a conversation: a signed one, where there is a credential or a key."""
        if credential is not None:
            return _signed(credential.secret)
        if self.public or self._key() is None:
            return Secret(self.url())
        return (await self._sign(timeout)).secret

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Ask for a signed URL, which opens a conversation with this agent: pass it as ``credential=``.

        It is good for about 15 minutes. It holds no configuration: whoever opens the conversation says what the agent's
        settings let them say.

        Raises:
            MisconfiguredError: no key, or ``expires_after`` is given, which is the service's to decide.
            ConnectError: ElevenLabs refused; the subclass says why.
            ProtocolError: the answer holds no URL.
        """
        if expires_after is not None:
            raise MisconfiguredError("expires_after: ElevenLabs decides how long a signed URL lives; leave it out")
        self.check(config or SessionConfig())
        return await self._sign(30.0)

    async def _sign(self, timeout: float) -> Credential:
        from kernl_rt._transport.http import get_json

        key = self._key()
        if key is None:
            raise MisconfiguredError(
                "no API key: set the environment variable ELEVENLABS_API_KEY, or pass api_key=… to agent()"
            )
        url = Secret(self._address(WEB_SCHEMES, f"{_PATH}/get-signed-url"))
        check_secure(url.reveal(), insecure=self.insecure, factory="agent", called="URL")
        headers = merged_headers({"xi-api-key": key}, self.headers, {})
        minted = _credential(await get_json(url.reveal(), headers=headers, timeout=timeout))
        if isinstance(minted, ProtocolError):
            raise minted
        return minted

    def url(self) -> str:
        """Where a conversation with a public agent is opened.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        return self._address(SOCKET_SCHEMES, _PATH)

    def _address(self, schemes: Mapping[str, str], path: str) -> str:
        parts = base_parts(self.base_url, schemes, called="base_url", example=_BASE_URL)
        about = {"agent_id": self.name, "environment": self.options.environment, "branch_id": self.options.branch_id}
        query = parse_qsl(parts.query, keep_blank_values=True)
        query += [(name, value) for name, value in about.items() if value is not None]
        above = parts.path.rstrip("/")
        return urlunsplit((schemes[parts.scheme], parts.netloc, above + path, urlencode(query), ""))

    def _key(self) -> Secret | None:
        return possible_key(self.api_key if self.api_key is not None else as_secret(environment("ELEVENLABS_API_KEY")))


def _signed(secret: Secret) -> Secret:
    if not secret.reveal().startswith(("wss://", "ws://")):
        raise MisconfiguredError("credential= must hold a signed URL (wss://…), as authenticate() gives one")
    return secret


def _redactor(url: Secret, key: Secret | None, headers: Headers) -> Callable[[str], str]:
    """Takes out of a text what must not be repeated: the key, the headers, and what the address is signed with."""
    in_headers = prepare_headers(headers).redact
    hidden = [] if key is None else [key]
    for name, value in parse_qsl(urlsplit(url.reveal()).query):
        if name not in ("agent_id", "environment", "branch_id") and len(value) > 7:
            hidden.append(Secret(value))
    return lambda text: redact(in_headers(text), [secret.reveal() for secret in hidden])


def _credential(answer: Mapping[str, Any]) -> Credential | ProtocolError:
    """Returns the error, because the variables of a frame that raises are shown by some, and here one is the secret."""
    url = answer.get("signed_url")
    if not isinstance(url, str) or not url.startswith(("wss://", "ws://")):
        return ProtocolError("the answer of get-signed-url holds no signed_url")
    return Credential(url, datetime.now(tz=UTC) + _SIGNED_FOR)
