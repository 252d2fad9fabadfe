"""Calls over Twilio's media streams.

:class:`TwilioChannel` speaks on a link; :class:`TwilioSignature` tells whether Twilio asked for it. Both are put
together, with the webhook and a one-time token, by :func:`kernl_rt.serve.twilio_routes`. A call's details are a
:class:`PhoneCall`, what was received and not used a :class:`PhoneCounts`.
"""

from kernl_rt.channels._phone._wire import PhoneCall as PhoneCall, PhoneCounts as PhoneCounts
from kernl_rt.channels.twilio._channel import TwilioChannel as TwilioChannel
from kernl_rt.channels.twilio._signature import TwilioSignature as TwilioSignature
