"""What a docstring says of a function and of its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence

__all__ = ["read_docstring"]

_GOOGLE_HEADER = re.compile(r"^(Args|Arguments|Params|Parameters|Keyword Args|Keyword Arguments):\s*$")
_ANY_HEADER = re.compile(r"^[A-Z][A-Za-z ]{0,30}:\s*$")
_GOOGLE_ENTRY = re.compile(r"^\s+\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?\s*:\s*(?P<text>.*)$")
_REST_ENTRY = re.compile(
    r"^:(?:param|parameter|arg|argument|key|keyword)\s+(?:[^:]*\s)?(?P<name>\w+)\s*:\s*(?P<text>.*)$"
)


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what is said of each parameter, in Google style (``Args:``) or reST (``:param x:``)."""
    lines = inspect.cleandoc(text).splitlines()
    summary: list[str] = []
    for line in lines:
        if not line.strip() or line.startswith(":") or _ANY_HEADER.match(line):
            break
        summary.append(line.strip())
    entries: dict[str, list[str]] = {}
    for name, words in _entries(lines):
        entries.setdefault(name, []).append(words)
    return " ".join(summary), {name: " ".join(filter(None, words)) for name, words in entries.items()}


def _entries(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    name: str | None = None
    margin: int | None = None  # of the entries in a Google section; None outside one
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if rest := _REST_ENTRY.match(line):
            name, margin = str(rest["name"]), None
            yield name, rest["text"].strip()
        elif not line.strip() or indent == 0:
            inside = margin is not None and not line.strip()
            name, margin = (None, margin) if inside else (None, 0 if _GOOGLE_HEADER.match(line) else None)
        elif margin is not None and (margin in (0, indent)) and (entry := _GOOGLE_ENTRY.match(line)):
            name, margin = str(entry["name"]), indent
            yield name, entry["text"].strip()
        elif name is not None:
            yield name, line.strip()
