"""Azure's codecs: OpenAI's protocol, and its beta form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve

from kernl_rt.config import SessionConfig
from kernl_rt.events import ClientEvent, ItemCreated, ItemDone, OutputItemDone, ServerEvent, SessionUpdate
from kernl_rt.providers._dialect._codec import OPENAI, Dialect, OpenAICodec
from kernl_rt.providers.azure._wire import PREVIEW, VOICE_LIVE

__all__ = ["AzureCodec", "PreviewCodec", "VoiceLiveCodec"]

#: Announced items that are kept in mind; a reply has a few. The oldest is forgotten.
_MOST_ANNOUNCED = 256


class AzureCodec(OpenAICodec):
    """Azure OpenAI, generally available: OpenAI's own protocol."""

    def __init__(self, defaults: SessionConfig | None = None, *, redact: Callable[[str], str] = str) -> None:
        super().__init__(defaults, dialect=OPENAI, redact=redact)


class _BetaCodec(OpenAICodec):
    """The beta form does not say when an item of the conversation is final.

    The reply that it belongs to does: where such an item is done there, an ``ItemDone`` goes before it, as it would
    come from the later protocol. Items of a reply beside the conversation were never announced, and get none.
    """

    def __init__(self, defaults: SessionConfig | None, dialect: Dialect, redact: Callable[[str], str]) -> None:
        super().__init__(defaults, dialect=dialect, redact=redact)
        self._announced: dict[str, None] = {}

    def decode(self, message: str | bytes) -> Sequence[ServerEvent]:
        events = super().decode(message)
        for event in events:
            if isinstance(event, ItemCreated):
                self._announce(event.item.id)
            elif isinstance(event, ItemDone):
                self._announced.pop(event.item.id or "", None)
            elif isinstance(event, OutputItemDone) and (event.item.id or "") in self._announced:
                del self._announced[event.item.id or ""]
                return (ItemDone(event.item), *events)
        return events

    def _announce(self, name: str | None) -> None:
        if name is not None:
            self._announced[name] = None
            if len(self._announced) > _MOST_ANNOUNCED:
                del self._announced[next(iter(self._announced))]


class PreviewCodec(_BetaCodec):
    """Azure OpenAI under a preview version: what OpenAI's protocol was before general availability."""

    def __init__(self, defaults: SessionConfig | None = None, *, redact: Callable[[str], str] = str) -> None:
        super().__init__(defaults, PREVIEW, redact)


class VoiceLiveCodec(_BetaCodec):
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
        super().__init__(defaults, VOICE_LIVE, redact)
        self._agent = agent

    def encode_client(self, event: ClientEvent) -> dict[str, Any]:
        if self._agent and isinstance(event, SessionUpdate):
            config = evolve(event.config, instructions=None, tools=None, tool_choice=None)
            event = evolve(event, config=config)
        return super().encode_client(event)
