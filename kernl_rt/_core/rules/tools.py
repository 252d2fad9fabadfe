"""Tool calls: each runs once, has one outcome, and its group gets one reply."""

from __future__ import annotations

from kernl_rt._core.actions import CancelTool, StartTool
from kernl_rt._core.arbiter import Wish
from kernl_rt._core.inputs import ToolReturned
from kernl_rt._core.state import State
from kernl_rt._core.toolcalls import Call, Group
from kernl_rt.events import SessionError, ToolCalled, ToolCancelled, ToolFinished, ToolOutcome, ToolResult
from kernl_rt.exceptions import CommandRejected


def called(state: State, event: ToolCalled, now: float) -> None:
    """A call is complete. The same id again is a duplicate of the wire and changes nothing."""
    response_id = event.response_id or state.arbiter.running
    call = state.tools.begin(event.call_id, event.name, event.arguments, response_id)
    if call is None:
        state.counts["duplicate_calls"] += 1
        return
    state.emit(event)
    if event.name in state.settings.tools:
        _start(state)
        return
    message = f"Tool {event.name} not found"
    _record(state, call, "error", message, None)
    state.emit(SessionError(message, code="unknown_tool", source="tool"))
    _group_changed(state, call.group, now)


def _start(state: State) -> None:
    for call in state.tools.startable():
        state.out.append(StartTool(call.call_id, call.name, call.arguments))


def returned(state: State, input: ToolReturned, now: float) -> None:
    call = state.tools.settle(input.call_id, input.outcome)
    if call is None:
        return
    if not state.lifecycle.live:
        state.emit(ToolFinished(call.call_id, call.name, "cancelled", "", input.duration))
        return
    call.group.owed = True
    _tell(state, call, input.outcome, input.output, input.duration)
    _start(state)
    _group_changed(state, call.group, now)


def _record(state: State, call: Call, outcome: ToolOutcome, output: str, duration: float | None) -> None:
    state.tools.settle(call.call_id, outcome)
    _tell(state, call, outcome, output, duration)


def _tell(state: State, call: Call, outcome: ToolOutcome, output: str, duration: float | None) -> None:
    """The model first, then the listeners."""
    event_id, item_id = state.next_id("event"), state.next_id("item_kernl")
    state.backlog.add(None, event_id, f"item:{item_id}")
    state.send(
        ToolResult(
            call.call_id,
            output,
            item_id,
            call.name,
            is_error=outcome != "result",
            event_id=event_id,
        )
    )
    state.emit(ToolFinished(call.call_id, call.name, outcome, output, duration))


def cancelled(state: State, event: ToolCancelled, now: float) -> None:
    """The provider no longer wants these calls: they end without an answer to it."""
    state.emit(event)
    for call_id in event.call_ids:
        call = state.tools.settle(call_id, "cancelled")
        if call is not None:
            state.out.append(CancelTool(call_id))
            state.emit(ToolFinished(call_id, call.name, "cancelled", ""))
            _start(state)
            _group_changed(state, call.group, now)


def reply_over(state: State, response_id: str | None, asks: tuple[int, ...], now: float) -> bool:
    """A reply has ended. Whether it made calls, and so the one who asked waits for the next reply."""
    group = state.tools.close(response_id, asks)
    if group is None:
        return False
    _group_changed(state, group, now)
    return True


def _group_changed(state: State, group: Group, now: float) -> None:
    """One reply to all the calls of a group, once each has its outcome and the reply that made them is over."""
    if not group.complete:
        return
    owed = state.tools.finish(group)
    if owed and not state.settings.capabilities.continues_after_tools:
        state.arbiter.wish(Wish(asks=group.asks))
        state.ask_for_replies(now)
        return
    for command in group.asks:
        state.settle(command, CommandRejected("the reply ended in tool calls that have no answer"))


def abandon_calls(state: State) -> None:
    """The session is over: what has no outcome yet was cancelled."""
    for call in state.tools.open_calls():
        state.tools.settle(call.call_id, "cancelled")
        state.emit(ToolFinished(call.call_id, call.name, "cancelled", ""))
