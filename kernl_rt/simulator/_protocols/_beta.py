"""What a client of the beta form may say: flat sessions and replies, of Azure's preview and of Voice Live.

Sources: Microsoft's reference and the types of ``azure-ai-voicelive``. This is an independent reading: the adapter's
own tables are not used, so that the two witness each other.
"""

from __future__ import annotations

from typing import Any

from kernl_rt.simulator._requests import VOICES
from kernl_rt.simulator._schema import (
    ANY,
    BOOL,
    TEXT,
    Check,
    Refusal,
    choice,
    either,
    integer,
    is_text,
    list_of,
    nullable,
    number,
    record,
    string,
    string_map,
    tagged,
)

__all__ = ["PREVIEW_REPLY", "PREVIEW_SESSION", "VOICE_LIVE_REPLY", "VOICE_LIVE_SESSION"]


def _all_nullable(fields: dict[str, Check]) -> dict[str, Check]:
    return {name: nullable(check) for name, check in fields.items()}


def _modalities(*words: str) -> Check:
    inner = list_of(choice(*words))

    def check(value: Any, path: str) -> None:
        inner(value, path)
        if "text" not in value:
            raise Refusal(f"Invalid modalities: {value}. They must hold 'text'.", "invalid_value", path)

    return check


_max_tokens = either(is_text, choice("inf"), integer(1))
_vad = {
    "type": TEXT,
    "threshold": nullable(number(0.0, 1.0)),
    "prefix_padding_ms": nullable(integer(0)),
    "silence_duration_ms": nullable(integer(0)),
    "create_response": nullable(BOOL),
    "interrupt_response": nullable(BOOL),
}
_function = record({"type": TEXT, "name": string(longest=64), "description": TEXT, "parameters": ANY}, ("name",))

# -- the preview, as OpenAI's own was ---------------------------------------------------------------------------------

_old_common: dict[str, Check] = {
    "modalities": _modalities("text", "audio"),
    "instructions": TEXT,
    "voice": choice(*VOICES),
    "output_audio_format": choice("pcm16", "g711_ulaw", "g711_alaw"),
    "tools": list_of(tagged("type", {"function": _function}), longest=128),
    "tool_choice": either(is_text, choice("auto", "none", "required"), record({"type": TEXT, "name": TEXT})),
    "temperature": number(0.6, 1.2),
    "max_response_output_tokens": _max_tokens,
}
_semantic = {name: check for name, check in _vad.items() if "response" in name or name == "type"}
PREVIEW_SESSION: Check = record(
    _all_nullable(
        {
            **_old_common,
            "input_audio_format": choice("pcm16", "g711_ulaw", "g711_alaw"),
            "input_audio_transcription": record({"model": TEXT, "language": TEXT, "prompt": TEXT}),
            "input_audio_noise_reduction": record({"type": choice("near_field", "far_field")}),
            "turn_detection": tagged(
                "type",
                {
                    "server_vad": record(_vad),
                    "semantic_vad": record({**_semantic, "eagerness": choice("low", "medium", "high", "auto")}),
                },
            ),
        }
    )
)
PREVIEW_REPLY: Check = record(
    _all_nullable(
        {**_old_common, "conversation": choice("auto", "none"), "metadata": string_map(), "input": list_of(ANY)}
    )
)

# -- Voice Live -------------------------------------------------------------------------------------------------------

