"""The application: the page, the tokens, the calls."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from kernl_rt import Drain, RealtimeModel, Secret
from kernl_rt.channels._asgi import AsgiStream, refuse
from kernl_rt.channels._limits import Allowance
from kernl_rt.channels.browser import BrowserAccess, BrowserChannel
from kernl_rt.exceptions import ConnectError, MisconfiguredError
from kernl_rt.serve._calls import AgentSource, Calls
from kernl_rt.serve._page import SECURITY_HEADERS, page_routes
from kernl_rt.serve._waiting import WaitingRoom

__all__ = ["Authorize", "app"]

_logger = logging.getLogger("kernl_rt")

#: Decides whether whoever sent the request may call: your own login.
Authorize: TypeAlias = Callable[[Request], Awaitable[bool]]


def app(
    agent: AgentSource | Calls,
    *,
    origins: Iterable[str],
    max_sessions: int = 50,
    max_minutes: float = 60.0,
    push_to_talk: bool = False,
    show_tools: bool = True,
    authorize: Authorize | None = None,
    credentials_for: RealtimeModel | None = None,
    credential_seconds: int = 60,
    token_seconds: float = 60.0,
    token_secret: bytes | Secret | None = None,
    drain_seconds: float = 30.0,
    record: str | os.PathLike[str] | None = None,
    page: bool = True,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """An ASGI application with a page on which one talks to ``agent``.

    =======================  =======================================================================================
    ``GET /``                the page
    ``POST /session-token``  a token for one call, valid for ``token_seconds``; 403 for a page of another origin
    ``WebSocket /voice``     the call; 403 without token and origin, 503 (or close code 1013) when all lines are busy
    ``POST /credential``     a provider's short-lived key for a client that dials it itself; only with
                             ``credentials_for`` and ``authorize``
    ``GET /healthz``         ``{"status", "live", "free"}``; 503 while the server drains
    =======================  =======================================================================================

    Args:
        agent: who answers, a function that makes one for each call, or :class:`Calls` with options of their own (which
            then has the limits, too, and says what is recorded).
        origins: whence pages may call, as browsers write it: ``https://example.com``. There is no default.
        authorize: asked before a token or a credential is given; without it everybody may call who reaches the page.
        credentials_for: the model whose short-lived keys are minted. They are not bound by ``max_minutes``.
        token_secret: signs tokens; the same for all processes of one server. See
            :class:`~kernl_rt.channels.browser.BrowserAccess`.
        drain_seconds: how long calls may go on when the server shuts the application down.
        record: record every call to a folder of its own inside this one; see :class:`Calls`.
        routes: more of them: a phone carrier's (:func:`twilio_routes`), say.

    Raises:
        MisconfiguredError: names the option, the mistake and the fix.
    """
    if credentials_for is not None and authorize is None:
        raise MisconfiguredError("whoever holds a credential speaks at your cost: say who may have one, by authorize=")
    if not isinstance(agent, Calls):
        agent = Calls(
            agent, max_sessions=max_sessions, max_minutes=max_minutes, push_to_talk=push_to_talk, record=record
        )
    elif record is not None:
        raise MisconfiguredError("these Calls say themselves what is recorded: serve.Calls(agent, record=…)")
    access = BrowserAccess(origins, lifetime=token_seconds, secret=token_secret)
    desk = _Desk(agent, access, authorize, credentials_for, credential_seconds, show_tools)
    own: list[BaseRoute] = [
        Route("/session-token", desk.token, methods=["POST"]),
        Route("/healthz", desk.health, methods=["GET"]),
        WebSocketRoute("/voice", desk.voice),
    ]
    if credentials_for is not None:
        own.append(Route("/credential", desk.credential, methods=["POST"]))
    if page:
        own += page_routes()
    calls = agent

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if calls.drain is not None:
            yield
            return
        async with Drain(drain_seconds, signals=()) as drain:
            calls.drain = drain
            try:
                yield
            finally:
                drain.start()

    return Starlette(routes=[*own, *routes], lifespan=lifespan)


class _Desk:
    """The endpoints."""

    def __init__(
        self,
        calls: Calls,
        access: BrowserAccess,
        authorize: Authorize | None,
        model: RealtimeModel | None,
        credential_seconds: int,
        show_tools: bool,
    ) -> None:
        self._calls = calls
        self._access = access
        self._authorize = authorize
        self._model = model
        self._credential_seconds = credential_seconds
        self._show_tools = show_tools
        self._waiting = WaitingRoom()
        self._minting = Allowance(1.0, burst=10.0)

    async def token(self, request: Request) -> Response:
        """A token for one call."""
        issued = self._access.issue(_origin(request))
        if issued is None or not await self._authorized(request):
            return _json({"error": "forbidden"}, 403)
        if not self._calls.free:
            return _json({"error": "all lines are busy"}, 503, **{"retry-after": "10"})
        return _json(issued)

    async def credential(self, request: Request) -> Response:
        """A short-lived key of the provider's."""
        assert self._model is not None
        if _origin(request) not in self._access.origins or not await self._authorized(request):
            return _json({"error": "forbidden"}, 403)
        if not self._minting.take(1, anyio.current_time()):
            return _json({"error": "too many credentials were asked for"}, 429, **{"retry-after": "1"})
        try:
            credential = await self._model.authenticate(expires_after=self._credential_seconds)
        except (ConnectError, MisconfiguredError) as error:
            _logger.error("no credential could be minted: %s", error)
            return _json({"error": "the voice service gives no credential now"}, 502)
        return _json(
            {
                "secret": credential.secret.reveal(),
                "expires_at": credential.expires_at.isoformat(),
                "provider": self._model.provider,
                "model": self._model.name,
            }
        )

    async def health(self, request: Request) -> Response:
        """For a load balancer."""
        calls = self._calls
        draining = calls.drain is not None and calls.drain.draining
        status = {"status": "draining" if draining else "ok", "live": calls.live, "free": calls.free}
        return _json(status, 503 if draining else 200)

    async def voice(self, websocket: WebSocket) -> None:
        """One call."""
        if not self._calls.free:
            await refuse(websocket.scope, websocket.receive, websocket.send, 503, "all lines are busy")
            return
        channel = None
        with self._waiting.place() as waiting:
            channel = await BrowserChannel.accept(
                websocket, self._access, push_to_talk=self._calls.push_to_talk, show_tools=self._show_tools
            )
        if waiting.cancelled_caught:
            await AsgiStream(websocket.receive, websocket.send).aclose(1013, "others are waiting")
        if channel is None:
            return
        with self._calls.slot() as free:
            if free:
                await self._calls.hold_page(channel)
            else:
                await channel.turn_away("busy", 1013)

    async def _authorized(self, request: Request) -> bool:
        return self._authorize is None or await self._authorize(request)


def _origin(request: Request) -> str | None:
    """The one ``Origin`` of a request."""
    values = request.headers.getlist("origin")
    return values[0] if len(values) == 1 else None


def _json(content: Mapping[str, Any], status: int = 200, **headers: str) -> JSONResponse:
    return JSONResponse(dict(content), status, {**SECURITY_HEADERS, "cache-control": "no-store", **headers})
