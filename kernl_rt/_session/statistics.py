"""The counters of a session: what waits in each lane, and what was dropped."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from attrs import frozen

from kernl_rt._core.latency import Durations, Latency
from kernl_rt._core.state import State
from kernl_rt._session.driver import Driver
from kernl_rt._session.stream import BUFFER, Policy
from kernl_rt._values import Value
from kernl_rt.events import Usage

__all__ = [
    "Durations",
    "LaneStatistics",
    "LatencyStatistics",
    "SessionStatistics",
    "SpeakerStatistics",
    "StreamStatistics",
    "statistics_of",
]


@frozen(eq=False, repr=False)
class LaneStatistics(Value):
    """``waiting`` events and ``audio_ms`` of sound; ``dropped_ms`` of live sound that was shed, oldest first.

    ``cleared`` events were forgotten with the link that they waited for; what matters of them is said on the next.
    """

    waiting: int
    audio_ms: float
    dropped_ms: float
    written: int
    cleared: int = 0


@frozen(eq=False, repr=False)
class SpeakerStatistics(Value):
    """``waiting`` pieces and ``audio_ms`` of sound that the channel has not taken yet."""

    waiting: int
    audio_ms: float


@frozen(eq=False, repr=False)
class StreamStatistics(Value):
    """One event iterator: ``waiting`` events now, the most there ever were, and how many were shed."""

    waiting: int
    peak: int
    dropped: int
    policy: Policy = "shed"
    limit: int = BUFFER


@frozen(eq=False, repr=False)
class LatencyStatistics(Value):
    """Waiting times, all in seconds; see :class:`~kernl_rt.events.LatencyMeasured`. ``tools``: how long calls ran."""

    to_first_audio: Durations
    to_first_heard: Durations
    barge_in: Durations
    tools: Durations


@frozen(eq=False, repr=False)
class SessionStatistics(Value):
    """A snapshot; see :meth:`RealtimeSession.statistics`."""

    #: Waiting for the socket.
    to_model: LaneStatistics
    #: Waiting for the channel. It is part of ``playback_pending_ms``.
    to_channel: SpeakerStatistics
    #: Sent to the channel or about to be, and not heard yet, in milliseconds.
    playback_pending_ms: float
    #: Heard so far, in milliseconds.
    heard_ms: float
    #: Commands that the provider has not answered.
    open_commands: int
    #: Client events that the provider has neither acknowledged nor refused: commands, tool results, the configuration.
    unanswered: int
    #: Wishes for a reply that wait until one may be asked for.
    waiting_replies: int
    #: Calls without an outcome; ``waiting_tools`` of them wait to be heard, for consent, or for a place to run.
    running_tools: int
    waiting_tools: int
    #: Sound that waits for its words to pass the guardrails, in milliseconds.
    held_back_ms: float
    #: Checks of guardrails that have not come back.
    running_checks: int
    latency: LatencyStatistics
    #: How often a link was lost or left, and how many of these times that was planned.
    reconnects: int
    rotations: int
    #: What the session has cost so far.
    usage: Usage
    streams: tuple[StreamStatistics, ...]
    #: Events that any iterator has shed so far, by kind, also those that are gone.
    dropped_events: Mapping[str, int]
    #: Iterators that ended with :class:`~kernl_rt.exceptions.SlowConsumer`.
    slow_consumers: int
    #: What arrived and was of no use: late audio of interrupted replies, duplicate calls, sound while muted.
    discarded: Mapping[str, int]


def statistics_of(driver: Driver) -> SessionStatistics:
    state = driver.machine.state
    if driver.machine.status != "closed":
        state.playback.advance(anyio.current_time())
    outbox, calls, losses = driver.outbox, state.tools.open_calls(), driver.streams.losses
    return SessionStatistics(
        to_model=LaneStatistics(
            waiting=len(outbox),
            audio_ms=state.settings.input_format.ms(outbox.audio_bytes),
            dropped_ms=outbox.dropped_ms,
            written=outbox.written,
            cleared=outbox.cleared,
        ),
        to_channel=_speaker_of(driver),
        playback_pending_ms=state.settings.output_format.ms(state.playback.pending),
        heard_ms=state.playback.heard_ms,
        open_commands=driver.open_commands,
        unanswered=len(state.backlog),
        waiting_replies=state.arbiter.waiting,
        running_tools=len(calls),
        waiting_tools=sum(call.state != "running" for call in calls),
        held_back_ms=state.settings.output_format.ms(state.holdback.size),
        running_checks=state.guardrails.in_flight,
        latency=_latency_of(state.latency),
        reconnects=state.redial.count,
        rotations=state.redial.rotations,
        usage=state.usage,
        streams=tuple(StreamStatistics(len(s), s.peak, s.dropped, s.policy, s.limit) for s in driver.streams),
        dropped_events=dict(losses.dropped),
        slow_consumers=losses.slow,
        discarded=_discarded(state),
    )


def _discarded(state: State) -> dict[str, int]:
    gap = state.utterance.dropped_bytes
    return {**state.counts, **({"gap_bytes": gap} if gap else {})}


def _speaker_of(driver: Driver) -> SpeakerStatistics:
    sounds = [audio for audio in driver.to_channel if audio is not None]
    size = sum(len(audio) for audio in sounds)
    return SpeakerStatistics(len(sounds), driver.machine.state.settings.output_format.ms(size))


def _latency_of(latency: Latency) -> LatencyStatistics:
    return LatencyStatistics(latency.to_first_audio, latency.to_first_heard, latency.barge_in, latency.tools)
