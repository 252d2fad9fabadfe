"""Eleven Realtime: ElevenLabs' own speech models, which speak OpenAI's protocol.

Sources: ElevenLabs' published notes for those who come from OpenAI's SDK, and what other clients of it do. Nothing here
has been recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from attrs import field, frozen

from kernl_rt.abc import MessageStream, RealtimeConnection
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
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    address,
    check_expiry,
    merged_headers,
    names_of,
)
from kernl_rt.providers._dialect._check import check_response, check_session
from kernl_rt.providers._dialect._codec import Dialect, OpenAICodec
from kernl_rt.providers._dialect._config import encode_session
from kernl_rt.providers._dialect._refusals import only, refuse
from kernl_rt.providers._dialect._secrets import mint
from kernl_rt.providers._dialect._wire import AUDIO_DELTA, CLIENT, SERVER
from kernl_rt.providers._keyed import KeyedModel
from kernl_rt.providers.elevenlabs._realtime_connection import KeptAlive, kept_alive

__all__ = ["ElevenRealtimeCodec", "ElevenRealtimeModel", "realtime"]

_BASE_URL = "https://api.elevenlabs.io"
_ROOT = "/v1/convai"
#: Seconds after which we say that we are there: the service gives up a client that is silent for 60.
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


@frozen(kw_only=True)
class ElevenRealtimeModel(KeyedModel):
    """One model; see :func:`realtime`."""

    example: ClassVar[str] = "eleven_realtime_v1_mini"
    key_variable: ClassVar[str] = "ELEVENLABS_API_KEY"

    provider: str = field(default="elevenlabs", init=False, repr=False)
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

    def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        codec = ElevenRealtimeCodec(self._defaults(), dialect=_ELEVEN, redact=redact)
        return kept_alive(KeptAlive(stream, codec, beat=_BEAT, interval=_BEAT_EVERY))

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
        check_expiry(expires_after, 1)
        config = config or SessionConfig()
        self.check(config)
        session = encode_session(self._defaults().merged(config))
        url = self._address(WEB_SCHEMES, "/realtime/client_secrets")
        self._check_secure(url)
        return await mint(url, self._headers(None, {}), session, expires_after)

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
        ours: dict[str, str | Secret] = {}
        if not names_of(self.headers, more) & {"xi-api-key", "authorization"}:
            ours = {"xi-api-key": self._key(None)} if secret is None else {"Authorization": self._bearer(secret)}
        return merged_headers(ours, self.headers, more)
