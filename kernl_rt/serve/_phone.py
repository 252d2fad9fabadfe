"""Routes that answer the phone: a carrier's webhook, and the media stream it is answered with.

Nothing is believed before it is proven::

    webhook   body ≤ 64 KiB within 5 s → signature (403) → free line (503) → new call (403) → one-time token
    stream    signature of the upgrade, and a call is awaited (403) → free line (503)
              → 'start' within 10 s → token of this call (1008) → on_call

A model is dialled by ``on_call``, so a stranger costs no dial. The token comes with ``start``, after the upgrade: what
fails there is closed with code 1008, as a WebSocket has no 403 any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import cast

import anyio
from attrs import evolve
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from kernl_rt.channels._asgi import AsgiStream, refuse
from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.channels.telnyx import TelnyxChannel
from kernl_rt.channels.twilio import TwilioChannel
from kernl_rt.channels.vonage import VonageChannel
from kernl_rt.config import Secret
from kernl_rt.exceptions import ChannelError, ConnectionClosed, MisconfiguredError
from kernl_rt.serve._calls import Calls
from kernl_rt.serve._carriers import TOKEN, PhoneCarrier, Telnyx, Twilio, Vonage
from kernl_rt.serve._stream_tokens import StreamTokens
from kernl_rt.serve._waiting import WaitingRoom

__all__ = ["telnyx_routes", "twilio_routes", "vonage_routes"]

_logger = logging.getLogger(__name__)

_BODY_MAX = 64 * 1024
_BODY_TIMEOUT = 5.0
_START_TIMEOUT = 10.0

OnCall = Callable[[PhoneChannel], Awaitable[None]]


def twilio_routes(
    on_call: Calls | Callable[[TwilioChannel], Awaitable[None]],
    *,
    auth_token: str | Secret,
    public_url: str,
    path: str = "/twilio",
    max_calls: int = 100,
) -> list[BaseRoute]:
    """``POST {path}/voice`` for a Twilio number's "a call comes in", and the media stream at ``{path}/stream``.

    Args:
        on_call: serves one call, usually with a session over its channel; the call ends when it returns. Or the
            :class:`Calls` of the application, which hold it.
        auth_token: of the Twilio account; every webhook and every upgrade must be signed with it.
        public_url: the address by which Twilio reaches this service, such as ``https://voice.example.com``. Signatures
            are checked over it; what a request says of its host is never looked at.
        path: where the routes are, below ``public_url``.
        max_calls: at once; one more is refused with 503, as is one more than ``Calls`` have room for.

    Raises:
        MisconfiguredError: no token, or a public URL that Twilio cannot call.
    """
    carrier = Twilio(public_url, path, auth_token)
    return _Lines(carrier, cast("Calls | OnCall", on_call), max_calls).routes()


def telnyx_routes(
    on_call: Calls | Callable[[TelnyxChannel], Awaitable[None]],
    *,
    public_key: str,
    public_url: str,
    path: str = "/telnyx",
    max_calls: int = 100,
) -> list[BaseRoute]:
    """``POST {path}/voice`` for a Telnyx TeXML application's voice URL, and the media stream at ``{path}/stream``.

    ``public_key`` is the account's, in base64. The rest is as in :func:`twilio_routes`.
    """
    carrier = Telnyx(public_url, path, public_key)
    return _Lines(carrier, cast("Calls | OnCall", on_call), max_calls).routes()


def vonage_routes(
    on_call: Calls | Callable[[VonageChannel], Awaitable[None]],
    *,
    signature_secret: str | Secret,
    public_url: str,
    path: str = "/vonage",
    rate: int = 16_000,
    max_calls: int = 100,
) -> list[BaseRoute]:
    """``POST {path}/voice`` for a Vonage application's answer URL, and the WebSocket at ``{path}/stream``.

    The application must have signed webhooks, and the answer URL the method POST. ``signature_secret`` is the
    account's; ``rate`` is that of the sound, in samples per second. The rest is as in :func:`twilio_routes`.
    """
    carrier = Vonage(public_url, path, signature_secret, rate)
    return _Lines(carrier, cast("Calls | OnCall", on_call), max_calls).routes()


class _Lines:
    """The calls of one carrier."""

    def __init__(self, carrier: PhoneCarrier, on_call: Calls | OnCall, max_calls: int) -> None:
        if max_calls < 1:
            raise MisconfiguredError(f"max_calls={max_calls!r} would answer nobody")
        self._carrier = carrier
        self._on_call = on_call
        self._max_calls = max_calls
        self._tokens = StreamTokens()
        self._calls = 0
        # Streams that have not shown their token: strangers wait here, and take no line from a caller.
        self._starting = WaitingRoom()

    def routes(self) -> list[BaseRoute]:
        return [
            Route(self._carrier.webhook_path, self._webhook, methods=["POST"]),
            WebSocketRoute(self._carrier.stream_path, self._stream),
        ]

    @property
    def _has_room(self) -> bool:
        return self._calls < self._max_calls and (not isinstance(self._on_call, Calls) or self._on_call.free > 0)

    # -- the webhook --------------------------------------------------------------------------------------------------

    async def _webhook(self, request: Request) -> Response:
        body = await _read_body(request)
        if isinstance(body, Response):
            return body
        headers: Sequence[tuple[bytes, bytes]] = request.scope["headers"]
        query = request.scope["query_string"].decode("latin-1")
        if not self._carrier.sent_webhook(headers, query, body):
            return self._forbidden("a webhook without its signature")
        announced = self._carrier.read_webhook(body)
        if announced is None:
            return PlainTextResponse("the webhook names no call", 400)
        if not self._has_room:
            _logger.warning("%s: a call was refused: all lines are busy", self._carrier.name)
            return PlainTextResponse("all lines are busy", 503)
        token = self._tokens.mint(announced)
        if token is None:
            return self._forbidden("a webhook that has been answered before")
        return Response(
            self._carrier.answer(announced, token),
            media_type=self._carrier.media_type,
            headers={"cache-control": "no-store"},
        )

    def _forbidden(self, what: str) -> Response:
        _logger.warning("%s: %s was refused", self._carrier.name, what)
        return PlainTextResponse("Forbidden", 403)

    # -- the stream ---------------------------------------------------------------------------------------------------

    async def _stream(self, websocket: WebSocket) -> None:
        scope, receive, send = websocket.scope, websocket.receive, websocket.send
        if not self._carrier.asked_for_upgrade(scope["headers"]):
            _logger.warning("%s: an upgrade without its signature was refused", self._carrier.name)
            await refuse(scope, receive, send)
            return
        if not self._tokens.pending:
            _logger.warning("%s: a stream that no webhook has announced was refused", self._carrier.name)
            await refuse(scope, receive, send)
            return
        if not self._has_room:
            await refuse(scope, receive, send, 503, "all lines are busy")
            return
        stream = AsgiStream(receive, send, bytes_per_second=self._carrier.bytes_per_second)
        try:
            channel = None
            with self._starting.place() as starting:
                channel = await self._start(stream)
            if starting.cancelled_caught:
                await stream.aclose(1013, "others are waiting")
            if channel is None:
                return
            if self._has_room:  # others may have come first
                await self._serve(stream, channel)
            else:
                await stream.aclose(1013, "all lines are busy")
        finally:
            await stream.aclose()

    async def _start(self, stream: AsgiStream) -> PhoneChannel | None:
        """The channel of a call that was announced, once the stream has proven to be its."""
        try:
            await stream.accept()
            channel = await self._carrier.accept(stream, _START_TIMEOUT)
        except ConnectionClosed:
            return None
        except ChannelError as error:
            _logger.warning("%s: a stream was refused: %s", self._carrier.name, error)
            return None
        given = dict(channel.call.parameters)
        announced = self._tokens.redeem(given.pop(TOKEN, ""), channel.call_id)
        if announced is None:
            _logger.warning("%s: a stream without its token was refused", self._carrier.name)
            await stream.aclose(1008, "Forbidden")
            return None
        channel.call = evolve(
            channel.call,
            from_number=channel.call.from_number or announced.from_number,
            to_number=channel.call.to_number or announced.to_number,
            parameters=given,
        )
        return channel

    async def _serve(self, stream: AsgiStream, channel: PhoneChannel) -> None:
        self._calls += 1
        try:
            if isinstance(self._on_call, Calls):
                await self._on_call.answer(channel)
            else:
                await self._on_call(channel)
        except Exception:
            # One call that fails takes no other with it.
            _logger.exception("%s: a call failed", self._carrier.name)
            await stream.aclose(1011, "the call failed")
        finally:
            self._calls -= 1


async def _read_body(request: Request) -> bytes | Response:
    """The body, or what to answer instead: it is bounded before anybody is believed."""
    body = bytearray()
    try:
        with anyio.fail_after(_BODY_TIMEOUT):
            async with aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _BODY_MAX:
                        return PlainTextResponse("the body is too large", 413)
    except TimeoutError:
        return PlainTextResponse("the body did not come", 408)
    except ClientDisconnect:
        return PlainTextResponse("the sender has gone", 400)
    return bytes(body)
