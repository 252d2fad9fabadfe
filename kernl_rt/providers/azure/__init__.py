"""Azure: realtime models of Azure OpenAI, and Voice Live.

::

    from kernl_rt.providers import azure

    model = azure.realtime("my-deployment", endpoint="https://my-resource.openai.azure.com")
    model = azure.voice_live("gpt-realtime", endpoint="https://my-resource.services.ai.azure.com")
"""

from kernl_rt.providers.azure._access import TokenProvider as TokenProvider
from kernl_rt.providers.azure._codec import (
    AzureCodec as AzureCodec,
    PreviewCodec as PreviewCodec,
    VoiceLiveCodec as VoiceLiveCodec,
)
from kernl_rt.providers.azure._model import AzureModel as AzureModel, realtime as realtime
from kernl_rt.providers.azure._voice_live import VoiceLiveModel as VoiceLiveModel, voice_live as voice_live
