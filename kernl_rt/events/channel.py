"""What the human's side reports. Past tense: these have happened.

``at`` is seconds on the session's monotonic clock (``anyio.current_time``), taken where the sound was captured, so
that late processing keeps the order; ``None`` means "now".
"""

from __future__ import annotations

from typing import ClassVar, TypeAlias

from attrs import field, frozen

from kernl_rt.events._base import Event

__all__ = ["ActivityEnded", "ActivityStarted", "AudioCaptured", "AudioPlayed", "ChannelEvent", "DtmfPressed"]


@frozen(eq=False, repr=False)
class AudioCaptured(Event):
    """The human's sound, in the channel's input format. ``at`` is when its first sample was captured."""

    kind: ClassVar[str] = "channel.audio.captured"
    sheddable: ClassVar[bool] = True
    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")
    at: float | None = None


@frozen(eq=False, repr=False)
class AudioPlayed(Event):
    """How much of the model's sound the human has heard (a mark).

    ``position_ms`` counts from the channel's start over everything ever sent to it, less what was cleared unheard; it
    never runs backwards.
    """

    kind: ClassVar[str] = "channel.audio.played"
    position_ms: float
    at: float | None = None


@frozen(eq=False, repr=False)
class ActivityStarted(Event):
    """The channel, or the user's own detector, noticed that the human began to speak."""

    kind: ClassVar[str] = "channel.activity.started"
    topic: ClassVar[str | None] = "speech"
    at: float | None = None


@frozen(eq=False, repr=False)
class ActivityEnded(Event):
    """The channel, or the user's own detector, noticed that the human stopped speaking."""

    kind: ClassVar[str] = "channel.activity.ended"
    topic: ClassVar[str | None] = "speech"
    at: float | None = None


@frozen(eq=False, repr=False)
class DtmfPressed(Event):
    """A key on the caller's phone: one of ``0-9*#A-D``."""

    kind: ClassVar[str] = "channel.dtmf"
    topic: ClassVar[str | None] = "dtmf"
    key: str
    at: float | None = None


ChannelEvent: TypeAlias = AudioCaptured | AudioPlayed | ActivityStarted | ActivityEnded | DtmfPressed
