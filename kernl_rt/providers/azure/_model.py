"""Realtime models that are deployed in Azure OpenAI, as a factory of connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from attrs import Factory, evolve, field, frozen

from kernl_rt.config import Capabilities, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._access import SOCKET_SCHEMES, WEB_SCHEMES, Headers, check_expiry, environment
from kernl_rt.providers._connection import Codec
from kernl_rt.providers._dialect._check import FORMATS, check_response, check_session
from kernl_rt.providers._dialect._config import encode_session
from kernl_rt.providers._dialect._secrets import mint
from kernl_rt.providers.azure._access import AzureAccess, TokenProvider, named
from kernl_rt.providers.azure._check import check_preview_response, check_preview_session
from kernl_rt.providers.azure._codec import AzureCodec, PreviewCodec

__all__ = ["AzureModel", "realtime"]

#: attrs types a ``converter=tuple`` by an unbound parameter that no value satisfies.
_formats: Any = FORMATS
#: A session ends after 60 minutes, as at OpenAI.
_CAPABILITIES = Capabilities(input_formats=_formats, output_formats=_formats, max_duration=3600.0, echoes_metadata=True)
#: No limit is published for the preview. OpenAI's own ended after 30 minutes; to change over early does no harm.
_PREVIEW = evolve(_CAPABILITIES, image_input=False, max_duration=1800.0, echoes_metadata=False)


def realtime(
    deployment: str,
    *,
    endpoint: str | None = None,
    api_key: str | Secret | None = None,
    token: str | Secret | TokenProvider | None = None,
    api_version: str | None = None,
    model: str | None = None,
    headers: Headers | None = None,
    config: SessionConfig | None = None,
    insecure: bool = False,
) -> AzureModel:
    """A realtime model that is deployed in Azure OpenAI under the name ``deployment``.

    ``endpoint`` is the resource (``https://my-resource.openai.azure.com``), ``api_key`` one of its keys, ``token`` a
    token of Microsoft Entra ID, or a function that gives one, which is called for each connection. What is not given
    is read from the environment, as the official SDK names it: ``AZURE_OPENAI_ENDPOINT``, ``AZURE_OPENAI_AD_TOKEN``
    (which stands before the key), ``AZURE_OPENAI_API_KEY``, and, at once, ``OPENAI_API_VERSION``.

    Without a version, or with ``"v1"``, this is the generally available API. A dated ``api_version``
    (``"2025-04-01-preview"``) is the preview, which speaks the beta form of the protocol and can do less. ``model``
    says what is deployed where its name does not: some options depend on it. ``config`` is laid under the
    configuration of every session; ``insecure=True`` allows an endpoint without TLS away from this machine.

    Raises:
        MisconfiguredError: a name is empty, two ways to be let in are given, or ``config`` asks for what cannot be.
    """
    made = AzureModel(
        name=deployment,
        endpoint=endpoint,
        api_key=api_key,
        token=token,
        api_version=api_version or environment("OPENAI_API_VERSION"),
        model=model,
        headers=headers or {},
        config=config or SessionConfig(),
        insecure=insecure,
    )
    made.check(SessionConfig())
    return made


def _dated(version: str | None) -> str | None:
    """``None`` for the API that has no dates."""
    return None if version is None or version.strip().lower() in ("", "v1", "latest", "preview") else version.strip()


def _profile(model: AzureModel) -> Capabilities:
    return _CAPABILITIES if model.api_version is None else _PREVIEW


@frozen(kw_only=True)
class AzureModel(AzureAccess):
    """One deployment; see :func:`realtime`."""

    endpoint_variable: ClassVar[str] = "AZURE_OPENAI_ENDPOINT"
    key_variable: ClassVar[str] = "AZURE_OPENAI_API_KEY"
    token_variable: ClassVar[str | None] = "AZURE_OPENAI_AD_TOKEN"
    factory: ClassVar[str] = "azure.realtime"
    example: ClassVar[str] = "https://my-resource.openai.azure.com"

    name: str = field(validator=named)
    api_version: str | None = field(default=None, converter=_dated)
    model: str | None = field(default=None, validator=named)
    capabilities: Capabilities = field(default=Factory(_profile, takes_self=True), repr=False)

    def check(self, config: SessionConfig) -> None:
        check = check_session if self.api_version is None else check_preview_session
        check(self.config.merged(config), self.model or self.name)

    def check_response(self, config: ResponseConfig) -> None:
        check = check_response if self.api_version is None else check_preview_response
        check(config, self.model or self.name)

    def _codec(self, redact: Callable[[str], str]) -> Codec:
        codec = AzureCodec if self.api_version is None else PreviewCodec
        return codec(self.config, redact=redact)

    def url(self) -> str:
        if self.api_version is None:
            return self._address(SOCKET_SCHEMES, "/openai/v1/realtime", [("model", self.name)])
        query: list[tuple[str, str | None]] = [("api-version", self.api_version), ("deployment", self.name)]
        return self._address(SOCKET_SCHEMES, "/openai/realtime", query)

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a client secret, which opens sessions of this deployment until it expires.

        ``expires_after`` is 10 to 7200 seconds; the service's default is 600.

        Raises:
            MisconfiguredError: no key, the preview (it mints none at this path), or ``expires_after`` is out of range.
            ConnectError: Azure refused; the subclass says why.
            ProtocolError: the answer holds no secret.
        """
        if self.api_version is not None:
            raise MisconfiguredError("the preview mints no client secrets; leave api_version out to use the v1 API")
        check_expiry(expires_after, 10, 7200)
        config = config or SessionConfig()
        self.check(config)
        session = {**encode_session(self.config.merged(config)), "model": self.name}
        url = self._address(WEB_SCHEMES, "/openai/v1/realtime/client_secrets", [("model", None)])
        self._check_secure(url)
        return await mint(url, await self._request_headers(None, {}), session, expires_after)
