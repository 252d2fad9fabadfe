"""What can go wrong on purpose: the simulator's own list of sabotage, for tests of clients.

::

    faults = Faults(created_delay=0.5)
    faults.close(1011, at="response.output_audio.delta", nth=3)
    simulator = Simulator(faults=faults)

Each fault that is placed ``at`` an event type fires once, when the ``nth`` frame of that type is about to be sent,
counted over all sessions of the simulator (so that the session opened after a fault is sound).
"""

from __future__ import annotations

from typing import Literal

from attrs import define, field

__all__ = ["Fault", "Faults"]

Kind = Literal["close", "drop", "stall", "malformed", "oversize", "duplicate", "withhold"]


@define
class Fault:
    """One planted fault. ``left`` counts down to the frame at which it fires."""

    kind: Kind
    at: str
    left: int
    code: int = 1011
    reason: str = ""
    size: int = 0


@define
class Faults:
    """Which faults a simulator shows. Empty: none.

    ``anonymous_errors``: errors do not name the client's event. ``created_delay``: seconds between taking a
    ``response.create`` and ``response.created``. ``lost_races``: so many of the client's ``response.create`` find that
    the server's own turn detection has just begun a reply. ``failing_replies``: so many replies end as ``failed``.
    """

    anonymous_errors: bool = False
    created_delay: float = 0.0
    lost_races: int = 0
    failing_replies: int = 0
    placed: list[Fault] = field(factory=list)

    def _place(self, fault: Fault) -> Faults:
        self.placed.append(fault)
        return self

    def close(self, code: int = 1011, reason: str = "", *, at: str, nth: int = 1) -> Faults:
        """Close the link with ``code`` instead of sending the frame."""
        return self._place(Fault("close", at, nth, code, reason))

    def drop(self, *, at: str, nth: int = 1) -> Faults:
        """Let the link break instead of sending the frame: no close frame says goodbye."""
        return self._place(Fault("drop", at, nth))

    def stall(self, *, at: str, nth: int = 1) -> Faults:
        """Send neither the frame nor anything after it, and read nothing more: the half-open link."""
        return self._place(Fault("stall", at, nth))

    def malformed(self, *, at: str, nth: int = 1) -> Faults:
        """Send a broken frame first: JSON cut in two."""
        return self._place(Fault("malformed", at, nth))

    def oversize(self, size: int = 5 * 2**20, *, at: str, nth: int = 1) -> Faults:
        """Send a frame of ``size`` bytes first."""
        return self._place(Fault("oversize", at, nth, size=size))

    def duplicate(self, *, at: str, nth: int = 1) -> Faults:
        """Send the frame twice, the same to the last byte."""
        return self._place(Fault("duplicate", at, nth))

    def withhold(self, *, at: str, nth: int = 1) -> Faults:
        """Never send the frame, and go on."""
        return self._place(Fault("withhold", at, nth))

    def due(self, type: str) -> list[Fault]:
        """The faults that fire at this frame; they are used up."""
        fired: list[Fault] = []
        for fault in self.placed:
            if fault.at == type:
                fault.left -= 1
                if fault.left == 0:
                    fired.append(fault)
        for fault in fired:
            self.placed.remove(fault)
        return fired

    def take(self, name: Literal["lost_races", "failing_replies"]) -> bool:
        """Use one up, if any is left."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0
