"""The messages between the page and the server, version 1 of ``kernl-rt``: what the page may say, as tables.

Sound is binary (PCM16, little-endian, mono), all else is a JSON object with a ``type``. A message that does not fit its
table is not understood as a whole; unknown fields are passed over.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "MAX_TEXT",
    "SUBPROTOCOL",
    "TOKEN_PREFIX",
    "Bye",
    "FromPage",
    "Hello",
    "Interrupt",
    "Mute",
    "Ping",
    "PlayedReport",
    "Talk",
    "Text",
    "read",
    "write",
]

#: What the page offers and the server selects; beside it the page offers its token, with the prefix.
SUBPROTOCOL = "kernl-rt.1"
TOKEN_PREFIX = "token."
#: Of one typed message, in characters.
MAX_TEXT = 8_192

Rate = Annotated[int, Meta(ge=8_000, le=48_000)]
Rates = Annotated[list[Rate], Meta(min_length=1, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class FromPage(Struct, tag_field="type", frozen=True):
    """Something the page says."""


class Hello(FromPage, tag="hello", frozen=True):
    """First of all: the rates at which the page can record and play, the best first."""

    version: Literal[1]
    input_rates: Rates
    output_rates: Rates


class PlayedReport(FromPage, tag="played", frozen=True):
    """``samples`` were really played since the beginning; ``clears`` is the number of the last clear before that."""

    samples: Count
    clears: Count | None = None


class Mute(FromPage, tag="mute", frozen=True):
    muted: bool


class Talk(FromPage, tag="talk", frozen=True):
    """The push-to-talk button."""

    pressed: bool


class Text(FromPage, tag="text", frozen=True):
    """Written instead of said."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]


class Interrupt(FromPage, tag="interrupt", frozen=True):
    """Stop talking."""


class Ping(FromPage, tag="ping", frozen=True):
    id: Count


class Bye(FromPage, tag="bye", frozen=True):
    """The human hangs up."""


_decode = msgspec.json.Decoder(Hello | PlayedReport | Mute | Talk | Text | Interrupt | Ping | Bye).decode
_encode = msgspec.json.Encoder().encode


def read(text: str | bytes) -> FromPage | None:
    """One text message; ``None`` where it is none of these. Never raises."""
    try:
        said: FromPage = _decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    return said


def write(message: dict[str, Any]) -> str:
    """A message to the page. ``message`` holds what JSON can say."""
    return _encode(message).decode()
