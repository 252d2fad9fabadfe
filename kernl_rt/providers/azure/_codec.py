"""Azure's codecs: OpenAI's protocol, and its beta form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve

from kernl_rt.config import SessionConfig
from kernl_rt.events import ClientEvent, SessionUpdate
from kernl_rt.providers._dialect._codec import OPENAI, Dialect, OpenAICodec
from kernl_rt.providers.azure._wire import PREVIEW, VOICE_LIVE

__all__ = ["AzureCodec", "VoiceLiveCodec"]


class AzureCodec(OpenAICodec):
    """Azure OpenAI: OpenAI's own protocol, or with ``preview`` what it was before general availability."""

    def __init__(
        self,
        defaults: SessionConfig | None = None,
        *,
        preview: bool = False,
        redact: Callable[[str], str] = str,
    ) -> None:
        dialect: Dialect = PREVIEW if preview else OPENAI
        super().__init__(defaults, dialect=dialect, redact=redact)


class VoiceLiveCodec(OpenAICodec):
    """Voice Live: the beta form, with Azure's own options.

    ``agent``: the other side is an agent, which has instructions and tools of its own, so that ours, which are empty,
    are not sent.
    """

    def __init__(
        self,
        defaults: SessionConfig | None = None,
        *,
        agent: bool = False,
        redact: Callable[[str], str] = str,
    ) -> None:
        super().__init__(defaults, dialect=VOICE_LIVE, redact=redact)
        self._agent = agent

    def encode_client(self, event: ClientEvent) -> dict[str, Any]:
        if self._agent and isinstance(event, SessionUpdate):
            config = evolve(event.config, instructions=None, tools=None, tool_choice=None)
            event = evolve(event, config=config)
        return super().encode_client(event)
