"""The ports: what the session needs from a model and from a channel, and nothing more.

::

    RealtimeChannel    the human's side: captured sound in, the model's sound out, what was heard back
    RealtimeModel      a factory of connections, with what they can do
    RealtimeConnection an open link to a model that speaks events
    RealtimeTransport  opens the raw link under a connection
    MessageStream      that raw link: whole text or binary messages

Whatever is opened is an asynchronous context manager, so that an adapter may own tasks without leaking them: leaving it
closes everything, within a bound, whatever the peer does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from kernl_rt.config import AudioFormat, Capabilities, ConnectOptions, Credential, ResponseConfig, Secret, SessionConfig
from kernl_rt.events import ChannelEvent, ClientEvent, ServerEvent
from kernl_rt.exceptions import MisconfiguredError, SessionStateError

__all__ = ["MessageStream", "RealtimeChannel", "RealtimeConnection", "RealtimeModel", "RealtimeTransport"]


class MessageStream(ABC):
    """A link that carries whole messages, text (``str``) or binary (``bytes``), in order, both ways.

    One task receives and one task sends; either may be cancelled.
    """

    @abstractmethod
    async def receive(self) -> Sequence[str | bytes]:
        """Every message that has been read, at least one; waits for the first. A text message may come as UTF-8 bytes.

        Cancelling it loses no message. Control frames are answered, and messages keep being read up to a bound, also
        while nobody receives: after two seconds at the latest.

        Raises:
            ConnectionClosed: the link has ended, with its close code and reason; again at each further call. Messages
                that arrived before are returned first.
            MessageTooLarge: the peer sent a message over the size limit. The link has been closed with code 1009.
        """

    @abstractmethod
    async def send(self, message: str | bytes) -> None:
        """Write one message. Returns when it has been handed to the operating system.

        Cancelling it never leaves half a frame on the wire: the message is written whole or not at all.

        Raises:
            ConnectionClosed: the link has ended.
        """

    @property
    def ready(self) -> bool:
        """Whether a message may be written without waiting: the link is open, and nothing waits before it.

        A stream that is never ready, the default, is always waited for.
        """
        return False

    def send_nowait(self, message: str | bytes) -> None:
        """Write one message at once; only while :attr:`ready`, or right after others that were written so.

        What the operating system does not take is kept and written next, whole; until then the stream is not ready.
        That the link has broken is said by :meth:`receive` and :meth:`send`.
        """
        raise SessionStateError("this stream is never ready: use send()")

    @abstractmethod
    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye with ``code`` and close, waiting at most two seconds for the peer's answer. Idempotent."""


class RealtimeTransport(ABC):
    """Opens message streams."""

    #: The transport itself carries sound between human and model (WebRTC); it then excludes a channel.
    handles_audio: bool = False

    @abstractmethod
    def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AbstractAsyncContextManager[MessageStream]:
        """Open a link to ``url`` (``ws://`` or ``wss://``). The caller bounds the time.

        Leaving the context closes the link (code 1000, within two seconds); leaving it by cancellation or an exception
        does so too.

        Raises:
            ConnectError: the subclass says what failed. Credentials never stand in its message.
        """


class RealtimeConnection(ABC):
    """An open link to a model, speaking events. One task receives and one task sends."""

    @abstractmethod
    async def receive(self) -> Sequence[ServerEvent]:
        """The events that have arrived, at least one; waits for the first. Cancelling it loses nothing.

        A long burst comes in pieces, with a turn for every other task between them.

        A frame that cannot be understood is a :class:`~kernl_rt.events.SessionError` with ``source="protocol"``, one of
        an unknown type a :class:`~kernl_rt.events.RawServerEvent`: neither ends the connection.

        Raises:
            ConnectionClosed: the link has ended.
            MessageTooLarge: the link was closed because of an oversized message.
        """

    @abstractmethod
    async def send(self, event: ClientEvent) -> None:
        """Write one event, whole or not at all.

        Raises:
            ConnectionClosed: the link has ended.
        """

    @property
    def ready(self) -> bool:
        """Whether :meth:`send_nowait` may be called; never, by default."""
        return False

    def send_nowait(self, event: ClientEvent) -> None:
        """Write one event at once, while :attr:`ready`; as :meth:`MessageStream.send_nowait`.

        The session does so within the very step that asks for it: what stops a reply must not wait for a task.
        """
        raise SessionStateError("this connection is never ready: use send()")


