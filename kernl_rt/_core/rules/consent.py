"""A human's consent to a tool call. It parks that one call; the conversation goes on.

Whoever answers first decides. No answer within the tool's ``approval_timeout`` is a no.
"""

from __future__ import annotations

from kernl_rt._core.inputs import ApprovalChecked, ApprovalGiven, ApprovalRefused
from kernl_rt._core.rules import tools
from kernl_rt._core.state import State
from kernl_rt._core.toolcalls import Call
from kernl_rt.events import SessionError
from kernl_rt.exceptions import CommandRejected

DENIED = "The call was not approved."
TIMED_OUT = "Nobody approved the call in time."


def checked(state: State, input: ApprovalChecked, now: float) -> None:
    """The user's predicate has answered. One that fails is a yes to the question whether to ask."""
    call = _asking(state, input.call_id)
    if call is None:
        return
    if input.error is not None:
        state.emit(
            SessionError(f"needs_approval of {call.name} raised: {input.error}", source="tool", cause=input.error)
        )
    if input.needed:
        tools.require_consent(state, call, now)
    else:
        call.move("approved")
        tools.advance(state, now)


def given(state: State, input: ApprovalGiven, now: float) -> None:
    call = _asking(state, input.call_id)
    if call is None or call.deny_at is None:
        state.settle(input.command, _nothing(input.call_id))
        return
    call.move("approved")
    state.settle(input.command)
    if input.always:
        state.tools.approved.add(call.name)
        for other in state.tools.open_calls():
            if other.state == "asking" and other.name == call.name and other.deny_at is not None:
                other.move("approved")
    tools.advance(state, now)


def refused(state: State, input: ApprovalRefused, now: float) -> None:
    call = _asking(state, input.call_id)
    if call is None or call.deny_at is None:
        state.settle(input.command, _nothing(input.call_id))
        return
    state.settle(input.command)
    tools.end(state, call, "denied", input.reason or DENIED, now)


def expire(state: State, now: float) -> None:
    for call in state.tools.open_calls():
        if call.state == "asking" and call.deny_at is not None and now >= call.deny_at:
            tools.end(state, call, "denied", TIMED_OUT, now)


def _asking(state: State, call_id: str) -> Call | None:
    call = state.tools.get(call_id)
    return call if call is not None and call.state == "asking" else None


def _nothing(call_id: str) -> CommandRejected:
    return CommandRejected(f"call {call_id!r} does not wait for approval: it is unknown, running or over")
