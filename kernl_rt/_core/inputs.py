"""What the machine can be told. Facts, in the past tense.

Besides these, the machine takes every server event (:mod:`kernl_rt.events.server`) and every channel event
(:mod:`kernl_rt.events.channel`) as it is. ``command`` numbers a caller's verb; its handle settles under that number.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from kernl_rt._core.configuration import Change
from kernl_rt.config import ResponseConfig, SessionConfig
from kernl_rt.events import (
    ChannelEvent,
    ClientEvent,
    CustomEvent,
    Draining,
    LoopStalled,
    ServerEvent,
    SessionError,
    SessionStuck,
    ToolOutcome,
)
from kernl_rt.items import ConversationItem

__all__ = [
    "ActivityReported",
    "ApprovalChecked",
    "ApprovalGiven",
    "ApprovalRefused",
    "AudioSubmitted",
    "ChangeFailed",
    "ChangePrepared",
    "ChangeSubmitted",
    "ChannelEnded",
    "ChannelFailed",
    "CheckReturned",
    "CloseRequested",
    "ConditionNoticed",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionOpened",
    "ErrorNoticed",
    "EventEmitted",
    "EventSubmitted",
    "Failed",
    "HangUpRequested",
    "Input",
    "InterruptRequested",
    "ItemSubmitted",
    "MuteChanged",
    "PlaybackCleared",
    "ReplyRequested",
    "RequestOvertaken",
    "Stopped",
    "Tick",
    "ToolReturned",
    "TurnCommitted",
]


@frozen
class ConnectionOpened:
    """The link to the model is up; nothing has been said yet."""


@frozen
class ConnectionLost:
    """The link to the model ended, for the reason that ``error`` gives. ``jitter`` is a random fraction, 0 to 1."""

    error: Exception
    jitter: float = 0.0


@frozen
class ConnectFailed:
    """An attempt to bring the link back came to nothing. ``jitter`` is a random fraction, 0 to 1."""

    error: Exception
    jitter: float = 0.0


@frozen
class RequestOvertaken:
    """A reply has begun that cannot be the answer to our request: that was not written yet, and now will not be."""

    event_id: str


@frozen
class Tick:
    """The machine's deadline has passed."""


@frozen
class SpeakerStuck:
    """More sound waits for the channel than may."""


@frozen
class Stopped:
    """Every task of the session has ended."""


# -- the human's side -------------------------------------------------------------------------------------------------


@frozen
class PlaybackCleared:
    """The channel dropped what was unheard; ``position_ms`` is what had been heard."""

    position_ms: float


@frozen
class ChannelEnded:
    """The human has left."""


@frozen
class ChannelFailed:
    error: Exception


# -- tools ------------------------------------------------------------------------------------------------------------


@frozen
class ToolReturned:
    """A tool came to an end. ``output`` is what the model is told; ``duration`` is in seconds."""

    call_id: str
    outcome: ToolOutcome
    output: str
    duration: float | None = None


@frozen
class ApprovalChecked:
    """The user's predicate said whether this call needs a human's consent; one that raised says yes."""

    call_id: str
    needed: bool
    error: Exception | None = None


@frozen
class CheckReturned:
    """A guardrail has read a reply: ``tripped`` says why it must not be said, ``None`` that it may."""

    check_id: str
    tripped: str | None
    error: Exception | None = None


# -- the caller's verbs -----------------------------------------------------------------------------------------------


@frozen
class AudioSubmitted:
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@frozen
class ItemSubmitted:
    """An item for the conversation; ``reply`` asks for an answer to it, ``ask`` that the handle waits for the
    answer.
    """

    command: int
    item: ConversationItem
    reply: bool = True
    ask: bool = False


@frozen
class TurnCommitted:
    """The user's turn is over (push-to-talk)."""

    command: int
    reply: bool = True


@frozen
class ReplyRequested:
    command: int
    config: ResponseConfig | None = None


@frozen
class InterruptRequested:
    command: int


@frozen
class ApprovalGiven:
    """A human agrees to a call; ``always``: to every call of this tool from now on."""

    command: int
    call_id: str
    always: bool = False


@frozen
class ApprovalRefused:
    command: int
    call_id: str
    reason: str | None = None


@frozen
class HangUpRequested:
    """End the session: at once, or when the goodbye has been heard, at most ``timeout`` seconds from now."""

    command: int
    after_playout: bool = True
    timeout: float = 30.0


@frozen
class ChangeSubmitted:
    """The configuration, or the agent, is to be another."""

    change: Change


@frozen
class ChangePrepared:
    """The instructions of an agent have come; ``config`` is all that it says."""

    command: int
    config: SessionConfig


@frozen
class ChangeFailed:
    """The instructions of an agent could not be had, or what it says cannot be."""

    command: int
    error: Exception


@frozen
class MuteChanged:
    muted: bool


@frozen
class ActivityReported:
    """The caller's own detector noticed speech, or its end."""

    started: bool


@frozen
class EventSubmitted:
    """A client event of the caller's own making."""

    command: int
    event: ClientEvent


@frozen
class EventEmitted:
    event: CustomEvent


@frozen
class ErrorNoticed:
    """Something outside the machine went wrong: a listener raised, a rejection had no taker."""

    event: SessionError


@frozen
class ConditionNoticed:
    """Something outside the machine that the caller should know of, also while the session closes."""

    event: SessionStuck | LoopStalled | Draining


@frozen
class Failed:
    """Something that cannot be lived with: an error that nobody listens for, a task that broke."""

    error: Exception


@frozen
class CloseRequested:
    reason: str = "close requested"


Input: TypeAlias = (
    ConnectionOpened
    | ConnectionLost
    | ConnectFailed
    | RequestOvertaken
    | Tick
    | SpeakerStuck
    | Stopped
    | PlaybackCleared
    | ChannelEnded
    | ChannelFailed
    | ToolReturned
    | ApprovalChecked
    | ApprovalGiven
    | ApprovalRefused
    | HangUpRequested
    | CheckReturned
    | AudioSubmitted
    | ItemSubmitted
    | TurnCommitted
    | ReplyRequested
    | InterruptRequested
    | ChangeSubmitted
    | ChangePrepared
    | ChangeFailed
    | MuteChanged
    | ActivityReported
    | EventSubmitted
    | EventEmitted
    | ErrorNoticed
    | ConditionNoticed
    | Failed
    | CloseRequested
    | ChannelEvent
    | ServerEvent
)
