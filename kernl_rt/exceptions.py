"""Every error that kernl_rt raises.

::

    RealtimeError
    ├── MisconfiguredError            what was asked for cannot be; raised before anything is sent
    ├── SessionStateError             a verb at the wrong moment: before connect, twice, after close
    ├── ConnectError                  the session could not be opened; nothing stays open
    │   ├── AuthenticationError       401: the key is missing, wrong or expired
    │   ├── PermissionDeniedError     403: the key is right but may not do this
    │   ├── ModelNotFoundError        404: no such model or path
    │   ├── RateLimitedError          429: ``retry_after`` seconds, where the server says
    │   ├── ConnectRefusedError       nobody listens there, or the host cannot be reached
    │   ├── NameResolutionError       DNS does not know the host
    │   ├── TLSError                  the certificate or the TLS handshake was refused
    │   ├── ConnectTimeout            no answer within the connect deadline
    │   ├── HandshakeError            an answer that is no WebSocket upgrade (any other HTTP status)
    │   └── ConfigurationRejected     the provider refused the session's configuration
    ├── ConnectionClosed              the link ended, with its close ``code`` and ``reason``
    │   └── SessionExpired            the provider ended the session at its time limit
    ├── ProviderError                 the provider reported an error (``code``, ``type``, ``param``)
    ├── ProtocolError                 a frame that cannot be understood (remote fault)
    │   └── MessageTooLarge           a message over the size limit; the link is closed with 1009
    ├── CommandError                  how a command that was not carried out settles
    │   ├── CommandRejected           the provider refused it
    │   ├── CommandLost               the link ended before the provider answered
    │   └── CommandAborted            the session was closed before the provider answered
    ├── LaneFull                      a command lane is full: the link is stalled
    ├── SlowConsumer                  this iterator fell behind by more events than may be dropped
    ├── ChannelError                  the human's side failed: device, file, phone link
    │   └── AudioFileError            a sound file that cannot be read or written
    └── ToolError                     raise it in a tool: its message goes to the model
        ├── ToolArgumentsError        the model's arguments do not fit the signature
        └── ToolTimeout               the tool ran longer than its limit

Local faults (the caller's) are :class:`MisconfiguredError`, :class:`SessionStateError` and :class:`LaneFull`;
the rest report what the outside did. A message never holds a credential.
"""

from __future__ import annotations

__all__ = [
    "AudioFileError",
    "AuthenticationError",
    "ChannelError",
    "CommandAborted",
    "CommandError",
    "CommandLost",
    "CommandRejected",
    "ConfigurationRejected",
    "ConnectError",
    "ConnectRefusedError",
    "ConnectTimeout",
    "ConnectionClosed",
    "HandshakeError",
    "LaneFull",
    "MessageTooLarge",
    "MisconfiguredError",
    "ModelNotFoundError",
    "NameResolutionError",
    "PermissionDeniedError",
    "ProtocolError",
    "ProviderError",
    "RateLimitedError",
    "RealtimeError",
    "SessionExpired",
    "SessionStateError",
    "SlowConsumer",
    "TLSError",
    "ToolArgumentsError",
    "ToolError",
    "ToolTimeout",
]


class RealtimeError(Exception):
    """Root of every error that kernl_rt raises."""


class MisconfiguredError(RealtimeError):
    """What was asked for cannot be. The message names the mistake and the fix; nothing was sent."""


class SessionStateError(RealtimeError):
    """A verb was called at a moment when it has no meaning. Nothing changed."""


class ConnectError(RealtimeError):
    """The session could not be opened. Nothing is left open.

    ``status`` is the HTTP status of the answer, ``code`` the provider's own word for what is wrong; ``None`` where
    there was none.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class AuthenticationError(ConnectError):
    """401: the key is missing, wrong or expired."""


class PermissionDeniedError(ConnectError):
    """403: the key is known but may not do this."""


class ModelNotFoundError(ConnectError):
    """404: the server knows no such model, deployment or path."""


class RateLimitedError(ConnectError):
    """429: too many sessions or requests. ``retry_after`` is in seconds, ``None`` where the server does not say."""

    def __init__(
        self, message: str, *, status: int | None = 429, retry_after: float | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_after = retry_after


class ConnectRefusedError(ConnectError):
    """Nobody listens at that address, or it cannot be reached."""


class NameResolutionError(ConnectError):
    """The host name could not be resolved."""


class TLSError(ConnectError):
    """The TLS handshake failed: certificate expired, self-signed, wrong host, or no common version."""


class ConnectTimeout(ConnectError):
    """Connecting and configuring did not finish within the connect timeout."""


class HandshakeError(ConnectError):
    """The server answered, but not with a WebSocket upgrade."""


class ConfigurationRejected(ConnectError):
    """The provider refused the session's configuration; ``code`` and ``param`` are its own words."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class ConnectionClosed(RealtimeError):
    """The link ended.

    ``code`` is the WebSocket close code (RFC 6455 section 7.4); 1005 where the close frame held none and 1006 where
    there was no close frame. ``reason`` is the peer's text.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection was closed with code {code}" + (f": {reason}" if reason else ""))


class SessionExpired(ConnectionClosed):
    """The provider ended the session because it reached its maximum duration."""


class ProviderError(RealtimeError):
    """The provider reported an error. ``code``, ``type`` and ``param`` are its own words, ``None`` where absent."""

    def __init__(
        self, message: str, *, code: str | None = None, type: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.type = type
        self.param = param


class ProtocolError(RealtimeError):
    """The peer sent something that cannot be understood."""


class MessageTooLarge(ProtocolError):
    """A message exceeded the size limit. It was not buffered; the link is closed with code 1009."""


class CommandError(RealtimeError):
    """A command was not carried out. See the subclasses for why."""


class CommandRejected(CommandError):
    """The provider refused the command; ``code`` is its own word for why, ``None`` where it gives none."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class CommandLost(CommandError):
    """The link ended, or the provider stayed silent, before the command was answered: it may or may not have acted."""


class CommandAborted(CommandError):
    """The session was closed before the command was answered."""


class LaneFull(RealtimeError):
    """Too many commands wait to be written or acknowledged: the link is stalled. This one was not accepted."""


class SlowConsumer(RealtimeError):
    """An event iterator fell so far behind that events which may not be dropped filled its buffer.

    The iterator has ended; the session lives, and a new iterator may be opened.
    """


class ChannelError(RealtimeError):
    """The human's side failed: a device, a file or a phone link."""


class AudioFileError(ChannelError, ValueError):
    """A sound file is missing, damaged or of an unsupported kind, or cannot be written."""


class ToolError(RealtimeError):
    """Raise it in a tool to tell the model what went wrong: the message becomes the call's output.

    Any other exception of a tool reaches the model too, as its type and message.
    """


class ToolArgumentsError(ToolError):
    """The model's arguments do not fit the tool's signature. The message says which, and goes back to the model."""


class ToolTimeout(ToolError):
    """The tool ran longer than its limit and was cancelled."""
