"""Counting, roughly as the provider bills: text by its length, sound by its duration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from attrs import define

__all__ = ["Usage", "audio_tokens", "pieces", "text_tokens"]

_PIECE = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+")
_CACHE_BLOCK = 64


def pieces(text: str) -> list[str]:
    """``text`` in the pieces in which it is streamed: words with the space before them."""
    return _PIECE.findall(text)


def text_tokens(text: str) -> int:
    return (len(text) + 3) // 4


def audio_tokens(ms: float, *, spoken: bool) -> int:
    """One token for 100 ms of what is heard, one for 50 ms of what is spoken."""
    return round(ms / (50 if spoken else 100))


@define
class Usage:
    """The tokens of one reply."""

    input_text: int = 0
    input_audio: int = 0
    cached: int = 0
    output_text: int = 0
    output_audio: int = 0

    @property
    def input(self) -> int:
        return self.input_text + self.input_audio

    @property
    def total(self) -> int:
        return self.input + self.output_text + self.output_audio

    def cache(self, previous_total: int) -> None:
        """What an earlier reply has read or written need not be read again, in whole blocks."""
        self.cached = min(previous_total, self.input) // _CACHE_BLOCK * _CACHE_BLOCK

    def shown(self) -> Mapping[str, Any]:
        cached_text = min(self.cached, self.input_text)
        return {
            "total_tokens": self.total,
            "input_tokens": self.input,
            "output_tokens": self.output_text + self.output_audio,
            "input_token_details": {
                "text_tokens": self.input_text,
                "audio_tokens": self.input_audio,
                "image_tokens": 0,
                "cached_tokens": self.cached,
                "cached_tokens_details": {
                    "text_tokens": cached_text,
                    "audio_tokens": self.cached - cached_text,
                    "image_tokens": 0,
                },
            },
            "output_token_details": {"text_tokens": self.output_text, "audio_tokens": self.output_audio},
        }
