"""A loudspeaker that knows exactly what was played, beside the machine that has to find out."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from attrs import define, field
from hypothesis import strategies as st

from kernl_rt._core import actions, inputs
from kernl_rt._core.machine import SessionMachine, Settings
from kernl_rt.config import G711_ULAW, PCM16_16K, PCM16_24K
from kernl_rt.events import (
    AudioDelta,
    AudioPlayed,
    InputTranscript,
    ItemTruncate,
    Response,
    ResponseCreated,
    ResponseDone,
    SessionInfo,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)

FORMATS = st.sampled_from([PCM16_24K, PCM16_16K, G711_ULAW])
#: What happens, and with which number: samples, milliseconds, or nothing.
PLAYBACK_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sound"), st.sampled_from([1, 7, 160, 240, 479, 2_400, 24_000])),
        st.tuples(st.just("item"), st.just(0)),
        st.tuples(st.just("time"), st.sampled_from([1, 3, 20, 33, 250, 2_000, 36_000_000])),
        st.tuples(st.just("mark"), st.sampled_from([0, 1, 15, 20, 700])),
        st.tuples(st.sampled_from(["done", "interrupt", "speech", "silence", "words", "tick"]), st.just(0)),
    ),
    max_size=40,
)


@define
class Speaking:
    """A model that speaks to a loudspeaker. Where the settings have marks the loudspeaker gives them; else it says its
    position only when it is cleared; where there is no channel at all, nobody says anything.
    """

    setting: Settings
    machine: SessionMachine = field(init=False)
    now: float = 1_000.0
    #: What waits at the loudspeaker: the item of each stretch, and its bytes.
    queue: deque[list[Any]] = field(factory=deque)
    received: Counter[str] = field(factory=Counter)
    #: Bytes of each item that were really heard.
    played: Counter[str] = field(factory=Counter)
    #: Position along everything that was heard, in bytes.
    position: int = 0
    item: int = 0
    reply: int = 0
    running: bool = False
    truncated: list[ItemTruncate] = field(factory=list)
    #: Parts of a sample that the clock has given and the loudspeaker not taken.
    _rest: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.machine = SessionMachine(self.setting)
        self.feed(inputs.ConnectionOpened())
        self.feed(SessionUpdated(SessionInfo(id="s1")))

    @property
    def format(self) -> Any:
        return self.setting.output_format

    @property
    def item_id(self) -> str:
        return f"i{self.item}"

    def feed(self, input: Any) -> None:
        for action in self.machine.feed(input, self.now):
            match action:
                case actions.Play(audio=audio):
                    self._enqueue(audio)
                case actions.ClearPlayback():
                    self.queue.clear()
                    self._rest = 0.0
                    self.feed(inputs.PlaybackCleared(self.format.ms(self.position)))
                case actions.Send(event=ItemTruncate() as truncate):
                    self.check(truncate)
                case _:
                    pass

    def _enqueue(self, audio: bytes) -> None:
        """Each item's sound is of bytes of its own, so that what plays on after a pause shows whose it is."""
        while audio:
            rest = audio.lstrip(audio[:1])
            owner, size = f"i{audio[0]}", len(audio) - len(rest)
            if self.queue and self.queue[-1][0] == owner:
                self.queue[-1][1] += size
            else:
                self.queue.append([owner, size])
            audio = rest

    def check(self, truncate: ItemTruncate) -> None:
        self.truncated.append(truncate)
        end, item_id = truncate.audio_end_ms, truncate.item_id
        assert type(end) is int
        received = self.format.ms(self.received[item_id])
        played = self.format.ms(self.played[item_id])
        assert 0 <= end <= received, f"{end} ms of {item_id}, of which {received:.3f} came"
        if self.setting.has_channel:
            assert end <= played + 0.01, f"{end} ms of {item_id}, of which {played:.3f} were heard"
            assert end >= int(played) - 1, f"only {end} ms of {item_id}, of which {played:.3f} were heard"

    # -- what happens -------------------------------------------------------------------------------------------------

    def step(self, what: str, number: int) -> None:
        if self.machine.status != "connected":
            return
        match what:
            case "sound":
                self._sound(number)
            case "item":
                self.item += 1
            case "done" if self.running:
                self.running = False
                self.feed(ResponseDone(Response(id=f"r{self.reply}", status="completed")))
            case "time":
                self._time(number)
            case "mark" if self.setting.marks:
                # A mark may be old, and may count what is still on its way; never what was not sent.
                self.feed(AudioPlayed(max(self.format.ms(self.position) - number, 0.0)))
            case "interrupt":
                self.feed(inputs.InterruptRequested(1))
            case "speech":
                self.feed(SpeechStarted("u", 0))
            case "silence":
                self.feed(SpeechStopped("u", 0))
            case "words":
                self.feed(InputTranscript("u", "hello", 0))
            case "tick":
                self.feed(inputs.Tick())

    def _sound(self, samples: int) -> None:
        if not self.running:
            self.reply += 1
            self.item += 1
            self.running = True
            self.feed(ResponseCreated(Response(id=f"r{self.reply}")))
        audio = bytes([self.item % 256] * self.format.sample_width) * samples
        self.received[self.item_id] += len(audio)
        self.feed(AudioDelta(audio, response_id=f"r{self.reply}", item_id=self.item_id, content_index=0))

    def _time(self, ms: int) -> None:
        """The loudspeaker plays at the pace of the clock, also while nobody looks: a suspended machine leaps."""
        self.now += ms / 1000
        exact = self.format.rate * ms / 1000 + self._rest
        samples = int(exact)
        self._rest = exact - samples
        left = samples * self.format.sample_width
        while left and self.queue:
            size = min(left, self.queue[0][1])
            self.queue[0][1] -= size
            self.played[self.queue[0][0]] += size
            self.position += size
            left -= size
            if not self.queue[0][1]:
                self.queue.popleft()
        if not self.queue:
            self._rest = 0.0
