"""Exceptions come out bare: a group is only for what is truly plural.

The rules, for what leaves the session's nursery: cancellation alone is not ours to touch; Ctrl-C and ``SystemExit`` win
over everything; one ordinary error among cancellations comes out as itself; two or more stay a group, which is no
deeper than it must be: nurseries within nurseries are the session's own business.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import anyio

__all__ = ["bare"]


class bare:
    """A context manager that unwraps an exception group which holds one real error.

    A group that the caller's block itself raised is one error, and comes out as it is: say so in ``body``.
    """

    def __init__(self) -> None:
        self.body: BaseException | None = None

    def __enter__(self) -> bare:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, BaseExceptionGroup) or error is self.body:
            return
        one = self._the_one(error)
        if one is not None:
            _raise(one)
        flat = error
        while len(flat.exceptions) == 1 and isinstance(flat.exceptions[0], BaseExceptionGroup):
            flat = flat.exceptions[0]
        if flat is not error:
            _raise(flat)

    def _the_one(self, group: BaseExceptionGroup[BaseException]) -> BaseException | None:
        cancelled = anyio.get_cancelled_exc_class()
        real = [error for error in self._parts(group) if not isinstance(error, cancelled)]
        urgent = [error for error in real if not isinstance(error, (Exception, BaseExceptionGroup))]
        if urgent:
            return urgent[0]
        return real[0] if len({id(error) for error in real}) == 1 else None

    def _parts(self, error: BaseException) -> Iterator[BaseException]:
        """The errors in a group; what the body raised is one of them, even if it is a group itself."""
        if not isinstance(error, BaseExceptionGroup):
            yield error
        elif self.body is not None and _same(error, self.body):
            yield self.body
        else:
            for inner in error.exceptions:
                yield from self._parts(inner)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _same(group: BaseExceptionGroup[BaseException], body: BaseException) -> bool:
    """trio makes a group anew on its way out; what is in it stays. One with cancellations in it is no statement."""
    leaves = list(_leaves(group))
    return (
        isinstance(body, BaseExceptionGroup)
        and group.message == body.message
        and list(map(id, leaves)) == list(map(id, _leaves(body)))
        and not any(isinstance(leaf, anyio.get_cancelled_exc_class()) for leaf in leaves)
    )


def _raise(error: BaseException) -> None:
    """Raise without the group as context: it would only repeat the traceback."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error
