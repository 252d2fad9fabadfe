"""How long the human waits: from the end of the human's turn to the reply's first sound, received and heard.

The turn ends with speech (``speech``), a commit (``commit``), a written message (``message``) or the bare wish for a
reply (``request``). The reply that begins next takes the waiting over; one that ends without a sound (it only called a
tool) hands it on to the reply after it, since the human still waits.
"""

from __future__ import annotations

from collections import OrderedDict

from attrs import define, frozen

from kernl_rt.events import LatencyMeasured, WaitingSince

__all__ = ["Durations", "Latency"]

#: So many replies may wait to be heard.
_REMEMBERED = 64


@frozen
class Durations:
    """What was measured, in seconds: how often, the last, the mean and the longest; 0.0 where nothing was."""

    count: int = 0
    last: float = 0.0
    mean: float = 0.0
    max: float = 0.0

    def with_one(self, seconds: float) -> Durations:
        count = self.count + 1
        return Durations(count, seconds, self.mean + (seconds - self.mean) / count, max(self.max, seconds))


@define
class _Reply:
    since: WaitingSince
    waiting_from: float
    audio_at: float | None = None


class Latency:
    def __init__(self) -> None:
        self.to_first_audio = Durations()
        self.to_first_heard = Durations()
        self.barge_in = Durations()
        self.tools = Durations()
        self._turn: tuple[WaitingSince, float] | None = None
        self._replies: OrderedDict[str, _Reply] = OrderedDict()
        #: When the human began to speak, while it is not known yet what came of it.
        self.speech_at: float | None = None

    def turn_ended(self, since: WaitingSince, at: float) -> None:
        """From ``at`` on the human waits. A commit only seals speech whose end is known already."""
        if since == "commit" and self._turn is not None and self._turn[0] == "speech":
            return
        self._turn = (since, at)

    def speech_started(self, at: float) -> None:
        """The human speaks, and waits for nothing any more."""
        self._turn, self.speech_at = None, at

    def reply_began(self, key: str) -> None:
        if self._turn is not None:
            self._replies[key] = _Reply(*self._turn)
            self._turn = None
            if len(self._replies) > _REMEMBERED:
                self._replies.popitem(last=False)

    def received(self, key: str, now: float) -> None:
        """Sound of a reply came from the model."""
        reply = self._replies.get(key)
        if reply is not None and reply.audio_at is None:
            reply.audio_at = now

    def reply_over(self, key: str) -> None:
        reply = self._replies.get(key)
        if reply is not None and reply.audio_at is None:
            del self._replies[key]
            if self._turn is None:
                self._turn = (reply.since, reply.waiting_from)

    @property
    def unheard(self) -> list[str]:
        """Replies whose sound has come and has not been heard."""
        return [key for key, reply in self._replies.items() if reply.audio_at is not None]

    @property
    def any_unheard(self) -> bool:
        return bool(self._replies and self.unheard)

    def heard(self, key: str, at: float | None) -> LatencyMeasured | None:
        """The reply's first sound was heard, or never will be (``None``). It is measured once."""
        reply = self._replies.get(key)
        if reply is None or reply.audio_at is None:
            return None
        del self._replies[key]
        to_audio = max(reply.audio_at - reply.waiting_from, 0.0)
        self.to_first_audio = self.to_first_audio.with_one(to_audio)
        to_heard = None
        if at is not None:
            to_heard = max(at - reply.waiting_from, to_audio)
            self.to_first_heard = self.to_first_heard.with_one(to_heard)
        return LatencyMeasured(key or None, to_audio, to_heard, since=reply.since)

    def interrupted(self, response_id: str | None, now: float) -> LatencyMeasured | None:
        """The human spoke, and the reply was stopped."""
        if self.speech_at is None:
            return None
        seconds, self.speech_at = max(now - self.speech_at, 0.0), None
        self.barge_in = self.barge_in.with_one(seconds)
        return LatencyMeasured(response_id, barge_in=seconds)
