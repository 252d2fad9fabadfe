"""Stopping one reply alone: what else plays goes on.

A channel can only forget everything. So it is cleared, and what others wait to be heard is played again, from the
ledger's own copy.
"""

from __future__ import annotations

from kernl_rt._core.actions import ClearPlayback, FlushPlayback, Play
from kernl_rt._core.inputs import PlaybackCleared
from kernl_rt._core.rules import interruption
from kernl_rt._core.state import Interruption, Pause, Reason, State


def still_to_come(state: State, key: str, now: float) -> bool:
    """Whether the reply runs, or something of it waits to be heard. ``key`` is its id, ``""`` where it has none."""
    state.playback.advance(now)
    return _runs(state, key) or state.playback.unheard(key or None) or state.holdback.holds(key)


def _runs(state: State, key: str) -> bool:
    return key == state.arbiter.running and key not in state.fenced


def silence(state: State, key: str, reason: Reason, now: float) -> None:
    """Nothing more of this reply is played or reported; where it runs, it is stopped at the provider too."""
    if not still_to_come(state, key, now):
        return
    response_id = key or None
    stopped = Interruption(reason, response_id, alone=True)
    if _runs(state, key):
        interruption.stop_generation(state, Interruption(reason, key), cancel=True)
    if state.pause is not None:
        _take_out_of_the_pause(state, state.pause, stopped, now)
        return
    state.interruption = stopped
    if state.settings.has_channel and state.playback.unheard(response_id):
        state.out.append(ClearPlayback())
    else:
        _withdraw(state, response_id, None, now)


def playback_cleared(state: State, input: PlaybackCleared, now: float) -> None:
    if state.interruption is not None and state.interruption.alone:
        _withdraw(state, state.interruption.response_id, input.position_ms, now)
    else:
        interruption.playback_cleared(state, input, now)


def _withdraw(state: State, response_id: str | None, position_ms: float | None, now: float) -> None:
    cuts, others = state.playback.withdraw(response_id, position_ms, now)
    if position_ms is not None:
        state.out.extend(FlushPlayback() if sound is None else Play(sound) for sound in others)
    interruption.conclude(state, cuts, now)


def _take_out_of_the_pause(state: State, pause: Pause, stopped: Interruption, now: float) -> None:
    """Nothing plays: the reply is taken out of what would be played on."""
    cuts = state.playback.caught_up([cut for cut in pause.cuts if cut.response_id == stopped.response_id])
    pause.cuts = [cut for cut in pause.cuts if cut.response_id != stopped.response_id]
    state.playback.withdraw_paused(stopped.response_id)
    state.interruption = stopped
    interruption.conclude(state, cuts, now)
