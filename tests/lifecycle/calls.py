"""What the tests of a session's life share."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from kernl_rt import RealtimeSession
from kernl_rt.events import StatusChanged
from kernl_rt.testing import ScriptedModel

#: A lost link ends the session: for tests about how it ends.
WITHOUT_RECONNECT: dict[str, Any] = (
    {"reconnect": None} if "reconnect" in inspect.signature(RealtimeSession).parameters else {}
)


@contextmanager
def nothing_left(session: RealtimeSession[Any], log: list[Any]) -> Iterator[None]:
    """After the block: no task more than before, every link closed, ``closed`` once and last, and all verbs refused."""
    before = {task.id for task in anyio.get_running_tasks()}
    yield
    left = [task.name for task in anyio.get_running_tasks() if task.id not in before]
    assert left == []
    assert isinstance(session.model, ScriptedModel)
    assert [peer.closed.is_set() for peer in session.model.peers] == [True] * len(session.model.peers)
    assert session.status == "closed"
    ends = [event for event in log if isinstance(event, StatusChanged) and event.status == "closed"]
    assert len(ends) == 1
    assert log[-1] is ends[0]
