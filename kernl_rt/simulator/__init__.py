"""A model server that speaks the OpenAI Realtime GA protocol, with no key and no network.

It is a simulator: it understands a grammar of a few sentences, speaks with a robotic voice, and is not an AI model.
What it is strict about is the protocol. What the real service refuses, it refuses, in the same words as far as they are
known; what the real service sends, it sends, with the same fields in the same order. A program that runs against it
runs the same code as against the real service.

::

    model = simulator.realtime()                          # for a RealtimeSession, in memory
    async with Simulator().serve() as url: ...            # for any client, on loopback
    Simulator(ScriptedBrain(["Hello.", Reply(tool_calls=[ToolCall("weather", {"city": "Paris"})])]))
    Simulator(faults=Faults().close(1011, at="response.output_audio.delta", nth=3))

Inside, ``_engine`` is the whole protocol as a pure state machine: frames and time in, frames and a deadline out. It
does not use kernl_rt's own OpenAI codec, so the two witness each other. Brain, voice and ears sit outside of it.
"""

from kernl_rt.abc import RealtimeModel
from kernl_rt.simulator._brain import Brain as Brain, RuleBrain as RuleBrain, ScriptedBrain as ScriptedBrain
from kernl_rt.simulator._ears import (
    DeafEars as DeafEars,
    Ears as Ears,
    GrammarEars as GrammarEars,
    ScriptedEars as ScriptedEars,
)
from kernl_rt.simulator._engine import Engine as Engine
from kernl_rt.simulator._faults import Fault as Fault, Faults as Faults
from kernl_rt.simulator._grammar import BANNER as BANNER, SENTENCES as SENTENCES
from kernl_rt.simulator._ids import Ids as Ids
from kernl_rt.simulator._reply import (
    Listening as Listening,
    Pace as Pace,
    Reply as Reply,
    Thinking as Thinking,
    ToolCall as ToolCall,
    ToolResult as ToolResult,
    Turn as Turn,
)
from kernl_rt.simulator._server import Simulator as Simulator, SimulatorInfo as SimulatorInfo
from kernl_rt.simulator._voice import EspeakVoice as EspeakVoice, ToneVoice as ToneVoice, Voice as Voice

__all__ = [
    "BANNER",
    "SENTENCES",
    "Brain",
    "DeafEars",
    "Ears",
    "Engine",
    "EspeakVoice",
    "Fault",
    "Faults",
    "GrammarEars",
    "Ids",
    "Listening",
    "Pace",
    "Reply",
    "RuleBrain",
    "ScriptedBrain",
    "ScriptedEars",
    "Simulator",
    "SimulatorInfo",
    "Thinking",
    "ToneVoice",
    "ToolCall",
    "ToolResult",
    "Turn",
    "Voice",
    "realtime",
]


def realtime(model: str = "simulator") -> RealtimeModel:
    """A model from a simulator of its own: rules for a brain, a humming voice, nothing to install."""
    return Simulator().realtime(model)
