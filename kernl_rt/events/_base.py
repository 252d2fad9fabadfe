"""What every event has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import field, frozen

from kernl_rt._values import Value
from kernl_rt.items import NOTHING


@frozen(kw_only=True, eq=False, repr=False)
class Event(Value):
    """``kind`` is the dotted name of the class; ``topic`` the short name under which ``session.on`` finds it."""

    kind: ClassVar[str]
    topic: ClassVar[str | None] = None
    #: Partial content (deltas, audio) may be shed for a slow consumer; nothing else may.
    sheddable: ClassVar[bool] = False


@frozen(kw_only=True, eq=False, repr=False)
class WireEvent(Event):
    """An event that crosses the wire.

    ``event_id`` is the sender's name for this message. ``extra`` holds what the message said beyond the attributes,
    explicit nulls included.
    """

    event_id: str | None = None
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False)
