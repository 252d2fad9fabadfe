"""xAI's Voice Agent API (Grok Voice).

::

    from kernl_rt.providers import xai

    model = xai.realtime("grok-voice-latest")
"""

from kernl_rt.providers.xai._codec import XAICodec as XAICodec
from kernl_rt.providers.xai._model import XAIModel as XAIModel, realtime as realtime
