"""What the machine asks for. Imperatives; the driver carries them out without waiting.

Nobody changes or compares them. They are not frozen because one that is takes half as long again to make, and one is
made for every event.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeAlias

from attrs import define, field

from kernl_rt._values import Shown
from kernl_rt.config import AudioFormat
from kernl_rt.events import ClientEvent, ServerEvent, SessionEvent
from kernl_rt.events.channel import ChannelEvent

__all__ = [
    "Action",
    "CancelTool",
    "CheckApproval",
    "ClearPlayback",
    "Disconnect",
    "Emit",
    "FlushPlayback",
    "Lane",
    "Play",
    "Reconnect",
    "Send",
    "Settle",
    "StartCheck",
    "StartTool",
    "SwitchAgent",
    "UseInputFormat",
]


class Lane(Enum):
    """The order in which what waits for the socket is written."""

    #: Cancel, truncate, clear: overtake everything.
    URGENT = 0
    #: Messages, tool results, requests for a reply: overtake audio.
    COMMAND = 1
    #: Audio, and what must not overtake it (commit and what follows it).
    AUDIO = 2


@define(eq=False, repr=False)
class Send(Shown):
    """``captured`` marks sound from a channel, which may be dropped if it is live and the link falls behind."""

    event: ClientEvent
    lane: Lane = Lane.COMMAND
    captured: bool = False


@define(eq=False, repr=False)
class Play(Shown):
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")


@define(eq=False, repr=False)
class FlushPlayback(Shown):
    """The reply's audio is complete."""


@define(eq=False, repr=False)
class ClearPlayback(Shown):
    """Drop what is unheard; the driver answers with ``PlaybackCleared``."""


@define(eq=False, repr=False)
class StartTool(Shown):
    """``agent`` is the number of the one whose tool it is."""

    call_id: str
    name: str
    arguments: str
    agent: int = 0


@define(eq=False, repr=False)
class CheckApproval(Shown):
    """Ask the user's predicate whether this call needs a human's consent; answered by ``ApprovalChecked``."""

    call_id: str
    name: str
    arguments: str
    agent: int = 0


@define(eq=False, repr=False)
class StartCheck(Shown):
    """Ask a guardrail about the words of a reply so far; answered by ``CheckReturned``."""

    check_id: str
    guardrail: str
    response_id: str | None
    text: str


@define(eq=False, repr=False)
class CancelTool(Shown):
    """Stop a running tool, or the predicate of one."""

    call_id: str


@define(eq=False, repr=False)
class Emit(Shown):
    event: ServerEvent | SessionEvent | ChannelEvent


@define(eq=False, repr=False)
class Settle(Shown):
    """A command is done: ``result``, or ``error`` if it was not carried out."""

    command: int
    error: Exception | None = None
    result: Any = None


@define(eq=False, repr=False)
class SwitchAgent(Shown):
    """The agent with this number speaks from now on."""

    agent: int


@define(eq=False, repr=False)
class UseInputFormat(Shown):
    """The human's sound is in this format from now on."""

    format: AudioFormat


@define(eq=False, repr=False)
class Disconnect(Shown):
    """End the session: with ``error`` where something failed."""

    error: Exception | None = None


@define(eq=False, repr=False)
class Reconnect(Shown):
    """Hang up, forget what waits for the link, and dial again in ``delay`` seconds; with ``resume`` where there is
    such a handle.
    """

    delay: float
    resume: str | None = None


Action: TypeAlias = (
    Send
    | Play
    | FlushPlayback
    | ClearPlayback
    | StartTool
    | CheckApproval
    | CancelTool
    | Emit
    | Settle
    | Disconnect
    | Reconnect
    | SwitchAgent
    | UseInputFormat
    | StartCheck
)
