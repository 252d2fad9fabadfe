"""What the parts of one session's engine share: the conversation, the moment, and the way out."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from kernl_rt.simulator._conversation import Conversation, Item
from kernl_rt.simulator._faults import Faults
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._reply import Listening, Pace, Thinking
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._session import Session

__all__ = ["State"]


@define(eq=False)
class State:
    """``now`` is the latest moment that the engine was told, in seconds."""

    ids: Ids
    pace: Pace
    faults: Faults
    session: Session
    now: float
    conversation: Conversation = field(factory=Conversation)
    outbox: list[dict[str, Any]] = field(factory=list)
    jobs: list[Thinking | Listening] = field(factory=list)
    #: Items that the ears are listening to.
    listening: dict[str, Item] = field(factory=dict)

    def emit(self, type: str, **fields: Any) -> None:
        """Put a frame into the way out."""
        self.outbox.append({"type": type, "event_id": self.ids.new("event"), **fields})

    def refuse(self, refusal: Refusal, event_id: str | None) -> None:
        """Say why a request is refused, and which one it was, where it had an id."""
        error = {
            "type": refusal.type,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": None if self.faults.anonymous_errors else event_id,
        }
        self.emit("error", error=error)

    def listen(self, item: Item) -> None:
        """Let the ears hear a spoken item."""
        self.listening[item.id] = item
        self.jobs.append(Listening(item.id, item.audio, self.session.input_format))
