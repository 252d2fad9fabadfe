"""OpenAI's Realtime API (GA), and services that speak its protocol.

::

    from kernl_rt.providers import openai

    model = openai.realtime("gpt-realtime-2.1")
"""

from kernl_rt.providers._dialect._codec import OpenAICodec as OpenAICodec
from kernl_rt.providers.openai._model import OpenAIModel as OpenAIModel, realtime as realtime
