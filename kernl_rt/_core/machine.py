"""The session's decisions: a pure state machine.

Theory of operation
===================

``feed(input, now)`` takes one fact and returns the actions it calls for, in the order in which they are to be carried
out. The facts are: what the model said (server events), what happened on the human's side (channel events), what the
caller asked for (verbs), how a tool ended, and that time has passed (``Tick``, once ``deadline`` is reached). The
actions are: send this to the model, play this, clear what plays, start or cancel a tool, settle a command, report an
event, end.

The machine is a set of ledgers (:class:`~kernl_rt._core.state.State`), each of which answers one question:

=================  =====================================================================================================
``lifecycle``      what is the session's status, and what may follow?
``turn``           does the human speak, and who decides when the turn is over?
``arbiter``        may a reply be asked for, and who is answered by the one that runs?
``playback``       of which item how much was heard?
``conversation``   what was said, as far as it was heard?
``toolcalls``      which calls run, which have an outcome, and what reply is owed?
``backlog``        which commands has the provider not answered yet?
``changes``        what configuration and which agent hold, and what waits for the provider's yes?
``seeding``        which items of an earlier conversation has the provider taken?
``guardrails``     which words have been checked, and which reply must not be said?
``holdback``       which sound waits until its words have passed?
``latency``        since when does the human wait?
=================  =====================================================================================================

A reply's life: a wish (a message, a commit, a group of tool results) → the arbiter asks → ``response.created`` → sound
is played, and heard later than it arrives → ``response.done``, while the tail may still play. An interruption cuts what
is *heard*, so it needs the channel's answer: the machine asks for ``ClearPlayback`` and gets ``PlaybackCleared`` in
the same tick. From the first moment on, the reply is behind a fence: nothing more of it is played or reported.

House rules: no clock, no random, no await. Ids are counted. An input that a status does not allow changes nothing:
after the close began, only tools' ends and the stop itself are heard. Which rule takes an input stands in ``RULES``; a
server event without a rule of its own is only reported. Behind each rule come the guardrails and the measuring of time
(``guarding.after``, ``timing.after``): they read what has happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

from kernl_rt._core import inputs
from kernl_rt._core.actions import Action
from kernl_rt._core.rules import (
    changes,
    consent,
    farewell,
    guarding,
    history,
    human,
    links,
    reply,
    session,
    silencing,
    timing,
    tools,
)
from kernl_rt._core.state import Settings, State
from kernl_rt.config import SessionConfig
from kernl_rt.events import (
    ActivityEnded,
    ActivityStarted,
    AudioCaptured,
    AudioDelta,
    AudioDone,
    AudioInputCleared,
    AudioInputCommitted,
    AudioPlayed,
    ChannelEvent,
    ContentPartAdded,
    ContentPartDone,
    DtmfPressed,
    InputTranscript,
    InputTranscriptDelta,
    ItemCreated,
    ItemDeleted,
    ItemDone,
    ItemRetrieved,
    ItemTruncated,
    McpArguments,
    McpArgumentsDelta,
    McpCallProgress,
    OutputBufferCleared,
    OutputItemAdded,
    OutputItemDone,
    OutputTranscript,
    OutputTranscriptDelta,
    Ping,
    ResponseCreated,
    ResponseDone,
    SessionCreated,
    SessionError,
    SessionExpiring,
    SessionResumable,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Status,
    TextDelta,
    TextDone,
    ToolCalled,
    ToolCancelled,
    ToolDelta,
    ToolStarted,
    Usage,
    UsageReported,
)
from kernl_rt.items import ConversationItem

__all__ = ["RULES", "SessionMachine", "Settings"]

Rule = Callable[[State, Any, float], None]

RULES: Final[dict[type, Rule]] = {
    # the session
    inputs.ConnectionOpened: session.opened,
    inputs.ConnectionLost: links.lost,
    inputs.ConnectFailed: links.failed_to_connect,
    inputs.RequestOvertaken: reply.overtaken,
    inputs.CloseRequested: session.close_requested,
    inputs.Stopped: session.stopped,
    inputs.Tick: session.tick,
    inputs.EventEmitted: session.emitted,
    inputs.ErrorNoticed: session.noticed,
    inputs.ConditionNoticed: session.noticed,
    inputs.Failed: session.failed,
    inputs.ChannelEnded: session.channel_ended,
    inputs.ChannelFailed: session.channel_failed,
    SessionCreated: session.created,
    SessionUpdated: session.updated,
    SessionError: session.error,
    SessionExpiring: links.expiring,
    SessionResumable: links.resumable,
    # the human's side
    AudioCaptured: human.captured,
    AudioPlayed: human.played,
    ActivityStarted: human.channel_activity,
    ActivityEnded: human.channel_activity,
    DtmfPressed: human.dtmf,
    SpeechStarted: human.speech_started,
    SpeechStopped: human.speech_stopped,
    AudioInputCommitted: human.committed,
    AudioInputCleared: human.cleared,
    # the caller's verbs
    inputs.AudioSubmitted: human.submitted,
    inputs.ItemSubmitted: human.item_submitted,
    inputs.TurnCommitted: human.turn_committed,
    inputs.ReplyRequested: human.reply_requested,
    inputs.InterruptRequested: human.interrupt_requested,
    inputs.HangUpRequested: farewell.requested,
    inputs.ChangeSubmitted: changes.submitted,
    inputs.ChangePrepared: changes.prepared,
    inputs.ChangeFailed: changes.failed,
    inputs.MuteChanged: human.mute_changed,
    inputs.ActivityReported: human.activity_reported,
    inputs.EventSubmitted: human.event_submitted,
    # the model's reply
    ResponseCreated: reply.created,
    AudioDelta: reply.audio,
    AudioDone: reply.audio_done,
    TextDelta: reply.partial,
    TextDone: reply.final,
    ToolDelta: reply.partial,
    OutputItemAdded: reply.item_added,
    OutputItemDone: reply.rest,
    ContentPartAdded: reply.rest,
    ContentPartDone: reply.rest,
    ToolStarted: reply.rest,
    McpCallProgress: reply.rest,
    McpArguments: reply.rest,
    McpArgumentsDelta: reply.partial,
    OutputTranscriptDelta: reply.partial,
    ResponseDone: reply.done,
    OutputBufferCleared: reply.dropped,
    UsageReported: reply.usage_reported,
    inputs.PlaybackCleared: silencing.playback_cleared,
    inputs.SpeakerStuck: reply.speaker_stuck,
    inputs.CheckReturned: guarding.returned,
    # tools
    ToolCalled: reply.tool_called,
    ToolCancelled: tools.cancelled,
    inputs.ToolReturned: tools.returned,
    inputs.ApprovalChecked: consent.checked,
    inputs.ApprovalGiven: consent.given,
    inputs.ApprovalRefused: consent.refused,
    # the conversation
    ItemCreated: history.created,
    ItemDone: history.done,
    ItemRetrieved: history.retrieved,
    ItemDeleted: history.deleted,
    ItemTruncated: history.truncated,
    InputTranscriptDelta: history.words_of_the_human,
    InputTranscript: history.transcript,
    OutputTranscript: reply.final_transcript,
}

#: Once the session is closing, only these are heard.
_AFTER_CLOSE: Final = frozenset({inputs.Stopped, inputs.ToolReturned, inputs.ErrorNoticed, inputs.ConditionNoticed})


#: What does not come from the provider.
_OURS: Final = frozenset(
    {kind for kind in get_args(inputs.Input) if kind.__module__ == inputs.__name__} | {*get_args(ChannelEvent)}
)


def _said_twice(state: State, event: Any) -> bool:
    """The same event right after itself, under the same id: its sound would be heard twice."""
    before, state.last_event = state.last_event, event
    if event.event_id is None or before is None or event.event_id != before.event_id or event != before:
        return False
    state.counts["duplicates"] += 1
    return True


def _report(state: State, event: Any, now: float) -> None:
    state.emit(event)


class SessionMachine:
    """Feed it facts, carry out its actions. One machine is one session; it is not used again."""

    def __init__(self, settings: Settings) -> None:
        self.state = State(settings)

    def feed(self, input: inputs.Input, now: float) -> list[Action]:
        """The one way in. ``now`` is monotonic seconds and never falls."""
        state = self.state
        status = state.lifecycle.status
        kind = type(input)
        if (status == "closing" and kind not in _AFTER_CLOSE) or status == "closed":
            return []
        if kind not in _OURS:
            if kind is not Ping:
                state.model_heard_at = now
            if _said_twice(state, input):
                return []
        RULES.get(kind, _report)(state, input, now)
        if state.guardrails.on:
            guarding.after(state, input, now)
        timing.after(state, input, now)
        if state.waiting:
            session.settle_down(state, now)
        out, state.out = state.out, []
        return out

    @property
    def deadline(self) -> float | None:
        """When a ``Tick`` is due, if nothing else comes first."""
        return self.state.deadline if self.state.lifecycle.live else None

    # -- what the session shows ---------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        return self.state.lifecycle.status

    @property
    def session_id(self) -> str | None:
        return self.state.session_id

    @property
    def muted(self) -> bool:
        return self.state.muted

    @property
    def usage(self) -> Usage:
        return self.state.usage

    @property
    def history(self) -> tuple[ConversationItem, ...]:
        return self.state.conversation.snapshot()

    @property
    def config(self) -> SessionConfig:
        return self.state.settings.config

    @property
    def asked(self) -> str | None:
        """The client event that asks for a reply, while it is certain that no reply has answered it."""
        return self.state.arbiter.asked

    @property
    def full(self) -> bool:
        """No more commands are taken until the provider answers some."""
        return self.state.full