class RealtimeModel(ABC):
    """A factory of connections to one model of one provider. Reusable, immutable, and cheap: it opens nothing
    itself.
    """

    #: The provider's name, for display; no code decides by it.
    provider: str
    #: The model's name at the provider.
    name: str
    capabilities: Capabilities

    @abstractmethod
    def check(self, config: SessionConfig) -> None:
        """Refuse what this model cannot do.

        Raises:
            MisconfiguredError: names the option, the mistake and the fix. Nothing has been sent.
        """

    def check_response(self, config: ResponseConfig) -> None:  # noqa: B027 - a default, not a gap
        """Refuse what this model cannot do in one reply. Raises as :meth:`check`; by default everything goes."""

    @abstractmethod
    def connect(
        self,
        config: SessionConfig,
        options: ConnectOptions,
        *,
        credential: Credential | None = None,
        transport: RealtimeTransport | None = None,
    ) -> AbstractAsyncContextManager[RealtimeConnection]:
        """Dial. The configuration is sent later, as the first :class:`~kernl_rt.events.SessionUpdate`.

        Raises:
            MisconfiguredError: no key, or a bad URL.
            ConnectError: the subclass says what failed.
        """

    async def authenticate(
        self, config: SessionConfig | None = None, *, expires_after: int | None = None
    ) -> Credential:
        """Mint a short-lived credential that a client may hold, for sessions with ``config``.

        ``expires_after`` is in seconds, the provider's default where ``None``.

        Raises:
            MisconfiguredError: this provider mints none, or ``expires_after`` is out of its range.
            ConnectError: the provider refused.
        """
        raise MisconfiguredError(f"{self.provider} mints no short-lived credentials; use the key itself")


class RealtimeChannel(ABC):
    """Where the human's audio comes and goes: a sound card, a browser, a phone, a file.

    The session opens the channel, then one task calls :meth:`receive` in a loop and another :meth:`send`; ``clear`` is
    called from either. Positions are milliseconds of sound heard since the channel was opened, over everything sent
    to it, less what was cleared unheard; they never run backwards.
    """

    #: Formats that :meth:`receive` can give and :meth:`send` can take, in order of preference. The session chooses.
    input_formats: Sequence[AudioFormat]
    output_formats: Sequence[AudioFormat]
    #: A live source cannot wait: when the model falls behind, the oldest sound is dropped and counted. A file waits.
    live: bool = True
    #: Whether :meth:`receive` gives ``AudioPlayed``; where not, the session estimates what was heard from the clock.
    reports_playback: bool = True

    @abstractmethod
    def open(self, input_format: AudioFormat, output_format: AudioFormat) -> AbstractAsyncContextManager[None]:
        """Start the devices, in the formats that were chosen. Leaving the context stops them and releases everything.

        What the body raises leaves the context as it is, in no group.

        Raises:
            ChannelError: the device, file or link cannot be opened.
            MisconfiguredError: a format that the channel does not offer.
            SessionStateError: the channel is, or was, open.
        """

    @abstractmethod
    async def receive(self) -> ChannelEvent:
        """The next thing that happened on the human's side. Cancelling it loses nothing.

        Raises:
            anyio.EndOfStream: the human has left; the session then closes.
            ChannelError: the device or link failed.
        """

    @abstractmethod
    async def send(self, audio: bytes) -> None:
        """Play ``audio``, in the chosen output format, after what was sent before.

        Waits while more than a short send-ahead is unplayed, so that there is little to clear. Cancelling it may leave
        ``audio`` played in part; positions stay right. After the human has left, sound is discarded: only
        :meth:`receive` tells of it.

        Raises:
            ChannelError: the device or link failed.
        """

    async def flush(self) -> None:  # noqa: B027 - a default, not a gap
        """The reply's sound is complete: play also what does not fill a whole frame. Cancelling it is harmless."""

    @abstractmethod
    def clear(self) -> float:
        """Stop playing at once, forget what was sent and not heard, and say the position heard, in milliseconds.

        Never waits: the local queue is dropped first, the far side is told as soon as the link allows. A :meth:`send`
        that waits for room returns, and what it had left is forgotten too. Sound sent afterwards plays normally.
        """
