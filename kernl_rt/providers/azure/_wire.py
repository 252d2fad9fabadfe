"""The beta form of OpenAI's protocol as tables: the rows of the GA form, and here those that differ.

Other names (``response.audio.delta``), flat sessions and replies, and parts of an assistant's message that are plainly
``text`` and ``audio``. Sources: Microsoft's reference of the preview, and the types of ``azure-ai-voicelive``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from kernl_rt import events as ev
from kernl_rt.items import NOTHING, ContentPart, ConversationItem, Message
from kernl_rt.providers._dialect._codec import Dialect
from kernl_rt.providers._dialect._items import ITEM
from kernl_rt.providers._dialect._options import MAX_TOKENS
from kernl_rt.providers._dialect._records import ERROR, STATUS_DETAILS, USAGE
from kernl_rt.providers._dialect._wire import CLIENT, SERVER, ResponseOptions, SessionOptions, output_item_added
from kernl_rt.providers._fields import (
    BASE64,
    COUNT,
    LIMIT,
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    Foreign,
    Kind,
    ListOf,
    Misfit,
    OneOf,
    Struct,
)
from kernl_rt.providers.azure._flat import PREVIEW_LAYOUT, VOICE_LIVE_LAYOUT, Layout

__all__ = ["PREVIEW", "VOICE_LIVE"]

_TO_OURS = {"text": "output_text", "audio": "output_audio"}
_TO_THEIRS = {ours: theirs for theirs, ours in _TO_OURS.items()}


class _Lenient(Kind):
    """What does not fit is kept as it was said, and costs nothing else: the types here are promises, not sightings."""

    def __init__(self, inner: Kind) -> None:
        self._inner = inner

    def decode(self, value: Any) -> Any:
        try:
            return self._inner.decode(value)
        except Misfit as misfit:
            raise Foreign(misfit.what, misfit.path) from None

    def encode(self, value: Any) -> Any:
        return self._inner.encode(value)

    def faithful(self, value: Any) -> bool:
        return self._inner.faithful(value)


class _Item(Kind):
    """GA's items; only the parts of an assistant's message have other names."""

    def decode(self, value: Any) -> ConversationItem:
        item: ConversationItem = ITEM.decode(value)
        if isinstance(item, Message) and item.role == "assistant":
            return attrs.evolve(item, content=[_ours(part) for part in item.content])
        return item

    def encode(self, value: Any) -> Any:
        if isinstance(value, Message) and value.role == "assistant":
            parts = [attrs.evolve(part, type=_TO_THEIRS.get(part.type, part.type)) for part in value.content]
            value = attrs.evolve(value, content=parts)
        return ITEM.encode(value)


def _ours(part: ContentPart) -> ContentPart:
    if part.type in _TO_THEIRS:  # GA's name already: kept, so that writing gives it back
        return attrs.evolve(part, extra={**part.extra, "type": part.type})
    return attrs.evolve(part, type=_TO_OURS.get(part.type, part.type))


_ITEM = _Item()


class _Session(Kind):
    """The session as the server tells it: read for what we know, kept whole."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def decode(self, value: Any) -> ev.SessionInfo:
        said = OBJECT.decode(value)
        config = attrs.evolve(self._layout.parse_session(said), extra={})
        name, model, until = said.get("id"), said.get("model"), said.get("expires_at")
        return ev.SessionInfo(
            id=name if type(name) is str else None,
            model=model if type(model) is str else None,
            expires_at=until if type(until) in (int, float) and -LIMIT <= until <= LIMIT else None,
            config=config,
            raw=said,
        )

    def encode(self, value: ev.SessionInfo) -> dict[str, Any]:
        if value.raw is not NOTHING:
            return dict(value.raw)
        facts = {"id": value.id, "model": value.model, "expires_at": value.expires_at}
        known = {key: fact for key, fact in facts.items() if fact is not None}
        return {**known, **self._layout.encode_session(value.config)}


_RESPONSE = Struct(
    ev.Response,
    Field("id"),
    Field("status", kind=OneOf("in_progress", "completed", "cancelled", "failed", "incomplete")),
    Field("status_details", kind=_Lenient(STATUS_DETAILS)),
    Field("output", kind=ListOf(_ITEM)),
    Field("usage", kind=_Lenient(USAGE)),
    Field("conversation_id"),
    Field("modalities", "output_modalities", ListOf(TEXT)),
    Field("max_output_tokens", kind=_Lenient(MAX_TOKENS)),
    Field("metadata", kind=_Lenient(TEXTS)),
)