_spoken: dict[str, Check] = {
    "type": TEXT,
    "name": TEXT,
    "temperature": number(0.0, 1.0),
    "custom_lexicon_url": TEXT,
    "custom_text_normalization_url": TEXT,
    "prefer_locales": list_of(TEXT),
    "locale": TEXT,
    "style": TEXT,
    "pitch": TEXT,
    "rate": TEXT,
    "volume": TEXT,
}
_voice = either(
    is_text,
    choice(*VOICES),
    tagged(
        "type",
        {
            "openai": record({"type": TEXT, "name": choice(*VOICES)}, ("name",)),
            "azure-standard": record(_spoken, ("name",)),
            "azure-custom": record({**_spoken, "endpoint_id": TEXT}, ("name", "endpoint_id")),
            "azure-personal": record({**_spoken, "model": TEXT}, ("name", "model")),
            "azure-realtime-native": record({"type": TEXT, "name": TEXT}, ("name",)),
        },
    ),
)
_eou = record({"model": TEXT, "threshold_level": TEXT, "timeout_ms": integer(0)}, ("model",))
_server = {**_vad, "end_of_utterance_detection": nullable(_eou), "auto_truncate": nullable(BOOL)}
_azure = {**_server, "speech_duration_ms": nullable(integer(0)), "remove_filler_words": nullable(BOOL)}
_many = {**_azure, "languages": nullable(list_of(TEXT))}
_mcp = record(
    {
        "type": TEXT,
        "server_label": TEXT,
        "server_url": TEXT,
        "authorization": TEXT,
        "headers": ANY,
        "allowed_tools": list_of(TEXT),
        "require_approval": ANY,
    },
    ("server_label", "server_url"),
)
_new_common: dict[str, Check] = {
    "modalities": _modalities("text", "audio", "animation", "avatar"),
    "instructions": TEXT,
    "voice": _voice,
    "output_audio_format": choice("pcm16", "pcm16_8000hz", "pcm16_16000hz", "g711_ulaw", "g711_alaw"),
    "tools": list_of(tagged("type", {"function": _function, "mcp": _mcp}), longest=128),
    "temperature": number(0.0, 1.2),
    "reasoning_effort": choice("none", "minimal", "low", "medium", "high", "xhigh"),
    "interim_response": ANY,
    "metadata": string_map(),
}
_transcription = record(
    {"model": TEXT, "language": TEXT, "custom_speech": ANY, "phrase_list": list_of(TEXT)}, ("model",)
)
VOICE_LIVE_SESSION: Check = record(
    _all_nullable(
        {
            **_new_common,
            "model": TEXT,
            "animation": ANY,
            "avatar": ANY,
            "input_audio_format": choice("pcm16", "g711_ulaw", "g711_alaw"),
            "input_audio_sampling_rate": integer(8_000, 24_000),
            "input_audio_noise_reduction": record(
                {"type": choice("azure_deep_noise_suppression", "near_field", "far_field")}, ("type",)
            ),
            "input_audio_echo_cancellation": record(
                {"type": choice("server_echo_cancellation"), "reference_source": TEXT, "channels": integer(1, 2)},
                ("type",),
            ),
            "input_audio_transcription": _transcription,
            "output_audio_timestamp_types": list_of(choice("word")),
            "turn_detection": tagged(
                "type",
                {
                    "server_vad": record(_server),
                    "azure_semantic_vad": record(_many),
                    "azure_semantic_vad_en": record(_azure),
                    "azure_semantic_vad_multilingual": record(_many),
                },
            ),
            "tool_choice": either(is_text, choice("auto", "none", "required"), record({"type": TEXT, "name": TEXT})),
            "parallel_tool_calls": BOOL,
            "max_response_output_tokens": _max_tokens,
            "include": list_of(
                choice(
                    "item.input_audio_transcription.logprobs",
                    "item.input_audio_transcription.phrases",
                    "file_search_call.results",
                )
            ),
        }
    )
)
VOICE_LIVE_REPLY: Check = record(
    _all_nullable(
        {
            **_new_common,
            "commit": BOOL,
            "cancel_previous": BOOL,
            "append_input_items": list_of(ANY),
            "input_items": list_of(ANY),
            "tool_choice": choice("auto", "none", "required"),
            "max_output_tokens": _max_tokens,
            "pre_generated_assistant_message": ANY,
            "invoke_input": ANY,
        }
    )
)
