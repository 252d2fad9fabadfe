"""Who may talk to Azure: a key, or a token of Microsoft Entra ID; and what both models have in common."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeAlias

import anyio
import anyio.to_thread
from attrs import field, frozen

from kernl_rt._transport._address import prepare_headers
from kernl_rt.abc import RealtimeConnection, RealtimeModel, RealtimeTransport
from kernl_rt.config import ConnectOptions, Credential, Secret, SessionConfig
from kernl_rt.exceptions import ConnectError, MisconfiguredError
from kernl_rt.providers._access import (
    Headers,
    address,
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
from kernl_rt.providers._connection import Codec, CodecConnection

__all__ = ["AzureAccess", "TokenProvider", "named"]

#: Gives a bearer token of Microsoft Entra ID, plain or ``async def``; called once for each connection. A plain one is
#: called in a thread, because the official ones wait for the network; cancelling leaves that thread to its end.
TokenProvider: TypeAlias = Callable[[], "str | Awaitable[str]"]

#: Seconds that a token provider may take.
_PATIENCE = 30.0


def _as_token(value: str | Secret | TokenProvider | None) -> Secret | TokenProvider | None:
    return value if callable(value) else as_secret(value)


def named(_model: object, attribute: Any, name: Any) -> None:
    """An attrs validator for the name of a model or a deployment."""
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise MisconfiguredError(f"{attribute.name}={name!r} is invalid: use a text that is not empty")


def _bare(endpoint: str) -> str:
    """The resource alone: an endpoint is often copied with the API's own path."""
    base, mark, query = endpoint.partition("?")
    base = base.rstrip("/")
    for tail in ("/openai/v1/realtime", "/openai/realtime", "/openai/v1", "/openai", "/voice-live/realtime"):
        if base.endswith(tail):
            base = base.removesuffix(tail)
            break
    return f"{base}{mark}{query}"


@frozen(kw_only=True)
class AzureAccess(RealtimeModel):
    """What both of Azure's models share: the resource, and how to be let in."""

    #: The environment's variables, by the official SDKs' convention; a token stands before a key.
    endpoint_variable: ClassVar[str]
    key_variable: ClassVar[str]
    token_variable: ClassVar[str | None] = None
    factory: ClassVar[str]
    example: ClassVar[str]

    provider: str = field(default="azure", init=False, repr=False)
    endpoint: str | None = field(default=None, repr=lambda url: repr(without_credentials(url)))
    api_key: Secret | None = field(default=None, converter=as_secret)
    token: Secret | TokenProvider | None = field(default=None, converter=_as_token, repr=False)
    headers: Headers = field(factory=dict, converter=secret_headers, repr=False)
    config: SessionConfig = field(factory=SessionConfig, repr=False)
    insecure: bool = field(default=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.api_key is not None and self.token is not None:
            raise MisconfiguredError("api_key=… and token=… are two ways to be let in: give one of them")

    @abstractmethod
    def url(self) -> str:
        """Where a session connects to.

        Raises:
            MisconfiguredError: there is no endpoint, or it is not a URL.
        """

    @abstractmethod
    def _codec(self, redact: Callable[[str], str]) -> Codec: ...

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
        transport = transport_to(url, transport, insecure=self.insecure, factory=self.factory)
        more = secret_headers(options.headers)
        headers = await self._request_headers(None if credential is None else credential.secret, more)
        async with transport.connect(url, headers=headers, max_message_size=options.max_message_size) as stream:
            yield CodecConnection(stream, self._codec(prepare_headers(headers).redact))

    def _check_secure(self, url: str) -> None:
        check_secure(url, insecure=self.insecure, factory=self.factory)

    def _address(self, schemes: Mapping[str, str], path: str, query: list[tuple[str, str | None]]) -> str:
        base = self.endpoint or environment(self.endpoint_variable)
        if base is None:
            raise MisconfiguredError(
                f"no endpoint: pass endpoint='{self.example}' to {self.factory}(), or set {self.endpoint_variable}"
            )
        called = f"endpoint or {self.endpoint_variable}"
        return address(_bare(base), schemes, path, query, called=called, example=self.example)

    # -- being let in

    async def _request_headers(self, secret: Secret | None, more: Headers) -> dict[str, str | Secret]:
        ours: dict[str, str | Secret] = {}
        if not names_of(self.headers, more) & {"authorization", "api-key"}:
            ours = await self._authorization(secret)
        return merged_headers(ours, self.headers, more)

    async def _authorization(self, secret: Secret | None) -> dict[str, str | Secret]:
        """The header that lets us in. A credential wins over what the model was given, that over the environment."""
        token: Secret | TokenProvider | None = secret or self.token
        key = self.api_key
        if token is None and key is None:
            token = as_secret(environment(self.token_variable)) if self.token_variable else None
            key = as_secret(environment(self.key_variable))
        if token is None:
            return {"api-key": usable_key(key, how=self._how)}
        found = await _fetched(token) if callable(token) else token
        return {"Authorization": Secret(f"Bearer {usable_key(found, how=self._how).reveal()}")}

    @property
    def _how(self) -> str:
        return (
            f"set the environment variable {self.key_variable}, or pass api_key=… or token=… (Microsoft Entra) to "
            f"{self.factory}()"
        )


def _is_async(provider: TokenProvider) -> bool:
    called: Any = type(provider).__call__
    return inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(called)


async def _fetched(provider: TokenProvider) -> Secret:
    """
    Raises:
        ConnectError: the provider raised, gave no text, or took more than 30 seconds.
    """
    try:
        with anyio.fail_after(_PATIENCE):
            if _is_async(provider):
                found: Any = provider()
            else:
                # Abandoned on cancelling: whoever closes must not wait for a token that nobody needs any more.
                # In a tuple, because trio lets no thread give a coroutine.
                (found,) = await anyio.to_thread.run_sync(lambda: (provider(),), abandon_on_cancel=True)
            if inspect.isawaitable(found):
                found = await found
    except Exception as error:
        # Its words are not repeated: they may quote what a credential was asked with.
        raise ConnectError(f"the token provider failed with {type(error).__name__}") from error
    if not isinstance(found, str) or not found:
        raise ConnectError(f"the token provider gave a {type(found).__name__}: it must give the token as text")
    return Secret(found)
