"""Exceptions come out bare: a group is only for what is truly plural.

The rules, for what leaves the session's nursery: cancellation alone is not ours to touch; Ctrl-C and ``SystemExit`` win
over everything; one ordinary error among cancellations comes out as itself; two or more stay a group, which is no deeper
than it must be: nurseries within nurseries are the session's own business.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import anyio

__all__ = ["bare"]


class bare:
    """A context manager that unwraps an exception group which holds one real error."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, BaseExceptionGroup):
            return
        one = _the_one(error)
        if one is not None:
            _raise(one)
        flat = _flat(error)
        if flat is not error:
            _raise(flat)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _the_one(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    cancelled = anyio.get_cancelled_exc_class()
    real = [leaf for leaf in _leaves(group) if not isinstance(leaf, cancelled)]
    urgent = [leaf for leaf in real if not isinstance(leaf, Exception)]
    if urgent:
        return urgent[0]
    return real[0] if len({id(leaf) for leaf in real}) == 1 else None


def _flat(group: BaseExceptionGroup[BaseException]) -> BaseExceptionGroup[BaseException]:
    """Without the groups around it that hold nothing but it."""
    while len(group.exceptions) == 1 and isinstance(group.exceptions[0], BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _raise(error: BaseException) -> None:
    """Raise without the group as context: it would only repeat the traceback."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error
