"""What the models have in common that are let in by a key: how they are dialled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar

from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers
from kernl_rt.abc import MessageStream, RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import ConnectOptions, Credential, Secret, SessionConfig
from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.providers._access import (
    Headers,
    as_secret,
    check_secure,
    environment,
    merged_headers,
    names_of,
    secret_headers,
    transport_to,
    usable_key,
    without_credentials,
)

__all__ = ["KeyedModel"]


def _named(model: Any, _attribute: object, name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise MisconfiguredError(f"model={name!r} is invalid: use a model's name, such as {model.example!r}")


@frozen(kw_only=True)
class KeyedModel(RealtimeModel):
    """A model that is let in by a key and reached below a base URL."""

    #: The function that makes the model, and a model's name: for errors.
    factory: ClassVar[str] = "realtime"
    example: ClassVar[str]
    #: The variable of the environment that holds the key.
    key_variable: ClassVar[str]
    #: Seconds within which the service answers pings; ``None`` where it does not say.
    ping_timeout: ClassVar[float | None] = 5.0

    name: str = field(validator=_named)
    api_key: Secret | None = field(default=None, converter=as_secret)
    base_url: str | None = field(default=None, repr=lambda url: repr(without_credentials(url)))
    headers: Headers = field(factory=dict, converter=secret_headers, repr=False)
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    insecure: bool = field(default=False, repr=False)

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
        url, headers = self._request(None if credential is None else credential.secret, options)
        redact = prepare_headers(headers).redact
        transport = transport_to(
            url, transport, insecure=self.insecure, factory=self.factory, ping_timeout=self.ping_timeout
        )
        dialled = transport.connect(url, headers=headers, max_message_size=options.max_message_size)
        async with (
            self._opened(dialled, options) as stream,
            self._speaking(stream, config, options, redact) as connection,
        ):
            yield connection

    @abstractmethod
    def url(self) -> str:
        """Where a session connects to.

        Raises:
            MisconfiguredError: the base URL is not one.
        """

    def _where(self, options: ConnectOptions) -> str:
        return self.url()

    def _request(self, secret: Secret | None, options: ConnectOptions) -> tuple[str, dict[str, str | Secret]]:
        """Where to dial, and with which headers.

        Raises:
            MisconfiguredError: there is no key, or the base URL is not one.
        """
        return self._where(options), self._headers(secret, secret_headers(options.headers))

    def _opened(
        self, dialled: AbstractAsyncContextManager[MessageStream], options: ConnectOptions
    ) -> AbstractAsyncContextManager[MessageStream]:
        """The link, with the errors of dialling as this model means them."""
        return dialled

    @abstractmethod
    def _speaking(
        self, stream: MessageStream, config: SessionConfig, options: ConnectOptions, redact: Callable[[str], str]
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        """The connection over ``stream``, and what it owns while it is open."""

    def _check_secure(self, url: str) -> None:
        check_secure(url, insecure=self.insecure, factory=self.factory)

    def _headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        """With ``more`` for this request. Whoever brings a header that lets him in needs no key."""
        ours: dict[str, str | Secret] = {}
        if "authorization" not in names_of(self.headers, more):
            ours["Authorization"] = self._bearer(secret)
        return merged_headers(ours, self.headers, more)

    def _bearer(self, secret: Secret | None) -> Secret:
        return Secret(f"Bearer {self._key(secret).reveal()}")

    def _key(self, secret: Secret | None) -> Secret:
        return usable_key(
            secret or self.api_key or as_secret(environment(self.key_variable)),
            how=f"set the environment variable {self.key_variable}, pass api_key=… to {self.factory}(), or connect "
            "with credential=…",
        )
