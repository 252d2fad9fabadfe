"""The human's turn: who decides that it is over, and whether the human speaks now."""

from __future__ import annotations

from kernl_rt.config import TurnDetection

__all__ = ["Turn"]


class Turn:
    def __init__(self, detection: TurnDetection | None) -> None:
        #: What the session asked for; replaced by what the provider says it does.
        self.detection = detection
        self.speaking = False
        #: The human has ended; the provider has not taken the turn yet.
        self.ending = False
        #: Since when the provider owes a reply to a turn that it has taken.
        self.awaiting: float | None = None
        #: Sound sent since the last commit or clear, in bytes.
        self.uncommitted = 0

    @property
    def manual(self) -> bool:
        """The caller says when the turn is over."""
        return self.detection is not None and self.detection.mode == "off"

    @property
    def idle(self) -> bool:
        """Nobody speaks, and nothing that was said waits to become a turn."""
        return not (self.manual or self.speaking or self.ending)

    @property
    def provider_replies(self) -> bool:
        """The provider answers a turn without being asked."""
        return not self.manual and (self.detection is None or self.detection.create_response is not False)

    @property
    def provider_interrupts(self) -> bool:
        """The provider stops its reply by itself when it hears the human."""
        return not self.manual and (self.detection is None or self.detection.interrupt_response is not False)
