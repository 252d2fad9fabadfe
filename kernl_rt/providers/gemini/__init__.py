"""Google's Gemini Live API, with a key of the Gemini Developer API or a project of Vertex AI.

::

    from kernl_rt.providers import gemini

    model = gemini.live("gemini-3.8-live")
"""

from kernl_rt.providers.gemini._codec import GeminiCodec as GeminiCodec
from kernl_rt.providers.gemini._model import GeminiModel as GeminiModel, live as live
