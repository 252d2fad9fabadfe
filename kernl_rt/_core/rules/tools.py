"""Tool calls: each runs at most once, has one outcome, and its group gets one reply.

On its way to running a call may wait to be heard and wait for consent (:mod:`kernl_rt._core.rules.consent`).
"""

from __future__ import annotations

from kernl_rt._core.actions import CancelTool, CheckApproval, StartTool
from kernl_rt._core.arbiter import Wish
from kernl_rt._core.inputs import ToolReturned
from kernl_rt._core.rules import farewell
from kernl_rt._core.state import State
from kernl_rt._core.toolcalls import Call, Group, ToolTraits
from kernl_rt.events import (
    Response,
    SessionError,
    ToolApprovalRequired,
    ToolCalled,
    ToolCancelled,
    ToolFinished,
    ToolOutcome,
    ToolResult,
)

#: What the model is told of a call that the human cut short.
INTERRUPTED = "The human interrupted; the call was cancelled."
UNHEARD = "The human interrupted before hearing this; the tool did not run."
CUT_OFF = "The connection was lost before the human heard this; the tool did not run."
LOOPING = "This call was repeated too often in a short time and was refused. Do not repeat it."


def called(state: State, event: ToolCalled, now: float) -> None:
    """A call is complete. The same id again is a duplicate of the wire and changes nothing."""
    if state.tools.get(event.call_id) is None and state.conversation.knows_call(event.call_id):
        state.counts["duplicate_calls"] += 1  # so old that only the history knows it
        return
    response_id = event.response_id or state.arbiter.running
    traits = state.changes.toolbox(response_id).get(event.name)
    call = state.tools.begin(event.call_id, event.name, event.arguments, response_id, traits or ToolTraits())
    if call is None:
        _again(state, event)
        return
    call.group.closed = response_id in state.finished
    call.group.aside = response_id in state.asides
    state.emit(event)
    if traits is None:
        message = f"Tool {event.name} not found"
        end(state, call, "error", message, now, owes=False)
        state.emit(SessionError(message, code="unknown_tool", source="tool"))
    elif state.tools.loops(event.name, event.arguments, now):
        end(state, call, "error", LOOPING, now)
    elif traits.waits_to_be_heard and response_id in state.fenced:
        end(state, call, "cancelled", UNHEARD, now, owes=False)
    else:
        advance(state, now)


def _again(state: State, event: ToolCalled) -> None:
    """The same id again. It never runs twice; what the provider refused to hear of it is said once more."""
    state.counts["duplicate_calls"] += 1
    call = state.tools.get(event.call_id)
    assert call is not None
    if (call.name, call.arguments) != (event.name, event.arguments):
        message = f"the provider used the id of a call to {call.name} again, for another call"
        state.emit(SessionError(message, code="call_id_reused", source="protocol"))
    elif call.refused:
        call.refused = False
        _answer(state, call)


def refused(state: State, event_id: str) -> None:
    """The provider refused a client event: was it the output of a call?"""
    call = state.tools.told_by(event_id)
    if call is not None:
        call.refused = True


def _answer(state: State, call: Call) -> None:
    if call.group.aside:
        return  # the conversation does not hold the call, so it takes no result
    event_id, item_id = state.next_id("event"), state.next_id("item_kernl")
    error = call.outcome != "result"
    result = ToolResult(call.call_id, call.output, item_id, call.name, is_error=error, event_id=event_id)
    state.backlog.add(None, event_id, f"item:{item_id}", result)
    call.told_by = event_id
    state.send(result)


def advance(state: State, now: float) -> None:
    """Move every call as far as it may go now."""
    for call in state.tools.open_calls():
        if call.state == "held" and _heard(state, call):
            call.move("heard")
            _ask_for_consent(state, call, now)
    for call in state.tools.startable():
        state.out.append(StartTool(call.call_id, call.name, call.arguments, call.traits.agent))


def _heard(state: State, call: Call) -> bool:
    """Whether the human has heard what the model said before this call, where the tool must wait for that."""
    if not call.traits.waits_to_be_heard:
        return True
    if call.cut:
        return False
    response_id = call.group.response_id
    waits = state.playback.unheard(response_id) or state.holdback.holds(response_id or "")
    return call.group.closed and not waits


def _ask_for_consent(state: State, call: Call, now: float) -> None:
    """The call may run as far as what was heard is concerned: does anybody have to agree?"""
    if call.traits.approval == "none" or call.name in state.tools.approved:
        call.move("approved")
    elif call.traits.approval == "predicate":
        state.out.append(CheckApproval(call.call_id, call.name, call.arguments, call.traits.agent))
    else:
        require_consent(state, call, now)


