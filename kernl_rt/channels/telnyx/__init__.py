"""Calls over Telnyx's media streams.

:class:`TelnyxChannel` speaks on a link; :class:`TelnyxSignature` tells whether Telnyx asked for it. Both are put
together, with the webhook and a one-time token, by :func:`kernl_rt.serve.telnyx_routes`. A call's details are a
:class:`PhoneCall`, what was received and not used a :class:`PhoneCounts`.
"""

from kernl_rt.channels._phone._wire import PhoneCall as PhoneCall, PhoneCounts as PhoneCounts
from kernl_rt.channels.telnyx._channel import TelnyxChannel as TelnyxChannel
from kernl_rt.channels.telnyx._signature import TelnyxSignature as TelnyxSignature
