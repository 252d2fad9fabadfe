"""The others in a simulated call: a brain that draws, a voice that never repeats itself, ears that count, tools."""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from random import Random
from typing import Any

import anyio
from attrs import define, field

from kernl_rt._transport._request import Reply as HttpReply, Request
from kernl_rt.abc import MessageStream
from kernl_rt.agent import RealtimeAgent
from kernl_rt.config import AudioFormat
from kernl_rt.context import ToolContext
from kernl_rt.exceptions import ToolError
from kernl_rt.simulator import Reply, Simulator, ToolCall, Turn
from kernl_rt.simulator._sound import decoded, encoded
from kernl_rt.testing._campaign_plan import Plan
from kernl_rt.tool import Toolkit, tool

__all__ = ["ASIDE", "QUESTION", "Brain", "Ears", "Provider", "Tools", "Voice", "speech"]

#: What a request for a reply beside the conversation says, so that the brain knows it: it calls no tools there.
ASIDE: Mapping[str, str] = {"aside": "yes"}
QUESTION = re.compile(r"question (\d+)")
_WORD_MS = 220
_LONGEST_MS = 5_000
#: A spoken turn's number is the height of its samples.
_LOWEST, _STEP = 6_000, 600


@lru_cache(maxsize=256)
def speech(number: int, format: AudioFormat, ms: int) -> bytes:
    """Sound that :class:`Ears` know again: turn ``number`` of the human; 0 is silence."""
    height = 0 if not number else _LOWEST + _STEP * (number % 40)
    count = format.rate * ms // 1_000
    return encoded(array("h", [height, -height]) * (count // 2), format)


class Ears:
    """Hears which turns these were and how many milliseconds of each: ``turn 3 (420 ms)``."""

    async def transcribe(self, audio: bytes, format: AudioFormat) -> str:
        heights = Counter(abs(sample) for sample in decoded(audio, format) if abs(sample) > _LOWEST // 2)
        turns = Counter[int]()
        for height, samples in heights.items():
            turns[round((height - _LOWEST) / _STEP)] += samples
        return (
            " ".join(f"turn {turn} ({n * 1_000 // format.rate} ms)" for turn, n in sorted(turns.items())) or "silence"
        )


class Voice:
    """Noise, another one for each reply: sound that is played twice, or by the wrong reply, is known by its bytes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._said = 0

    async def synthesise(self, text: str, format: AudioFormat, *, voice: str = "alloy", speed: float = 1.0) -> bytes:
        self._said += 1
        ms = min(_LONGEST_MS, _WORD_MS * len(text.split()))
        return self._plan.rng(f"voice {self._said}").randbytes(format.size(ms))


@define
class Brain:
    """Draws replies and calls, and how long it thinks. Once ``calm``, it answers questions at once."""

    plan: Plan
    calm: bool = False
    #: The conversation as the provider had it when it was asked the closing question.
    asked: list[Turn] = field(factory=list)
    #: What it said, by the first word of it.
    said: dict[str, str] = field(factory=dict)
    _replies: int = 0

    async def reply(self, turn: Turn) -> Reply:
        self._replies += 1
        number = self._replies
        rng = self.plan.rng(f"reply {number}")
        if self.calm:
            if QUESTION.search(turn.user_text) or turn.user_text.startswith("turn "):
                self.asked.append(turn)
            return Reply(self._say(f"calm{number} {turn.user_text}"))
        await anyio.sleep(rng.choice((0.0, 0.03, 0.3, 1.5)))
        if "provider" in self.plan.troubles and rng.random() < 0.1:
            return Reply(failure="the brain has failed, as drawn")
        likely = 0.0 if turn.metadata else 0.2 if turn.tool_results else 0.45
        calls = self._calls(rng, turn) if rng.random() < likely else []
        if calls and rng.random() < 0.5:
            return Reply(tool_calls=calls)
        words = " ".join(f"w{number}x{index}" for index in range(rng.choice((1, 3, 8, 25))))
        return Reply(self._say(words), tool_calls=calls, delay=rng.choice((0.0, 0.0, 0.2)))

    def _say(self, words: str) -> str:
        self.said[words.split()[0]] = words
        return words

    def _calls(self, rng: Random, turn: Turn) -> list[ToolCall]:
        calls: list[ToolCall] = []
        for function in rng.sample(turn.tools, k=min(len(turn.tools), rng.choice((1, 1, 2, 3)))):
            arguments: Any = drawn(rng, function.get("parameters") or {})
            calls.append(ToolCall(str(function["name"]), arguments if rng.random() < 0.95 else '{"broken'))
        return calls


def drawn(rng: Random, schema: Mapping[str, Any]) -> Any:
    """A value that fits a JSON schema, as far as tools' parameters use it."""
    if "enum" in schema:
        return rng.choice(list(schema["enum"]))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return drawn(rng, rng.choice(list(schema[union])))
    kind = schema.get("type")
    match rng.choice(kind) if isinstance(kind, list) else kind:
        case "string":
            return f"word{rng.randrange(1_000)}"
        case "integer":
            return rng.randrange(int(schema.get("minimum", 0)), int(schema.get("maximum", 100)) + 1)
        case "number":
            return rng.uniform(float(schema.get("minimum", 0)), float(schema.get("maximum", 100)))
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [drawn(rng, schema.get("items") or {}) for _ in range(rng.randrange(3))]
        case "null":
            return None
        case _:
            wanted = set(schema.get("required", ()))
            properties = dict(schema.get("properties") or {})
            return {name: drawn(rng, each) for name, each in properties.items() if name in wanted or rng.random() < 0.5}


class Provider:
    """The simulator behind a door that may be shut, with its links in reach."""

    def __init__(self, simulator: Simulator, note: Callable[[str], None]) -> None:
        self.simulator = simulator
        self.refusals: deque[int] = deque()
        self.links: list[MessageStream] = []
        self._note = note

    def admit(self, request: Request) -> HttpReply | None:
        if self.refusals:
            status = self.refusals.popleft()
            self._note(f"refused {status}")
            return HttpReply(status, {"retry-after": "0.7"} if status == 429 else {})
        return self.simulator.admit(request)

    async def handle(self, stream: MessageStream, request: Request) -> None:
        self._note("a link")
        self.links.append(stream)
        try:
            await self.simulator.handle(stream, request)
        finally:
            self.links.remove(stream)
            self._note("a link is over")


class Tools:
    """Tools of every kind; ``ran`` is told of each call that is carried out."""

    def __init__(self, plan: Plan, ran: Callable[[str], None]) -> None:
        self._plan = plan
        self._ran = ran
        self.running: set[str] = set()

    @asynccontextmanager
    async def _noted(self, context: ToolContext[Any]) -> AsyncIterator[Random]:
        self._ran(context.call_id)
        self.running.add(context.call_id)
        try:
            yield self._plan.rng(f"tool {context.call_id}")
        finally:
            self.running.discard(context.call_id)

    def toolkits(self, other: Callable[[], RealtimeAgent[Any]]) -> list[Toolkit]:
        """``other`` is whom the tool ``transfer`` hands over to."""
        tools = [*self._plain(), *self._ruled()]
        if "changes" in self._plan.troubles:
            tools.append(self._transfer(other))
        if "end" in self._plan.troubles:
            tools += self._last()
        return [Toolkit(id="campaign", tools=tools)]

    def _plain(self) -> list[Any]:
        @tool
        async def fast(context: ToolContext[Any], word: str) -> str:
            async with self._noted(context):
                return word

        @tool
        async def slow(context: ToolContext[Any]) -> str:
            async with self._noted(context) as rng:
                await anyio.sleep(rng.uniform(0.05, 4))
                return "x" * rng.choice((0, 10, 5_000, 90_000))

        @tool
        async def raising(context: ToolContext[Any], politely: bool = False) -> str:
            async with self._noted(context) as rng:
                await anyio.sleep(rng.choice((0.0, 0.2)))
                raise ToolError("not today") if politely else LookupError("it broke")

        @tool(timeout=3.0)
        async def hanging(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                await anyio.sleep_forever()
                return "never"

        return [fast, slow, raising, hanging]

    def _ruled(self) -> list[Any]:
        @tool(on_interrupt="cancel")
        async def patient(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                await anyio.sleep(5)
                return "at last"

        @tool(on_done="silent")
        async def silent(context: ToolContext[Any]) -> str:
            async with self._noted(context) as rng:
                await anyio.sleep(rng.choice((0.0, 0.5)))
                return "hush"

        @tool(on_done="when_idle", commit="after_heard")
        async def later(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                return "later"

        @tool(needs_approval=True, approval_timeout=3.0)
        async def careful(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                return "allowed"

        return [patient, silent, later, careful]

    def _transfer(self, other: Callable[[], RealtimeAgent[Any]]) -> Any:
        @tool
        async def transfer(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                return f"over to {(await context.session.handoff(other())).id}"

        return transfer

    def _last(self) -> list[Any]:
        @tool(terminal=True)
        async def goodbye(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                return "bye"

        @tool
        async def closing(context: ToolContext[Any]) -> str:
            async with self._noted(context):
                context.session.close()
                await anyio.sleep(0.1)
                return "closed"

        return [goodbye, closing]
