"""What a bad network does to one direction of a byte stream. The list of eight is Toxiproxy's."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field, fields, setters

from kernl_rt.exceptions import MisconfiguredError

__all__ = ["Lane", "Toxics"]

#: Bandwidth is kept to in steps of so many seconds.
_STEP = 0.02


def _tell(toxics: Toxics, attribute: Any, value: Any) -> Any:
    for wake in tuple(toxics._watchers):
        wake()
    return value


def _check(toxics: Toxics, attribute: Any, value: Any) -> None:
    name = attribute.name
    if value is None and attribute.default is None:
        return
    if name == "down":
        if not isinstance(value, bool):
            raise MisconfiguredError(f"down={value!r} must be True or False")
        return
    positive = name in ("bandwidth", "slicer")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 if positive else value >= 0):
        raise MisconfiguredError(f"{name}={value!r} must be {'more than 0' if positive else '0 or more'}")


def _toxic(default: Any) -> Any:
    return field(default=default, kw_only=True, validator=_check)


@define(eq=False, on_setattr=[setters.validate, _tell])
class Toxics:
    """What happens to the bytes that go one way. Set an attribute at any time; streams notice at once.

    Bytes are never lost in the middle, reordered or changed: TCP does not do that either.

    Args:
        latency: each piece arrives so many seconds later.
        jitter: ± so many seconds on top, drawn from the stream's seed; pieces never overtake each other.
        down: the link ends, as if the peer had hung up in the middle; a new one is refused.
        bandwidth: bytes per second.
        slow_close: the end of the stream is seen so many seconds late.
        timeout: nothing passes any more; what is sent waits. After so many seconds the link ends, with ``math.inf``
            never: a half-open link. Switched off in time, everything goes on where it stopped.
        reset_peer: after so many seconds the link is reset (RST): both directions break, what was on its way is lost.
        slicer: pieces of at most so many bytes.
        limit_data: after so many bytes more the link ends.

    ``down``, ``timeout``, ``reset_peer`` and ``limit_data`` end the whole link, whichever direction they are set on.
    Seconds and bytes count from when a stream first sees the value.

    Raises:
        MisconfiguredError: a value that cannot be.
    """

    latency: float = _toxic(0.0)
    jitter: float = _toxic(0.0)
    down: bool = _toxic(False)
    bandwidth: float | None = _toxic(None)
    slow_close: float = _toxic(0.0)
    timeout: float | None = _toxic(None)
    reset_peer: float | None = _toxic(None)
    slicer: int | None = _toxic(None)
    limit_data: int | None = _toxic(None)
    _watchers: list[Callable[[], None]] = field(factory=list, init=False, repr=False, on_setattr=setters.NO_OP)

    def clear(self) -> None:
        """Back to a sound network. A link that has ended stays ended."""
        for attribute in fields(Toxics):
            if attribute.init:
                setattr(self, attribute.name, attribute.default)

    def watch(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` whenever something is about to be set."""
        self._watchers.append(wake)

    def unwatch(self, wake: Callable[[], None]) -> None:
        self._watchers.remove(wake)


class Lane:
    """The bytes on their way in one direction: ``put`` at one end, ``take`` at the other, toxics between.

    ``capacity`` bounds what is on its way, as the system's buffers do: ``put`` then waits.
    """

    def __init__(self, toxics: Toxics, seed: random.Random, capacity: int, overrun: Callable[[], None]) -> None:
        self._toxics = toxics
        self._random = seed
        self._capacity = capacity
        #: Called when ``limit_data`` bytes have passed and the next would be taken.
        self._overrun = overrun
        #: When each piece may arrive, and the piece.
        self._pieces: deque[tuple[float, memoryview]] = deque()
        self._size = 0
        self._last_due = -math.inf
        #: When the next byte may arrive under ``bandwidth``.
        self._free_at = -math.inf
        self._limit: int | None = None
        self._allowed = 0
        self._ended_at: float | None = None
        self._failure: Callable[[], Exception] | None = None
        self._changed = anyio.Event()
        toxics.watch(self.wake)

    def wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _pause(self, until: float = math.inf) -> None:
        changed = self._changed
        with anyio.CancelScope(deadline=until):
            await changed.wait()

    async def put(self, data: bytes) -> None:
        """Send ``data`` on its way. Cancelling it may leave a part of it on the way, as with a socket."""
        await checkpoint()
        left = memoryview(bytes(data))
        while left:
            self._check()
            if self._ended_at is not None:
                raise anyio.ClosedResourceError
            room = self._capacity - self._size
            if room <= 0:
                await self._pause()
                continue
            piece, left = left[:room], left[room:]
            delay = self._toxics.latency + self._random.uniform(-1, 1) * self._toxics.jitter
            self._last_due = max(self._last_due, anyio.current_time() + max(0.0, delay))
            self._pieces.append((self._last_due, piece))
            self._size += len(piece)
            self.wake()
        self._check()

    def end(self) -> None:
        """No more will come; what is on its way arrives first."""
        if self._ended_at is None:
            self._ended_at = max(anyio.current_time(), self._last_due)
            self.wake()

    def fail(self, failure: Callable[[], Exception]) -> None:
        """Break at once: both ends get ``failure()``, what is on its way is lost. Only the first counts."""
        if self._failure is None:
            self._failure = failure
            self._pieces.clear()
            self._size = 0
            self.wake()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure()

    async def take(self, max_bytes: int) -> bytes:
        """The next piece to arrive, once it has. Cancelling it loses nothing.

        Raises:
            anyio.EndOfStream: nothing more comes.
        """
        await checkpoint()
        while True:
            self._check()
            if self._left_to_pass() == 0:
                self._overrun()
                self._check()
            until = self._arrival()
            if until <= anyio.current_time():
                if not self._pieces:
                    raise anyio.EndOfStream
                return self._arrive(max_bytes)
            await self._pause(until)

    def _arrival(self) -> float:
        """When the next thing arrives, as far as is known now."""
        toxics = self._toxics
        if toxics.timeout is not None:
            return math.inf
        if self._pieces:
            return max(self._pieces[0][0], self._free_at if toxics.bandwidth is not None else -math.inf)
        return math.inf if self._ended_at is None else self._ended_at + toxics.slow_close

    def _arrive(self, max_bytes: int) -> bytes:
        toxics = self._toxics
        due, piece = self._pieces.popleft()
        size = min(max_bytes, len(piece))
        if toxics.slicer is not None:
            size = min(size, int(toxics.slicer))
        if toxics.bandwidth is not None:
            size = min(size, max(1, int(toxics.bandwidth * _STEP)))
        allowed = self._left_to_pass()
        if allowed is not None:
            size = min(size, allowed)
            self._allowed = allowed - size
        found, left = bytes(piece[:size]), piece[size:]
        if left:
            self._pieces.appendleft((due, left))
        self._size -= size
        if toxics.bandwidth is not None:
            self._free_at = max(anyio.current_time(), self._free_at) + size / toxics.bandwidth
        self.wake()
        return found

    def _left_to_pass(self) -> int | None:
        if self._toxics.limit_data != self._limit:
            self._limit = self._toxics.limit_data
            self._allowed = self._limit or 0
        return None if self._limit is None else self._allowed

    def forget(self) -> None:
        """Listen to the toxics no more."""
        self._toxics.unwatch(self.wake)
