"""What a run leaves behind that had to be stopped: it ends with its run, not in the middle of another.

A loop that is stopped leaves its tasks suspended. When the garbage collector meets them their ``finally`` runs, in
whatever loop is running by then; and what holds them (a cancel scope, a table of tasks, a frame in a traceback) may
hold them for ever. So they are ended here one by one, outside of every loop, and then let go.
"""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Suspended", "collect", "end", "without_frames"]

#: How often a coroutine is told to end. Each time takes it past one more thing that it waits for on its way out.
_TELLINGS = 100
#: How often the garbage collector may find more. What a finalizer brings back is found by the next collection.
_COLLECTIONS = 5


class Suspended(Protocol):
    """A coroutine, or a generator that is used as one."""

    def close(self) -> object: ...


def end(coroutines: Iterable[Suspended], generators: Iterable[AsyncGenerator[Any, Any]] = ()) -> None:
    """Close each, in this order. What they raise then is of no interest: their loop is gone and their run is broken.

    One that will not end stays suspended; it is no worse than before.
    """
    kept = list(generators)  # else they fall to their loop's hook for finalizers, which is gone, too
    with _unheard():
        for coroutine in coroutines:
            for _ in range(_TELLINGS):
                if _closed(coroutine):
                    break
        for generator in kept:
            _close_generator(generator)


def _closed(coroutine: Suspended) -> bool:
    """Whether it has ended. Where it has not, it waits for something else now."""
    try:
        coroutine.close()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # its own, or that it waits again; the next close() tells which: an ended one says nothing
        return False
    return True


def _close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    closing = generator.aclose()
    try:
        closing.send(None)
        for _ in range(_TELLINGS):  # it waits for something in its ``finally``
            closing.throw(GeneratorExit())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # that it has ended, by whatever
        return


def collect() -> None:
    """Free what only holds itself, as long as there is any. Finalizers complain, and are not heard."""
    with _unheard():
        for _ in range(_COLLECTIONS):
            if not gc.collect():
                break


def without_frames(error: BaseException) -> None:
    """Make the tracebacks of ``error``, and of what it came from, notes: the frames hold all that the run was made of,
    even once they are cleared, by their functions' closures and by the frames that called them.

    Call it outside of the ``except`` block: what is being handled there is left alone.
    """
    seen = {id(sys.exception())}
    todo: list[BaseException | None] = [error]
    while todo:
        exc = todo.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        if exc.__traceback__ is not None:
            exc.add_note("raised in\n" + "".join(traceback.format_tb(exc.__traceback__)).rstrip())
            exc.__traceback__ = None
        todo += [exc.__cause__, exc.__context__]
        if isinstance(exc, BaseExceptionGroup):
            todo += exc.exceptions


@contextmanager
def _unheard() -> Iterator[None]:
    """Neither warnings nor what a finalizer raises: both are expected here."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = hook
