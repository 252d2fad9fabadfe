"""Turn detection on our side, for any channel: who speaks is known before the network could tell.

::

    channel = TurnDetectingChannel(channel)  # extra kernl_rt[vad]; or bring a detector of your own

It passes on everything that the channel reports, and adds ``ActivityStarted`` and ``ActivityEnded`` with the time at
which the first and the last sound of a run of speech were captured. With the provider's turn detection off the first
interrupts the reply at once, and the second commits the turn and asks for the reply; with it on, only the first does
something.
"""

from kernl_rt._audio.turns import SpeechDetector as SpeechDetector
from kernl_rt.channels.turn_detection._channel import TurnDetectingChannel as TurnDetectingChannel
from kernl_rt.channels.turn_detection._webrtc import WebRtcDetector as WebRtcDetector
