"""What goes between the protocol and the brain: a turn to answer, and the reply to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from kernl_rt.config import AudioFormat

__all__ = ["Listening", "Pace", "Reply", "Thinking", "ToolCall", "ToolResult", "Turn"]


def _calls(value: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(value)


def _arguments(value: str | Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@frozen
class ToolCall:
    """A function the model calls. ``arguments`` is a mapping, or JSON text that goes out as it is, broken or not."""

    name: str
    arguments: str = field(default="{}", converter=_arguments)


@frozen
class Reply:
    """What the model says and does: text, then calls.

    ``audio`` is the spoken text in the format of the reply; ``None`` lets the simulator's voice speak it. ``failure``
    ends the reply as ``failed`` with that message. ``delay`` is seconds of thinking before the first output.
    """

    text: str = ""
    tool_calls: Sequence[ToolCall] = field(default=(), converter=_calls)
    audio: bytes | None = field(default=None, repr=False)
    failure: str | None = None
    delay: float = 0.0


@frozen
class ToolResult:
    """A function call that has been answered since the model last spoke."""

    name: str
    arguments: str
    output: str


@frozen
class Turn:
    """What the brain is asked: the conversation so far, and what in it is new.

    ``user_text`` is what the user wrote or was heard to say since the last reply; ``tool_results`` what tools gave
    since then. ``items`` are the items as on the wire. ``tools`` are the functions that may be called.
    """

    user_text: str = ""
    tool_results: Sequence[ToolResult] = ()
    instructions: str = ""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    items: Sequence[Mapping[str, Any]] = ()
    metadata: Mapping[str, str] | None = None


@frozen
class Thinking:
    """The engine asks for a reply; answer with ``Engine.reply`` or ``Engine.fail_reply``."""

    response_id: str
    turn: Turn
    spoken: bool
    format: AudioFormat
    voice: str
    speed: float


@frozen
class Listening:
    """The engine asks what was said; answer with ``Engine.words`` or ``Engine.fail_words``."""

    item_id: str
    audio: bytes = field(repr=False)
    format: AudioFormat


@frozen
class Pace:
    """How fast the model is. ``speed``: seconds of audio sent per second; ``chunk_ms``: audio in one delta.

    ``first_output``, ``token`` and ``transcription`` are seconds: from the reply being known to its first frame,
    between two pieces of text, and from a heard turn to the first piece of its transcript.
    """

    speed: float = 6.0
    chunk_ms: int = 200
    first_output: float = 0.02
    token: float = 0.01
    transcription: float = 0.05
