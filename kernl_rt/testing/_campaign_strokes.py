"""Carrying out what was drawn: the human, the program, and whoever breaks things."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from kernl_rt._session.session import RealtimeSession
from kernl_rt._transport.memory import MemoryStream
from kernl_rt.abc import MessageStream
from kernl_rt.agent import RealtimeAgent
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import ResponseConfig
from kernl_rt.exceptions import ChannelError, CommandError, ConnectionClosed, RealtimeError, SlowConsumer
from kernl_rt.simulator import Faults
from kernl_rt.testing._campaign_plan import Plan, Stroke
from kernl_rt.testing._campaign_witness import Witness
from kernl_rt.testing._campaign_world import ASIDE, Provider, speech
from kernl_rt.testing._faulty_transport import FaultyTransport

__all__ = ["Players"]

_TICK = 0.05
#: Every task that is not the session's begins with this, so that it is not taken for one that was left behind.
NAME = "campaign"


@define(eq=False)
class Players:
    """Everybody but the session."""

    plan: Plan
    session: RealtimeSession[Any]
    channel: MemoryChannel
    provider: Provider
    transport: FaultyTransport | None
    witness: Witness
    other: Callable[[], RealtimeAgent[Any]]
    group: TaskGroup
    #: The session may end by itself: it was told to, or something happened that nobody can mend.
    may_end: bool = False
    #: A frame was withheld, or the provider has stopped answering: some things are noticed late or never.
    withheld: bool = False
    stalled: bool = False
    calm: bool = False
    ending: anyio.Event = field(factory=anyio.Event)
    _turns: deque[tuple[int, int]] = field(factory=deque)
    _speaking: anyio.Event = field(factory=anyio.Event)
    _rate: float = 1.0
    _numbers: int = 0
    _consumers: list[anyio.CancelScope] = field(factory=list)
    _rng: Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = self.plan.rng("players")

    def start(self) -> None:
        self._spawn(self._mouth)
        if self.plan.playback == "manual":
            self._spawn(self._speaker)

    def _spawn(self, function: Callable[..., Any], *args: Any) -> None:
        self.group.start_soon(function, *args, name=f"{NAME} {function.__name__}")

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    async def direct(self) -> None:
        """The whole timeline; returns early when the session is to end."""
        start = anyio.current_time()
        for stroke in [*self.plan.strokes, Stroke(self.plan.seconds, "nothing")]:
            with anyio.CancelScope(deadline=start + stroke.at):
                await self.ending.wait()
            if self.ending.is_set():
                return
            self.witness.note(f"stroke {stroke}")
            try:
                await self._carry_out(stroke)
            except RealtimeError as exc:
                self.witness.note(f"which raised {type(exc).__name__}: {exc}")

    async def _carry_out(self, stroke: Stroke) -> None:
        what, value = stroke.what, stroke.value
        if what in _VERBS:
            _VERBS[what](self, value)
        elif what == "close_link":
            await self._close_link(value)
        elif what == "end":
            self.ending.set()

    def pacify(self) -> None:
        """The faults stop. A provider that has stopped answering would never do it again: its links end."""
        self.calm = True
        with suppress(RealtimeError):
            self.session.unmute()
        if self.stalled:
            for link in self.provider.links:
                self._spawn(self._close_quietly, link)
        faults = self.provider.simulator.faults
        faults.placed.clear()
        faults.anonymous_errors, faults.created_delay, faults.lost_races, faults.failing_replies = False, 0.0, 0, 0
        self.provider.simulator.duration = 3_600.0
        self.provider.refusals.clear()
        if self.transport is not None:
            self.transport.sending.clear()
            self.transport.receiving.clear()
        self._rate = math.inf
        self._turns.clear()
        self._turns.append((0, 0))  # silence: a turn that was cut in the middle, by muting, comes to its end
        self._speaking.set()
        for scope in self._consumers:
            scope.cancel()

    async def _close_quietly(self, link: MessageStream) -> None:
        with suppress(ConnectionClosed):
            await link.aclose(1012, "the server restarts")

    # -- the human ----------------------------------------------------------------------------------------------------

    def say(self, ms: int) -> int:
        number = self.next_number() % 40 or self.next_number() % 40
        self.witness.spoken[number] = self.witness.spoken.get(number, 0) + ms
        self._turns.append((number, ms))
        self._speaking.set()
        return number

    async def _mouth(self) -> None:
        """Speaks what is to be said, and then is silent for a while, which the server waits for."""
        with suppress(ChannelError):
            while True:
                while self._turns:
                    number, ms = self._turns.popleft()
                    if ms:
                        self.witness.note(f"turn {number} begins: {ms} ms")
                    await self._utter(number, ms)
                    await self._utter(0, 1_000)
                    if ms and self.plan.turn_detection.mode == "off":
                        with suppress(RealtimeError):
                            self.witness.handle("commit", self.session.commit(), wants_reply=True)
                self._speaking = anyio.Event()
                await self._speaking.wait()

    async def _utter(self, number: int, ms: int) -> None:
        for at in range(0, ms, self.plan.mic_ms):
            piece = min(self.plan.mic_ms, ms - at)
            await anyio.sleep(piece / 1_000)
            self.channel.human.speak_nowait(speech(number, self.plan.format, piece))

    async def _speaker(self) -> None:
        """Plays at a rate that changes; 0 is a loudspeaker that is stuck."""
        with suppress(ChannelError):
            while True:
                await anyio.sleep(_TICK)
                pending = self.plan.format.ms(self.channel.statistics().unheard)
                ms = min(pending, self._rate * _TICK * 1_000)
                if ms > 0:
                    self.channel.human.played(ms)

    def _set_speaker(self, rate: float) -> None:
        self._rate = rate

    # -- the program --------------------------------------------------------------------------------------------------

    def _write(self, value: Any) -> None:
        text = f"say {self.next_number()}"
        self.witness.handle("send_message", self.session.send_message(text), wants_reply=True)

    def _note(self, value: Any) -> None:
        text = f"note {self.next_number()}"
        self.witness.handle("send_message", self.session.send_message(text, reply=False))

    def _ask(self, value: Any) -> None:
        self._spawn(self._asking, f"say {self.next_number()}")

    async def _asking(self, text: str) -> None:
        try:
            reply = await self.session.ask(text)
            self.witness.note(f"{text!r} was answered: {reply.status}")
        except RealtimeError as exc:
            self.witness.note(f"{text!r} was not answered: {type(exc).__name__}: {exc}")

    def _request(self, value: Any) -> None:
        self.witness.handle("request_reply", self.session.request_reply())

    def _aside(self, value: Any) -> None:
        config = ResponseConfig(conversation="none", output_modality="text", metadata=ASIDE)
        self.witness.handle("aside", self.session.request_reply(config))

    def _strange(self, value: Any) -> None:
        self.witness.handle("send", self.session.send({"type": "no.such.event", "event_id": "strange"}))

    def _interrupt(self, value: Any) -> None:
        self.witness.excuse()
        self.witness.handle("interrupt", self.session.interrupt())

    def _commit(self, value: Any) -> None:
        self.witness.handle("commit", self.session.commit(reply=False))

    def _update(self, value: Any) -> None:
        self.witness.handle("update", self.session.update(instructions=f"rules {self.next_number()}"))

    def _handoff(self, value: Any) -> None:
        self.witness.handle("update_agent", self.session.update_agent(self.other()))

    def _mute(self, value: Any) -> None:
        self.session.mute()

    def _unmute(self, value: Any) -> None:
        self.session.unmute()

    def _listen(self, value: tuple[str, bool]) -> None:
        topic, awaited = value
        rng = self.plan.rng(f"listener {self.next_number()}")

        def clumsy(event: Any) -> None:
            if not self.calm and rng.random() < 0.3:
                raise LookupError("of the listener")

        async def slow(event: Any) -> None:
            await anyio.sleep(0.0 if self.calm else rng.choice((0.0, 0.05)))
            clumsy(event)

        self.session.on(topic, slow if awaited else clumsy)

    def _consume(self, value: tuple[Any, int, float | None]) -> None:
        self._spawn(self._consuming, *value)

    async def _consuming(self, policy: Any, buffer: int, pause: float | None) -> None:
        """``pause=None``: it is made, and never read."""
        with anyio.CancelScope() as scope, suppress(SlowConsumer):
            self._consumers.append(scope)
            events = self.session.events(policy=policy, buffer=buffer)
            if pause is None and policy != "block":
                await anyio.sleep_forever()
            async for event in events:
                await anyio.sleep(pause or 0.0)
                del event

    # -- whoever breaks things ----------------------------------------------------------------------------------------

    def _drop(self, value: Any) -> None:
        if self.transport is not None:
            with suppress(IndexError):
                stream = self.transport.streams[-1]
                self._spawn(stream.aclose) if self._rng.random() < 0.5 else self._reset()
        elif self.provider.links and isinstance(self.provider.links[-1], MemoryStream):
            self.provider.links[-1].abort()

    def _reset(self) -> None:
        assert self.transport is not None
        self._spawn(self._toxic, "receiving", "reset_peer", 0.0, 0.01)

    async def _close_link(self, code: int) -> None:
        if self.provider.links:
            # 1000 says that the conversation is over; the others blame this side.
            self.may_end = self.may_end or code in (1000, 1002, 1003, 1007, 1008) or code >= 4000
            with suppress(ConnectionClosed):
                await self.provider.links[-1].aclose(code, "as drawn")

    def _refuse(self, statuses: list[int]) -> None:
        self.provider.refusals.extend(statuses)

    def _damage(self, value: tuple[str, str, int]) -> None:
        kind, at, nth = value
        self.withheld = self.withheld or kind == "withhold"
        self.stalled = self.stalled or kind == "stall"
        faults: Faults = self.provider.simulator.faults
        getattr(faults, kind)(at=at, nth=nth)

    def _fail(self, what: str) -> None:
        faults: Any = self.provider.simulator.faults
        if what == "anonymous_errors":
            faults.anonymous_errors = True
        else:
            setattr(faults, what, getattr(faults, what) + 1)

    def _delay(self, seconds: float) -> None:
        self.provider.simulator.faults.created_delay = seconds

    def _poison(self, value: tuple[str, str, Any, float]) -> None:
        self._spawn(self._toxic, *value)

    async def _toxic(self, way: str, name: str, value: Any, seconds: float) -> None:
        assert self.transport is not None
        toxics = getattr(self.transport, way)
        setattr(toxics, name, value)
        await anyio.sleep(seconds)
        if not self.calm:
            default: Any = {"down": False, "latency": 0.0, "jitter": 0.0, "slow_close": 0.0}.get(name)
            setattr(toxics, name, default)

    async def watch_answers(self) -> None:
        """Somebody consents to what tools wait for, or refuses, or is away."""
        async for event in self.session.events("tool.approval"):
            rng = self.plan.rng(f"consent {event.call_id}")
            await anyio.sleep(rng.choice((0.0, 0.4)))
            with suppress(RealtimeError, CommandError):
                match rng.choice(("approve", "reject", "away")):
                    case "approve":
                        self.witness.handle("approve", self.session.approve(event.call_id))
                    case "reject":
                        self.witness.handle("reject", self.session.reject(event.call_id, "no"))


_VERBS: dict[str, Callable[[Players, Any], object]] = {
    "say": Players.say,
    "write": Players._write,
    "note": Players._note,
    "ask": Players._ask,
    "reply": Players._request,
    "aside": Players._aside,
    "strange": Players._strange,
    "interrupt": Players._interrupt,
    "commit": Players._commit,
    "update": Players._update,
    "handoff": Players._handoff,
    "mute": Players._mute,
    "unmute": Players._unmute,
    "listen": Players._listen,
    "consume": Players._consume,
    "drop": Players._drop,
    "refuse": Players._refuse,
    "frame": Players._damage,
    "provider": Players._fail,
    "created_delay": Players._delay,
    "speaker": Players._set_speaker,
    "toxic": Players._poison,
}
