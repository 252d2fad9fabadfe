"""What a client may do to the items of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pybase64

from kernl_rt.config import AudioFormat
from kernl_rt.simulator._conversation import Item
from kernl_rt.simulator._response import snapshot
from kernl_rt.simulator._schema import Refusal
from kernl_rt.simulator._state import State

__all__ = ["ItemRequests", "announce", "audio_of", "item_of"]

#: The provider's limit for the sound in one event.
_LONGEST_AUDIO = 15 * 2**20
_SPOKEN_OF = {"pcm16": "mono PCM16 at 24kHz", "g711_ulaw": "G.711 u-law at 8kHz", "g711_alaw": "G.711 a-law at 8kHz"}


def audio_of(text: str, param: str, format: AudioFormat) -> bytes:
    """Base64 sound as bytes.

    Raises:
        Refusal: it is not base64, or longer than one event may hold.
    """
    if len(text) > (_LONGEST_AUDIO + 2) // 3 * 4:
        raise Refusal(
            f"Invalid '{param}': audio too long. Expected at most {_LONGEST_AUDIO} bytes of audio.",
            "invalid_value",
            param,
        )
    try:
        return pybase64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise Refusal(
            f"Invalid '{param}'. Expected base64-encoded audio bytes ({_SPOKEN_OF[format.encoding]}) "
            "but got an invalid value.",
            "invalid_value",
            param,
        ) from error


def item_of(state: State, given: Mapping[str, Any]) -> Item:
    """A checked item as the conversation keeps it: the client's fields, in the order that is recorded.

    Raises:
        Refusal: it answers a call that nobody made, or its sound is none.
    """
    shown: dict[str, Any] = {"id": given.get("id") or state.ids.new("item"), "type": given["type"]}
    audio = b""
    if given["type"] == "message":
        parts = []
        for index, part in enumerate(given["content"]):
            if part["type"] == "input_audio":
                audio += audio_of(part["audio"], f"item.content[{index}].audio", state.session.input_format)
                part = {"type": "input_audio", "transcript": part.get("transcript")}
            parts.append(dict(part))
        shown |= {"status": "completed", "role": given["role"], "content": parts}
    elif given["type"] == "function_call":
        call_id = given.get("call_id") or state.ids.new("call", 16)
        shown |= {"status": "completed", "name": given["name"], "call_id": call_id, "arguments": given["arguments"]}
    elif given["type"] == "function_call_output":
        if state.conversation.call(given["call_id"]) is None:
            raise Refusal(f"Tool call ID '{given['call_id']}' not found in conversation.", "invalid_tool_call_id")
        shown |= {"call_id": given["call_id"], "output": given["output"]}
    else:
        request = given["approval_request_id"]
        raise Refusal(f"Approval request '{request}' not found in conversation.", "item_not_found")
    return Item(shown, audio, state.session.input_format.ms(len(audio)))


def announce(state: State, item: Item, previous: str | None) -> None:
    """Say that a whole item has joined the conversation."""
    state.emit("conversation.item.added", previous_item_id=previous, item=snapshot(item))
    state.emit("conversation.item.done", previous_item_id=previous, item=snapshot(item))


class ItemRequests:
    """The handlers of ``conversation.item.*``."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, request: Mapping[str, Any]) -> None:
        item = item_of(self._state, request["item"])
        previous = self._state.conversation.add(item, request.get("previous_item_id"))
        announce(self._state, item, previous)
        self._state.conversation.forget_old_audio()
        if item.audio:
            self._state.listen(item)

    def _find(self, request: Mapping[str, Any], verb: str, doing: str) -> Item:
        item = self._state.conversation.find(request["item_id"])
        if item is None:
            raise Refusal(
                f"Error {doing} item: the item with id '{request['item_id']}' does not exist.",
                f"item_{verb}_invalid_item_id",
            )
        return item

    def retrieve(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "retrieve", "retrieving")
        shown = snapshot(item)
        if item.audio:
            for part in shown.get("content", ()):
                if part["type"] in ("input_audio", "output_audio"):
                    part["audio"] = pybase64.b64encode(item.audio).decode()
        self._state.emit("conversation.item.retrieved", item=shown)

    def delete(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "delete", "deleting")
        self._state.conversation.remove(item)
        self._state.emit("conversation.item.deleted", item_id=item.id)

    def truncate(self, request: Mapping[str, Any]) -> None:
        item = self._find(request, "truncate", "truncating")
        end = request["audio_end_ms"]
        spoken = item.type == "message" and item.shown["role"] == "assistant" and item.audio_ms > 0
        if not spoken or request["content_index"] != 0:
            raise Refusal("Only model output audio messages can be truncated", "unsupported_content_type")
        if end > item.audio_ms:
            raise Refusal(
                f"Audio content of {int(item.audio_ms)}ms is already shorter than {end}ms",
                "invalid_value",
                "audio_end_ms",
            )
        # What was not heard must not be remembered, and nobody knows which words those were: all of them go.
        item.truncate(end)
        self._state.emit("conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=end)
