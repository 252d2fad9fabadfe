"""The channel of one page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio

from kernl_rt.abc import MessageStream
from kernl_rt.channels._asgi import AsgiStream, refuse
from kernl_rt.channels._handshake import MessageReader
from kernl_rt.channels._link import LinkChannel
from kernl_rt.channels._wire import Message
from kernl_rt.channels.browser import _wire
from kernl_rt.channels.browser._access import BrowserAccess
from kernl_rt.channels.browser._codec import BrowserWire, Interruption, Mirror, Muting, Typed, agreed, problem
from kernl_rt.exceptions import ChannelError, ConnectionClosed, ProtocolError

__all__ = ["BrowserChannel", "BrowserSession", "BrowserWebSocket"]

_logger = logging.getLogger("kernl_rt")

#: In order of preference, in samples per second: what most models speak comes first.
RATES: Sequence[int] = (24_000, 16_000, 48_000, 44_100, 8_000)
#: A page sends at most so many times the bytes of real time, on the average.
_FASTER = 2
#: For text messages beside the sound, bytes a second.
_BESIDE = 2_048


class BrowserWebSocket(Protocol):
    """What is needed of a framework's WebSocket: Starlette's, FastAPI's and litestar's fit."""

    @property
    def scope(self) -> MutableMapping[str, Any]: ...
    @property
    def receive(self) -> Callable[[], Awaitable[Any]]: ...
    @property
    def send(self) -> Callable[[Any], Awaitable[None]]: ...


class BrowserSession(Protocol):
    """What is needed of a session: :class:`~kernl_rt.RealtimeSession` fits."""

    @property
    def id(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def agent(self) -> Any: ...
    def on(self, topic: str, listener: Callable[[Any], object], /) -> object: ...
    def off(self, topic: str, listener: Callable[[Any], object], /) -> object: ...
    def mute(self) -> None: ...
    def unmute(self) -> None: ...
    def send_message(self, text: str) -> object: ...
    def interrupt(self) -> object: ...
    async def wait_closed(self) -> None: ...


class BrowserChannel(LinkChannel):
    """A human at a web page, over a WebSocket that speaks ``kernl-rt`` version 1.

    Make it with :meth:`accept`, then let :meth:`run` hold the call::

        channel = await BrowserChannel.accept(websocket, access)
        if channel is not None:
            await channel.run(RealtimeSession(agent, channel=channel))

    The constructor is for links of another kind: it takes any message stream, and the formats that were agreed on.
    ``push_to_talk``: the page has a button, and sound counts only while it is pressed; give the session
    ``TurnDetection.off()``. ``show_tools``: the page is told of tool calls, their arguments and results.
    """

    def __init__(
        self,
        stream: MessageStream,
        wire: BrowserWire,
        *,
        received: Sequence[Message] = (),
        show_tools: bool = True,
        send_ahead_ms: float = 200.0,
    ) -> None:
        super().__init__(stream, wire, received=received, send_ahead_ms=send_ahead_ms)
        self._browser = wire
        self._mirror = Mirror(tools=show_tools)
        self._session: BrowserSession | None = None
        self._keeps_link = False

    @classmethod
    async def accept(
        cls,
        websocket: BrowserWebSocket,
        access: BrowserAccess,
        *,
        push_to_talk: bool = False,
        show_tools: bool = True,
        input_rates: Sequence[int] = RATES,
        output_rates: Sequence[int] = RATES,
        send_ahead_ms: float = 200.0,
        hello_timeout: float = 5.0,
        max_message_size: int = 64 * 1024,
    ) -> BrowserChannel | None:
        """Answer a handshake, and agree with the page on the formats. ``None``: it was refused, and is closed.

        Not admitted by ``access``: refused with 403, before anything else. No hello within ``hello_timeout`` seconds,
        or one that cannot be understood: closed with 1008. A message of more than ``max_message_size`` bytes closes the
        call with 1009 at any time; more than 100 messages a second, or sound at more than twice the pace it is spoken
        in, over five seconds, with 1008.
        """
        scope = websocket.scope
        if not access.admits(scope):
            await refuse(scope, websocket.receive, websocket.send)
            return None
        stream = AsgiStream(websocket.receive, websocket.send, max_message_size=max_message_size)
        try:
            with anyio.fail_after(hello_timeout):
                await stream.accept(_wire.SUBPROTOCOL)
                reader = MessageReader(stream)
                formats = agreed(await reader.next(), input_rates, output_rates)
        except (ConnectionClosed, ProtocolError):
            return None  # it has gone, or was closed over a limit
        except TimeoutError:
            await stream.aclose(1008, "no hello came in time")
            return None
        except ChannelError as error:
            await stream.aclose(1008, str(error))
            return None
        stream.allow(_FASTER * formats[0].bytes_per_second + _BESIDE)
        wire = BrowserWire(*formats, push_to_talk=push_to_talk)
        return cls(stream, wire, received=reader.rest, show_tools=show_tools, send_ahead_ms=send_ahead_ms)

    # -- the session's side -------------------------------------------------------------------------------------------

    async def run(self, session: BrowserSession, opening: AbstractAsyncContextManager[object] | None = None) -> None:
        """Hold the call: connect ``session`` (whose channel this is), tell the page of it until it has ended.

        The page is told of a failure in words of ours, never the provider's; the failure is then raised. What the
        page itself does wrong ends the call, and is logged, not raised. ``opening`` is what enters the session, the
        session itself by default: ``drain.session(session)``, say.
        """
        context: Any = session if opening is None else opening
        self._keeps_link = True
        code = 1011
        try:
            async with context:
                self.follow(session)
                await session.wait_closed()
            code = 1000
        except ChannelError as error:
            if self._failure is None:
                raise
            code = 1008
            _logger.info("a call from a page was given up: %s", error)
        finally:
            with anyio.CancelScope(shield=True):
                if code == 1011:
                    self.tell_problem("unavailable" if self._session is None else "failed")
                await self._outbox.part(code)

    async def turn_away(self, code: str = "unavailable", close_code: int = 1011) -> None:
        """End a call that no session was made for, and tell the page why; see :meth:`tell_problem`."""
        self.tell_problem(code)
        with anyio.CancelScope(shield=True):
            await self._outbox.part(close_code)

    def follow(self, session: BrowserSession) -> None:
        """Tell the page of ``session``, which is connected, and do what the page asks of it. :meth:`run` calls this."""
        self._session = session
        self.tell(
            {
                "type": "ready",
                "session": session.id,
                "agent": session.agent.name,
                "input": {"rate": self._browser.input_format.rate},
                "output": {"rate": self._browser.output_format.rate},
                "push_to_talk": self._browser.push_to_talk,
            }
        )
        session.on("event", self._mirrored)

    def tell(self, message: Mapping[str, Any], *, key: object = None) -> None:
        """Send the page a message of your own: an object with a ``type``. Never waits.

        Of waiting messages with one ``key`` only the newest is sent.
        """
        self.post(_wire.write(dict(message)), key=key)

    def tell_problem(self, code: str) -> None:
        """Send the page an error: ``unavailable``, ``busy``, ``time_limit`` or ``failed``, with our words for it."""
        self.tell(problem(code))

    @property
    def ignored(self) -> int:
        """Messages of the page's that were not understood, or meant nothing at that moment."""
        return self._browser.ignored

    def on_control(self, value: object) -> None:
        session = self._session
        if session is None or session.status not in ("connected", "reconnecting"):
            self._browser.ignored += 1
            return
        match value:
            case Muting():
                (session.mute if value.muted else session.unmute)()
                self.tell({"type": "muted", "muted": value.muted}, key="muted")
            case Typed():
                session.send_message(value.text)
            case Interruption():
                session.interrupt()

    def _mirrored(self, event: object) -> None:
        for posted in self._mirror.messages(event):
            self.tell(posted.message, key=posted.key)

    async def _leave(self) -> None:
        if not self._keeps_link:
            await super()._leave()
