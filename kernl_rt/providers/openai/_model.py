"""OpenAI's Realtime models as a factory of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError, ProtocolError
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
from kernl_rt.providers._connection import CodecConnection
from kernl_rt.providers._dialect._check import FORMATS, check_response, check_session
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.providers._dialect._config import encode_session
from kernl_rt.providers._dialect._secrets import minted

__all__ = ["OpenAIModel", "realtime"]

_BASE_URL = "https://api.openai.com/v1"
_INSECURE = "realtime(…, insecure=True)"

#: attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies.
_formats: Any = FORMATS
#: A session ends after 60 minutes.
_CAPABILITIES = Capabilities(input_formats=_formats, output_formats=_formats, max_duration=3600.0, echoes_metadata=True)


def realtime(
    model: str,
    *,
    api_key: str | Secret | None = None,
    base_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> OpenAIModel:
    """A realtime model of OpenAI, or of a service that speaks its protocol at ``base_url``.

    What is not given is read from the environment when a session connects, as the official SDK names it:
    ``OPENAI_API_KEY``, ``OPENAI_BASE_URL`` (default ``https://api.openai.com/v1``), ``OPENAI_ORG_ID`` and
    ``OPENAI_PROJECT_ID``. ``headers`` are added to every request and win over ours. ``config`` is laid under the
    configuration of every session.

    A base URL without TLS (``http``, ``ws``) is taken for this machine only: a key must not cross a network in the
    open. ``insecure=True`` allows it (inside a cluster, say), and so does handing a transport to the session.

    Raises:
        MisconfiguredError: ``model`` is empty, or ``config`` asks for what the model cannot do.
    """
    made = OpenAIModel(
        name=model,
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


def _named(_model: object, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise MisconfiguredError(f"model={name!r} is invalid: use a model's name, such as 'gpt-realtime-2.1'")


@frozen(kw_only=True)
class OpenAIModel(RealtimeModel):
    """One model; see :func:`realtime`."""

    provider: str = field(default="openai", init=False, repr=False)
    name: str = field(validator=_named)
    api_key: Secret | None = field(default=None, converter=as_secret)
    base_url: str | None = field(default=None, repr=lambda url: repr(without_credentials(url)))
    organization: str | None = None
    project: str | None = None
    headers: Headers = field(factory=dict, converter=secret_headers, repr=False)
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    insecure: bool = field(default=False, repr=False)
    capabilities: Capabilities = field(default=_CAPABILITIES, repr=False)

    def check(self, config: SessionConfig) -> None:
        check_session(self.config.merged(config), self.name)

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse a reply's wishes that this model cannot fulfil.

        Raises:
            MisconfiguredError: names the option, the mistake and the fix.
        """
        check_response(config, self.name)

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
        async with transport.connect(url, headers=headers, max_message_size=options.max_message_size) as stream:
            yield CodecConnection(stream, OpenAICodec(self.config, redact=prepare_headers(headers).redact))

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a client secret, which opens sessions (one or many) until it expires.

        ``expires_after`` is 10 to 7200 seconds; OpenAI's default is 600.

        Raises:
            MisconfiguredError: no key, or ``expires_after`` is out of range.
            ConnectError: OpenAI refused; the subclass says why.
            ProtocolError: the answer holds no secret.
        """
        from kernl_rt._transport.http import post_json

        if expires_after is not None and (type(expires_after) is not int or not 10 <= expires_after <= 7200):
            raise MisconfiguredError(f"expires_after={expires_after!r} is invalid: use 10 to 7200 whole seconds")
        config = config or SessionConfig()
        self.check(config)
        body: dict[str, Any] = {"session": {**encode_session(self.config.merged(config)), "model": self.name}}
        if expires_after is not None:
            body["expires_after"] = {"anchor": "created_at", "seconds": expires_after}
        url = self._address(WEB_SCHEMES, "/realtime/client_secrets", None)
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
        return self._address(SOCKET_SCHEMES, "/realtime", self.name)

    def _address(self, schemes: Mapping[str, str], path: str, model: str | None) -> str:
        base = self.base_url or environment("OPENAI_BASE_URL") or _BASE_URL
        called = "base_url or OPENAI_BASE_URL"
        return address(base, schemes, path, [("model", model)], called=called, example=_BASE_URL)

    def _headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        given = {name.lower() for headers in (self.headers, more) for name in headers}
        ours: dict[str, str | Secret] = {}
        if "authorization" not in given:
            ours["Authorization"] = Secret(f"Bearer {self._key(secret).reveal()}")
        about = {
            "OpenAI-Organization": self.organization or environment("OPENAI_ORG_ID"),
            "OpenAI-Project": self.project or environment("OPENAI_PROJECT_ID"),
        }
        ours.update({name: value for name, value in about.items() if value and name.lower() not in given})
        overridden = {name.lower() for name in more}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in overridden}
        return {**ours, **kept, **more}

    def _key(self, secret: Secret | None) -> Secret:
        return usable_key(
            secret or self.api_key or as_secret(environment("OPENAI_API_KEY")),
            how="set the environment variable OPENAI_API_KEY, pass api_key=… to realtime(), or connect with "
            "credential=…",
        )
