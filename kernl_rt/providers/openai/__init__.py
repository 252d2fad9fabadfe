"""OpenAI's Realtime API (GA), and services that speak its protocol; and its full-duplex Live API.

::

    from kernl_rt.providers import openai

    model = openai.realtime("gpt-realtime-2.1")
    model = openai.live("gpt-live-1")
"""

from kernl_rt.providers._dialect._codec import OpenAICodec as OpenAICodec
from kernl_rt.providers.openai._live_codec import LiveCodec as LiveCodec
from kernl_rt.providers.openai._live_model import LiveModel as LiveModel, live as live
from kernl_rt.providers.openai._model import OpenAIModel as OpenAIModel, realtime as realtime
