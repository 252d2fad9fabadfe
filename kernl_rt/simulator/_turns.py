"""What a reply is to answer, and with which settings: readings of the session and the conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernl_rt.simulator._conversation import Conversation, Item
from kernl_rt.simulator._reply import ToolResult, Turn
from kernl_rt.simulator._response import Response, Wishes, snapshot
from kernl_rt.simulator._session import DEFAULT_INSTRUCTIONS, Session, audio_format
from kernl_rt.simulator._tokens import Usage, audio_tokens, text_tokens

__all__ = ["context_of", "turn_of", "usage_of", "wishes_of"]


def wishes_of(session: Session, asked: Mapping[str, Any], items: list[Item] | None) -> Wishes:
    """The session's settings with those of a checked ``response`` object laid over them."""
    output = (asked.get("audio") or {}).get("output") or {}
    said = {name: value for name, value in asked.items() if value is not None}
    shown = output.get("format") or session.output["format"]
    return Wishes(
        modality=said.get("output_modalities", session["output_modalities"])[0],
        format=audio_format(shown),
        format_shown=shown,
        voice=output.get("voice") or session.output["voice"],
        speed=float(session.output["speed"]),
        max_output_tokens=said.get("max_output_tokens", session["max_output_tokens"]),
        metadata=said.get("metadata"),
        instructions=said.get("instructions", session["instructions"]),
        tools=said.get("tools", session["tools"]),
        tool_choice=said.get("tool_choice", session["tool_choice"]),
        input=items,
    )


def context_of(conversation: Conversation, response: Response) -> list[Item]:
    """The items that a reply answers."""
    if response.wishes.input is not None:
        return response.wishes.input
    return [item for item in conversation if item.complete]


def turn_of(context: Sequence[Item], conversation: Conversation, wishes: Wishes) -> Turn:
    """The conversation as the brain sees it, and what in it has not been answered."""
    new: list[Item] = []
    for item in reversed(context):
        if item.type == "message" and item.shown["role"] == "assistant":
            break
        if not item.answered:
            new.append(item)
    new.reverse()
    said = " ".join(item.words for item in new if item.type == "message" and item.shown["role"] == "user")
    return Turn(
        user_text=said,
        tool_results=_results(new, context, conversation),
        instructions="" if wishes.instructions == DEFAULT_INSTRUCTIONS else wishes.instructions,
        tools=[tool for tool in wishes.tools if tool["type"] == "function"],
        tool_choice=wishes.tool_choice,
        items=[snapshot(item) for item in context],
        metadata=wishes.metadata,
    )


def _results(new: Sequence[Item], context: Sequence[Item], conversation: Conversation) -> list[ToolResult]:
    calls = {item.shown["call_id"]: item for item in context if item.type == "function_call"}
    results = []
    for item in new:
        if item.type != "function_call_output":
            continue
        call = calls.get(item.shown["call_id"]) or conversation.call(item.shown["call_id"])
        name, arguments = ("", "{}") if call is None else (call.shown["name"], call.shown["arguments"])
        results.append(ToolResult(name, arguments, item.shown["output"]))
    return results


def usage_of(context: Sequence[Item], wishes: Wishes, previous_total: int) -> Usage:
    """What the reply costs before it has said anything."""
    usage = Usage(input_text=text_tokens(wishes.instructions))
    for tool in wishes.tools:
        usage.input_text += text_tokens(str(tool))
    for item in context:
        if item.audio_ms:
            spoken = item.shown["role"] == "assistant"
            usage.input_audio += audio_tokens(item.audio_ms, spoken=spoken)
        else:
            written = item.words or item.shown.get("arguments") or item.shown.get("output") or ""
            usage.input_text += text_tokens(written)
    usage.cache(previous_total)
    return usage
