"""What every channel must do, as one function to run over your own.

::

    @pytest.mark.anyio
    async def test_my_channel_conforms():
        await check_channel(lambda: MyChannel(...))

Each part takes a fresh channel from the factory. A part that finds a fault raises ``AssertionError`` and says which
promise of :class:`~kernl_rt.abc.RealtimeChannel` was broken. Run it in virtual time where the channel allows it.
"""

from __future__ import annotations

import gc
import inspect
import math
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from kernl_rt.abc import RealtimeChannel
from kernl_rt.config import AudioFormat
from kernl_rt.events import AudioCaptured, AudioPlayed, ChannelEvent
from kernl_rt.exceptions import ChannelError, MisconfiguredError, SessionStateError
from kernl_rt.testing._checking import Bound, cancelled_at, leaves, require

__all__ = ["check_channel"]

Factory = Callable[[], RealtimeChannel]
#: Makes the human of this channel speak (and, where playback is reported by hand, listen) until it is cancelled.
Human = Callable[[RealtimeChannel], Coroutine[Any, Any, None]]

#: A cancelled call must end within this, in seconds.
_CANCEL_BOUND = 1.0
_SWEEP_MAX = 50
#: Milliseconds by which sums of positions may differ.
_ROUNDING = 1e-6


async def check_channel(
    factory: Factory,
    *,
    human: Human | None = None,
    input_format: AudioFormat | None = None,
    output_format: AudioFormat | None = None,
    captured_ms: float = 300.0,
    deterministic: bool = True,
    timeout: float = 30.0,
) -> None:
    """Check that the channels ``factory`` makes keep the promises of :class:`~kernl_rt.abc.RealtimeChannel`.

    Args:
        factory: makes a new channel each time; it is opened once.
        human: what the far end does; runs in a task beside the checks and is cancelled after each. ``None`` where the
            channel has its own source.
        input_format: the format to open with; the first that the channel offers by default.
        output_format: likewise.
        captured_ms: how much of the human's sound is compared; the source must give at least so much. 0: nothing is
            captured.
        deterministic: the source says the same each time, so that lost and doubled sound can be told.
        timeout: seconds for each wait that must end.

    Raises:
        AssertionError: a promise was broken; the message says which.
    """
    checks = _Checks(factory, human, input_format, output_format, captured_ms, deterministic, timeout)
    checks.formats()
    for part in (
        checks.unopened,
        checks.opening,
        checks.wrong_formats,
        checks.cancelled_receive,
        checks.playing,
        checks.clearing,
        checks.clearing_a_waiting_send,
        checks.cancelled_send,
        checks.cancelled_flush,
        checks.leaving,
    ):
        try:
            await part()
        except BaseExceptionGroup as group:
            fault = next((leaf for leaf in leaves(group) if isinstance(leaf, Exception)), None)
            if fault is None:
                raise
            raise fault from group


