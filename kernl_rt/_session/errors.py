"""Exceptions come out bare: a group is only for what is truly plural.

The rules, for what leaves the session's nursery: cancellation alone is not ours to touch; Ctrl-C and ``SystemExit`` win
over everything; one ordinary error among cancellations comes out as itself; two or more stay a group, which is no
deeper than it must be: nurseries within nurseries are the session's own business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

__all__ = ["bare", "hosted"]


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


async def hosted(group: TaskGroup, work: Awaitable[None]) -> None:
    """Await ``work`` in the task that hosts ``group``, which saves a task that would only be waited for.

    A listener's Ctrl-C or ``SystemExit`` is raised by a task of the group all the same. It ends asyncio's loop as soon
    as it leaves a task; had it to leave a group first, that would be a task that others wait for, and so they would
    raise it once more while the loop is closed.
    """
    try:
        await work
    except (KeyboardInterrupt, SystemExit) as exc:
        group.start_soon(_raise_again, exc, name="kernl_rt interrupt")
        await anyio.sleep_forever()


async def _raise_again(error: BaseException) -> None:
    raise error


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
