"""Where the human's audio comes and goes. Each channel is a :class:`~kernl_rt.abc.RealtimeChannel`.

=================  ============================================================================
``MemoryChannel``  both ends in one program, for tests and for embedding
``WavChannel``     a WAV file speaks, the reply becomes a WAV file
=================  ============================================================================
"""

from kernl_rt.channels.memory import (
    MemoryChannel as MemoryChannel,
    MemoryChannelStatistics as MemoryChannelStatistics,
    MemoryHuman as MemoryHuman,
    memory_channel_pair as memory_channel_pair,
)
from kernl_rt.channels.wav import WavChannel as WavChannel
