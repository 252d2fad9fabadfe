"""xAI's messages, as far as they are not OpenAI's.

Sources: recorded traffic, and xAI's reference of the Voice Agent API.
"""

from __future__ import annotations

from typing import Any

import attrs

from kernl_rt import events as ev
from kernl_rt.providers._dialect._codec import Dialect
from kernl_rt.providers._dialect._items import PART, items_with, message_of
from kernl_rt.providers._dialect._records import STATUS_DETAILS, TRANSCRIPT_USAGE, USAGE, Session, response_of
from kernl_rt.providers._dialect._wire import AUDIO_DELTA, client_rows, server_rows
from kernl_rt.providers._fields import COUNT, NUMBER, Field, Foreign, Kind, ListOf, Misfit, Struct
from kernl_rt.providers.xai._config import LAYOUT

__all__ = ["XAI"]

_NO_USAGE = ev.Usage(extra={})


class _StatusDetails(Kind):
    """xAI says "unimplemented" for now."""

    def decode(self, value: Any) -> Any:
        if type(value) is str:
            raise Foreign("expected an object")
        return STATUS_DETAILS.decode(value)

    def encode(self, value: Any) -> Any:
        return STATUS_DETAILS.encode(value)


class _ResponseDone(Struct):
    """The usage of a reply stands beside it, and within it an empty object."""

    def decode(self, value: Any) -> ev.ResponseDone:
        event: ev.ResponseDone = super().decode(value)
        said = event.extra.get("usage")
        if not said:
            return event
        try:
            usage = USAGE.decode(said)
        except Misfit as misfit:
            raise misfit.under("usage") from None
        return attrs.evolve(event, response=attrs.evolve(event.response, usage=usage))

    def encode(self, value: ev.ResponseDone) -> dict[str, Any]:
        usage = value.response.usage
        out = super().encode(attrs.evolve(value, response=attrs.evolve(value.response, usage=_NO_USAGE)))
        return out if usage is None or out.get("usage") else {**out, "usage": USAGE.encode(usage)}


_ID = Field("event_id")
_OF_TRANSCRIPT = (_ID, Field("item_id"), Field("content_index", kind=COUNT), Field("transcript", "text"))


def _transcript(**found: Any) -> ev.InputTranscript | ev.InputTranscriptDelta:
    """While the human speaks, "completed" is said of every stretch, with the status "in_progress"."""
    extra = found.get("extra", {})
    if extra.get("status") != "in_progress":
        return ev.InputTranscript(**found)
    usage = found.pop("usage", None)
    # What this was called is kept, so that writing it gives what was read.
    kept = {"type": _COMPLETED} if usage is None else {"type": _COMPLETED, "usage": TRANSCRIPT_USAGE.encode(usage)}
    return ev.InputTranscriptDelta(**{**found, "extra": {**extra, **kept}}, cumulative=True)


_PREFIX = "conversation.item.input_audio_transcription."
_COMPLETED = f"{_PREFIX}completed"

# A message may come before its parts do.
_ITEM = items_with(message_of(Field("content", kind=ListOf(PART))))
_RESPONSE = response_of(_ITEM, _StatusDetails())

_OWN: dict[str | None, Struct] = {
    struct.type: struct
    for struct in (
        _ResponseDone(ev.ResponseDone, _ID, Field("response", kind=_RESPONSE), type="response.done"),
        Struct(
            ev.InputTranscript,
            *_OF_TRANSCRIPT,
            Field("usage", kind=TRANSCRIPT_USAGE),
            type=_COMPLETED,
            make=_transcript,
        ),
        Struct(ev.InputTranscriptDelta, *_OF_TRANSCRIPT, type=f"{_PREFIX}updated", fixed={"cumulative": True}),
        Struct(ev.Ping, _ID, Field("timestamp", kind=NUMBER), type="ping"),
    )
}

XAI = Dialect(
    "xAI",
    [
        *_OWN.values(),
        *(row for row in server_rows(_ITEM, _RESPONSE, Session(LAYOUT)) if row.type not in _OWN),
    ],
    client_rows(LAYOUT, _ITEM),
    audio=AUDIO_DELTA,
    aliases={
        "conversation.item.created": "conversation.item.added",
        "response.text.delta": "response.output_text.delta",
        "response.text.done": "response.output_text.done",
    },
    expired=("session_expired", "max_duration"),
)
