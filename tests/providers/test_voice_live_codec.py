"""Voice Live's frames to events and back: what is understood, that nothing is lost or hostile."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import pytest

from kernl_rt import events as ev
from kernl_rt.config import (
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    InputTranscription,
    NoiseReduction,
    Reasoning,
    ResponseConfig,
    SessionConfig,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import ConnectionClosed, SessionExpired
from kernl_rt.items import ContentPart, Message
from kernl_rt.providers.azure import PreviewCodec, VoiceLiveCodec
from kernl_rt.testing import check_well_formed, hostile_corpus, hostile_frames
from tests.providers.voice_live_frames import ITEMS, PCM, RAW, RESPONSE, SESSION, SOUND, TYPED

Frame = dict[str, Any]
CODECS = [VoiceLiveCodec, PreviewCodec]


def decoded(frame: Frame) -> Any:
    (event,) = VoiceLiveCodec().decode(json.dumps(frame))
    return event


@pytest.mark.parametrize("frame", TYPED, ids=lambda frame: frame["type"])
def test_what_we_have_words_for(frame: Frame) -> None:
    event = decoded(frame)
    assert not isinstance(event, ev.RawServerEvent)
    assert isinstance(event, ev.SessionError) == (frame["type"] == "error")
    assert getattr(event, "source", "provider") == "provider"
    check_well_formed(event)
    assert VoiceLiveCodec().encode_server(event) == frame


@pytest.mark.parametrize("frame", RAW, ids=lambda frame: frame["type"])
def test_what_we_have_none_for_comes_whole(frame: Frame) -> None:
    event = decoded(frame)
    assert isinstance(event, ev.RawServerEvent)
    assert (event.type, event.data) == (frame["type"], frame)


def test_every_type_that_the_official_types_declare_is_here() -> None:
    models = pytest.importorskip("azure.ai.voicelive.models", reason="azure-ai-voicelive is not installed")
    ours = {frame["type"] for frame in [*TYPED, *RAW]}
    declared = {kind.value for kind in models.ServerEventType}
    # An enum may list a type that has no class (yet): the classes are what a client can understand.
    classes = set(models.ServerEvent.__mapping__)
    assert declared & classes <= ours | {"mcp_approval_request"}


def test_the_sound_is_decoded_by_the_short_way_too() -> None:
    frame = next(frame for frame in TYPED if frame["type"] == "response.audio.delta")
    event = decoded(frame)
    assert isinstance(event, ev.AudioDelta)
    assert event.audio == PCM
    assert len(json.dumps(frame)) > 512
    assert decoded({**frame, "delta": SOUND[:8]}).audio == PCM[:6]


@pytest.mark.parametrize(
    ("beta", "later"),
    [
        ("response.audio.delta", "response.output_audio.delta"),
        ("response.text.done", "response.output_text.done"),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta"),
        ("conversation.item.created", "conversation.item.added"),
    ],
)
def test_the_names_of_the_later_protocol_are_understood(beta: str, later: str) -> None:
    frame = next(frame for frame in TYPED if frame["type"] == beta)
    event = decoded({**frame, "type": later})
    assert type(event) is type(decoded(frame))
    assert VoiceLiveCodec().encode_server(event) == {**frame, "type": later}


def test_an_assistants_parts_have_our_names() -> None:
    item = decoded({"type": "conversation.item.created", "item": ITEMS[1]}).item
    assert [part.type for part in item.content] == ["output_audio", "output_text"]
    assert item.text == "Hm.x"
    frame = json.loads(VoiceLiveCodec().encode(ev.ItemCreate(item)))
    assert [part["type"] for part in frame["item"]["content"]] == ["audio", "text"]
    later = {**ITEMS[1], "content": [{"type": "output_audio", "transcript": "x"}]}
    kept = {"type": "conversation.item.created", "item": later}
    assert decoded(kept).item.content[0].type == "output_audio"
    assert VoiceLiveCodec().encode_server(decoded(kept)) == kept
    heard = decoded({"type": "conversation.item.created", "item": ITEMS[0]}).item
    assert [part.type for part in heard.content] == ["input_text", "input_audio"]


def test_the_session_as_it_is_told() -> None:
    info = decoded({"type": "session.created", "session": SESSION}).session
    assert (info.id, info.model, info.expires_at) == ("sess_1", "gpt-realtime", 1785217650)
    config = info.config
    assert (config.input_format, config.output_format) == (PCM16_16K, PCM16_8K)
    assert config.voice == Voice("en-US-AvaNeural", 1.1)
    assert config.output_modality == "audio"
    assert config.turn_detection.mode == "semantic_vad"
    assert config.turn_detection.silence_duration_ms == 500
    assert config.transcription == InputTranscription("azure-speech", "en-US", keywords=["Contoso"])
    assert config.reasoning == Reasoning("low")
    assert config.max_output_tokens == "inf"
    assert config.tool_choice.name == "f"
    assert info.raw["agent"]["thread_id"] == "t"


@pytest.mark.parametrize("until", ["2026-11-22T10:00:00Z", None, True, 2**60, []])
def test_an_expiry_that_is_none_costs_nothing(until: Any) -> None:
    event = decoded({"type": "session.created", "session": {**SESSION, "expires_at": until}})
    assert isinstance(event, ev.SessionCreated)
    assert event.session.expires_at is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status_details", {"type": "failed", "error": "it broke"}),
        ("status_details", "oops"),
        ("usage", {"total_tokens": "many"}),
        ("metadata", {"k": 1}),
        ("max_output_tokens", -1),
        ("status", "searching"),
    ],
)
def test_the_end_of_a_reply_is_not_lost_for_a_detail(key: str, value: Any) -> None:
    frame = {"type": "response.done", "response": {**RESPONSE, key: value}}
    event = decoded(frame)
    assert isinstance(event, ev.ResponseDone)
    assert event.response.id == "resp_1"
    assert VoiceLiveCodec().encode_server(event) == frame


def test_a_tool_server_may_be_called_without_arguments() -> None:
    frame = next(frame for frame in TYPED if frame["type"] == "response.mcp_call_arguments.done")
    event = decoded({**frame, "arguments": None})
    assert isinstance(event, ev.McpArguments)
    assert event.arguments == ""


def test_usage_and_status() -> None:
    response = decoded({"type": "response.done", "response": RESPONSE}).response
    assert response.usage.total_tokens == 10
    assert response.usage.input.cached == 1
    assert response.usage.output.audio == 5
    assert response.output_modalities == ("text", "audio")
    cancelled = next(frame for frame in TYPED if frame.get("response", {}).get("status") == "cancelled")
    assert decoded(cancelled).response.status_details.reason == "turn_detected"


ASSISTANT = {**ITEMS[1], "id": "growing", "status": "in_progress", "content": []}


def _told(codec: Any, type: str, item: Frame) -> list[Any]:
    return list(codec.decode(json.dumps({"type": type, "item": item, "event_id": "e"})))


@pytest.mark.parametrize("make", CODECS, ids=["voice-live", "preview"])
@pytest.mark.parametrize(
    "item", [ASSISTANT, {**ITEMS[2], "status": "in_progress"}, {**ITEMS[5], "status": "in_progress"}]
)
def test_the_end_of_an_item_in_its_reply_is_its_end_in_the_conversation(make: Any, item: Frame) -> None:
    codec = make()
    final = {**item, "status": "completed"}
    (created,) = _told(codec, "conversation.item.created", item)
    done, of_reply = _told(codec, "response.output_item.done", final)
    assert isinstance(created, ev.ItemCreated)
    assert isinstance(done, ev.ItemDone)
    assert isinstance(of_reply, ev.OutputItemDone)
    assert done.item == of_reply.item
    assert done.item.status == "completed"
    assert len(_told(codec, "response.output_item.done", final)) == 1, "once is enough"


def test_what_was_not_announced_or_has_ended_has_no_end_of_its_own() -> None:
    codec = VoiceLiveCodec()
    assert len(_told(codec, "response.output_item.done", {**ASSISTANT, "id": "beside"})) == 1
    _told(codec, "conversation.item.created", ASSISTANT)
    _told(codec, "conversation.item.done", ASSISTANT)  # should the service come to say it itself
    assert len(_told(codec, "response.output_item.done", ASSISTANT)) == 1


def test_a_provider_that_announces_for_ever_is_forgotten_in_time() -> None:
    codec = VoiceLiveCodec()
    for number in range(1_000):
        _told(codec, "conversation.item.created", {**ASSISTANT, "id": f"item_{number}"})
    assert len(codec._announced) <= 256
    assert len(_told(codec, "response.output_item.done", {**ASSISTANT, "id": "item_999"})) == 2


# -- what we write ----------------------------------------------------------------------------------------------------


def session_of(config: SessionConfig, codec: Any = None) -> Frame:
    frame = json.loads((codec or VoiceLiveCodec()).encode(ev.SessionUpdate(config)))
    assert frame.pop("type") == "session.update"
    said: Frame = frame.pop("session")
    assert not frame
    return said


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (SessionConfig(), {}),
        (SessionConfig(output_modality="audio"), {"modalities": ["text", "audio"]}),
        (SessionConfig(output_modality="text"), {"modalities": ["text"]}),
        (SessionConfig(voice=Voice("alloy")), {"voice": "alloy"}),
        (
            SessionConfig(voice=Voice("en-US-Ava:DragonHDLatestNeural", 0.9)),
            {"voice": {"type": "azure-standard", "name": "en-US-Ava:DragonHDLatestNeural", "rate": "0.9"}},
        ),
        (SessionConfig(input_format=PCM16_8K), {"input_audio_format": "pcm16", "input_audio_sampling_rate": 8000}),
        (SessionConfig(output_format=PCM16_16K), {"output_audio_format": "pcm16_16000hz"}),
        (SessionConfig(turn_detection=TurnDetection.off()), {"turn_detection": None}),
        (
            SessionConfig(turn_detection=TurnDetection.semantic_vad()),
            {"turn_detection": {"type": "azure_semantic_vad"}},
        ),
        (
            SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.4)),
            {"turn_detection": {"type": "server_vad", "threshold": 0.4}},
        ),
        (SessionConfig(transcription="off"), {"input_audio_transcription": None}),
        (SessionConfig(noise_reduction=NoiseReduction("off")), {"input_audio_noise_reduction": None}),
        (SessionConfig(max_output_tokens=5), {"max_response_output_tokens": 5}),
        (SessionConfig(reasoning=Reasoning("low")), {"reasoning_effort": "low"}),
        (
            SessionConfig(
                turn_detection=TurnDetection.semantic_vad(create_response=True),
                extra={"turn_detection": {"type": "azure_semantic_vad_en", "auto_truncate": True}, "temperature": 0.7},
            ),
            {
                "turn_detection": {"type": "azure_semantic_vad_en", "create_response": True, "auto_truncate": True},
                "temperature": 0.7,
            },
        ),
    ],
)
def test_a_configuration_is_flat(config: SessionConfig, said: Frame) -> None:
    assert session_of(config) == said
    event = VoiceLiveCodec().decode_client(VoiceLiveCodec().encode(ev.SessionUpdate(config)))
    assert isinstance(event, ev.SessionUpdate)
    assert session_of(event.config) == said


def test_the_preview_has_words_of_its_own() -> None:
    codec = PreviewCodec()
    said = session_of(
        SessionConfig(
            voice=Voice("alloy"),
            input_format=PCM16_24K,
            output_modality="audio",
            turn_detection=TurnDetection.semantic_vad(eagerness="low"),
            max_output_tokens=5,
        ),
        codec,
    )
    assert said == {
        "voice": "alloy",
        "input_audio_format": "pcm16",
        "modalities": ["text", "audio"],
        "turn_detection": {"type": "semantic_vad", "eagerness": "low"},
        "max_response_output_tokens": 5,
    }
    frame = json.loads(codec.encode(ev.ResponseCreate(ResponseConfig(conversation="none", max_output_tokens=5))))
    assert frame["response"] == {"conversation": "none", "max_response_output_tokens": 5}


def test_one_reply_beside_the_conversation() -> None:
    text = Message("assistant", [ContentPart("output_text", "x")])
    wish = ResponseConfig(conversation="none", output_modality="text", input=[text], max_output_tokens=9)
    frame = json.loads(VoiceLiveCodec().encode(ev.ResponseCreate(wish)))
    assert frame["response"] == {
        "commit": False,
        "modalities": ["text"],
        "max_output_tokens": 9,
        "input_items": [{"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}]}],
    }
    again = VoiceLiveCodec().decode_client(json.dumps(frame))
    assert isinstance(again, ev.ResponseCreate)
    assert again.config == wish


def test_an_agent_is_not_told_what_it_has() -> None:
    config = SessionConfig(instructions="", tools=[], output_modality="audio")
    assert session_of(config, VoiceLiveCodec(agent=True)) == {"modalities": ["text", "audio"]}
    assert session_of(config)["instructions"] == ""


def test_the_models_own_configuration_lies_under_the_first() -> None:
    codec = VoiceLiveCodec(SessionConfig(voice=Voice("alloy"), instructions="Mine."))
    assert session_of(SessionConfig(instructions="Yours."), codec) == {"voice": "alloy", "instructions": "Yours."}
    assert session_of(SessionConfig(instructions="Later."), codec) == {"instructions": "Later."}


def test_the_end() -> None:
    codec = VoiceLiveCodec(redact=lambda text: text.replace("SECRET", "…"))
    assert type(codec.closed(ConnectionClosed(1000, "bye"))) is ConnectionClosed
    frame = {"type": "error", "error": {"type": "x", "code": "session_expired", "message": "key SECRET"}}
    (event,) = codec.decode(json.dumps(frame))
    assert isinstance(event, ev.SessionError)
    assert event.message == "key …"
    ended = codec.closed(ConnectionClosed(1006, "SECRET"))
    assert isinstance(ended, SessionExpired)
    assert "SECRET" not in str(ended)


# -- what is hostile --------------------------------------------------------------------------------------------------


def _survives(make: Any, frame: str | bytes) -> None:
    codec = make()
    (event,) = codec.decode(frame)
    check_well_formed(event)
    if isinstance(event, ev.SessionError) and event.source == "protocol":
        assert len(event.message) < 400
        return
    json.dumps(codec.encode_server(event))
    repr(event) if len(frame) < 10_000 else None


@pytest.mark.parametrize("make", CODECS, ids=["voice-live", "preview"])
@pytest.mark.parametrize("name", sorted(hostile_corpus()))
def test_the_inputs_that_break_parsers(name: str, make: Any) -> None:
    _survives(make, hostile_corpus()[name])


@pytest.mark.parametrize("make", CODECS, ids=["voice-live", "preview"])
@pytest.mark.parametrize("seed", range(3))
def test_damaged_frames(seed: int, make: Any) -> None:
    for frame in islice(hostile_frames(seed, [*TYPED, *RAW]), 1_500):
        _survives(make, frame)


@pytest.mark.parametrize("make", CODECS, ids=["voice-live", "preview"])
def test_a_damaged_client_is_refused(make: Any) -> None:
    from kernl_rt.exceptions import ProtocolError

    templates = [
        {"type": "session.update", "session": SESSION},
        {"type": "response.create", "response": {"modalities": ["text"], "input_items": ITEMS, "commit": False}},
        {"type": "conversation.item.create", "item": ITEMS[1], "previous_item_id": "root"},
    ]
    read = 0
    for frame in islice(hostile_frames(5, templates), 1_000):
        try:
            event = make().decode_client(frame)
        except ProtocolError:
            continue
        make().encode(event)
        read += 1
    assert read > 50
