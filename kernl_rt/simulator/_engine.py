"""The protocol itself: frames in, frames out, and what to think and listen about. Pure.

``receive`` takes a client's frame, ``poll`` gives the frames that are due, ``deadline`` says when the next one will
be. The engine never waits and has no clock: time comes in as ``now``. What takes real work leaves it as ``jobs`` (a
reply to think of, a turn to listen to) and comes back through ``reply`` and ``words``, or ``fail_reply`` and
``fail_words``.

House rules: a refused request changes nothing and costs one ``error`` frame; at most one reply is under way in the
conversation; each ``response.created`` is followed by exactly one ``response.done``, unless the session itself ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from kernl_rt.simulator._faults import Faults
from kernl_rt.simulator._hearing import Hearing
from kernl_rt.simulator._ids import Ids
from kernl_rt.simulator._items import ItemRequests
from kernl_rt.simulator._replies import Replies
from kernl_rt.simulator._reply import Listening, Pace, Reply, Thinking
from kernl_rt.simulator._requests import check_request
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._session import Session
from kernl_rt.simulator._state import State

__all__ = ["Engine"]

_Handler: TypeAlias = Callable[[Mapping[str, Any]], None]


class Engine:
    """One session's server side."""

    def __init__(
        self,
        *,
        now: float,
        ids: Ids | None = None,
        model: str = "simulator",
        kind: Literal["realtime", "transcription"] = "realtime",
        expires_at: int = 0,
        duration: float = 3600.0,
        pace: Pace | None = None,
        faults: Faults | None = None,
        rate_limits: bool = False,
        session: Mapping[str, Any] | None = None,
    ) -> None:
        """``session`` is a ``session`` object to begin with, as an ephemeral credential carries it.

        Raises:
            Refusal: that object may not be.
        """
        ids = ids or Ids()
        described = Session(ids.new("sess"), model, expires_at, kind=kind)
        self._state = State(ids, pace or Pace(), faults or Faults(), described, now)
        self._expires = now + duration
        self._duration = duration
        self._hearing = Hearing(self._state, lambda: self._replies.interrupt(), lambda: self._replies.answer_turn())
        self._replies = Replies(
            self._state,
            began=self._hearing.stop_waiting,
            ended=self._hearing.wait_for_user,
            rate_limits=rate_limits,
        )
        #: The close code and reason, once the session has ended; what ``poll`` still gives comes before.
        self.closing: tuple[int, str] | None = None
        self._handlers = self._table()
        if session is not None:
            described.update(session, has_spoken=False)
        self._hearing.configure()
        self._state.emit("session.created", session=described.shown())

    def _table(self) -> dict[str, _Handler]:
        items = ItemRequests(self._state)
        return {
            "session.update": self._update_session,
            "input_audio_buffer.append": self._hearing.append,
            "input_audio_buffer.commit": self._hearing.commit,
            "input_audio_buffer.clear": self._hearing.clear,
            "conversation.item.create": items.create,
            "conversation.item.retrieve": items.retrieve,
            "conversation.item.truncate": items.truncate,
            "conversation.item.delete": items.delete,
            "response.create": self._replies.create,
            "response.cancel": self._replies.cancel,
            "output_audio_buffer.clear": _no_output_buffer,
        }

    # -- the verbs of a pure half

    def receive(self, frame: object, now: float) -> None:
        """Take one decoded frame from the client: any JSON value."""
        self._advance(now)
        if self.closing is not None:
            return
        event_id = frame.get("event_id") if isinstance(frame, dict) else None
        try:
            request = check_request(frame)
            self._handlers[request["type"]](request)
        except Refusal as refusal:
            self._state.refuse(refusal, event_id if isinstance(event_id, str) else None)

    def refuse_message(self, why: str, now: float) -> None:
        """Answer a message that is no JSON at all."""
        self._advance(now)
        if self.closing is None:
            self._state.refuse(Refusal(why, "invalid_json"), None)

    def poll(self, now: float) -> list[dict[str, Any]]:
        """Every frame that is due, in order. They are the caller's to keep."""
        self._advance(now)
        frames, self._state.outbox = self._state.outbox, []
        return frames

    @property
    def deadline(self) -> float | None:
        """When ``poll`` will have something to do without any other input; ``None`` after the end."""
        if self.closing is not None:
            return None
        moments = (self._expires, self._hearing.due, self._replies.due)
        return min(moment for moment in moments if moment is not None)

    @property
    def pending(self) -> int:
        """How many frames wait to be polled."""
        return len(self._state.outbox)

    # -- brain and ears

    def jobs(self) -> list[Thinking | Listening]:
        """What there is to think and listen about, each once."""
        jobs, self._state.jobs = self._state.jobs, []
        return jobs

    def awaits(self, response_id: str) -> bool:
        """Whether anybody still waits for this reply to be thought of."""
        return self.closing is None and response_id in self._replies

    def reply(self, response_id: str, reply: Reply, now: float) -> None:
        """The brain's answer to a ``Thinking``. One that comes too late is dropped."""
        self._advance(now)
        self._replies.reply(response_id, reply)
        self._advance(now)

    def fail_reply(self, response_id: str, message: str, now: float) -> None:
        """The brain could not answer: the reply ends as ``failed``."""
        self._advance(now)
        self._replies.fail(response_id, message)

    def words(self, item_id: str, text: str, now: float) -> None:
        """What the ears made of a ``Listening``."""
        self._heard(item_id, text, None, now)

    def fail_words(self, item_id: str, message: str, now: float) -> None:
        """The ears failed: the item stays without words."""
        self._heard(item_id, "", message, now)

    def _heard(self, item_id: str, text: str, failure: str | None, now: float) -> None:
        self._advance(now)
        if self.closing is None and self._hearing.heard(item_id, text, failure):
            self._replies.heard(item_id)

    # -- time

    def _advance(self, now: float) -> None:
        """Everything that happens by itself until ``now``."""
        self._state.now = max(now, self._state.now)
        if self.closing is not None:
            return
        if self._state.now >= self._expires:
            return self._expire()
        self._replies.advance()
        self._hearing.advance()

    def _expire(self) -> None:
        text = f"Your session hit the maximum duration of {self._duration / 60:g} minutes."
        self._state.refuse(Refusal(text, "session_expired"), None)
        self.closing = (1001, text)
        self._replies.abandon()

    # -- the session

    def _update_session(self, request: Mapping[str, Any]) -> None:
        session = self._state.session
        before = (session.input_format, session.turn_detection)
        servers = _servers(session["tools"])
        session.update(request["session"], has_spoken=self._replies.has_spoken)
        if (session.input_format, session.turn_detection) != before:
            self._hearing.configure()
        self._state.emit("session.updated", session=session.shown())
        for _ in sorted(_servers(session["tools"]) - servers):
            # The simulator reaches no tool server, and says so as the provider does when it cannot reach one.
            item_id = self._state.ids.new("mcpl")
            self._state.emit("mcp_list_tools.in_progress", item_id=item_id)
            self._state.emit("mcp_list_tools.failed", item_id=item_id)


def _no_output_buffer(request: Mapping[str, Any]) -> None:
    raise Refusal("The output audio buffer exists only over WebRTC and SIP, not over a WebSocket.", None, "type")


def _servers(tools: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(tool["server_label"]) for tool in tools if tool["type"] == "mcp"}
