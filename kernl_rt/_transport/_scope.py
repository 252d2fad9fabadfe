"""Background tasks of a link, and how its context is left."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from kernl_rt.abc import MessageStream

__all__ = ["CLOSE_TIMEOUT", "Link", "bare_task_group", "opened"]

#: How long the peer may take to answer our close frame, in seconds.
CLOSE_TIMEOUT = 2.0


class Link(MessageStream):
    """A message stream with background tasks of its own."""

    @abstractmethod
    def start(self, task_group: TaskGroup) -> None:
        """Start the background tasks, by :meth:`spawn`."""

    @abstractmethod
    async def release(self) -> None:
        """Free the socket at once, whatever state the link is in."""

    def __init__(self) -> None:
        self._scopes: list[anyio.CancelScope] = []

    def spawn(self, task_group: TaskGroup, task: Callable[[], Awaitable[None]]) -> None:
        # Shielded: these tasks carry the closing handshake, also when the context is left by cancellation. They
        # end by `stop`, which leaving the context always calls.
        scope = anyio.CancelScope(shield=True)
        self._scopes.append(scope)

        async def shielded() -> None:
            with scope:
                await task()

        task_group.start_soon(shielded)

    def stop(self) -> None:
        for scope in self._scopes:
            scope.cancel()


L = TypeVar("L", bound=Link)


@asynccontextmanager
async def bare_task_group() -> AsyncIterator[TaskGroup]:
    """A task group that lets a single exception out as it is, not in a group."""
    single: BaseException
    own: BaseException | None = None
    try:
        async with anyio.create_task_group() as task_group:
            try:
                yield task_group
            except BaseException as error:  # only to know it again, should it come back in a group
                own = error
                raise
        return
    except BaseExceptionGroup as group:
        if len(group.exceptions) != 1:
            raise
        # A group of the body's own comes back as a copy: cancel scopes take groups apart to find their own.
        single = own if isinstance(own, ExceptionGroup) else group.exceptions[0]
    finally:
        del own
    try:
        # Outside of the except block, so that the group does not become the context of its own member.
        raise single
    finally:
        del single


@asynccontextmanager
async def opened(link: L) -> AsyncIterator[L]:
    """Run ``link`` for as long as the context is open, then close it within the bound, whatever happened."""
    try:
        async with bare_task_group() as task_group:
            link.start(task_group)
            try:
                yield link
            finally:
                try:
                    with anyio.CancelScope(shield=True):
                        await link.aclose()
                finally:
                    link.stop()
    finally:
        with anyio.CancelScope(shield=True):
            await link.release()
