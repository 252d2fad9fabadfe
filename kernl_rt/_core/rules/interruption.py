"""Interruptions: the reply stops, here and at the provider, and is cut at what was heard.

One path for all of them: speech that the provider heard, speech that our own side heard, the caller's ``interrupt()``,
a stuck speaker. What was heard is known once the channel has been cleared, in the same tick.

Recovery from a false alarm (``recover_after``): noise may sound like speech. The reply is then only *paused* at first:
the channel is cleared and what was unheard is kept. Words, or a new reply, make it an interruption; silence for that
long after the noise makes it none, and the rest of the reply plays on.
"""

from __future__ import annotations

from kernl_rt._core.actions import ClearPlayback, FlushPlayback, Lane, Play
from kernl_rt._core.holdback import with_unplayed
from kernl_rt._core.inputs import PlaybackCleared
from kernl_rt._core.playback import Cut
from kernl_rt._core.rules import farewell, tools
from kernl_rt._core.state import Interruption, Pause, Reason, State
from kernl_rt.events import Interrupted, ItemTruncate, PlaybackPaused, PlaybackResumed, ResponseCancel


def interrupt(state: State, reason: Reason, now: float, *, cancel: bool) -> None:
    """Stop the reply; with ``cancel`` at the provider too. Does nothing where nothing runs or plays.

    From here on nothing of the reply is played or reported.
    """
    if state.pause is not None:
        if reason != "speech":
            confirm(state, now, reason, cancel=cancel)
        return
    running = state.arbiter.running
    state.playback.advance(now)
    stopped = running is not None and running in state.fenced
    if (running is None or stopped) and state.silent:
        farewell.revoke(state)
        tools.interrupted(state, now)
        if reason == "requested" and state.arbiter.state == "asked":
            state.arbiter.cancel_next = True
        return
    interruption = Interruption(reason, None if stopped else running)
    if reason == "speech" and _recoverable(state):
        state.pause = Pause(interruption, cancel)
        state.out.append(ClearPlayback())
        return
    farewell.revoke(state)
    stop_generation(state, interruption, cancel=cancel)
    state.interruption = interruption
    if state.settings.has_channel:
        state.out.append(ClearPlayback())
    else:
        conclude(state, state.playback.clear(None, now), now)


def _recoverable(state: State) -> bool:
    return state.settings.recover_after is not None and state.settings.has_channel and state.playback.pending > 0


def stop_generation(state: State, interruption: Interruption, *, cancel: bool) -> None:
    running = interruption.response_id
    if running is None or running in state.finished:
        return  # what is over needs no fence, and would never be taken out of it
    if running in state.fenced:
        cancel = False
    state.fenced.add(running)
    if cancel and state.settings.capabilities.can_cancel and running == state.arbiter.running:
        state.send(ResponseCancel(running or None, event_id=state.next_id("event")), Lane.URGENT)


def playback_cleared(state: State, input: PlaybackCleared, now: float) -> None:
    pause = state.pause
    cuts = state.playback.clear(input.position_ms, now, keep=pause is not None)
    if pause is None:
        conclude(state, cuts, now)
        return
    pause.cuts = cuts
    first = cuts[0] if cuts else None
    state.emit(PlaybackPaused(first.item_id if first else None, first.heard_ms if first else 0))


def conclude(state: State, cuts: list[Cut], now: float) -> None:
    """What was heard is known: tell the provider, correct the history, and say that the reply was interrupted."""
    interruption, state.interruption = state.interruption, None
    alone = interruption.response_id if interruption is not None and interruption.alone else None
    if interruption is not None:
        dropped = state.holdback.drop((alone or "") if interruption.alone else None)
        if dropped:
            cuts = with_unplayed(cuts, dropped, state.settings.output_format)
    changed = False
    for cut in cuts:
        if cut.response_id is not None and cut.response_id not in state.finished:
            state.fenced.add(cut.response_id)
        known = cut.item_id not in state.seeding.retold  # what was told anew has no sound there
        if cut.heard_ms > 0 and known and state.settings.capabilities.can_truncate:
            truncate = ItemTruncate(cut.item_id, cut.heard_ms, cut.content_index, event_id=state.next_id("event"))
            state.send(truncate, Lane.URGENT)
        changed |= state.conversation.cut(cut.item_id, cut.heard_ms, cut.received_ms)
    if interruption is not None:
        if interruption.response_id is not None:
            changed |= state.conversation.cut_rest(interruption.response_id, {cut.item_id for cut in cuts})
        _say(state, cuts, interruption)
        if changed:
            state.history_changed()
        if interruption.reason != "connection_lost":  # the link's end has seen to its calls
            tools.interrupted(state, now, response_id=alone)


def _say(state: State, cuts: list[Cut], interruption: Interruption) -> None:
    """One event for each reply that was stopped: the one that played, and the one that ran."""
    stopped: dict[str | None, Cut | None] = {}
    for cut in cuts:
        stopped.setdefault(cut.response_id, cut)
    if interruption.response_id is not None or not stopped:
        stopped.setdefault(interruption.response_id, None)
    for response_id, first in stopped.items():
        item_id, heard_ms = (first.item_id, first.heard_ms) if first is not None else (None, 0)
        state.emit(Interrupted(response_id or None, item_id, heard_ms, interruption.reason))


# -- recovery from a false alarm --------------------------------------------------------------------------------------


def words_heard(state: State, text: str, now: float) -> None:
    """A transcript of the human: words prove that somebody spoke."""
    if state.pause is not None and text.strip():
        confirm(state, now)


def confirm(state: State, now: float, reason: Reason | None = None, *, cancel: bool = False) -> None:
    """It was an interruption: what was paused is cut where it stood."""
    pause, state.pause = state.pause, None
    if pause is None:
        return
    farewell.revoke(state)
    interruption = pause.interruption if reason is None else Interruption(reason, pause.interruption.response_id)
    stop_generation(state, interruption, cancel=cancel or pause.cancel)
    state.interruption = interruption
    cuts = state.playback.caught_up(pause.cuts)
    state.playback.forget()
    conclude(state, cuts, now)


def noise_stopped(state: State, now: float) -> None:
    """Whatever it was, it is over; without words it was nothing."""
    if state.pause is not None and state.settings.recover_after is not None:
        state.pause.resume_at = now + state.settings.recover_after


def noise_goes_on(state: State) -> None:
    if state.pause is not None:
        state.pause.resume_at = None


def recover(state: State, now: float) -> None:
    """Nobody spoke: the rest of the reply plays on."""
    pause = state.pause
    if pause is None or pause.resume_at is None or now < pause.resume_at:
        return
    state.pause = None
    for rest in state.playback.resume(now):
        state.out.append(Play(rest))
    if state.arbiter.running is None:
        state.out.append(FlushPlayback())
    state.emit(PlaybackResumed())
