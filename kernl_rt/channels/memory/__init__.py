"""A channel whose far end is in the same program: for tests, and for embedding a session in something else.

As with ``trio.testing.memory_stream_pair`` you get both ends::

    channel, human = memory_channel_pair(playback="realtime")

    async with RealtimeSession(agent, channel=channel) as session:
        await human.speak(pcm)                  # reaches the model
        async for sound in human: ...           # what the human hears
        human.hang_up()                         # the session ends

How sound is played is chosen by ``playback``:

    ==============  ===================================================================================================
    ``"realtime"``  at the pace of the clock (``anyio.current_time``, so virtual time too); marks every 20 ms and at the
                    end; the human hears pieces when they have been played, and speaks at the pace of the clock
    ``"instant"``   heard as soon as it is sent
    ``"manual"``    ``human.hear()`` gives what was sent, ``human.played(ms)`` says how much of it was heard
    ==============  ===================================================================================================

Every buffer is bounded:

    ===================  ==============================================================================================
    human → session      ``input_buffer_ms`` of sound: ``speak`` waits; ``speak_nowait`` drops the oldest sound of a
                         ``live`` channel (counted), else raises ``anyio.WouldBlock``. 1,024 other events, then
                         ``anyio.WouldBlock``. Only the newest of adjoining marks is kept
    session → human      ``send_ahead_ms`` of unheard sound: ``send`` waits
    heard, not fetched   ``hear_buffer`` bytes; the oldest are dropped and counted
    ===================  ==============================================================================================
"""

from kernl_rt.channels.memory._channel import (
    MemoryChannel as MemoryChannel,
    MemoryChannelStatistics as MemoryChannelStatistics,
    memory_channel_pair as memory_channel_pair,
)
from kernl_rt.channels.memory._human import MemoryHuman as MemoryHuman
