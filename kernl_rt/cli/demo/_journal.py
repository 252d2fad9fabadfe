"""Events as lines of JSON: one object each, in the order in which they happened.

``t`` is seconds since the journal began, on the monotonic clock; ``kind`` is the event's own. Sound is given as its
size, not repeated; whatever a value leaves out of its ``repr`` (credentials, raw wire fields) is left out here too, and
what is named like a credential is masked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

from kernl_rt.config import Secret
from kernl_rt.events import HistoryChanged
from kernl_rt.exceptions import RealtimeError

__all__ = ["Journal", "described"]

_CREDENTIAL = re.compile(r"secret|password|authori[sz]ation|api.?key|(^|_)token$", re.IGNORECASE)
_MASK = "…"


def described(event: Any) -> dict[str, Any]:
    """An event as JSON values, without ``kind``; attributes that are ``None`` or empty are left out."""
    if isinstance(event, HistoryChanged):
        # The whole conversation again at each change would make the journal grow with its square.
        return {"items": len(event.items)}
    return _fields(event)


def _fields(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in attrs.fields(type(value)):
        inner = getattr(value, attribute.name)
        hidden = attribute.repr is False and not isinstance(inner, bytes)
        if hidden or inner is None or inner == () or inner == {}:
            continue
        found[attribute.name] = _plain(inner)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytes": len(value)}
    if isinstance(value, Secret):
        return _MASK
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _MASK if _CREDENTIAL.search(str(key)) else _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if attrs.has(type(value)):
        named = getattr(value, "type", None)
        return {**({"type": named} if isinstance(named, str) else {}), **_fields(value)}
    return f"<{type(value).__name__}>"


class Journal:
    """A file of events. Opened with ``with``; each line is on its way to the disk when :meth:`write` returns.

    Raises:
        RealtimeError: the file cannot be written.
    """

    def __init__(self, path: Path, start: float) -> None:
        self._start = start
        self._last = 0.0
        try:
            self._file = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise RealtimeError(f"{path}: cannot be written: {error.strerror or type(error).__name__}") from error

    def write(self, at: float, source: str, kind: str, data: Mapping[str, Any]) -> None:
        """One line. ``source`` says whose event it is: ``session``, ``human`` or ``channel``."""
        # Facts about sound are told when they are known; the lines stay in the order in which they were written.
        self._last = max(self._last, round(at - self._start, 6))
        line = {"t": self._last, "source": source, "kind": kind, **{k: v for k, v in data.items() if k != "kind"}}
        self._file.write(json.dumps(line, ensure_ascii=False, allow_nan=False, default=str) + "\n")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
