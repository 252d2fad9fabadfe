"""What a channel over a link is made of, beside the link itself: a pure translation, and what it may find.

One :class:`Wire` serves one call. It never waits, knows no clock but the ``now`` it is given, and whatever the far end
sends, it raises nothing but :class:`~kernl_rt.exceptions.ChannelError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen

from kernl_rt.config import AudioFormat

__all__ = ["Answer", "Echoed", "Left", "Message", "Played", "Wire"]

Message = str | bytes


@frozen
class Played:
    """The far end has really played ``size`` bytes, in the wire's output format, since the call began.

    ``clears`` is the number of the last order to clear that it had obeyed by then, ``None`` where it does not say.
    """

    size: int
    clears: int | None = None


@frozen
class Echoed:
    """The far end has come to the mark ``name``."""

    name: str


@frozen
class Answer:
    """To be sent back at once."""

    messages: Sequence[Message] = field(repr=lambda messages: f"<{len(messages)} messages>")


@frozen
class Left:
    """The human has left; what was said before still counts."""


class Wire(Protocol):
    """A channel's pure codec. The formats are the far end's own, and are known when the channel is made."""

    @property
    def input_format(self) -> AudioFormat:
        """What :meth:`decode` gives."""
        ...

    @property
    def output_format(self) -> AudioFormat:
        """What :meth:`encode_audio` takes."""
        ...

    @property
    def frame_ms(self) -> float:
        """How much sound goes into one message, in milliseconds."""
        ...

    def decode(self, message: Message, now: float) -> Sequence[object]:
        """What one message says, in order.

        A :data:`~kernl_rt.events.ChannelEvent`, :class:`Played`, :class:`Echoed`, :class:`Answer` and :class:`Left` are
        understood by the channel; anything else is handed to its ``on_control``. ``AudioCaptured`` without ``at`` is
        taken to end at ``now``.

        Raises:
            ChannelError: the far end broke its protocol so badly that the call cannot go on.
        """
        ...

    def encode_audio(self, audio: bytes) -> Sequence[Message]:
        """One frame of sound; the last of a reply may be shorter."""
        ...

    def encode_mark(self, name: str) -> Sequence[Message]:
        """A mark to be echoed when the sound before it was played; nothing where the far end counts by itself."""
        ...

    def encode_clear(self, clears: int) -> Sequence[Message]:
        """The order to drop what has not been played, the ``clears``-th that was given; some are left out when one
        overtakes another."""
        ...

    def encode_goodbye(self) -> Sequence[Message]:
        """The last words, when the session leaves first."""
        ...
