"""What went over the wire and to the speaker, and which promises that breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import anyio
from attrs import define, field

from kernl_rt.config import AudioFormat
from kernl_rt.events import (
    AudioDelta,
    AudioPlayed,
    ChannelEvent,
    ClientEvent,
    ItemTruncate,
    ResponseCreate,
    ResponseCreated,
    ResponseDone,
    ServerEvent,
    SessionError,
    SessionUpdate,
    ToolResult,
)
from kernl_rt.testing._grammar import Promise

__all__ = ["Playout", "Report", "Wire"]

#: ``report(promise, event, why)``.
Report: TypeAlias = Callable[[Promise, object, str], None]

#: After so many seconds a request that nobody answered may be made again.
_PATIENCE = 10.0
#: Milliseconds by which a position may be rounded up.
_ROUNDING = 1.0


class Playout:
    """The model's sound on its way to the human: what came, what was sent on, what was heard.

    Sound is told apart by its bytes: each piece that is sent to the channel must be the next of some reply. Where two
    replies sound alike, the older one is meant.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._sounds: dict[str, _Sound] = {}
        #: Item → milliseconds received, and position in the channel at which its sound begins.
        self._received: dict[str, float] = {}
        self._starts: dict[str, float] = {}
        self.format: AudioFormat | None = None
        self.has_channel = False
        self.is_open = False
        self.reports_playback = True
        self._base = 0.0
        self._sent_since = 0
        self._heard = 0.0

    # -- from the model -----------------------------------------------------------------------------------------------

    def arrived(self, event: AudioDelta) -> None:
        if event.response_id is None:
            return
        sound = self._sounds.setdefault(event.response_id, _Sound())
        if event.item_id is not None:
            sound.items.append((len(sound.received), event.item_id))
            if self.format is not None:
                self._received[event.item_id] = self._received.get(event.item_id, 0.0) + self.format.ms(
                    len(event.audio)
                )
        sound.received += event.audio

    def interrupted(self, response_id: str | None) -> None:
        if response_id is not None:
            self._sounds.setdefault(response_id, _Sound()).interrupted = True

    # -- to and from the channel --------------------------------------------------------------------------------------

    def opened(self, output_format: AudioFormat) -> None:
        self.format = output_format
        self.is_open = True

    def left(self) -> None:
        self.is_open = False

    def played(self, audio: bytes) -> None:
        found = self._next_of(audio)
        if found is None:
            self._report("played in order", audio[:16], "this sound is not the next of any reply that was received")
        elif found[1].interrupted:
            self._report("silent after interrupted", found[0], "sound of it was sent to the channel after that")
        if found is not None:
            self._advance(*found, len(audio))
        self._sent_since += len(audio)

    def cleared(self, position_ms: float) -> None:
        self._base, self._sent_since = position_ms, 0
        self._heard = max(self._heard, position_ms)
        for sound in self._sounds.values():
            sound.cut = True

    def happened(self, event: ChannelEvent) -> None:
        if isinstance(event, AudioPlayed):
            self._heard = max(self._heard, event.position_ms)

    def truncated(self, event: ItemTruncate) -> None:
        ms, item = event.audio_end_ms, event.item_id
        if type(ms) is not int or ms < 0:
            self._report("truncated at what was heard", event, f"{ms!r} is no number of whole milliseconds")
            return
        received = self._received.get(item)
        if received is not None and ms > received + _ROUNDING:
            self._report("truncated at what was heard", event, f"only {received:g} ms of {item!r} were received")
        if not self.has_channel or not self.reports_playback:
            return
        heard = max(0.0, self._heard - self._starts.get(item, self._heard))
        if ms > heard + _ROUNDING:
            self._report("truncated at what was heard", event, f"only {heard:g} ms of {item!r} were heard")

    def _next_of(self, audio: bytes) -> tuple[str, _Sound] | None:
        fitting = [(name, sound) for name, sound in self._sounds.items() if sound.fits(audio)]
        wanted = [each for each in fitting if not each[1].interrupted]
        return next(iter(wanted or fitting), None)

    def _advance(self, name: str, sound: _Sound, size: int) -> None:
        for earlier_name, earlier in self._sounds.items():
            if earlier is sound:
                break
            if earlier.cursor < len(earlier.received) and not earlier.interrupted and not earlier.cut:
                missing = len(earlier.received) - earlier.cursor
                self._report("played without gaps", name, f"{missing} bytes of {earlier_name!r} were never played")
                earlier.cut = True
        assert self.format is not None
        at = self._base + self.format.ms(self._sent_since)
        for offset, item in sound.items:
            if sound.cursor <= offset < sound.cursor + size:
                self._starts.setdefault(item, at + self.format.ms(offset - sound.cursor))
        sound.cursor += size
        sound.cut = False


