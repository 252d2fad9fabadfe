"""ElevenLabs Agents: an agent that is set up at ElevenLabs, and talks here.

::

    from kernl_rt.providers import elevenlabs

    model = elevenlabs.agent("agent_…")
"""

from kernl_rt.providers.elevenlabs._codec import AgentsCodec as AgentsCodec
from kernl_rt.providers.elevenlabs._model import ElevenLabsAgent as ElevenLabsAgent, agent as agent
