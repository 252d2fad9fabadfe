"""What the carriers' media streams have in common: one call per link, JSON objects, capture times.

Whatever a stranger sends is dropped and counted, or is a ``ChannelError`` where the call cannot be served; nothing else
is raised. Numbers come as JSON numbers or as texts of digits, as the carriers' own examples have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pybase64
from attrs import define, field, frozen

from kernl_rt.config import AudioFormat

__all__ = [
    "CallStarted",
    "CaptureClock",
    "PhoneCall",
    "PhoneCounts",
    "read_audio",
    "read_key",
    "read_number",
    "read_object",
    "read_parameters",
    "read_text",
    "write_object",
]

_parse = msgspec.json.Decoder().decode
_write = msgspec.json.Encoder().encode

#: Lists and objects in one message; the deepest that is documented has four.
_MOST_HOLDERS = 200
#: Of an id, a name or a parameter, in characters.
_LONGEST = 4_096
_MOST_PARAMETERS = 100
_LARGEST = 2**53 - 1
_KEYS = frozenset("0123456789*#ABCD")


@frozen
class PhoneCall:
    """Who is on the line, as the carrier says.

    ``parameters`` are what came with the stream (``<Parameter>``, ``headers``), less the one-time token. They, and the
    numbers, were written by others: data to look up with, never text for an agent's instructions, and no proof of who
    is calling (a caller's number can be forged).
    """

    carrier: str
    call_id: str
    stream_id: str
    input_format: AudioFormat
    output_format: AudioFormat
    account_id: str = ""
    from_number: str = ""
    to_number: str = ""
    parameters: Mapping[str, str] = field(factory=dict, repr=lambda given: f"<{len(given)} parameters>")


@frozen
class CallStarted:
    """The stream is ready: sound may be sent."""

    call: PhoneCall


@define
class PhoneCounts:
    """What was received and not used. All are whole messages."""

    malformed: int = 0  # no JSON object, or a field that is not what it must be
    unknown: int = 0  # an event that this version does not know
    early: int = 0  # before the stream's start
    foreign: int = 0  # of another stream, or of another track
    repeated: int = 0  # a second start; a chunk that was there already, or came too late
    lost: int = 0  # chunks that never came
    errors: int = 0  # the carrier reported an error


def read_object(message: str | bytes) -> dict[str, Any] | None:
    """The JSON object in ``message``, or ``None`` where there is none that this may hold."""
    brackets: tuple[Any, Any] = ("[", "{") if isinstance(message, str) else (b"[", b"{")
    if message.count(brackets[0]) + message.count(brackets[1]) > _MOST_HOLDERS:
        return None
    try:
        value = _parse(message)
    except (ValueError, RecursionError):  # msgspec's errors, and a text that is not Unicode
        return None
    return value if type(value) is dict else None


def write_object(value: Mapping[str, Any]) -> str:
    return _write(value).decode()


def read_text(holder: Any, key: str) -> str:
    """A text of the object ``holder``; empty where there is none, or where it is too long to be one."""
    value = holder.get(key) if type(holder) is dict else None
    return value if type(value) is str and len(value) <= _LONGEST else ""


def read_number(holder: Any, key: str) -> int | None:
    """A whole number from 0 up, given as such or as digits."""
    value = holder.get(key) if type(holder) is dict else None
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    return value if type(value) is int and 0 <= value <= _LARGEST else None


def read_parameters(value: Any) -> dict[str, str]:
    """Names and texts, as many as a stream may have; others are left out."""
    if type(value) is not dict:
        return {}
    texts = {
        name: text
        for name, text in value.items()
        if type(text) is str and len(name) <= _LONGEST and len(text) <= _LONGEST
    }
    return dict(list(texts.items())[:_MOST_PARAMETERS])


def read_audio(holder: Any, key: str) -> bytes | None:
    """Sound in base64, or ``None``."""
    value = holder.get(key) if type(holder) is dict else None
    if type(value) is not str:
        return None
    try:
        return pybase64.b64decode(value, validate=True)
    except ValueError:
        return None


def read_key(holder: Any, key: str) -> str | None:
    """A key of the telephone."""
    digit = read_text(holder, key).upper()
    return digit if digit in _KEYS else None


class CaptureClock:
    """When sound was captured, from the carrier's own timestamps.

    A timestamp counts milliseconds from the stream's start; the message that took the shortest way tells when that
    was. So a late message does not make late sound.
    """

    def __init__(self) -> None:
        self._start: float | None = None
        self._last = float("-inf")

    def at(self, timestamp_ms: int | None, duration_ms: float, now: float) -> float:
        """When the first sample was captured, on the clock of ``now``; never before what came earlier."""
        at = now - duration_ms / 1000
        if timestamp_ms is not None:
            start = at - timestamp_ms / 1000
            if self._start is None or start < self._start:
                self._start = start
            at = min(at, self._start + timestamp_ms / 1000)
        self._last = at = max(at, self._last)
        return at