def require_consent(state: State, call: Call, now: float) -> None:
    call.deny_at = now + call.traits.approval_timeout
    state.emit(ToolApprovalRequired(call.call_id, call.name, call.arguments))


def returned(state: State, input: ToolReturned, now: float) -> None:
    call = state.tools.get(input.call_id)
    if call is None or call.state != "running":
        return
    if not state.lifecycle.live:
        state.tools.settle(call.call_id, "cancelled")
        state.emit(ToolFinished(call.call_id, call.name, "cancelled", "", input.duration))
        return
    end(state, call, input.outcome, input.output, now, duration=input.duration)


def end(
    state: State,
    call: Call,
    outcome: ToolOutcome,
    output: str,
    now: float,
    *,
    owes: bool = True,
    duration: float | None = None,
) -> None:
    """Record the outcome: the model first, then the listeners. ``owes`` says whether it is worth a reply."""
    if state.tools.settle(call.call_id, outcome) is None:
        return
    call.output = output
    _answer(state, call)
    state.emit(ToolFinished(call.call_id, call.name, outcome, output, duration))
    if call.traits.terminal:
        if outcome == "result":
            farewell.begin(state, now)
    elif owes:
        call.group.owe(call.traits.on_done)
    advance(state, now)
    group_changed(state, call.group, now)


def cancelled(state: State, event: ToolCancelled, now: float) -> None:
    """The provider no longer wants these calls: they end without an answer to it."""
    state.emit(event)
    for call_id in event.call_ids:
        call = state.tools.get(call_id)
        if call is None or call.state == "settled":
            continue
        _stop(state, call)
        state.tools.settle(call_id, "cancelled")
        state.emit(ToolFinished(call_id, call.name, "cancelled", ""))
        advance(state, now)
        group_changed(state, call.group, now)


def _stop(state: State, call: Call) -> None:
    if call.state in ("running", "asking"):
        state.out.append(CancelTool(call.call_id))


def interrupted(state: State, now: float, *, response_id: str | None = None) -> None:
    """The human spoke: what waited to be heard will not be, and tools that give way do.

    With ``response_id`` it concerns the calls of that reply alone.
    """
    concerned = [call for call in state.tools.open_calls() if response_id in (None, call.group.response_id)]
    _cut(state, concerned, now, UNHEARD)
    for call in concerned:
        if call.state != "settled" and call.traits.on_interrupt == "cancel":
            _stop(state, call)
            end(state, call, "cancelled", INTERRUPTED, now, owes=False)


def cut_off(state: State, now: float, response_id: str | None) -> None:
    """The rest of a reply will not come: what waited for it to be heard does not run. All else goes on."""
    mine = [call for call in state.tools.open_calls() if call.group.response_id == response_id]
    _cut(state, mine, now, CUT_OFF)


def _cut(state: State, calls: list[Call], now: float, why: str) -> None:
    held = [call for call in calls if call.state == "held"]
    for call in held:
        # All of them first: the end of one lets the others go on, and with the sound gone nothing is unheard any more.
        call.cut = True
    for call in held:
        end(state, call, "cancelled", why, now, owes=False)


def reply_over(state: State, response: Response, asks: tuple[int, ...], now: float) -> bool:
    """A reply has ended. Whether it made calls, and so the one who asked waits for the next reply."""
    group = state.tools.close(response.id, asks, response)
    if group is None:
        return False
    advance(state, now)
    group_changed(state, group, now)
    return True


def group_changed(state: State, group: Group, now: float) -> None:
    """One reply to all the calls of a group, once each has its outcome and the reply that made them is over."""
    if not state.tools.finish(group):
        return
    # On another link nothing comes by itself: the results are part of what it is told.
    unasked = state.settings.capabilities.continues_after_tools and state.lifecycle.linked
    if group.owed != "no":
        state.arbiter.wish(Wish(asks=group.asks, when_idle=group.owed == "when_idle" and not unasked, unasked=unasked))
        state.ask_for_replies(now)
        return
    for command in group.asks:
        state.settle(command, result=group.response)


def abandon_calls(state: State) -> None:
    """The session is over: what has no outcome yet was cancelled."""
    for call in state.tools.open_calls():
        state.tools.settle(call.call_id, "cancelled")
        state.emit(ToolFinished(call.call_id, call.name, "cancelled", ""))
