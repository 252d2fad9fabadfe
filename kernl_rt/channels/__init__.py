"""Where the human's audio comes and goes. Each channel is a :class:`~kernl_rt.abc.RealtimeChannel`.

==================  ============================================================================
``BrowserChannel``  a web page, over a WebSocket that your own web application has
``LocalChannel``    the microphone and the loudspeaker of this machine
``MemoryChannel``   both ends in one program, for tests and for embedding
``TelnyxChannel``   a phone call over Telnyx's media streaming
``TwilioChannel``   a phone call over Twilio Media Streams
``VonageChannel``   a phone call over Vonage's WebSockets
``WavChannel``      a WAV file speaks, the reply becomes a WAV file
==================  ============================================================================

``TurnDetectingChannel`` goes around any of them and finds out who speaks on our side.
"""

from kernl_rt.channels.browser import BrowserAccess as BrowserAccess, BrowserChannel as BrowserChannel
from kernl_rt.channels.local import LocalChannel as LocalChannel, LocalChannelStatistics as LocalChannelStatistics
from kernl_rt.channels.memory import (
    MemoryChannel as MemoryChannel,
    MemoryChannelStatistics as MemoryChannelStatistics,
    MemoryHuman as MemoryHuman,
    memory_channel_pair as memory_channel_pair,
)
from kernl_rt.channels.telnyx import TelnyxChannel as TelnyxChannel
from kernl_rt.channels.turn_detection import (
    SpeechDetector as SpeechDetector,
    TurnDetectingChannel as TurnDetectingChannel,
    WebRtcDetector as WebRtcDetector,
)
from kernl_rt.channels.twilio import PhoneCall as PhoneCall, PhoneCounts as PhoneCounts, TwilioChannel as TwilioChannel
from kernl_rt.channels.vonage import VonageChannel as VonageChannel
from kernl_rt.channels.wav import WavChannel as WavChannel