@define(eq=False)
class _Sound:
    """One reply's. ``cursor``: so much of it was sent to the channel."""

    received: bytearray = field(factory=bytearray)
    cursor: int = 0
    items: list[tuple[int, str]] = field(factory=list)
    interrupted: bool = False
    #: The channel was cleared since: what was not heard may be sent again, or never.
    cut: bool = False

    def fits(self, audio: bytes) -> bool:
        if self.received[self.cursor : self.cursor + len(audio)] == audio:
            return True
        if not self.cut:
            return False
        again = self.received.find(audio)
        if 0 <= again <= self.cursor:
            self.cursor = again
            return True
        return False


class Wire:
    """One connection."""

    def __init__(self, playout: Playout, report: Report) -> None:
        self._playout = playout
        self._report = report
        self.is_open = True
        self._sending: ClientEvent | None = None
        self._torn: ClientEvent | None = None
        self._asked: tuple[ResponseCreate, float] | None = None
        self._running: set[str] = set()
        self._results: set[str] = set()
        #: Requests for replies beside the conversation, of which there may be many.
        self._beside = 0

    def begins(self, event: ClientEvent) -> None:
        if self._sending is not None:
            self._report("whole frames in order", event, f"it was sent while {self._sending.kind} was still being sent")
        if self._torn is not None:
            self._report("whole frames in order", event, f"{self._torn.kind} before it was cut half way")
        self._sending = event
        if isinstance(event, ResponseCreate):
            self._request(event)
        elif isinstance(event, ToolResult):
            if event.call_id in self._results:
                self._report("one outcome per tool call", event, "the model was told the outcome already")
            self._results.add(event.call_id)
        elif isinstance(event, ItemTruncate):
            self._playout.truncated(event)
        elif isinstance(event, SessionUpdate) and self._playout.format is None:
            self._playout.format = event.config.output_format

    def _request(self, event: ResponseCreate) -> None:
        if event.config is not None and event.config.conversation == "none":
            self._beside += 1
            return
        now = anyio.current_time()
        if self._asked is not None and now - self._asked[1] < _PATIENCE:
            self._report("one reply at a time", event, "the request before it has not been answered")
        if self._running:
            self._report("one reply at a time", event, f"{', '.join(sorted(self._running))} runs")
        self._asked = event, now

    def _created(self, event: ResponseCreated) -> None:
        if self._beside and self._asked is None and event.response.conversation_id is None:
            self._beside -= 1
            return
        self._asked = None
        self._running.add(event.response.id or "")

    def done(self, event: ClientEvent) -> None:
        self._sending = None

    def cut(self, event: ClientEvent) -> None:
        self._sending, self._torn = None, event

    def received(self, event: ServerEvent) -> None:
        if isinstance(event, AudioDelta):
            self._playout.arrived(event)
        elif isinstance(event, ResponseCreated):
            self._created(event)
        elif isinstance(event, ResponseDone):
            self._running.discard(event.response.id or "")
        elif isinstance(event, SessionError):
            # It may be the answer to what was asked; a refused tool output may be said again.
            self._asked = None
            self._results.clear()

    def left(self) -> None:
        self.is_open = False
