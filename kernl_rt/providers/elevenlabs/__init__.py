"""ElevenLabs: agents that are set up there and talk here, and the speech models themselves (Eleven Realtime).

::

    from kernl_rt.providers import elevenlabs

    model = elevenlabs.agent("agent_…")
    model = elevenlabs.realtime("eleven_realtime_v1_mini")
"""

from kernl_rt.providers.elevenlabs._codec import AgentsCodec as AgentsCodec
from kernl_rt.providers.elevenlabs._model import ElevenLabsAgent as ElevenLabsAgent, agent as agent
from kernl_rt.providers.elevenlabs._realtime import (
    ElevenRealtimeModel as ElevenRealtimeModel,
    realtime as realtime,
)
