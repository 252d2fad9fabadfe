"""What the machine can be told. Facts, in the past tense.

Besides these, the machine takes every server event (:mod:`kernl_rt.events.server`) and every channel event
(:mod:`kernl_rt.events.channel`) as it is. ``command`` numbers a caller's verb; its handle settles under that number.

Nobody changes or compares them. They are not frozen because one that is takes half as long again to make.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import define, field

from kernl_rt._core.configuration import Change
from kernl_rt._values import Shown
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


@define(eq=False, repr=False)
class ConnectionOpened(Shown):
    """The link to the model is up; nothing has been said yet."""


@define(eq=False, repr=False)
class ConnectionLost(Shown):
    """The link to the model ended, for the reason that ``error`` gives. ``jitter`` is a random fraction, 0 to 1."""

    error: Exception
    jitter: float = 0.0


@define(eq=False, repr=False)
class ConnectFailed(Shown):
    """An attempt to bring the link back came to nothing. ``jitter`` is a random fraction, 0 to 1."""

    error: Exception
    jitter: float = 0.0


@define(eq=False, repr=False)
class RequestOvertaken(Shown):
    """A reply has begun that cannot be the answer to our request: that was not written yet, and now will not be."""

    event_id: str


@define(eq=False, repr=False)
class Tick(Shown):
    """The machine's deadline has passed."""


@define(eq=False, repr=False)
class SpeakerStuck(Shown):
    """More sound waits for the channel than may."""


@define(eq=False, repr=False)
class Stopped(Shown):
    """Every task of the session has ended."""


# -- the human's side -------------------------------------------------------------------------------------------------


@define(eq=False, repr=False)
class PlaybackCleared(Shown):
    """The channel dropped what was unheard; ``position_ms`` is what had been heard."""

    position_ms: float


@define(eq=False, repr=False)
class ChannelEnded(Shown):
    """The human has left."""


@define(eq=False, repr=False)
class ChannelFailed(Shown):
    error: Exception


# -- tools ------------------------------------------------------------------------------------------------------------


@define(eq=False, repr=False)
class ToolReturned(Shown):
    """A tool came to an end. ``output`` is what the model is told; ``duration`` is in seconds."""

    call_id: str
    outcome: ToolOutcome
    output: str
    duration: float | None = None


@define(eq=False, repr=False)
class ApprovalChecked(Shown):
    """The user's predicate said whether this call needs a human's consent; one that raised says yes."""

    call_id: str
    needed: bool
    error: Exception | None = None


@define(eq=False, repr=False)
class CheckReturned(Shown):
    """A guardrail has read a reply: ``tripped`` says why it must not be said, ``None`` that it may."""

    check_id: str
    tripped: str | None
    error: Exception | None = None


# -- the caller's verbs -----------------------------------------------------------------------------------------------


@define(eq=False, repr=False)
class AudioSubmitted(Shown):
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@define(eq=False, repr=False)
class ItemSubmitted(Shown):
    """An item for the conversation; ``reply`` asks for an answer to it, ``ask`` that the handle waits for the
    answer.
    """

    command: int
    item: ConversationItem
    reply: bool = True
    ask: bool = False


@define(eq=False, repr=False)
class TurnCommitted(Shown):
    """The user's turn is over (push-to-talk)."""

    command: int
    reply: bool = True


@define(eq=False, repr=False)
class ReplyRequested(Shown):
    command: int
    config: ResponseConfig | None = None


@define(eq=False, repr=False)
class InterruptRequested(Shown):
    command: int


@define(eq=False, repr=False)
class ApprovalGiven(Shown):
    """A human agrees to a call; ``always``: to every call of this tool from now on."""

    command: int
    call_id: str
    always: bool = False


@define(eq=False, repr=False)
class ApprovalRefused(Shown):
    command: int
    call_id: str
    reason: str | None = None


@define(eq=False, repr=False)
class HangUpRequested(Shown):
    """End the session: at once, or when the goodbye has been heard, at most ``timeout`` seconds from now."""

    command: int
    after_playout: bool = True
    timeout: float = 30.0


@define(eq=False, repr=False)
class ChangeSubmitted(Shown):
    """The configuration, or the agent, is to be another."""

    change: Change


@define(eq=False, repr=False)
class ChangePrepared(Shown):
    """The instructions of an agent have come; ``config`` is all that it says."""

    command: int
    config: SessionConfig


@define(eq=False, repr=False)
class ChangeFailed(Shown):
    """The instructions of an agent could not be had, or what it says cannot be."""

    command: int
    error: Exception


@define(eq=False, repr=False)
class MuteChanged(Shown):
    muted: bool


@define(eq=False, repr=False)
class ActivityReported(Shown):
    """The caller's own detector noticed speech, or its end."""

    started: bool


@define(eq=False, repr=False)
class EventSubmitted(Shown):
    """A client event of the caller's own making."""

    command: int
    event: ClientEvent


@define(eq=False, repr=False)
class EventEmitted(Shown):
    event: CustomEvent


@define(eq=False, repr=False)
class ErrorNoticed(Shown):
    """Something outside the machine went wrong: a listener raised, a rejection had no taker."""

    event: SessionError


@define(eq=False, repr=False)
class ConditionNoticed(Shown):
    """Something outside the machine that the caller should know of, also while the session closes."""

    event: SessionStuck | LoopStalled | Draining


@define(eq=False, repr=False)
class Failed(Shown):
    """Something that cannot be lived with: an error that nobody listens for, a task that broke."""

    error: Exception


@define(eq=False, repr=False)
class CloseRequested(Shown):
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
