"""Messages as Gemini's ``Content``: a role and parts."""

from __future__ import annotations

import re
from typing import Any

import pybase64

from kernl_rt.items import ContentPart, Message

__all__ = ["Refused", "turn_of"]

_DATA_URL = re.compile(r"data:([a-zA-Z0-9.+/-]{1,100});base64,", re.ASCII)


class Refused(Exception):
    """The API cannot be told this. Its text is what the caller is told."""


def turn_of(message: Message) -> dict[str, Any]:
    """
    Raises:
        Refused: a part of it has no place there.
    """
    parts = [said for part in message.content if (said := _part(part)) is not None]
    if not parts:
        raise Refused("a message needs words, sound or a picture")
    if message.role == "system":
        # There is no such role in the conversation: it is said by the user, and named.
        parts = [{"text": "[system]"}, *parts]
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _part(part: ContentPart) -> dict[str, Any] | None:
    if part.image_url is not None:
        match = _DATA_URL.match(part.image_url)
        if match is None:
            raise Refused("Gemini fetches no pictures: give the bytes, or a data: URL")
        return {"inlineData": {"mimeType": match[1], "data": part.image_url[match.end() :]}}
    if part.audio is not None:
        data = pybase64.b64encode_as_string(part.audio)
        return {"inlineData": {"mimeType": "audio/pcm;rate=16000", "data": data}}
    words = part.text or part.transcript
    return {"text": words} if words else None
