"""What a client of an ElevenLabs agent may say, as a table.

Source: the service's AsyncAPI document (``agent.asyncapi.yaml`` of its JavaScript SDK).
"""

from __future__ import annotations

from typing import Final

from kernl_rt.simulator._schema import (
    ANY,
    BOOL,
    MAPPING,
    TEXT,
    Check,
    choice,
    integer,
    list_of,
    nullable,
    number,
    record,
)

__all__ = ["EVENTS", "MESSAGES", "check_sound", "check_tools"]

#: What a client can ask to be told.
EVENTS: Final = (
    "conversation_initiation_metadata",
    "ping",
    "audio",
    "interruption",
    "user_transcript",
    "tentative_user_transcript",
    "agent_response",
    "agent_response_correction",
    "agent_chat_response_part",
    "agent_response_complete",
    "client_tool_call",
    "context_usage",
    "vad_score",
    "client_error",
)


_prompt = record(
    {
        "prompt": nullable(TEXT),
        "llm": nullable(TEXT),
        "reasoning_effort": nullable(TEXT),
        "tool_ids": nullable(list_of(TEXT)),
        "native_mcp_server_ids": nullable(list_of(TEXT)),
        "knowledge_base": nullable(ANY),
    }
)
_override = record(
    {
        "agent": nullable(
            record(
                {
                    "prompt": nullable(_prompt),
                    "first_message": nullable(TEXT),
                    "language": nullable(TEXT),
                    "max_conversation_duration_message": nullable(TEXT),
                }
            )
        ),
        "asr": nullable(record({"keywords": nullable(list_of(TEXT))})),
        "turn": nullable(MAPPING),
        "tts": nullable(
            record(
                {
                    "voice_id": nullable(TEXT),
                    "model_id": nullable(TEXT),
                    "stability": nullable(number(0.0, 1.0)),
                    "similarity_boost": nullable(number(0.0, 1.0)),
                    "speed": nullable(number(0.7, 5.0)),
                }
            )
        ),
        "conversation": nullable(
            record(
                {
                    "text_only": nullable(BOOL),
                    "client_events": nullable(list_of(choice(*EVENTS))),
                    "max_duration_seconds": nullable(integer(1)),
                }
            )
        ),
        # As the official Python client says it where it has no audio interface.
        "text_only": nullable(BOOL),
    }
)
_file = record({"type": choice("file_input"), "file_id": TEXT}, ("type", "file_id"))
_user_message = record({"type": choice("user_message"), "text": nullable(TEXT)}, ("type",))

MESSAGES: Final[dict[str, Check]] = {
    "conversation_initiation_client_data": record(
        {
            "type": TEXT,
            "conversation_config_override": nullable(_override),
            "custom_llm_extra_body": nullable(MAPPING),
            "dynamic_variables": nullable(MAPPING),
            "user_id": nullable(TEXT),
            "source_info": nullable(record({"source": nullable(TEXT), "version": nullable(TEXT)})),
            "environment": nullable(TEXT),
            "branch_id": nullable(TEXT),
            "tool_mock_config": nullable(MAPPING),
        }
    ),
    "pong": record({"type": TEXT, "event_id": integer(0)}, ("event_id",)),
    "user_message": record({"type": TEXT, "text": nullable(TEXT)}),
    "user_activity": record({"type": TEXT}),
    "contextual_update": record({"type": TEXT, "text": TEXT, "context_id": nullable(TEXT)}, ("text",)),
    "client_tool_result": record(
        {"type": TEXT, "tool_call_id": TEXT, "result": TEXT, "is_error": BOOL}, ("tool_call_id", "result", "is_error")
    ),
    "feedback": record(
        {"type": TEXT, "event_id": integer(0), "score": nullable(choice("like", "dislike"))}, ("event_id",)
    ),
    "mcp_tool_approval_result": record(
        {"type": TEXT, "tool_call_id": TEXT, "is_approved": BOOL}, ("tool_call_id", "is_approved")
    ),
    "multimodal_message": record(
        {"type": TEXT, "text": nullable(_user_message), "file": nullable(_file), "files": nullable(list_of(_file))}
    ),
}
check_sound: Check = record({"user_audio_chunk": TEXT}, ("user_audio_chunk",))
_tool = record({"type": ANY, "name": TEXT, "description": ANY, "parameters": ANY, "expects_response": BOOL}, ("name",))
check_tools: Check = list_of(_tool)
