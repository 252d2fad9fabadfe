"""Names that can be listened for, and which of them was probably meant.

Any name may be listened for, since ``session.emit`` takes any. So a misspelt one cannot be refused: it is warned of.
"""

from __future__ import annotations

import warnings
from collections.abc import Container
from typing import Any, get_args

from kernl_rt._emitter import EVERYTHING
from kernl_rt.events import ChannelEvent, CustomEvent, ServerEvent, SessionEvent

__all__ = ["KNOWN", "meant_by", "warn_of_typo"]

_EVENTS: tuple[Any, ...] = (*get_args(ServerEvent), *get_args(SessionEvent), *get_args(ChannelEvent))

#: Every topic and kind.
KNOWN: frozenset[str] = frozenset(
    {EVERYTHING}
    | {name for event in _EVENTS if event is not CustomEvent for name in (event.topic, event.kind) if name is not None}
)
#: How alike two names are, 0 to 1, for one to be the other misspelt: ``errors`` is ``error``, ``tooltip`` not ``tool``.
_ALIKE = 0.85


def meant_by(name: str) -> str | None:
    """The topic or kind that ``name`` is a misspelling of; ``None`` where it is one, or is like none."""
    if name in KNOWN:
        return None
    plain = name.lower().replace("_", ".").replace("-", ".")
    if plain in KNOWN:
        return plain
    import difflib

    return next(iter(difflib.get_close_matches(plain, KNOWN, 1, _ALIKE)), None)


def warn_of_typo(name: object, own: Container[str]) -> None:
    """To be called by the verb that the caller called. ``own`` are names that were emitted."""
    if isinstance(name, str) and name not in own and (meant := meant_by(name)) is not None:
        message = f"nothing is told under the name {name!r}: did you mean {meant!r}? (emit({name!r}) makes it a name)"
        warnings.warn(message, UserWarning, stacklevel=3)