class _TextOrNull(Kind):
    def decode(self, value: Any) -> str:
        text: str = "" if value is None else TEXT.decode(value)
        return text


_ID = Field("event_id")
_ITEM_ID = Field("item_id")
_OF_RESPONSE = (_ID, Field("response_id"), Field("output_index", kind=COUNT))
_OF_CONTENT = (*_OF_RESPONSE, _ITEM_ID, Field("content_index", kind=COUNT))
_WITH_ITEM = (_ID, Field("item", kind=_ITEM), Field("previous_item_id"))
_OUTPUT_ITEM = (*_OF_RESPONSE, Field("item", kind=_ITEM))
_AUDIO_DELTA = Struct(ev.AudioDelta, *_OF_CONTENT, Field("delta", "audio", BASE64), type="response.audio.delta")


_SERVER_ROWS = (
    Struct(ev.ItemCreated, *_WITH_ITEM, type="conversation.item.created"),
    Struct(ev.ItemDone, *_WITH_ITEM, type="conversation.item.done"),
    Struct(ev.ItemRetrieved, _ID, Field("item", kind=_ITEM), type="conversation.item.retrieved"),
    Struct(
        ev.InputTranscriptFailed,
        _ID,
        _ITEM_ID,
        Field("content_index", kind=COUNT),
        Field("error", kind=ERROR),
        type="conversation.item.input_audio_transcription.failed",
    ),
    Struct(ev.ResponseCreated, _ID, Field("response", kind=_RESPONSE), type="response.created"),
    Struct(ev.ResponseDone, _ID, Field("response", kind=_RESPONSE), type="response.done"),
    Struct(ev.OutputItemAdded, *_OUTPUT_ITEM, type="response.output_item.added", make=output_item_added),
    Struct(ev.OutputItemDone, *_OUTPUT_ITEM, type="response.output_item.done"),
    _AUDIO_DELTA,
    Struct(ev.AudioDone, *_OF_CONTENT, type="response.audio.done"),
    Struct(ev.TextDelta, *_OF_CONTENT, Field("delta", "text"), type="response.text.delta"),
    Struct(ev.TextDone, *_OF_CONTENT, Field("text"), type="response.text.done"),
    Struct(ev.OutputTranscriptDelta, *_OF_CONTENT, Field("delta", "text"), type="response.audio_transcript.delta"),
    Struct(ev.OutputTranscript, *_OF_CONTENT, Field("transcript", "text"), type="response.audio_transcript.done"),
    Struct(
        ev.McpArguments,
        *_OF_RESPONSE,
        _ITEM_ID,
        Field("arguments", kind=_TextOrNull()),
        type="response.mcp_call_arguments.done",
    ),
)


def _dialect(name: str, layout: Layout) -> Dialect:
    session, config, wishes = _Session(layout), SessionOptions(layout), ResponseOptions(layout, _ITEM)
    server = (
        *_SERVER_ROWS,
        Struct(ev.SessionCreated, _ID, Field("session", kind=session), type="session.created"),
        Struct(ev.SessionUpdated, _ID, Field("session", kind=session), type="session.updated"),
    )
    client = (
        Struct(ev.SessionUpdate, _ID, Field("session", "config", config), type="session.update"),
        Struct(ev.ItemCreate, *_WITH_ITEM, type="conversation.item.create"),
        Struct(ev.ResponseCreate, _ID, Field("response", "config", wishes), type="response.create"),
    )
    return Dialect(
        name,
        _laid_over(SERVER, server),
        _laid_over(CLIENT, client),
        audio=_AUDIO_DELTA,
        # The names that generally available services use: one that is half way is understood, too.
        aliases={
            "conversation.item.added": "conversation.item.created",
            "response.output_audio.delta": "response.audio.delta",
            "response.output_audio.done": "response.audio.done",
            "response.output_audio_transcript.delta": "response.audio_transcript.delta",
            "response.output_audio_transcript.done": "response.audio_transcript.done",
            "response.output_text.delta": "response.text.delta",
            "response.output_text.done": "response.text.done",
        },
    )


def _laid_over(rows: Sequence[Struct], ours: Sequence[Struct]) -> list[Struct]:
    """GA's rows with ours instead of those that say the same, by event or by type."""
    said = {row.type for row in ours} | {row.cls for row in ours}
    return [*(row for row in rows if row.type not in said and row.cls not in said), *ours]


PREVIEW = _dialect("Azure OpenAI's preview", PREVIEW_LAYOUT)
VOICE_LIVE = _dialect("Voice Live", VOICE_LIVE_LAYOUT)
