"""What the conformance suites are made of: promises, waits that must end, calls that are cancelled at any wait."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

import anyio

__all__ = ["Bound", "cancelled_at", "leaves", "require"]

T = TypeVar("T")


def require(held: bool, promise: str) -> None:
    if not held:
        raise AssertionError(promise)


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


class Bound:
    """A wait that must end, or an ``AssertionError`` that names it."""

    def __init__(self, what: str, seconds: float) -> None:
        self._what = what
        self._seconds = seconds
        self._scope: anyio.CancelScope | None = None

    def __enter__(self) -> None:
        self._scope = anyio.move_on_after(self._seconds)
        self._scope.__enter__()

    def __exit__(self, *exc: Any) -> None:
        assert self._scope is not None
        self._scope.__exit__(*exc)
        if self._scope.cancelled_caught:
            raise AssertionError(f"{self._what} did not end within {self._seconds:g} s")


async def cancelled_at(call: Callable[[], Coroutine[Any, Any, T]], step: int) -> tuple[bool, T | None]:
    """Run ``call()`` and cancel it at its ``step``-th wait: whether that happened, and else its result."""
    result: T | None = None
    with anyio.CancelScope() as scope:
        result = await _cancel_at_wait(call(), step, scope)
    if scope.cancelled_caught:
        return True, None
    return False, result


@types.coroutine
def _cancel_at_wait(coroutine: Coroutine[Any, Any, T], step: int, scope: anyio.CancelScope) -> Generator[Any, Any, T]:
    waits = 0
    send: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
    while True:
        try:
            trap = send()
        except StopIteration as stop:
            value: T = stop.value
            return value
        waits += 1
        if waits == step:
            scope.cancel()
        try:
            answer = yield trap
        except BaseException as error:  # the cancellation, which goes on into the coroutine
            send = lambda error=error: coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
        else:
            send = lambda answer=answer: coroutine.send(answer)  # type: ignore[misc]  # noqa: E731
