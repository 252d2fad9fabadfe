"""The protocols that the simulator can be spoken to in.

The engine speaks OpenAI's; each other protocol is a pure translation around it. A protocol is known by its name; see
:data:`PROTOCOLS`, and :class:`~kernl_rt.simulator._protocols._base.Protocol` for what it takes to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kernl_rt.exceptions import MisconfiguredError
from kernl_rt.simulator._protocols import (
    _azure,
    _eleven_realtime,
    _elevenlabs,
    _gemini,
    _live,
    _openai,
    _voice_live,
    _xai,
)
from kernl_rt.simulator._protocols._base import Protocol, Translation

__all__ = ["PROTOCOLS", "Protocol", "Translation", "protocol_named"]

#: Each name with what makes the protocol.
PROTOCOLS: Final[dict[str, Callable[[], Protocol]]] = {
    "openai": _openai.OpenAI,
    "azure": _azure.Azure,
    "voice-live": _voice_live.VoiceLive,
    "xai": _xai.XAI,
    "gemini": _gemini.Gemini,
    "elevenlabs": _elevenlabs.ElevenLabs,
    "eleven-realtime": _eleven_realtime.ElevenRealtime,
    "live": _live.Live,
}


def protocol_named(name: str) -> Protocol:
    """
    Raises:
        MisconfiguredError: there is no such protocol.
    """
    try:
        return PROTOCOLS[name]()
    except KeyError:
        raise MisconfiguredError(f"protocol={name!r} is unknown: the simulator speaks {', '.join(PROTOCOLS)}") from None
