"""What a full-duplex model says besides: its timeline, what was told to it on the way, and work that it hands over.

Such a model hears and speaks at the same time, on one continuous timeline, in milliseconds from the session's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from kernl_rt.events._base import WireEvent
from kernl_rt.items import NOTHING

__all__ = ["ContextAppended", "DelegationCreated", "DelegationEvent", "InputMuted", "TimelineAdvanced"]


@frozen(eq=False, repr=False)
class TimelineAdvanced(WireEvent):
    """The model was silent up to this moment. Its silence is not played, and it shows that the model lives."""

    kind: ClassVar[str] = "timeline"
    sheddable: ClassVar[bool] = True
    at_ms: float


@frozen(eq=False, repr=False)
class InputMuted(WireEvent):
    """The provider confirms that it lets nothing of the human through to the model, or (``False``) that it does."""

    kind: ClassVar[str] = "audio.input.muted"
    muted: bool


@frozen(eq=False, repr=False)
class ContextAppended(WireEvent):
    """The model was told something: to be said (``commentary``), to be known (``thinking``) or to be followed
    (``instructions``).

    It says nothing of what was heard. ``client_event_id`` names the client event that this answers.
    """

    kind: ClassVar[str] = "context.appended"
    channel: Literal["commentary", "thinking", "instructions"]
    start_ms: float | None = None
    end_ms: float | None = None
    client_event_id: str | None = None


@frozen(eq=False, repr=False)
class DelegationCreated(WireEvent):
    """The model hands work over: to the ``client`` (us), or to a model behind it. What is to be done is not said."""

    kind: ClassVar[str] = "delegation.created"
    topic: ClassVar[str | None] = "delegation"
    delegation_id: str
    target: str
    offset_ms: float | None = None
    response_id: str | None = None


@frozen(eq=False, repr=False)
class DelegationEvent(WireEvent):
    """Something about delegated work that this vocabulary has no word for. ``event`` is the inner message, whole."""

    kind: ClassVar[str] = "delegation.event"
    type: str
    event: Mapping[str, Any] = field(default=NOTHING)
    delegation_id: str | None = None
