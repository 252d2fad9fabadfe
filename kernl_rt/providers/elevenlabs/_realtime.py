"""Eleven Realtime: ElevenLabs' own speech models, which speak OpenAI's protocol.

Sources: ElevenLabs' published notes for those who come from OpenAI's SDK, and what other clients of it do. Nothing here
has been recorded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import (
    PCM16_24K,
    Capabilities,
    ConnectOptions,
    Credential,
    ResponseConfig,
    Secret,
    SessionConfig,
    TurnDetection,
)
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, ProtocolError, SessionExpired
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    address,
    as_secret,
    check_secure,
    environment,
    secret_headers,
    usable_key,
    without_credentials,
)
from kernl_rt.providers._dialect._check import check_response, check_session
from kernl_rt.providers._dialect._codec import Dialect, OpenAICodec
from kernl_rt.providers._dialect._config import encode_session
from kernl_rt.providers._dialect._refusals import only, refuse
from kernl_rt.providers._dialect._secrets import minted
from kernl_rt.providers._dialect._wire import AUDIO_DELTA, CLIENT, SERVER
from kernl_rt.providers.elevenlabs._realtime_connection import KeptAlive, kept_alive

__all__ = ["ElevenRealtimeCodec", "ElevenRealtimeModel", "realtime"]

_BASE_URL = "https://api.elevenlabs.io"
_ROOT = "/v1/convai"
_INSECURE = "realtime(…, insecure=True)"
#: Seconds after which the service gives up a silent client, and after which we say that we are there.
IDLE_LIMIT = 60.0
_BEAT_EVERY = 25.0
_BEAT = '{"type":"input_audio_buffer.append","audio":""}'

_ELEVEN = Dialect(
    "Eleven Realtime",
    SERVER,
    CLIENT,
    audio=AUDIO_DELTA,
    aliases={"conversation.item.created": "conversation.item.added"},
    expired=("session_expired", "max_duration"),
)
#: Ten minutes, unless the account has another limit.
_CAPABILITIES = Capabilities(
    input_formats=[PCM16_24K],
    output_formats=[PCM16_24K],
    can_delete=False,
    manual_turns=False,
    image_input=False,
    max_duration=600.0,
)


class ElevenRealtimeCodec(OpenAICodec):
    """OpenAI's codec; the end of a session's time is told in the words of the close frame."""

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        meaning = super().closed(error)
        said = meaning.reason.lower()
        if "max" in said and "duration" in said and not isinstance(meaning, SessionExpired):
            return SessionExpired(meaning.code, meaning.reason)
        return meaning


def realtime(
    model: str = "eleven_realtime_v1_mini",
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> ElevenRealtimeModel:
    """A speech model of ElevenLabs: ``eleven_realtime_v1_mini``, or ``eleven_realtime_v1_max``, which thinks first.

    The key is read from ``ELEVENLABS_API_KEY`` when a session connects, if it is not given. ``base_url`` is
    ``https://api.elevenlabs.io`` unless told. ``headers`` are added to every request and win over ours. ``config`` is
    laid under the configuration of every session.

    Raises:
        MisconfiguredError: ``model`` is empty, or ``config`` asks for what the model cannot do.
    """
    made = ElevenRealtimeModel(
        name=model,
        api_key=api_key,
        base_url=base_url,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _named(_model: object, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise MisconfiguredError(f"model={name!r} is invalid: use a model's name, such as 'eleven_realtime_v1_mini'")


@frozen(kw_only=True)
class ElevenRealtimeModel(RealtimeModel):
    """One model; see :func:`realtime`."""

    provider: str = field(default="elevenlabs", init=False, repr=False)
    name: str = field(validator=_named)
    api_key: Secret | None = field(default=None, converter=as_secret)
    base_url: str | None = field(default=None, repr=lambda url: repr(without_credentials(url)))
    headers: Headers = field(factory=dict, converter=secret_headers, repr=False)
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    insecure: bool = field(default=False, repr=False)
    capabilities: Capabilities = field(default=_CAPABILITIES, repr=False)

    def check(self, config: SessionConfig) -> None:
        merged = self.config.merged(config)
        check_session(merged, self.name)
        for option in ("input_format", "output_format"):
            if getattr(merged, option) not in (None, PCM16_24K):
                raise refuse(option, str(getattr(merged, option)), f"use {PCM16_24K}")
        turn = merged.turn_detection
        if turn is not None and turn.mode != "semantic_vad":
            raise refuse(
                "turn_detection.mode", turn.mode, "Eleven Realtime listens by itself; use TurnDetection.semantic_vad()"
            )
        only("session", merged, "tracing prompt", "it is OpenAI's own; leave it out")

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse a reply's wishes that this model cannot fulfil.

        Raises:
            MisconfiguredError: names the option, the mistake and the fix.
        """
        check_response(config, self.name)
        if config.output_format not in (None, PCM16_24K):
            raise refuse("output_format", str(config.output_format), f"use {PCM16_24K}")

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
        url = self.url()
        headers = self._headers(None if credential is None else credential.secret, secret_headers(options.headers))
        if transport is None:
            from kernl_rt._transport.websocket import WebSocketTransport

            check_secure(url, insecure=self.insecure, how=_INSECURE)
            transport = WebSocketTransport()
        codec = ElevenRealtimeCodec(self._defaults(), dialect=_ELEVEN, redact=prepare_headers(headers).redact)
        async with transport.connect(url, headers=headers, max_message_size=options.max_message_size) as stream:
            connection = KeptAlive(stream, codec, beat=_BEAT, interval=_BEAT_EVERY)
            async with kept_alive(connection):
                yield connection

    def _defaults(self) -> SessionConfig:
        """The model is named in the session, not in the address."""
        return SessionConfig(turn_detection=TurnDetection.semantic_vad(), extra={"model": self.name}).merged(
            self.config
        )

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a client secret, which opens sessions until it expires.

        Raises:
            MisconfiguredError: no key, or ``expires_after`` is no number of seconds.
            ConnectError: ElevenLabs refused; the subclass says why.
            ProtocolError: the answer holds no secret.
        """
        from kernl_rt._transport.http import post_json

        if expires_after is not None and (type(expires_after) is not int or expires_after < 1):
            raise MisconfiguredError(f"expires_after={expires_after!r} is invalid: use a number of whole seconds")
        config = config or SessionConfig()
        self.check(config)
        body: dict[str, Any] = {"session": encode_session(self._defaults().merged(config))}
        if expires_after is not None:
            body["expires_after"] = {"anchor": "created_at", "seconds": expires_after}
        url = self._address(WEB_SCHEMES, "/realtime/client_secrets")
        check_secure(url, insecure=self.insecure, how=_INSECURE)
        credential = minted(await post_json(url, headers=self._headers(None, {}), json=body, timeout=30.0))
        if isinstance(credential, ProtocolError):
            raise credential
        return credential

    def url(self) -> str:
        """Where a session connects to.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        return self._address(SOCKET_SCHEMES, "/realtime")

    def _address(self, schemes: Mapping[str, str], path: str) -> str:
        base = (self.base_url or _BASE_URL).rstrip("/").removesuffix(_ROOT)
        return address(base, schemes, _ROOT + path, called="base_url", example=_BASE_URL)

    def _headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        """A key goes into ElevenLabs' own header, a minted secret where OpenAI's go."""
        given = {name.lower() for headers in (self.headers, more) for name in headers}
        ours: dict[str, str | Secret] = {}
        if not given & {"xi-api-key", "authorization"}:
            if secret is not None:
                ours["Authorization"] = Secret(f"Bearer {self._key(secret).reveal()}")
            else:
                ours["xi-api-key"] = self._key(None)
        overridden = {name.lower() for name in more}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in overridden}
        return {**ours, **kept, **more}

    def _key(self, secret: Secret | None) -> Secret:
        return usable_key(
            secret or self.api_key or as_secret(environment("ELEVENLABS_API_KEY")),
            how="set the environment variable ELEVENLABS_API_KEY, pass api_key=… to realtime(), or connect with "
            "credential=…",
        )
