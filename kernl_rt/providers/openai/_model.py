"""OpenAI's Realtime models as a factory of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, ClassVar

from attrs import field, frozen

from kernl_rt.abc import MessageStream, RealtimeConnection
from kernl_rt.config import Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.providers._access import (
    SOCKET_SCHEMES,
    WEB_SCHEMES,
    Headers,
    address,
    check_expiry,
    environment,
    merged_headers,
)
from kernl_rt.providers._connection import CodecConnection
from kernl_rt.providers._dialect._check import FORMATS, check_response, check_session
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.providers._dialect._config import encode_session
from kernl_rt.providers._dialect._secrets import mint
from kernl_rt.providers._keyed import KeyedModel

__all__ = ["OpenAIModel", "realtime"]

_BASE_URL = "https://api.openai.com/v1"
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


@frozen(kw_only=True)
class OpenAIModel(KeyedModel):
    """One model; see :func:`realtime`."""

    example: ClassVar[str] = "gpt-realtime-2.1"
    key_variable: ClassVar[str] = "OPENAI_API_KEY"

    provider: str = field(default="openai", init=False, repr=False)
    organization: str | None = None
    project: str | None = None
    capabilities: Capabilities = field(default=_CAPABILITIES, repr=False)

    def check(self, config: SessionConfig) -> None:
        check_session(self.config.merged(config), self.name)

    def check_response(self, config: ResponseConfig) -> None:
        """Refuse a reply's wishes that this model cannot fulfil.

        Raises:
            MisconfiguredError: names the option, the mistake and the fix.
        """
        check_response(config, self.name)

    def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        return nullcontext(CodecConnection(stream, OpenAICodec(self.config, redact=redact)))

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
        check_expiry(expires_after, 10, 7200)
        config = config or SessionConfig()
        self.check(config)
        session = {**encode_session(self.config.merged(config)), "model": self.name}
        url = self._address(WEB_SCHEMES, "/realtime/client_secrets", None)
        self._check_secure(url)
        return await mint(url, self._headers(None, {}), session, expires_after)

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
        about = {
            "OpenAI-Organization": self.organization or environment("OPENAI_ORG_ID"),
            "OpenAI-Project": self.project or environment("OPENAI_PROJECT_ID"),
        }
        ours = {name: value for name, value in about.items() if value}
        return merged_headers(ours, super()._headers(secret, more), {})
