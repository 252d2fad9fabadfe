"""The messages of the OpenAI Realtime protocol (GA) as tables: 11 of the client, 46 of the server.

The rows follow the API reference and the official SDK's types (``openai.types.realtime``); what is optional here is
what the service, or a compatible one, has been seen to leave out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kernl_rt import events as ev
from kernl_rt.config import ResponseConfig, SessionConfig
from kernl_rt.items import ConversationItem, FunctionCall
from kernl_rt.providers._dialect._config import GA, Layout
from kernl_rt.providers._dialect._items import ITEM, PART
from kernl_rt.providers._dialect._records import ERROR, RATE_LIMIT, RESPONSE, SESSION, SESSION_ERROR, TRANSCRIPT_USAGE
from kernl_rt.providers._fields import BASE64, COUNT, NUMBER, OBJECT, Field, Kind, ListOf, Struct

__all__ = ["AUDIO_DELTA", "CLIENT", "SERVER", "client_rows", "server_rows"]


# -- server events ----------------------------------------------------------------------------------------------------

_ID = Field("event_id")
_ITEM_ID = Field("item_id")
_INDEX = Field("content_index", kind=COUNT)
_OF_RESPONSE = (_ID, Field("response_id"), Field("output_index", kind=COUNT))
_OF_CONTENT = (*_OF_RESPONSE, _ITEM_ID, _INDEX)


def output_item_added(*, item: ConversationItem, **rest: Any) -> ev.OutputItemAdded | ev.ToolStarted:
    return (
        ev.ToolStarted(item=item, **rest) if isinstance(item, FunctionCall) else ev.OutputItemAdded(item=item, **rest)
    )


AUDIO_DELTA = Struct(ev.AudioDelta, *_OF_CONTENT, Field("delta", "audio", BASE64), type="response.output_audio.delta")


def server_rows(item: Kind = ITEM, response: Kind = RESPONSE, session: Kind = SESSION) -> tuple[Struct, ...]:
    """What the server says, where items, replies and sessions are read by these kinds."""
    with_item = (_ID, Field("item", kind=item), Field("previous_item_id"))
    at_item_added = (*_OF_RESPONSE, Field("item", kind=item))
    return (
        SESSION_ERROR,
        Struct(ev.SessionCreated, _ID, Field("session", kind=session), type="session.created"),
        Struct(ev.SessionUpdated, _ID, Field("session", kind=session), type="session.updated"),
        Struct(
            ev.ConversationCreated, _ID, Field("conversation", kind=OBJECT, required=True), type="conversation.created"
        ),
        Struct(
            ev.RateLimitsUpdated,
            _ID,
            Field("rate_limits", kind=ListOf(RATE_LIMIT, most=100), required=True),
            type="rate_limits.updated",
        ),
        # items; the beta protocol's name for "added" is known to the codec
        Struct(ev.ItemCreated, *with_item, type="conversation.item.added"),
        Struct(ev.ItemDone, *with_item, type="conversation.item.done"),
        Struct(ev.ItemRetrieved, _ID, Field("item", kind=ITEM), type="conversation.item.retrieved"),
        Struct(ev.ItemDeleted, _ID, _ITEM_ID, type="conversation.item.deleted"),
        Struct(
            ev.ItemTruncated,
            _ID,
            _ITEM_ID,
            Field("audio_end_ms", kind=COUNT),
            Field("content_index", kind=COUNT, required=True),
            type="conversation.item.truncated",
        ),
        # the human's side
        Struct(ev.AudioInputCommitted, _ID, _ITEM_ID, Field("previous_item_id"), type="input_audio_buffer.committed"),
        Struct(ev.AudioInputCleared, _ID, type="input_audio_buffer.cleared"),
        Struct(
            ev.AudioInputTimedOut,
            _ID,
            _ITEM_ID,
            Field("audio_start_ms", kind=COUNT),
            Field("audio_end_ms", kind=COUNT),
            type="input_audio_buffer.timeout_triggered",
        ),
        Struct(
            ev.DtmfReceived,
            _ID,
            Field("event", "key"),
            Field("received_at", kind=NUMBER),
            type="input_audio_buffer.dtmf_event_received",
        ),
        Struct(
            ev.SpeechStarted,
            _ID,
            _ITEM_ID,
            Field("audio_start_ms", kind=COUNT),
            type="input_audio_buffer.speech_started",
        ),
        Struct(
            ev.SpeechStopped, _ID, _ITEM_ID, Field("audio_end_ms", kind=COUNT), type="input_audio_buffer.speech_stopped"
        ),
        Struct(
            ev.InputTranscriptDelta,
            _ID,
            _ITEM_ID,
            _INDEX,
            Field("delta", "text"),
            type="conversation.item.input_audio_transcription.delta",
        ),
        Struct(
            ev.InputTranscript,
            _ID,
            _ITEM_ID,
            _INDEX,
            Field("transcript", "text"),
            Field("usage", kind=TRANSCRIPT_USAGE),
            type="conversation.item.input_audio_transcription.completed",
        ),
        Struct(
            ev.InputTranscriptFailed,
            _ID,
            _ITEM_ID,
            _INDEX,
            Field("error", kind=ERROR),
            type="conversation.item.input_audio_transcription.failed",
        ),
        Struct(
            ev.InputTranscriptSegment,
            _ID,
            _ITEM_ID,
            _INDEX,
            Field("id"),
            Field("text"),
            Field("speaker"),
            Field("start", kind=NUMBER),
            Field("end", kind=NUMBER),
            type="conversation.item.input_audio_transcription.segment",
        ),
        # the reply
        Struct(ev.ResponseCreated, _ID, Field("response", kind=response), type="response.created"),
        Struct(ev.ResponseDone, _ID, Field("response", kind=response), type="response.done"),
        Struct(ev.OutputItemAdded, *at_item_added, type="response.output_item.added", make=output_item_added),
        Struct(ev.OutputItemDone, *at_item_added, type="response.output_item.done"),
        Struct(ev.ContentPartAdded, *_OF_CONTENT, Field("part", kind=PART), type="response.content_part.added"),
        Struct(ev.ContentPartDone, *_OF_CONTENT, Field("part", kind=PART), type="response.content_part.done"),
        AUDIO_DELTA,
        Struct(ev.AudioDone, *_OF_CONTENT, type="response.output_audio.done"),
        Struct(ev.TextDelta, *_OF_CONTENT, Field("delta", "text"), type="response.output_text.delta"),
        Struct(ev.TextDone, *_OF_CONTENT, Field("text"), type="response.output_text.done"),
        Struct(
            ev.OutputTranscriptDelta,
            *_OF_CONTENT,
            Field("delta", "text"),
            type="response.output_audio_transcript.delta",
        ),
        Struct(
            ev.OutputTranscript,
            *_OF_CONTENT,
            Field("transcript", "text"),
            type="response.output_audio_transcript.done",
        ),
        Struct(ev.OutputBufferStarted, _ID, Field("response_id"), type="output_audio_buffer.started"),
        Struct(ev.OutputBufferStopped, _ID, Field("response_id"), type="output_audio_buffer.stopped"),
        Struct(ev.OutputBufferCleared, _ID, Field("response_id"), type="output_audio_buffer.cleared"),
        # tools
        Struct(
            ev.ToolDelta,
            *_OF_RESPONSE,
            _ITEM_ID,
            Field("call_id"),
            Field("delta", "arguments"),
            type="response.function_call_arguments.delta",
        ),
        Struct(
            ev.ToolCalled,
            *_OF_RESPONSE,
            _ITEM_ID,
            Field("call_id"),
            Field("name"),
            Field("arguments"),
            type="response.function_call_arguments.done",
        ),
        *(
            Struct(ev.McpListToolsProgress, _ID, _ITEM_ID, type=f"mcp_list_tools.{status}", fixed={"status": status})
            for status in ("in_progress", "completed", "failed")
        ),
        *(
            Struct(
                ev.McpCallProgress,
                *_OF_RESPONSE,
                _ITEM_ID,
                type=f"response.mcp_call.{status}",
                fixed={"status": status},
            )
            for status in ("in_progress", "completed", "failed")
        ),
        Struct(
            ev.McpArgumentsDelta,
            *_OF_RESPONSE,
            _ITEM_ID,
            Field("delta", "arguments"),
            type="response.mcp_call_arguments.delta",
        ),
        Struct(
            ev.McpArguments,
            *_OF_RESPONSE,
            _ITEM_ID,
            Field("arguments"),
            type="response.mcp_call_arguments.done",
        ),
    )


SERVER = server_rows()


# -- client events ----------------------------------------------------------------------------------------------------


class Options(Protocol):
    """Where a dialect puts the options of a session and of a reply."""

    def encode_session(self, config: SessionConfig) -> dict[str, Any]: ...
    def parse_session(self, said: Mapping[str, Any]) -> SessionConfig: ...
    def encode_response(self, config: ResponseConfig, item: Kind) -> dict[str, Any]: ...
    def parse_response(self, said: Mapping[str, Any], item: Kind) -> ResponseConfig: ...


class SessionOptions(Kind):
    def __init__(self, layout: Options) -> None:
        self._layout = layout

    def decode(self, value: Any) -> SessionConfig:
        return self._layout.parse_session(OBJECT.decode(value))

    def encode(self, value: SessionConfig) -> dict[str, Any]:
        return self._layout.encode_session(value)


class ResponseOptions(Kind):
    def __init__(self, layout: Options, item: Kind) -> None:
        self._layout = layout
        self._item = item

    def decode(self, value: Any) -> ResponseConfig:
        return self._layout.parse_response(OBJECT.decode(value), self._item)

    def encode(self, value: ResponseConfig) -> dict[str, Any]:
        return self._layout.encode_response(value, self._item)


def client_rows(layout: Layout = GA, item: Kind = ITEM) -> tuple[Struct, ...]:
    """What the client says, where options stand as ``layout`` says and items are read by ``item``."""
    with_item = (_ID, Field("item", kind=item), Field("previous_item_id"))
    return (
        Struct(ev.SessionUpdate, _ID, Field("session", "config", SessionOptions(layout)), type="session.update"),
        Struct(ev.ItemCreate, *with_item, type="conversation.item.create"),
        Struct(ev.ItemDelete, _ID, _ITEM_ID, type="conversation.item.delete"),
        Struct(ev.ItemRetrieve, _ID, _ITEM_ID, type="conversation.item.retrieve"),
        Struct(
            ev.ItemTruncate,
            _ID,
            _ITEM_ID,
            Field("content_index", kind=COUNT, required=True),
            Field("audio_end_ms", kind=COUNT),
            type="conversation.item.truncate",
        ),
        Struct(ev.AudioInputAppend, _ID, Field("audio", kind=BASE64), type="input_audio_buffer.append"),
        Struct(ev.AudioInputCommit, _ID, type="input_audio_buffer.commit"),
        Struct(ev.AudioInputClear, _ID, type="input_audio_buffer.clear"),
        Struct(ev.AudioOutputClear, _ID, type="output_audio_buffer.clear"),
        Struct(
            ev.ResponseCreate, _ID, Field("response", "config", ResponseOptions(layout, item)), type="response.create"
        ),
        Struct(ev.ResponseCancel, _ID, Field("response_id"), type="response.cancel"),
    )


CLIENT = client_rows()
