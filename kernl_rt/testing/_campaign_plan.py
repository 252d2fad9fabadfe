"""What one seed draws for a call: the setting, and a timeline of strokes. Pure: no clock, no session."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final, Literal, TypeAlias, get_args

from attrs import frozen

from kernl_rt.config import G711_ULAW, PCM16_24K, AudioFormat, TurnDetection
from kernl_rt.exceptions import MisconfiguredError

__all__ = ["TROUBLES", "End", "Plan", "Stroke", "Trouble", "plan_call"]

#: What a seed may enable; each call gets a subset of its own, so that one fault does not always hide another.
Trouble: TypeAlias = Literal[
    "drops",
    "closes",
    "fatal",
    "refusals",
    "frames",
    "provider",
    "lateness",
    "expiry",
    "speaker",
    "consumers",
    "listeners",
    "changes",
    "mute",
    "interrupts",
    "end",
    "network",
]
TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)

End: TypeAlias = Literal["aclose", "leave", "close", "cancel", "hang_up", "human", "listener"]

#: Close codes that say "come again", and codes that blame this side.
_PASSING: Final = (1000, 1001, 1011, 1012, 1013, 1014, 3000)
_FATAL: Final = (1002, 1003, 1007, 1008, 4000, 4999)
#: Frames that are sent twice, never, or after a broken one.
_FRAMES: Final = (
    "session.updated",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.truncated",
    "conversation.item.input_audio_transcription.completed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "response.created",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.done",
)


@frozen
class Stroke:
    """Something happens ``at`` seconds after the session has connected."""

    at: float
    what: str
    value: Any = None

    def __str__(self) -> str:
        return f"{self.what}({'' if self.value is None else repr(self.value)})"


@frozen
class Plan:
    """Everything that one seed decides before the call begins."""

    seed: int
    troubles: frozenset[str]
    strokes: tuple[Stroke, ...]
    seconds: float
    end: End
    #: Through bytes and real WebSockets, or through messages in memory.
    wired: bool
    format: AudioFormat
    turn_detection: TurnDetection
    transcription: bool
    playback: Literal["realtime", "instant", "manual"]
    chunk_ms: int
    mic_ms: int
    speed: float
    latency: float
    dead_air: float
    recover_after: float | None
    guarded: bool
    duration: float
    #: The closing question comes as soon as the faults stop, or when their effects are over.
    at_once: bool
    spoken_question: bool

    def rng(self, purpose: str) -> Random:
        """Chance of its own for each purpose, so that one more draw in one place changes no other place."""
        return Random(f"{self.seed} {purpose}")


def plan_call(seed: int, troubles: Collection[str] | None = None) -> Plan:
    """Draw a call. ``troubles`` are those that may happen; ``None``: a subset that is drawn too.

    Raises:
        MisconfiguredError: an unknown trouble.
    """
    rng = Random(f"{seed} plan")
    likely = rng.choice((0.15, 0.3, 0.5))
    drawn: set[str] = {trouble for trouble in TROUBLES if rng.random() < likely}
    if troubles is not None:
        if unknown := set(troubles) - set(TROUBLES):
            raise MisconfiguredError(f"unknown troubles {sorted(unknown)}: there are {', '.join(TROUBLES)}")
        drawn = set(troubles)
    seconds = rng.uniform(2, 16)
    strokes = _user(rng, seconds)
    for trouble in TROUBLES:
        if trouble in drawn and trouble in _STROKES:
            strokes += _STROKES[trouble](Random(f"{seed} {trouble}"), seconds)
    detecting = rng.random() < 0.85
    return Plan(
        seed=seed,
        troubles=frozenset(drawn),
        strokes=tuple(sorted(strokes, key=lambda stroke: stroke.at)),
        seconds=seconds,
        end=rng.choice(get_args(End)),
        wired="network" in drawn or rng.random() < 0.3,
        format=rng.choice((PCM16_24K, G711_ULAW)),
        turn_detection=_detection(rng) if detecting else TurnDetection("off"),
        transcription=rng.random() < 0.7,
        playback=rng.choice(("realtime", "realtime", "instant")) if "speaker" not in drawn else "manual",
        chunk_ms=rng.choice((40, 100, 200, 400)),
        mic_ms=rng.choice((20, 60, 100, 240)),
        speed=rng.choice((1.0, 4.0, 12.0)),
        latency=rng.choice((0.0, 0.05, 0.6)) if "lateness" in drawn else rng.choice((0.0, 0.05)),
        dead_air=rng.choice((4.0, 8.0)),
        recover_after=rng.choice((None, None, 0.7)),
        guarded=rng.random() < 0.2,
        duration=rng.uniform(4, 12) if "expiry" in drawn else 3600.0,
        at_once=rng.random() < 0.4,
        spoken_question=detecting and rng.random() < 0.5,
    )


def _detection(rng: Random) -> TurnDetection:
    interrupting = rng.random() < 0.8
    return TurnDetection("server_vad", silence_duration_ms=rng.choice((200, 500)), interrupt_response=interrupting)


Draw: TypeAlias = Callable[[Random, float], list[Stroke]]


def _some(rng: Random, seconds: float, most: int, make: Callable[[], tuple[str, Any]]) -> list[Stroke]:
    return [Stroke(round(rng.uniform(0, seconds), 4), *make()) for _ in range(rng.randint(1, most))]


def _user(rng: Random, seconds: float) -> list[Stroke]:
    def turn() -> tuple[str, Any]:
        what = rng.choice(("say", "say", "write", "write", "ask", "note", "reply", "aside", "strange"))
        return what, rng.randrange(200, 1_600, 100) if what == "say" else None

    return [Stroke(0.0, "write"), *_some(rng, seconds, 7, turn)]


def _drops(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 4, lambda: ("drop", None))


def _closes(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 3, lambda: ("close_link", rng.choice(_PASSING)))


def _fatal(rng: Random, seconds: float) -> list[Stroke]:
    return [Stroke(rng.uniform(seconds / 2, seconds), "close_link", rng.choice(_FATAL))] if rng.random() < 0.4 else []


def _refusals(rng: Random, seconds: float) -> list[Stroke]:
    def refused() -> tuple[str, Any]:
        return "refuse", [rng.choice((429, 500, 502, 503)) for _ in range(rng.randint(1, 3))]

    return [*_some(rng, seconds, 2, refused), *_some(rng, seconds, 1, lambda: ("drop", None))]


def _frames(rng: Random, seconds: float) -> list[Stroke]:
    def damage() -> tuple[str, Any]:
        kind = rng.choice(("duplicate", "withhold", "malformed", "drop", "stall", "close"))
        return "frame", (kind, rng.choice(_FRAMES), rng.randint(1, 3))

    return _some(rng, seconds / 2, 4, damage)


def _provider(rng: Random, seconds: float) -> list[Stroke]:
    kinds = ("failing_replies", "lost_races", "anonymous_errors", "failing_replies")
    return _some(rng, seconds, 4, lambda: ("provider", rng.choice(kinds)))


def _lateness(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 2, lambda: ("created_delay", round(rng.uniform(0, 2.5), 3)))


def _speaker(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 3, lambda: ("speaker", rng.choice((0.0, 0.0, 0.3, 1.0, 3.0))))


def _consumers(rng: Random, seconds: float) -> list[Stroke]:
    def consumer() -> tuple[str, Any]:
        policy = rng.choice(("shed", "drop_oldest", "block"))
        return "consume", (policy, rng.choice((8, 64)), rng.choice((0.0, 0.05, 0.5, None)))

    return _some(rng, seconds / 2, 3, consumer)


def _listeners(rng: Random, seconds: float) -> list[Stroke]:
    topics = ("transcript", "audio", "status", "history", "tool", "interrupted", "event", "error")
    return _some(rng, seconds / 2, 3, lambda: ("listen", (rng.choice(topics), rng.random() < 0.5)))


def _changes(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 4, lambda: (rng.choice(("update", "update", "handoff")), None))


def _mute(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 4, lambda: (rng.choice(("mute", "unmute")), None))


def _interrupts(rng: Random, seconds: float) -> list[Stroke]:
    return _some(rng, seconds, 4, lambda: (rng.choice(("interrupt", "interrupt", "commit")), None))


def _end(rng: Random, seconds: float) -> list[Stroke]:
    return [Stroke(round(rng.uniform(0, seconds), 4), "end")] if rng.random() < 0.6 else []


def _network(rng: Random, seconds: float) -> list[Stroke]:
    toxics: dict[str, Callable[[], Any]] = {
        "latency": lambda: rng.uniform(0, 0.8),
        "jitter": lambda: rng.uniform(0, 0.3),
        "bandwidth": lambda: rng.choice((8_000, 40_000)),
        "slow_close": lambda: rng.uniform(0, 4),
        "timeout": lambda: float("inf"),
        "reset_peer": lambda: rng.uniform(0, 1),
        "slicer": lambda: rng.choice((7, 100)),
        "limit_data": lambda: rng.randrange(100, 60_000),
        "down": lambda: True,
    }

    def toxic() -> tuple[str, Any]:
        name = rng.choice(tuple(toxics))
        return "toxic", (rng.choice(("sending", "receiving")), name, toxics[name](), rng.uniform(0.1, 4))

    return _some(rng, seconds, 4, toxic)


_STROKES: Final[dict[str, Draw]] = {
    "drops": _drops,
    "closes": _closes,
    "fatal": _fatal,
    "refusals": _refusals,
    "frames": _frames,
    "provider": _provider,
    "lateness": _lateness,
    "speaker": _speaker,
    "consumers": _consumers,
    "listeners": _listeners,
    "changes": _changes,
    "mute": _mute,
    "interrupts": _interrupts,
    "end": _end,
    "network": _network,
}
