"""OpenAI's Realtime models as a factory of connections."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.providers._connection import CodecConnection
from kernl_rt.providers._dialect._check import FORMATS, check_response, check_session
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.providers._dialect._config import encode_session

__all__ = ["OpenAIModel", "realtime"]

_BASE_URL = "https://api.openai.com/v1"
_SOCKET_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_WEB_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

#: attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies.
_formats: Any = FORMATS
#: A session ends after 60 minutes.
_CAPABILITIES = Capabilities(input_formats=_formats, output_formats=_formats, max_duration=3600.0)

Headers = Mapping[str, str | Secret]


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


def _secret(value: str | Secret | None) -> Secret | None:
    return None if value is None else Secret(value)


def _secrets(headers: Headers) -> Headers:
    """Other services' keys come as headers (``api-key``), so all of them are treated as keys."""
    return {name: Secret(value) for name, value in headers.items()}


def _without_credentials(url: str | None) -> str | None:
    """For a repr: neither user name nor query, which is where keys are put that do not belong into a URL."""
    if url is None:
        return None
    scheme, _, rest = url.partition("?")[0].rpartition("://")
    host = rest.rpartition("@")[2]
    return f"{scheme}://{host}" if scheme else host


def _named(_model: object, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise MisconfiguredError(f"model={name!r} is invalid: use a model's name, such as 'gpt-realtime-2.1'")


@frozen(kw_only=True)
class OpenAIModel(RealtimeModel):
    """One model; see :func:`realtime`."""

    provider: str = field(default="openai", init=False, repr=False)
    name: str = field(validator=_named)
    api_key: Secret | None = field(default=None, converter=_secret)
    base_url: str | None = field(default=None, repr=lambda url: repr(_without_credentials(url)))
    organization: str | None = None
    project: str | None = None
    headers: Headers = field(factory=dict, converter=_secrets, repr=False)
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
        headers = self._headers(None if credential is None else credential.secret, _secrets(options.headers))
        if transport is None:
            from kernl_rt._transport.websocket import WebSocketTransport

            self._check_secure(url)
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
        url = _address(self._base_url(), _WEB_SCHEMES, "/realtime/client_secrets", None)
        self._check_secure(url)
        minted = _credential(await post_json(url, headers=self._headers(None, {}), json=body, timeout=30.0))
        if isinstance(minted, ProtocolError):
            raise minted
        return minted

    def url(self) -> str:
        """Where a session connects to.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        return _address(self._base_url(), _SOCKET_SCHEMES, "/realtime", self.name)

    def _check_secure(self, url: str) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        near = host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
        if parts.scheme in ("http", "ws") and not near and not self.insecure:
            raise MisconfiguredError(
                "the base URL has no TLS, so the key would cross the network in the open: use https:// or wss://, "
                "or allow it with realtime(…, insecure=True)"
            )

    def _base_url(self) -> str:
        return self.base_url or _environment("OPENAI_BASE_URL") or _BASE_URL

    def _headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        given = {name.lower() for headers in (self.headers, more) for name in headers}
        ours: dict[str, str | Secret] = {}
        if "authorization" not in given:
            ours["Authorization"] = Secret(f"Bearer {self._key(secret).reveal()}")
        about = {
            "OpenAI-Organization": self.organization or _environment("OPENAI_ORG_ID"),
            "OpenAI-Project": self.project or _environment("OPENAI_PROJECT_ID"),
        }
        ours.update({name: value for name, value in about.items() if value and name.lower() not in given})
        overridden = {name.lower() for name in more}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in overridden}
        return {**ours, **kept, **more}

    def _key(self, secret: Secret | None) -> Secret:
        secret = secret or self.api_key
        key = Secret((secret.reveal() if secret else _environment("OPENAI_API_KEY") or "").strip())
        if not key:
            raise MisconfiguredError(
                "no API key: set the environment variable OPENAI_API_KEY, pass api_key=… to realtime(), "
                "or connect with credential=…"
            )
        if not _is_possible(key):
            raise MisconfiguredError(
                "the API key (OPENAI_API_KEY or api_key) holds white space or characters that no key has: copy it again"
            )
        return key


def _is_possible(key: Secret) -> bool:
    text = key.reveal()
    return text.isascii() and text.isprintable() and " " not in text


def _environment(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _address(base: str, schemes: Mapping[str, str], path: str, model: str | None) -> str:
    """``base`` with ``path`` appended and ``model`` in its query, the rest of which is kept."""
    fix = "use one like https://api.openai.com/v1"
    if any(letter.isspace() or not letter.isprintable() for letter in base):
        raise MisconfiguredError(f"the base URL (base_url or OPENAI_BASE_URL) holds white space: {fix}")
    try:
        parts = urlsplit(base)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise MisconfiguredError(f"the base URL (base_url or OPENAI_BASE_URL) is not a URL: {fix}") from None
    if parts.scheme not in schemes or not host:
        raise MisconfiguredError(
            f"the base URL (base_url or OPENAI_BASE_URL) has no host or the wrong scheme {parts.scheme!r}: {fix}"
        )
    if parts.username is not None or parts.password is not None:
        raise MisconfiguredError("the base URL holds a user name or password: pass api_key=… or headers=… instead")
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "model"]
    if model is not None:
        query.append(("model", model))
    above = parts.path.rstrip("/").removesuffix("/realtime")
    return urlunsplit((schemes[parts.scheme], parts.netloc, above + path, urlencode(query), ""))


def _credential(answer: Mapping[str, Any]) -> Credential | ProtocolError:
    """Returns the error, because the variables of a frame that raises are shown by some, and here one is the secret."""
    value, expires_at = answer.get("value"), answer.get("expires_at")
    if not isinstance(value, str) or not value:
        return ProtocolError("the answer of client_secrets holds no value")
    if not isinstance(expires_at, (int, float)) or isinstance(expires_at, bool):
        return ProtocolError("the answer of client_secrets does not say when the secret expires")
    try:
        moment = datetime.fromtimestamp(expires_at, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return ProtocolError("the answer of client_secrets says an expiry that is no date")
    session = answer.get("session")
    said = {key: item for key, item in session.items() if key != "client_secret"} if isinstance(session, dict) else {}
    return Credential(value, moment, extra={"session": said} if said else {})