class _Checks:
    def __init__(
        self,
        factory: Factory,
        human: Human | None,
        input_format: AudioFormat | None,
        output_format: AudioFormat | None,
        captured_ms: float,
        deterministic: bool,
        timeout: float,
    ) -> None:
        self.factory = factory
        self.human = human
        channel = factory()
        require(bool(channel.input_formats) and bool(channel.output_formats), "a channel offers at least one format")
        self.input_format = input_format or channel.input_formats[0]
        self.output_format = output_format or channel.output_formats[0]
        self.captured_ms = captured_ms
        self.deterministic = deterministic
        self.timeout = timeout

    def formats(self) -> None:
        """Lists of formats, and the two flags."""
        channel = self.factory()
        for offered in (*channel.input_formats, *channel.output_formats):
            require(isinstance(offered, AudioFormat), f"{offered!r} among the formats is no AudioFormat")
        require(isinstance(channel.live, bool), "'live' is a bool")
        require(isinstance(channel.reports_playback, bool), "'reports_playback' is a bool")

    async def unopened(self) -> None:
        """Before it is opened: refused with an error of the library, at once."""
        channel = self.factory()
        sound = self.sound(20)
        for name, call in (("receive", channel.receive), ("send", lambda: channel.send(sound))):
            try:
                with self.bound(f"{name}() before open"):
                    await call()
            except (SessionStateError, ChannelError):
                continue
            raise AssertionError(f"{name}() before open is refused with SessionStateError or ChannelError")

    async def opening(self) -> None:
        """Open once at a time; leaving an unused channel takes no time."""
        channel = self.factory()
        async with channel.open(self.input_format, self.output_format):
            try:
                async with channel.open(self.input_format, self.output_format):
                    pass
            except (SessionStateError, ChannelError) as error:
                require(str(error) != "", "the error of a second open says what is wrong")
            else:
                raise AssertionError("opening an open channel is refused with SessionStateError or ChannelError")
            position = _cleared(channel)
            require(position == 0, f"nothing was sent, yet {position} ms were heard")

    async def wrong_formats(self) -> None:
        """A format that is not offered is refused."""
        channel = self.factory()
        alien = AudioFormat("pcm16", 12_345)
        if alien in channel.input_formats:
            return
        try:
            async with channel.open(alien, self.output_format):
                pass
        except (MisconfiguredError, ChannelError):
            return
        raise AssertionError("a format that the channel does not offer is refused with MisconfiguredError")

    async def cancelled_receive(self) -> None:
        """Whenever ``receive`` is cancelled, it ends soon, and nothing is lost or doubled."""
        if not self.captured_ms:
            return
        whole = await self._capture(None)
        for pause in (0.0, 0.001, 0.01, 0.02, 0.021):
            with_cuts = await self._capture(pause)
            if self.deterministic:
                require(with_cuts == whole, f"receive() cancelled after {pause} s, often, lost or doubled sound")

    async def _capture(self, pause: float | None) -> bytes:
        wanted = self.input_format.size(self.captured_ms)
        sound = bytearray()
        async with self.opened() as channel:
            with self.bound(f"receiving {self.captured_ms:g} ms of sound, none of it lost,"):
                while len(sound) < wanted:
                    event = await (channel.receive() if pause is None else self._cut_receive(channel, pause))
                    if isinstance(event, AudioCaptured):
                        require(
                            len(event.audio) % self.input_format.sample_width == 0, "captured sound is whole samples"
                        )
                        sound += event.audio
        return bytes(sound[:wanted])

    async def _cut_receive(self, channel: RealtimeChannel, pause: float) -> ChannelEvent:
        # Cancelled by the clock, then at its first wait, its second, and so on, until it gets through.
        with anyio.move_on_after(pause):
            return await channel.receive()
        step = 1
        while True:
            cut, event = await cancelled_at(channel.receive, step)
            if not cut:
                assert event is not None
                return event
            step += 1

    async def playing(self) -> None:
        """``send`` waits no longer than the sound lasts; marks rise to its end."""
        sound = self.sound(500)
        async with self.opened() as channel, anyio.create_task_group() as tasks:
            marks = _Marks(channel)
            tasks.start_soon(marks.collect)
            with self.bound("send()"):
                await channel.send(sound[:1001])  # not cut at a sample: the rest follows
                await channel.send(sound[1001:])
                await channel.flush()
            with self.bound("waiting until all that was sent was heard"):
                if channel.reports_playback:
                    await marks.reached(500)
            require(marks.last <= 500, f"500 ms were sent, yet {marks.last} ms were heard")
            position = _cleared(channel)
            require(marks.last <= position <= 500, f"{marks.last} ms were heard, yet clear() says {position}")
            tasks.cancel_scope.cancel()

    async def clearing(self) -> None:
        """``clear`` never waits; its position is exact enough to never run backwards nor beyond what was sent."""
        async with self.opened() as channel, anyio.create_task_group() as tasks:
            marks = _Marks(channel)
            tasks.start_soon(marks.collect)
            sent = position = 0.0
            for pause in (0.0, 0.013, 0.05, 0.2):
                before = position
                with self.bound("send()"):
                    await channel.send(self.sound(100))
                sent += 100
                await anyio.sleep(pause)
                position = _cleared(channel)
                require(before <= position, f"the position ran backwards: {before} ms, then {position}")
                require(
                    position <= before + 100 + _ROUNDING,
                    f"from {before} ms on 100 ms were sent, yet {position} were heard",
                )
                marks.floor = position
                require(_cleared(channel) == position, "nothing was sent between two clear(): the position is the same")
            await anyio.sleep(0.3)
            require(marks.last <= position, "sound that was cleared was reported as heard")
            tasks.cancel_scope.cancel()

    async def clearing_a_waiting_send(self) -> None:
        """``clear`` also drops what a ``send`` in progress has not handed over, and lets it return."""
        async with self.opened() as channel, anyio.create_task_group() as tasks:
            marks = _Marks(channel)
            tasks.start_soon(marks.collect)
            done = anyio.Event()

            async def send() -> None:
                await channel.send(self.sound(5_000))
                done.set()

            tasks.start_soon(send)
            for _ in range(5):
                await checkpoint()
            position = _cleared(channel)
            with anyio.move_on_after(_CANCEL_BOUND):
                await done.wait()
            require(done.is_set(), "clear() lets a waiting send() return: its sound is not wanted any more")
            await anyio.sleep(0.3)
            later = _cleared(channel)
            require(later == position, f"{later - position} ms of a send() that was cleared were played")
            tasks.cancel_scope.cancel()

    async def cancelled_send(self) -> None:
        """Whenever ``send`` is cancelled, it ends soon, and positions stay right."""
        cut = True
        for step in range(1, _SWEEP_MAX):
            async with self.opened() as channel, anyio.create_task_group() as tasks:
                marks = _Marks(channel)
                tasks.start_soon(marks.collect)
                with self.bound("send()"):
                    cut, _ = await cancelled_at(lambda c=channel: c.send(self.sound(400)), step)  # type: ignore[misc]
                await anyio.sleep(0.01)
                position = _cleared(channel)
                require(0 <= position <= 400, f"400 ms were sent, yet {position} ms were heard")
                with self.bound("send() after a cancelled one"):
                    await channel.send(self.sound(20))
                tasks.cancel_scope.cancel()
            if not cut:
                return

    async def cancelled_flush(self) -> None:
        """Cancelling ``flush`` is harmless."""
        async with self.opened() as channel, anyio.create_task_group() as tasks:
            tasks.start_soon(_Marks(channel).collect)
            with self.bound("send()"):
                await channel.send(self.sound(20))
            for step in (1, 2):
                await cancelled_at(channel.flush, step)
            with self.bound("flush()"):
                await channel.flush()
            tasks.cancel_scope.cancel()

    async def leaving(self) -> None:
        """Leaving ends everything soon, by an exception or a cancellation too, which come out as they went in."""
        channel = self.factory()
        mistake = LookupError("of the body")
        try:
            with self.bound("leaving the channel"):
                async with channel.open(self.input_format, self.output_format):
                    await channel.send(self.sound(20))
                    raise mistake
        except LookupError as error:
            require(error is mistake, "an exception of the body leaves open() as it is")
        except BaseExceptionGroup as group:
            raise AssertionError("an exception of the body leaves open() as it is, not in a group") from group
        else:
            raise AssertionError("an exception of the body was swallowed")
        channel = self.factory()
        with anyio.CancelScope() as scope:
            async with channel.open(self.input_format, self.output_format):
                scope.cancel()
                await checkpoint()
                raise AssertionError("a cancellation was swallowed")
        require(scope.cancelled_caught, "a cancellation leaves open() as it is")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            del channel
            gc.collect()
        left = [str(warning.message) for warning in caught if issubclass(warning.category, ResourceWarning)]
        require(not left, f"something was left open: {left}")

    # -- tools --------------------------------------------------------------------------------------------------------

    def sound(self, ms: int) -> bytes:
        """A quiet ramp, in the output format; each sample differs from the next."""
        if self.output_format.sample_width == 1:
            return bytes(index % 251 for index in range(self.output_format.size(ms)))
        samples = self.output_format.size(ms) // 2
        return b"".join((index % 997).to_bytes(2, "little") for index in range(samples))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[RealtimeChannel]:
        """A fresh channel, open, with its human beside it."""
        channel = self.factory()
        async with channel.open(self.input_format, self.output_format), anyio.create_task_group() as tasks:
            if self.human is not None:
                tasks.start_soon(self.human, channel)
            yield channel
            tasks.cancel_scope.cancel()

    def bound(self, what: str) -> Bound:
        return Bound(what, self.timeout)


class _Marks:
    """Receives from a channel and checks that positions do not run backwards."""

    def __init__(self, channel: RealtimeChannel) -> None:
        self._channel = channel
        self.last = 0.0
        #: What ``clear`` has said: later marks may not be below.
        self.floor = 0.0
        self._news = anyio.Event()

    async def reached(self, position_ms: float) -> None:
        while self.last < position_ms:
            await self._news.wait()

    async def collect(self) -> None:
        while True:
            try:
                event = await self._channel.receive()
            except anyio.EndOfStream:
                return
            if not isinstance(event, AudioPlayed):
                continue
            floor = max(self.last, self.floor)
            require(event.position_ms >= floor, f"a position ran backwards: {event.position_ms} ms after {floor} ms")
            self.last = event.position_ms
            self._news.set()
            self._news = anyio.Event()


def _cleared(channel: RealtimeChannel) -> float:
    position: object = channel.clear()
    require(not inspect.isawaitable(position), "clear() is synchronous: it never waits")
    if not isinstance(position, int | float) or not 0 <= position < math.inf:
        raise AssertionError(f"clear() answers with the position heard, in milliseconds, not with {position!r}")
    return position
