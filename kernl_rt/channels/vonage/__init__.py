"""Calls over Vonage's media streams.

:class:`VonageChannel` speaks on a link; :class:`VonageSignature` tells whether Vonage asked for it. Both are put
together, with the webhook and a one-time token, by :func:`kernl_rt.serve.vonage_routes`. A call's details are a
:class:`PhoneCall`, what was received and not used a :class:`PhoneCounts`.
"""

from kernl_rt.channels._phone._wire import PhoneCall as PhoneCall, PhoneCounts as PhoneCounts
from kernl_rt.channels.vonage._channel import VonageChannel as VonageChannel
from kernl_rt.channels.vonage._signature import VonageSignature as VonageSignature
