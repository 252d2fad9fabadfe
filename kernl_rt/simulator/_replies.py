"""The replies under way: when one may begin, what it is to answer, and what follows when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from kernl_rt.simulator._conversation import Item
from kernl_rt.simulator._items import item_of
from kernl_rt.simulator._reply import Reply, Thinking
from kernl_rt.simulator._response import Response
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._state import State
from kernl_rt.simulator._turns import context_of, turn_of, usage_of, wishes_of

__all__ = ["Replies"]

#: Replies beside the conversation that may run at once: the simulator's own bound.
_MOST_REPLIES = 16
_LIMITS = {"requests": 1_000, "tokens": 50_000}


class Replies:
    """The handlers of ``response.*``, and the replies they began.

    ``began`` and ``ended`` are called when a reply in the conversation does; ``ended`` only where it was completed.
    """

    def __init__(
        self, state: State, *, began: Callable[[], None], ended: Callable[[Response], None], rate_limits: bool
    ) -> None:
        self._state = state
        self._began = began
        self._ended = ended
        self._rate_limits = rate_limits
        self._conversation_id = state.ids.new("conv")
        self._under_way: dict[str, Response] = {}
        self._previous_total = 0
        #: Spoken audio has been sent: from then on the voice is fixed.
        self.has_spoken = False

    @property
    def due(self) -> float | None:
        moments = [response.due for response in self._under_way.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def __contains__(self, response_id: str) -> bool:
        return response_id in self._under_way

    def advance(self) -> None:
        """Everything that is due now."""
        for response in list(self._under_way.values()):
            if response.created_at is not None and response.created_at <= self._state.now:
                self._announce(response)
            response.advance(self._state.now)
            self.has_spoken = self.has_spoken or response.first_audio_at is not None
            self._forget_if_ended(response)

    def abandon(self) -> None:
        """The session has ended, and with it every reply, without a word."""
        self._under_way.clear()

    # -- what clients and turns ask for

    def _active(self) -> Response | None:
        """The reply under way in the conversation."""
        return next((found for found in self._under_way.values() if found.conversation is not None), None)

    def create(self, request: Mapping[str, Any]) -> None:
        if self._state.session.kind != "realtime":
            raise Refusal("Responses cannot be created in a transcription session.", "invalid_value", "type")
        if self._active() is None and self._state.faults.take("lost_races"):
            self._create({})
        self._create(request.get("response") or {}, delay=self._state.faults.created_delay)

    def answer_turn(self) -> None:
        """The server's own wish for a reply, after a turn that it has found."""
        if self._state.session.kind != "realtime":
            return
        try:
            self._create({})
        except Refusal as refusal:
            # interrupt_response is off and the last reply still runs: this turn gets none.
            self._state.refuse(refusal, None)

    def _create(self, asked: Mapping[str, Any], delay: float = 0.0) -> None:
        beside = asked.get("conversation") == "none"
        active = self._active()
        if active is not None and not beside:
            raise Refusal(
                f"Conversation already has an active response in progress: {active.id}. "
                "Wait until the response is finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        if len(self._under_way) >= _MOST_REPLIES:
            raise Refusal(f"The simulator runs {_MOST_REPLIES} responses at once at most.", "rate_limit_exceeded")
        items = None if asked.get("input") is None else [self._referred(given) for given in asked["input"]]
        response = Response(
            self._state.ids.new("resp"),
            wishes_of(self._state.session, asked, items),
            conversation=None if beside else self._state.conversation,
            conversation_id=None if beside else self._conversation_id,
            ids=self._state.ids,
            emit=self._state.emit,
            pace=self._state.pace,
        )
        response.created_at = self._state.now + delay
        self._under_way[response.id] = response
        if not beside:
            self._began()
        for item in items or ():
            if item.audio and item.heard is None and item.id not in self._state.listening:
                self._state.listen(item)
        if delay <= 0:
            self._announce(response)

    def _referred(self, given: Mapping[str, Any]) -> Item:
        if given["type"] != "item_reference":
            return item_of(self._state, given)
        item = self._state.conversation.find(given["id"])
        if item is None:
            raise Refusal(f"Item with id '{given['id']}' not found.", "item_not_found", "response.input")
        return item

    def cancel(self, request: Mapping[str, Any]) -> None:
        asked = request.get("response_id")
        response = self._active() if asked is None else self._under_way.get(asked)
        # One that has not been announced yet does not exist for the client, and cannot be cancelled.
        if response is None or response.created_at is not None:
            raise Refusal("Cancellation failed: no active response found", "response_cancel_not_active")
        self._cancel(response, "client_cancelled")

    def interrupt(self) -> None:
        """The user speaks: the reply in the conversation ends."""
        active = self._active()
        if active is not None:
            self._cancel(active, "turn_detected")

    def _cancel(self, response: Response, reason: Literal["turn_detected", "client_cancelled"]) -> None:
        if response.created_at is not None:
            self._say_created(response)
        response.cancel(reason)
        self._forget_if_ended(response)

    # -- thinking

    def _say_created(self, response: Response) -> None:
        response.created_at = None
        self._state.emit("response.created", response=response.shown())

    def _announce(self, response: Response) -> None:
        self._say_created(response)
        context = context_of(self._state.conversation, response)
        response.waiting_for = {item.id for item in context if item.id in self._state.listening}
        self._think(response)

    def heard(self, item_id: str) -> None:
        """The ears are through with an item: who waited for it can think."""
        for response in self._under_way.values():
            response.waiting_for.discard(item_id)
            self._think(response)

    def _think(self, response: Response) -> None:
        if response.thinking or response.waiting_for or response.created_at is not None:
            return
        response.thinking = True
        wishes = response.wishes
        context = context_of(self._state.conversation, response)
        if wishes.input is None and response.conversation is not None:
            response.answers = context
        response.usage = usage_of(context, wishes, self._previous_total)
        turn = turn_of(context, self._state.conversation, wishes)
        voice = wishes.voice if isinstance(wishes.voice, str) else str(wishes.voice["id"])
        spoken = wishes.modality == "audio"
        self._state.jobs.append(Thinking(response.id, turn, spoken, wishes.format, voice, wishes.speed))

    def reply(self, response_id: str, reply: Reply) -> None:
        """What the brain thought of. Too late, it is dropped."""
        response = self._under_way.get(response_id)
        if response is None:
            return
        if reply.failure is not None or self._state.faults.take("failing_replies"):
            self.fail(response_id, reply.failure or "The simulator was asked to fail this reply.")
        else:
            response.plan(reply, self._state.now)

    def fail(self, response_id: str, message: str) -> None:
        response = self._under_way.get(response_id)
        if response is not None:
            response.fail(message)
            self._forget_if_ended(response)

    # -- the end

    def _forget_if_ended(self, response: Response) -> None:
        if response.status == "in_progress" or response.id not in self._under_way:
            return
        del self._under_way[response.id]
        self._previous_total = response.usage.total
        self._state.conversation.forget_old_audio()
        if self._rate_limits:
            self._say_limits(response)
        if response.status == "completed" and response.conversation is not None:
            for item in response.answers:
                item.answered = True
            self._ended(response)

    def _say_limits(self, response: Response) -> None:
        used = {"requests": 1, "tokens": response.usage.total}
        limits = [
            {"name": name, "limit": limit, "remaining": max(0, limit - used[name]), "reset_seconds": 1.0}
            for name, limit in _LIMITS.items()
        ]
        self._state.emit("rate_limits.updated", rate_limits=limits)
