"""Events as lines of JSON: one object each, in the order in which they happened.

``t`` is seconds since the recording began, on the monotonic clock, and so the place in ``audio.wav``; ``said`` and
``heard`` are the media time: seconds of the human's sound so far, and of the model's that the human heard. ``source``
says whose line it is (``session``, ``recording``) and ``kind`` is the event's own. Sound is given as its size, not
repeated; whatever a value leaves out of its ``repr`` (credentials, raw wire fields) is left out here too, and what is
named like a credential is masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from kernl_rt.config import Secret
from kernl_rt.events import HistoryChanged
from kernl_rt.items import ConversationItem, FunctionCall, FunctionCallOutput, Message

__all__ = ["VERSION", "described", "read_lines", "written"]

#: Of the format of the lines.
VERSION = 1

_CREDENTIAL = re.compile(r"secret|password|passwd|authori[sz]ation|api.?key|cookie|(^|[_-])token$", re.IGNORECASE)
#: What providers' keys and bearer tokens look like, wherever they stand.
_KEY = re.compile(
    r"\b(?:sk|ek|xai|rk|pk)[-_][A-Za-z0-9_-]{12,}|\bAIza[A-Za-z0-9_-]{20,}|\bBearer\s+[A-Za-z0-9._~+/=-]{8,}"
)
_MASK = "…"
#: Values nested deeper than this are named, not shown.
_DEPTH = 24


def written(line: Mapping[str, Any]) -> bytes:
    """A line as it stands in the file, its end included. No line is torn by what a text holds."""
    return json.dumps(line, ensure_ascii=True, allow_nan=False, default=str).encode("ascii") + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The lines of a file, whole ones only: a program that was killed leaves a torn one at the end."""
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("kind"), str) and isinstance(line.get("t"), int | float):
            yield line


def described(event: Any) -> dict[str, Any]:
    """An event as JSON values, without ``kind``; attributes that are ``None`` or empty are left out."""
    if isinstance(event, HistoryChanged):
        # The whole conversation again at each change would make the file grow with its square.
        return {
            "items": len(event.items),
            **_some("added", [_item(item) for item in event.added]),
            **_some("updated", [_item(item) for item in event.updated]),
            **_some("removed", [item.id for item in event.removed]),
        }
    return _fields(event, 0)


def _some(name: str, values: Sequence[Any]) -> dict[str, Any]:
    return {name: values} if values else {}


def _item(item: ConversationItem) -> dict[str, Any]:
    found: dict[str, Any] = {"type": item.type, "id": item.id, "status": item.status}
    match item:
        case Message():
            found |= {"role": item.role, "text": _masked(item.text)}
        case FunctionCall() | FunctionCallOutput():
            found |= {"call_id": item.call_id}
        case _:
            pass
    return {name: value for name, value in found.items() if value is not None}


def _fields(value: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in attrs.fields(type(value)):
        inner = getattr(value, attribute.name)
        hidden = attribute.repr is False and not isinstance(inner, bytes)
        if hidden or inner is None or inner == () or inner == {}:
            continue
        named = _CREDENTIAL.search(attribute.name) and not isinstance(inner, bool | int | float)
        found[attribute.name] = _MASK if named else _plain(inner, depth + 1)
    return found


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _masked(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value)}
    if isinstance(value, Secret):
        return _MASK
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if value is None or isinstance(value, int):
        return value
    if depth < _DEPTH:
        if isinstance(value, Mapping):
            return {
                str(key): _MASK if _CREDENTIAL.search(str(key)) else _plain(inner, depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(inner, depth + 1) for inner in value]
        if attrs.has(type(value)):
            named = getattr(value, "type", None)
            return {**({"type": named} if isinstance(named, str) else {}), **_fields(value, depth + 1)}
    return f"<{type(value).__name__}>"


def _masked(text: str) -> str:
    return _KEY.sub(_MASK, text)
