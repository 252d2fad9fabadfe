"""Strategies over the vocabulary: one event, item or configuration at a time, in no order."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kernl_rt import events as ev, items as it
from kernl_rt.config import (
    G711_ALAW,
    G711_ULAW,
    PCM16_24K,
    InputTranscription,
    ResponseConfig,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    TurnDetection,
    Voice,
)

__all__ = ["audio", "channel_events", "client_events", "items", "server_events", "session_configs", "words"]

T = TypeVar("T")

RESPONSE_IDS: Final = st.sampled_from(["resp_1", "resp_2", "resp_3"])
ITEM_IDS: Final = st.sampled_from(["item_1", "item_2", "item_3", "item_4"])
CALL_IDS: Final = st.sampled_from(["call_1", "call_2", "call_3"])
NAMES: Final = st.sampled_from(["lookup", "book"])
ARGUMENTS: Final = st.sampled_from(["{}", '{"q":"a"}', '{"q":"ä","n":1}'])
MS: Final = st.integers(0, 60_000)
INDEX: Final = st.integers(0, 2)
#: A millisecond of PCM16 at 24 kHz, in bytes.
MILLISECOND: Final = 48


def audio(*, max_ms: int = 5) -> SearchStrategy[bytes]:
    """PCM16 at 24 kHz, mono, silent: 1 to ``max_ms`` whole milliseconds (48 bytes each).

    Short, because Hypothesis prints every byte of an example.
    """
    return st.integers(1, max_ms).map(lambda ms: bytes(MILLISECOND * ms))


def words() -> SearchStrategy[str]:
    """A word and the blank that follows it, ASCII or not."""
    return st.sampled_from(["a ", "to ", "yes ", "grün ", "はい ", "🙂 "])


def items() -> SearchStrategy[it.ConversationItem]:
    """One item of a conversation, of any kind; ids are from a small set, so that items meet."""
    return st.one_of(*_ITEMS.values())


def _messages() -> SearchStrategy[it.Message]:
    parts: dict[Any, SearchStrategy[it.ContentPart]] = {
        "user": st.one_of(
            st.builds(it.ContentPart, st.just("input_text"), words()),
            st.builds(it.ContentPart, st.just("input_audio"), transcript=st.none() | words()),
        ),
        "assistant": st.one_of(
            st.builds(it.ContentPart, st.just("output_text"), words()),
            st.builds(it.ContentPart, st.just("output_audio"), transcript=st.none() | words()),
        ),
        "system": st.builds(it.ContentPart, st.just("input_text"), words()),
    }
    return st.one_of(
        *(
            st.builds(it.Message, st.just(role), st.lists(part, max_size=2), id=ITEM_IDS, status=_STATUS)
            for role, part in parts.items()
        )
    )


_STATUS: Final = st.sampled_from([None, "in_progress", "completed", "incomplete"])
_ITEMS: Final[dict[type[Any], SearchStrategy[Any]]] = {
    it.Message: _messages(),
    it.FunctionCall: st.builds(it.FunctionCall, NAMES, ARGUMENTS, CALL_IDS, id=ITEM_IDS, status=_STATUS),
    it.FunctionCallOutput: st.builds(it.FunctionCallOutput, CALL_IDS, words(), id=ITEM_IDS),
    it.McpListTools: st.builds(it.McpListTools, st.just("shop"), id=ITEM_IDS),
    it.McpCall: st.builds(it.McpCall, st.just("shop"), NAMES, ARGUMENTS, id=ITEM_IDS),
    it.McpApprovalRequest: st.builds(it.McpApprovalRequest, st.just("shop"), NAMES, ARGUMENTS, id=ITEM_IDS),
    it.McpApprovalResponse: st.builds(it.McpApprovalResponse, ITEM_IDS, st.booleans(), id=ITEM_IDS),
    it.UnknownItem: st.builds(it.UnknownItem, id=ITEM_IDS),
}


def session_configs() -> SearchStrategy[SessionConfig]:
    """A configuration that OpenAI's realtime models accept; most of it unsaid.

    ``threshold`` is 0 to 1, durations are whole milliseconds, ``speed`` is 0.25 to 1.5.
    """
    tool = ToolDefinition("lookup", "Look it up.", {"type": "object", "properties": {}})
    detection = st.one_of(
        st.just(TurnDetection.off()),
        st.builds(
            TurnDetection.server_vad,
            threshold=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
            silence_duration_ms=st.none() | st.integers(100, 2_000),
            create_response=st.none() | st.booleans(),
            interrupt_response=st.none() | st.booleans(),
        ),
        st.builds(TurnDetection.semantic_vad, eagerness=st.sampled_from([None, "low", "auto", "high"])),
    )
    formats = st.sampled_from([None, PCM16_24K, G711_ULAW, G711_ALAW])
    return st.builds(
        SessionConfig,
        instructions=st.sampled_from([None, "Be brief."]),
        output_modality=st.sampled_from([None, "audio", "text"]),
        voice=st.none()
        | st.builds(Voice, st.sampled_from(["marin", "cedar"]), st.sampled_from([None, 0.25, 1.0, 1.5])),
        input_format=formats,
        output_format=formats,
        turn_detection=st.none() | detection,
        transcription=st.sampled_from([None, "off", InputTranscription("gpt-4o-transcribe", "en")]),
        tools=st.sampled_from([None, (), (tool,)]),
        tool_choice=st.sampled_from([None, ToolChoice("auto"), ToolChoice("required")]),
        max_output_tokens=st.sampled_from([None, "inf", 1, 4_096]),
    )


def _of_reply(kind: type[T], *given: SearchStrategy[Any], **more: SearchStrategy[Any]) -> SearchStrategy[T]:
    return st.builds(kind, *given, response_id=RESPONSE_IDS, output_index=INDEX, **more)


def _of_part(kind: type[T], *given: SearchStrategy[Any], **more: SearchStrategy[Any]) -> SearchStrategy[T]:
    return _of_reply(kind, *given, item_id=ITEM_IDS, content_index=INDEX, **more)


_USAGE: Final = st.builds(ev.Usage, input_tokens=INDEX, output_tokens=INDEX, total_tokens=INDEX)
_RESPONSES: Final = st.builds(
    ev.Response,
    id=RESPONSE_IDS,
    status=st.sampled_from(["completed", "cancelled", "failed", "incomplete"]),
    usage=st.none() | _USAGE,
)
_INFO: Final = st.builds(ev.SessionInfo, id=st.just("sess_1"), model=st.just("model"), config=session_configs())
_PARTS: Final = st.sampled_from([None, it.ContentPart("audio", transcript=""), it.ContentPart("text", text="")])
_PROGRESS: Final = st.sampled_from(["in_progress", "completed", "failed"])
_ERRORS: Final = st.sampled_from([None, "conversation_already_has_active_response", "response_cancel_not_active"])

SERVER: Final[dict[type[Any], SearchStrategy[Any]]] = {
    ev.SessionCreated: st.builds(ev.SessionCreated, _INFO),
    ev.SessionUpdated: st.builds(ev.SessionUpdated, _INFO),
    ev.SessionError: st.builds(ev.SessionError, st.just("no"), _ERRORS, st.just("invalid_request_error")),
    ev.SessionExpiring: st.builds(ev.SessionExpiring, st.none() | st.floats(0, 3_600)),
    ev.SessionResumable: st.builds(ev.SessionResumable, st.just("handle"), st.booleans()),
    ev.Ping: st.builds(ev.Ping, st.sampled_from([None, 1_785_214_081_855.0])),
    ev.ConversationCreated: st.just(ev.ConversationCreated({"id": "conv_1"})),
    ev.RateLimitsUpdated: st.just(ev.RateLimitsUpdated([ev.RateLimit(name="tokens", limit=9, remaining=8)])),
    ev.ItemCreated: st.builds(ev.ItemCreated, items(), st.none() | ITEM_IDS),
    ev.ItemDone: st.builds(ev.ItemDone, items(), st.none() | ITEM_IDS),
    ev.ItemRetrieved: st.builds(ev.ItemRetrieved, items()),
    ev.ItemDeleted: st.builds(ev.ItemDeleted, ITEM_IDS),
    ev.ItemTruncated: st.builds(ev.ItemTruncated, ITEM_IDS, MS),
    ev.AudioInputCommitted: st.builds(ev.AudioInputCommitted, ITEM_IDS, st.none() | ITEM_IDS),
    ev.AudioInputCleared: st.just(ev.AudioInputCleared()),
    ev.AudioInputTimedOut: st.builds(ev.AudioInputTimedOut, ITEM_IDS, MS, MS),
    ev.DtmfReceived: st.builds(ev.DtmfReceived, st.sampled_from("0123456789*#")),
    ev.SpeechStarted: st.builds(ev.SpeechStarted, ITEM_IDS, MS),
    ev.SpeechStopped: st.builds(ev.SpeechStopped, ITEM_IDS, MS),
    ev.InputTranscriptDelta: st.builds(ev.InputTranscriptDelta, ITEM_IDS, words(), INDEX),
    ev.InputTranscript: st.builds(ev.InputTranscript, ITEM_IDS, words(), INDEX),
    ev.InputTranscriptFailed: st.builds(ev.InputTranscriptFailed, ITEM_IDS, st.just(ev.ResponseError(message="noise"))),
    ev.InputTranscriptSegment: st.builds(ev.InputTranscriptSegment, ITEM_IDS, words()),
    ev.ResponseCreated: st.builds(
        lambda id: ev.ResponseCreated(ev.Response(id=id, status="in_progress")), RESPONSE_IDS
    ),
    ev.ResponseDone: st.builds(ev.ResponseDone, _RESPONSES),
    ev.OutputItemAdded: _of_reply(ev.OutputItemAdded, _ITEMS[it.Message]),
    ev.OutputItemDone: _of_reply(ev.OutputItemDone, items()),
    ev.ContentPartAdded: _of_part(ev.ContentPartAdded, _PARTS),
    ev.ContentPartDone: _of_part(ev.ContentPartDone, _PARTS),
    ev.AudioDelta: _of_part(ev.AudioDelta, audio()),
    ev.AudioDone: _of_part(ev.AudioDone),
    ev.TextDelta: _of_part(ev.TextDelta, words()),
    ev.TextDone: _of_part(ev.TextDone, words()),
    ev.OutputTranscriptDelta: _of_part(ev.OutputTranscriptDelta, words()),
    ev.OutputTranscript: _of_part(ev.OutputTranscript, words()),
    ev.OutputBufferStarted: st.builds(ev.OutputBufferStarted, RESPONSE_IDS),
    ev.OutputBufferStopped: st.builds(ev.OutputBufferStopped, RESPONSE_IDS),
    ev.OutputBufferCleared: st.builds(ev.OutputBufferCleared, RESPONSE_IDS),
    ev.ToolStarted: _of_reply(ev.ToolStarted, _ITEMS[it.FunctionCall]),
    ev.ToolDelta: _of_reply(ev.ToolDelta, CALL_IDS, st.sampled_from(["{", '"q":', "}"])),
    ev.ToolCalled: _of_reply(ev.ToolCalled, CALL_IDS, NAMES, ARGUMENTS),
    ev.ToolCancelled: st.builds(ev.ToolCancelled, st.lists(CALL_IDS, max_size=2, unique=True)),
    ev.McpListToolsProgress: st.builds(ev.McpListToolsProgress, ITEM_IDS, _PROGRESS),
    ev.McpCallProgress: _of_reply(ev.McpCallProgress, ITEM_IDS, _PROGRESS),
    ev.McpArgumentsDelta: _of_reply(ev.McpArgumentsDelta, ITEM_IDS, st.just("{")),
    ev.McpArguments: _of_reply(ev.McpArguments, ITEM_IDS, ARGUMENTS),
    ev.UsageReported: st.builds(ev.UsageReported, _USAGE),
    ev.TimelineAdvanced: st.builds(ev.TimelineAdvanced, MS),
    ev.InputMuted: st.builds(ev.InputMuted, st.booleans()),
    ev.ContextAppended: st.builds(
        ev.ContextAppended, st.sampled_from(["commentary", "thinking", "instructions"]), MS, MS
    ),
    ev.DelegationCreated: st.builds(
        ev.DelegationCreated, st.just("del_1"), st.sampled_from(["client", "responses"]), MS
    ),
    ev.DelegationEvent: st.just(ev.DelegationEvent("response.in_progress", {"type": "response.in_progress"})),
    ev.RawServerEvent: st.just(ev.RawServerEvent("new.thing", {"type": "new.thing"})),
}

CLIENT: Final[dict[type[Any], SearchStrategy[Any]]] = {
    ev.SessionUpdate: st.builds(ev.SessionUpdate, session_configs()),
    ev.ItemCreate: st.builds(ev.ItemCreate, items(), st.none() | st.just("root") | ITEM_IDS),
    ev.ItemDelete: st.builds(ev.ItemDelete, ITEM_IDS),
    ev.ItemRetrieve: st.builds(ev.ItemRetrieve, ITEM_IDS),
    ev.ItemTruncate: st.builds(ev.ItemTruncate, ITEM_IDS, MS),
    ev.AudioInputAppend: st.builds(ev.AudioInputAppend, audio()),
    ev.AudioInputCommit: st.just(ev.AudioInputCommit()),
    ev.AudioInputClear: st.just(ev.AudioInputClear()),
    ev.AudioOutputClear: st.just(ev.AudioOutputClear()),
    ev.ActivityStart: st.just(ev.ActivityStart()),
    ev.ActivityEnd: st.just(ev.ActivityEnd()),
    ev.InputMute: st.just(ev.InputMute()),
    ev.InputUnmute: st.just(ev.InputUnmute()),
    ev.ResponseCreate: st.builds(
        ev.ResponseCreate,
        st.none() | st.builds(ResponseConfig, instructions=st.just("Be brief."), voice=st.none()),
    ),
    ev.ResponseCancel: st.builds(ev.ResponseCancel, st.none() | RESPONSE_IDS),
    ev.ToolResult: st.builds(ev.ToolResult, CALL_IDS, words(), ITEM_IDS, NAMES, is_error=st.booleans()),
    ev.RawClientEvent: st.just(ev.RawClientEvent({"type": "new.thing"})),
}

CHANNEL: Final[dict[type[Any], SearchStrategy[Any]]] = {
    ev.AudioCaptured: st.builds(ev.AudioCaptured, audio()),
    ev.AudioPlayed: st.builds(ev.AudioPlayed, st.integers(0, 60_000).map(float)),
    ev.ActivityStarted: st.just(ev.ActivityStarted()),
    ev.ActivityEnded: st.just(ev.ActivityEnded()),
    ev.DtmfPressed: st.builds(ev.DtmfPressed, st.sampled_from("0123456789*#ABCD")),
}


def _chosen(table: dict[type[Any], SearchStrategy[Any]], kinds: tuple[type[Any], ...]) -> SearchStrategy[Any]:
    return st.one_of(*(table[kind] for kind in kinds or table))


def server_events(*kinds: type[ev.ServerEvent]) -> SearchStrategy[ev.ServerEvent]:
    """One event of the model's, of any class or of one of ``kinds``. One event says nothing of order: see
    :func:`conversations`.

    Ids are from small sets (``resp_1`` to ``resp_3``, ``item_1`` to ``item_4``, ``call_1`` to ``call_3``), so that
    events meet. Sound is PCM16 at 24 kHz, 1 to 5 ms an event; offsets are milliseconds up to one minute.

    Raises:
        KeyError: one of ``kinds`` is no server event.
    """
    return _chosen(SERVER, kinds)


def client_events(*kinds: type[ev.ClientEvent]) -> SearchStrategy[ev.ClientEvent]:
    """One event that a session may send, of any class or of one of ``kinds``; ids and units as in
    :func:`server_events`.

    Raises:
        KeyError: one of ``kinds`` is no client event.
    """
    return _chosen(CLIENT, kinds)


def channel_events(*kinds: type[ev.ChannelEvent]) -> SearchStrategy[ev.ChannelEvent]:
    """One event of the human's side, of any class or of one of ``kinds``. Sound is PCM16 at 24 kHz, 1 to 5 ms;
    ``position_ms`` is up to one minute, and may fall from one event to the next, which a good channel's never does.

    Raises:
        KeyError: one of ``kinds`` is no channel event.
    """
    return _chosen(CHANNEL, kinds)
