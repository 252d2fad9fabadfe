"""Hypothesis strategies over the vocabulary: single events, and whole conversations in a provider's order.

Needs ``hypothesis`` (``pip install 'kernl_rt[testing]'``); :mod:`kernl_rt.testing` does not import this module.

===================  ==================================================================================================
one at a time        :func:`server_events`, :func:`client_events`, :func:`channel_events`, :func:`items`,
                     :func:`session_configs`
in order             :func:`replies` (one reply), :func:`conversations` (a whole trace)
out of order         :func:`disturbed` (a trace with events dropped, repeated and moved)
not even events      :func:`hostile_messages` (damaged frames, for codecs)
===================  ==================================================================================================

Everything drawn is a frozen value of :mod:`kernl_rt.events`, :mod:`kernl_rt.items` or :mod:`kernl_rt.config`, and
small: a failing example is read by a human. Sound is PCM16 at 24 kHz, mono.
"""

from kernl_rt.testing._strategies_events import (
    channel_events as channel_events,
    client_events as client_events,
    items as items,
    server_events as server_events,
    session_configs as session_configs,
)
from kernl_rt.testing._strategies_hostile import hostile_messages as hostile_messages
from kernl_rt.testing._strategies_traces import (
    Trace as Trace,
    conversations as conversations,
    disturbed as disturbed,
    replies as replies,
)
