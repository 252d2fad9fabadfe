"""Live voice sessions with realtime speech models, under trio and asyncio.

The names here are the whole ordinary interface. Where they live, from the bottom up (each level imports only from those
above it in this list)::

    exceptions, config, policy, items, events    frozen values: the vocabulary
    _core, _audio, _emitter                      pure and synchronous: what a session decides
    abc, agent, tool, context                    ports, and what the user writes
    _transport, providers, channels              adapters: each knows one outside system
    _session                                     the running session: the only nursery
    testing, simulator, cli                      what stands on top

Models are in ``kernl_rt.providers``, places for the human's audio in ``kernl_rt.channels``, a model server for the desk
in ``kernl_rt.simulator``, and tools for tests in ``kernl_rt.testing``.
"""

from kernl_rt._session.command import Command as Command
from kernl_rt._session.drain import Drain as Drain
from kernl_rt._session.recording import Recording as Recording
from kernl_rt._session.session import RealtimeSession as RealtimeSession
from kernl_rt._session.statistics import SessionStatistics as SessionStatistics
from kernl_rt._session.stream import EventStream as EventStream
from kernl_rt.abc import (
    MessageStream as MessageStream,
    RealtimeChannel as RealtimeChannel,
    RealtimeConnection as RealtimeConnection,
    RealtimeModel as RealtimeModel,
    RealtimeTransport as RealtimeTransport,
)
from kernl_rt.agent import RealtimeAgent as RealtimeAgent
from kernl_rt.config import (
    AudioFormat as AudioFormat,
    Capabilities as Capabilities,
    ConnectOptions as ConnectOptions,
    Credential as Credential,
    ResponseConfig as ResponseConfig,
    Secret as Secret,
    SessionConfig as SessionConfig,
    TurnDetection as TurnDetection,
    Voice as Voice,
)
from kernl_rt.context import Context as Context, ToolContext as ToolContext
from kernl_rt.exceptions import (
    MisconfiguredError as MisconfiguredError,
    RealtimeError as RealtimeError,
    ToolError as ToolError,
)
from kernl_rt.guardrail import Guardrail as Guardrail
from kernl_rt.handoff import handoff as handoff
from kernl_rt.policy import ReconnectPolicy as ReconnectPolicy
from kernl_rt.tool import Tool as Tool, Toolkit as Toolkit, tool as tool

__version__ = "0.1.0"
