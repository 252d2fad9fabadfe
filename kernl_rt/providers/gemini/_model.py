"""Gemini's live models as a factory of connections, of the Developer API or of Vertex AI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeAlias
from urllib.parse import urlunsplit

from attrs import field, frozen

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.config import Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    as_secret,
    base_parts,
    check_expiry,
    environment,
    merged_headers,
    names_of,
    possible_key,
    secret_headers,
)
from kernl_rt.providers._connection import EchoingConnection
from kernl_rt.providers._keyed import KeyedModel
from kernl_rt.providers.gemini._codec import GeminiCodec
from kernl_rt.providers.gemini._config import check_response, check_session, encode_setup
from kernl_rt.providers.gemini._profile import Profile, profile_of

__all__ = ["GeminiModel", "live"]

_BASE_URL = "https://generativelanguage.googleapis.com"
_SERVICE = "google.ai.generativelanguage"
_VERTEX_SERVICE = "google.cloud.aiplatform"
#: How a short-lived token begins, and the one version of the API that takes them.
_TOKEN = "auth_tokens/"
_TOKEN_VERSION = "v1alpha"
#: Seconds that a session opened with a token may last where nothing is said, and the most that a token may live.
_TOKEN_SESSION = 1800
_LONGEST_TOKEN = 72_000

AccessToken: TypeAlias = str | Secret | Callable[[], str]


def live(
    model: str,
    *,
    api_key: str | Secret | None = None,
    vertex: bool | None = None,
    project: str | None = None,
    location: str | None = None,
    access_token: AccessToken | None = None,
    base_url: str | None = None,
    api_version: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> GeminiModel:
    """A live model of Google's.

    What is not given is read from the environment when a session connects, as the official SDK names it:
    ``GOOGLE_API_KEY``, else ``GEMINI_API_KEY``; ``GOOGLE_GEMINI_BASE_URL``. A key that begins with ``auth_tokens/`` is
    a short-lived token of :meth:`GeminiModel.authenticate`.

    With ``vertex=True`` (or ``GOOGLE_GENAI_USE_ENTERPRISE`` or ``GOOGLE_GENAI_USE_VERTEXAI``) the session goes to
    Vertex AI, with ``project`` (``GOOGLE_CLOUD_PROJECT``), ``location`` (``GOOGLE_CLOUD_LOCATION``, default
    ``"global"``) and an OAuth ``access_token``: its text, or a function that gives it, called at each connection. Base
    URL: ``GOOGLE_VERTEX_BASE_URL``.

    ``headers`` are added to every request and win over ours. ``config`` is laid under the configuration of every
    session. A base URL without TLS is taken for this machine only, unless ``insecure=True``.

    Raises:
        MisconfiguredError: ``model`` is empty, or ``config`` asks for what the model cannot do.
    """
    made = GeminiModel(
        name=model,
        api_key=api_key,
        vertex=vertex,
        project=project,
        location=location,
        access_token=access_token,
        base_url=base_url,
        api_version=api_version,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _token(value: AccessToken | None) -> Secret | Callable[[], str] | None:
    return Secret(value) if isinstance(value, (str, Secret)) else value


@frozen(kw_only=True)
class GeminiModel(KeyedModel):
    """One model; see :func:`live`."""

    factory: ClassVar[str] = "live"
    example: ClassVar[str] = "gemini-3.8-live"
    key_variable: ClassVar[str] = "GEMINI_API_KEY"
    #: The service answers pings 8 to 30 seconds late: they keep the way open here, and prove nothing.
    ping_timeout: ClassVar[float | None] = None

    provider: str = field(default="gemini", init=False, repr=False)
    vertex: bool | None = None
    project: str | None = None
    location: str | None = None
    access_token: Secret | Callable[[], str] | None = field(default=None, converter=_token, repr=False)
    api_version: str | None = None
    capabilities: Capabilities = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if ".." in self.name or any(letter in self.name for letter in "?&# "):
            raise MisconfiguredError(f"model={self.name!r} is invalid: use a model's name, such as {self.example!r}")

    @capabilities.default
    def _capabilities(self) -> Capabilities:
        return profile_of(self.name).capabilities

    @property
    def _profile(self) -> Profile:
        return profile_of(self.name)

    def check(self, config: SessionConfig) -> None:
        check_session(self.config.merged(config), self.name, self._profile)

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse the wishes of a single reply.

        Raises:
            MisconfiguredError: names the option and the fix.
        """
        check_response(config)

    def _request(self, secret: Secret | None, options: ConnectOptions) -> tuple[str, dict[str, str | Secret]]:
        more = secret_headers(options.headers)
        key = self._credentials(secret, more)
        return self.url(token=_is_token(key)), self._headers(key, more)

    def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        codec = GeminiCodec(
            self.wire_name(), defaults=self.config, resume=options.resume, profile=self._profile, redact=redact
        )
        return nullcontext(EchoingConnection(stream, codec))

    # -- short-lived tokens

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a token, with which one session may be opened (and resumed) until it expires.

        ``expires_after`` is in seconds, 1 to 72,000, and Google's default is 60; a session that was opened in time may
        go on for 30 minutes, or for as long as the token lives. With a ``config`` the token is good for sessions with
        exactly that configuration, whatever the client asks for; else for this model.

        Raises:
            MisconfiguredError: no key, Vertex AI (which has no such tokens), or ``expires_after`` is out of range.
            ConnectError: Google refused; the subclass says why.
            ProtocolError: the answer holds no token.
        """
        from kernl_rt._transport.http import post_json

        if self._on_vertex():
            raise MisconfiguredError("Vertex AI mints no short-lived tokens; hand out an access token of Google Cloud")
        check_expiry(expires_after, 1, _LONGEST_TOKEN)
        self.check(config or SessionConfig())
        now = datetime.now(UTC)
        opens_until = now + timedelta(seconds=60 if expires_after is None else expires_after)
        lives_until = max(opens_until, now + timedelta(seconds=_TOKEN_SESSION))
        body: dict[str, Any] = {"newSessionExpireTime": _stamp(opens_until), "expireTime": _stamp(lives_until)}
        if config is not None:
            wanted = self.config.merged(config)
            body["bidiGenerateContentSetup"] = encode_setup(wanted, self.wire_name(), self._profile, None)
        else:
            body["bidiGenerateContentSetup"] = {"model": self.wire_name()}
            body["fieldMask"] = "model"
        key = self._credentials(None, {})
        url = self._address(WEB_SCHEMES, f"/{self.api_version or _TOKEN_VERSION}/auth_tokens")
        self._check_secure(url)
        minted = _minted(await post_json(url, headers=self._headers(key, {}), json=body, timeout=30.0), opens_until)
        if isinstance(minted, ProtocolError):
            raise minted
        return minted

    # -- where, as whom

    def _on_vertex(self) -> bool:
        if self.vertex is not None:
            return self.vertex
        said = environment("GOOGLE_GENAI_USE_ENTERPRISE", "GOOGLE_GENAI_USE_VERTEXAI") or ""
        return said.lower() in ("true", "1")

    def wire_name(self) -> str:
        """The model's full name in the setup.

        Raises:
            MisconfiguredError: Vertex AI, and no project is known.
        """
        name = self.name
        if not self._on_vertex():
            return name if name.startswith(("models/", "tunedModels/")) else f"models/{name}"
        if name.startswith("projects/"):
            return name
        project = self.project or environment("GOOGLE_CLOUD_PROJECT")
        if project is None:
            raise MisconfiguredError("no project: set GOOGLE_CLOUD_PROJECT, or pass project=… to live()")
        full = name if name.startswith("publishers/") else f"publishers/google/models/{name.removeprefix('models/')}"
        return f"projects/{project}/locations/{self._location()}/{full}"

    def _location(self) -> str:
        location = self.location or environment("GOOGLE_CLOUD_LOCATION") or "global"
        if not location.replace("-", "").isalnum():
            raise MisconfiguredError(f"location={location!r} is invalid: use one such as 'us-central1'")
        return location

    def url(self, *, token: bool = False) -> str:
        """Where a session connects to; ``token``: with a short-lived token.

        Raises:
            MisconfiguredError: the base URL is not one.
        """
        if self._on_vertex():
            path = f"/ws/{_VERTEX_SERVICE}.{self.api_version or 'v1beta1'}.LlmBidiService/BidiGenerateContent"
        else:
            version = self.api_version or (_TOKEN_VERSION if token else "v1")
            method = "BidiGenerateContentConstrained" if token else "BidiGenerateContent"
            path = f"/ws/{_SERVICE}.{version}.GenerativeService.{method}"
        return self._address(SOCKET_SCHEMES, path)

    def _base_url(self) -> str:
        if not self._on_vertex():
            return self.base_url or environment("GOOGLE_GEMINI_BASE_URL") or _BASE_URL
        location = self._location()
        host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
        return self.base_url or environment("GOOGLE_VERTEX_BASE_URL") or f"https://{host}"

    def _address(self, schemes: Mapping[str, str], path: str) -> str:
        variable = "GOOGLE_VERTEX_BASE_URL" if self._on_vertex() else "GOOGLE_GEMINI_BASE_URL"
        parts = base_parts(self._base_url(), schemes, called=f"base_url or {variable}", example=_BASE_URL)
        return urlunsplit((schemes[parts.scheme], parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))

    def _credentials(self, secret: Secret | None, more: Headers) -> Secret | None:
        """The key or token to send; ``None`` where a header of the caller's stands for it.

        Raises:
            MisconfiguredError: there is none, or it cannot be one.
        """
        if names_of(self.headers, more) & {"authorization", "x-goog-api-key"} and secret is None:
            return None
        if self._on_vertex():
            token = self.access_token() if callable(self.access_token) else self.access_token
            key, called = secret or (Secret(token) if token else None), "access token"
            missing = "no access token: pass access_token=… to live(), or connect with credential=…"
        else:
            key = secret or self.api_key or as_secret(environment("GOOGLE_API_KEY", "GEMINI_API_KEY"))
            called = "API key"
            missing = (
                "no API key: set the environment variable GEMINI_API_KEY or GOOGLE_API_KEY, pass api_key=… to live(), "
                "or connect with credential=…"
            )
        if (key := possible_key(key, called=called)) is None:
            raise MisconfiguredError(missing)
        return key

    def _headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        """``secret`` is the key or token that :meth:`_credentials` found."""
        ours: dict[str, str | Secret] = {}
        if secret is not None:
            if self._on_vertex():
                ours["Authorization"] = Secret(f"Bearer {secret.reveal()}")
            elif _is_token(secret):
                ours["Authorization"] = Secret(f"Token {secret.reveal()}")
            else:
                ours["x-goog-api-key"] = secret
        return merged_headers(ours, self.headers, more)


def _is_token(key: Secret | None) -> bool:
    return key is not None and key.reveal().startswith(_TOKEN)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _minted(answer: Mapping[str, Any], expires_at: datetime) -> Credential | ProtocolError:
    """Returns the error, because the variables of a frame that raises are shown by some, and here one is the token."""
    name = answer.get("name")
    if not isinstance(name, str) or not name.startswith(_TOKEN):
        return ProtocolError("the answer of auth_tokens holds no token")
    return Credential(name, expires_at)
