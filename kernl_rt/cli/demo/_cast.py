"""Who takes part: the agent with its tools, the caller's voice, and the model on the other side.

Three rungs, by what is installed:

1. core only: both sides hum, and the words are a script;
2. espeak-ng: both sides speak, the words are a script (where there is no pocketsphinx, as on Python 3.14);
3. ``kernl_rt[demo]``: both sides speak, and the model really listens, to a grammar.
"""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from attrs import Factory, define, frozen

from kernl_rt import RealtimeAgent, Toolkit, tool
from kernl_rt._audio.pcm import pack, unpack
from kernl_rt.abc import RealtimeModel
from kernl_rt.cli._models import TRANSCRIBED
from kernl_rt.config import PCM16_24K, AudioFormat, SessionConfig, TurnDetection, Voice
from kernl_rt.simulator import EspeakVoice, GrammarEars, ScriptedEars, Simulator, ToneVoice, Voice as Speech

__all__ = ["BARGE_IN", "FORMAT", "INTERRUPTED", "QUESTION", "Cast", "Tools", "cast", "recorded", "the_agent"]

FORMAT: AudioFormat = PCM16_24K
QUESTION = "what is the weather in paris"
INTERRUPTED = "tell me a story"
BARGE_IN = "set a timer for ten minutes"
LINES: Sequence[str] = (QUESTION, INTERRUPTED, BARGE_IN)

#: A sample softer than this is silence around the words.
_SILENT = 200


@frozen
class Cast:
    rung: int
    about: str
    caller: Speech
    simulator: Simulator
    notices: Sequence[str] = ()


def cast(*, tones: bool = False) -> Cast:
    """The best that is installed, or with ``tones`` the first rung."""
    if tones or not EspeakVoice.installed():
        why = () if tones else ("no espeak-ng, so both sides hum: pip install 'kernl_rt[demo]' to hear words",)
        about = "tones for voices, a script for ears"
        return Cast(1, about, ToneVoice(), Simulator(ears=ScriptedEars(LINES)), why)
    caller, agent = EspeakVoice("en-us"), EspeakVoice()
    if GrammarEars.installed():
        return Cast(3, "espeak-ng voices, pocketsphinx ears", caller, Simulator(voice=agent, ears=GrammarEars()))
    why = ("no pocketsphinx, so the model's ears follow a script: pip install 'kernl_rt[demo]' where it exists",)
    return Cast(2, "espeak-ng voices, a script for ears", caller, Simulator(voice=agent, ears=ScriptedEars(LINES)), why)


@define
class Tools:
    """The agent's tools, and what has become of them."""

    started: int = 0
    #: Tools whose ``finally`` has run.
    ended: int = 0
    cancelled: list[str] = Factory(list)

    @tool
    async def weather(self, city: str) -> str:
        """Current weather in a city."""
        self.started += 1
        try:
            await anyio.sleep(0.8)  # as long as a weather service takes
            return f"It is sunny in {city}, with twenty one degrees."
        finally:
            self.ended += 1

    @tool(timeout=None)
    async def set_timer(self, minutes: float) -> str:
        """Set a timer and wait until it rings."""
        self.started += 1
        try:
            await anyio.sleep(60 * minutes)
            return f"The timer of {minutes:g} minutes rings."
        except anyio.get_cancelled_exc_class():
            self.cancelled.append("set_timer")
            raise
        finally:
            self.ended += 1


def the_agent(model: RealtimeModel, tools: Tools) -> RealtimeAgent[None]:
    config = SessionConfig(turn_detection=TurnDetection.server_vad(silence_duration_ms=300))
    return RealtimeAgent(
        id="watson",
        name="Watson",
        instructions="You are a helpful voice assistant. Be concise, but tell long stories. Use your tools.",
        model=model,
        voice=Voice("marin"),
        toolkits=[Toolkit(id="home", tools=[tools.weather, tools.set_timer])],
        config=TRANSCRIBED.merged(config),
    )


async def recorded(voice: Speech) -> dict[str, bytes]:
    """The caller's lines as sound, without the silence around the words, so that latencies are honest."""
    sounds: dict[str, bytes] = {}

    async def record(line: str) -> None:
        sounds[line] = trimmed(await voice.synthesise(line, FORMAT))

    async with anyio.create_task_group() as task_group:
        for line in LINES:
            task_group.start_soon(record, line)
    return sounds


def trimmed(pcm: bytes) -> bytes:
    samples = unpack(pcm)
    loud = [index for index, sample in enumerate(samples) if abs(sample) > _SILENT]
    return pack(samples[loud[0] : loud[-1] + 1]) if loud else b""
