"""What every transport must do, as a suite that any transport can be put through.

The far end is a handler of ours, so that the same suite runs over sockets, in memory, and over a transport that
somebody else has written. What needs forged bytes on the wire is not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from kernl_rt._transport._request import Handler, Request
from kernl_rt.abc import MessageStream
from kernl_rt.exceptions import ConnectionClosed, MessageTooLarge

__all__ = ["ConnectTo", "check_transport"]

#: ``connect_to(handler, max_message_size)`` opens a link whose far end ``handler(stream, request)`` serves.
ConnectTo = Callable[[Handler, int], AbstractAsyncContextManager[MessageStream]]

_LIMIT = 64 * 1024
#: Long enough for a message to cross a loopback, in seconds.
_SETTLE = 0.25
#: Long enough for a link to have noticed that nobody receives, and to read by itself.
_ALONE = 3.0


async def check_transport(connect_to: ConnectTo) -> None:
    """Put a transport through everything that :class:`~kernl_rt.abc.MessageStream` promises.

    ``connect_to(handler, max_message_size)`` returns the context of one link whose far end runs
    ``handler(stream, request)``; it is called once per check. Takes seconds of real time, none of virtual time.

    Raises:
        AssertionError: a promise is broken; the message names it.
    """
    for check in _CHECKS:
        try:
            with anyio.fail_after(15):
                await check(connect_to)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__.strip('_').replace('_', ' ')}: {error}") from error
        except TimeoutError as error:
            raise AssertionError(f"{check.__name__.strip('_').replace('_', ' ')}: it hangs") from error


def _bytes(messages: Sequence[str | bytes]) -> list[bytes]:
    return [message.encode() if isinstance(message, str) else bytes(message) for message in messages]


async def _receive(stream: MessageStream, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        burst = _bytes(await stream.receive())
        assert burst, "receive() returned nothing"
        found += burst
    return found


async def _closed(stream: MessageStream) -> ConnectionClosed:
    try:
        while True:
            await stream.receive()
    except ConnectionClosed as closed:
        return closed


async def _echo(stream: MessageStream, request: Request) -> None:
    while True:
        for message in await stream.receive():
            await stream.send(message)


async def _text_and_binary_come_back(connect_to: ConnectTo) -> None:
    async with connect_to(_echo, _LIMIT) as stream:
        for message in ("hello", "grüße 🎙", b"\x00\xff" * 700, "", b""):
            await stream.send(message)
            assert await _receive(stream, 1) == _bytes([message]), f"{message[:20]!r} came back differently"


async def _order_is_kept(connect_to: ConnectTo) -> None:
    wanted = [f"message {index}" for index in range(1000)]

    async def send_all(stream: MessageStream, request: Request) -> None:
        for text in wanted:
            await stream.send(text)
        await _closed(stream)

    async with connect_to(send_all, _LIMIT) as stream:
        assert await _receive(stream, 1000) == _bytes(wanted), "1000 messages came in another order"


async def _a_burst_is_one_receive(connect_to: ConnectTo) -> None:
    async def burst(stream: MessageStream, request: Request) -> None:
        for index in range(100):
            await stream.send(str(index))
        await _closed(stream)

    async with connect_to(burst, _LIMIT) as stream:
        await anyio.sleep(_ALONE)
        burst_size = len(await stream.receive())
        assert burst_size == 100, f"100 messages had arrived, one receive() gave {burst_size}"


async def _the_size_limit_is_exact(connect_to: ConnectTo) -> None:
    seen: list[ConnectionClosed] = []

    async def send_sizes(stream: MessageStream, request: Request) -> None:
        await stream.send(b"x" * _LIMIT)
        await stream.send("y" * _LIMIT)
        await stream.send(b"z" * (_LIMIT + 1))
        seen.append(await _closed(stream))

    async with connect_to(send_sizes, _LIMIT) as stream:
        sizes = [len(message) for message in await _receive(stream, 2)]
        assert sizes == [_LIMIT, _LIMIT], f"messages of the limit's size came as {sizes}"
        for _ in range(2):
            try:
                await stream.receive()
            except MessageTooLarge:
                continue
            raise AssertionError("a message of the limit plus one was not refused with MessageTooLarge")
        await anyio.sleep(_SETTLE)
    codes = [closed.code for closed in seen]
    assert codes == [1009], f"the sender of the large message saw {codes}, not 1009"


async def _the_peers_close_is_told(connect_to: ConnectTo) -> None:
    for code, reason in ((1000, ""), (1001, "going away"), (4401, "Schlüssel")):

        async def close(stream: MessageStream, request: Request, code: int = code, reason: str = reason) -> None:
            await stream.send("last words")
            await stream.aclose(code, reason)

        async with connect_to(close, _LIMIT) as stream:
            assert await _receive(stream, 1) == [b"last words"], "a message before the close was lost"
            for _ in range(2):
                closed = await _closed(stream)
                assert (closed.code, closed.reason) == (code, reason), f"({code}, {reason!r}) was told as {closed!r}"
            late: int | None = None
            try:
                await stream.send("too late")
            except ConnectionClosed as error:
                late = error.code
            assert late == code, f"send() after the end told {late}, not {code}"


async def _our_close_is_told(connect_to: ConnectTo) -> None:
    for code, reason in ((1000, ""), (3001, "bye"), (1008, "x" * 200)):
        seen: list[ConnectionClosed] = []
        told = anyio.Event()

        async def watch(
            stream: MessageStream,
            request: Request,
            seen: list[ConnectionClosed] = seen,
            told: anyio.Event = told,
        ) -> None:
            seen.append(await _closed(stream))
            told.set()

        async with connect_to(watch, _LIMIT) as stream:
            await stream.aclose(code, reason)
            await stream.aclose(1001, "again")
            await told.wait()
        assert (seen[0].code, seen[0].reason) == (code, reason[:123]), f"({code}, {reason!r}) was told as {seen[0]!r}"


async def _leaving_closes_and_exceptions_come_out_bare(connect_to: ConnectTo) -> None:
    class Mine(Exception):
        pass

    for raised in (None, Mine("mine"), ExceptionGroup("mine", [Mine("inner")])):
        seen: list[ConnectionClosed] = []
        told = anyio.Event()

        async def watch(
            stream: MessageStream,
            request: Request,
            seen: list[ConnectionClosed] = seen,
            told: anyio.Event = told,
        ) -> None:
            seen.append(await _closed(stream))
            told.set()

        came_out: Exception | None = None
        try:
            async with connect_to(watch, _LIMIT):
                if raised is not None:
                    raise raised
        except (Mine, ExceptionGroup) as error:
            came_out = error
        assert came_out is raised, f"{raised!r} came out as {came_out!r}"
        await told.wait()
        assert seen[0].code == 1000, f"leaving the context was told as {seen[0].code}, not 1000"


async def _leaving_by_cancellation_closes(connect_to: ConnectTo) -> None:
    seen: list[ConnectionClosed] = []
    told = anyio.Event()

    async def watch(stream: MessageStream, request: Request) -> None:
        seen.append(await _closed(stream))
        told.set()

    with anyio.move_on_after(_SETTLE) as scope:
        async with connect_to(watch, _LIMIT) as stream:
            await stream.receive()
    assert scope.cancelled_caught, "the cancellation was swallowed"
    await told.wait()
    assert seen[0].code == 1000, f"leaving by cancellation was told as {seen[0].code}, not 1000"


async def _a_cancelled_receive_loses_nothing(connect_to: ConnectTo) -> None:
    receiving = anyio.CancelScope()

    async def trickle(stream: MessageStream, request: Request) -> None:
        for index in range(200):
            await stream.send(str(index))
            # In every phase: just before the message is there, just after, and while the receiver is already woken.
            if index % 2:
                receiving.cancel()
            await anyio.sleep(0.0005 * (index % 3))
            receiving.cancel()
        await _closed(stream)

    async with connect_to(trickle, _LIMIT) as stream:
        found: list[bytes] = []
        cancelled = 0
        while len(found) < 200:
            receiving = anyio.CancelScope()
            with receiving:
                found += _bytes(await stream.receive())
            cancelled += receiving.cancelled_caught
        assert cancelled, "the check never cancelled anything"
        assert found == [str(index).encode() for index in range(200)], "a cancelled receive() lost or repeated messages"


async def _a_cancelled_send_is_whole_or_nothing(connect_to: ConnectTo) -> None:
    found: list[bytes] = []
    complete = anyio.Event()

    async def slow(stream: MessageStream, request: Request) -> None:
        while True:
            for message in _bytes(await stream.receive()):
                found.append(message)
                if message == b"end":
                    complete.set()
            await anyio.sleep(0.002)

    async with connect_to(slow, _LIMIT) as stream:
        sent: list[bytes] = []
        for index in range(200):
            message = bytes([index]) * 50_000
            with anyio.move_on_after(0.0005 * (index % 4)) as scope:
                await stream.send(message)
            if not scope.cancelled_caught:
                sent.append(message)
        await stream.send("end")
        await complete.wait()
        whole = all(len(message) == 50_000 and len(set(message)) == 1 for message in found[:-1])
        assert whole, "a cancelled send() left part of a message"
        assert set(sent) <= set(found), "messages that were sent are missing"
        assert len(set(found)) == len(found), "a message came twice"
        assert found[:-1] == sorted(found[:-1]), "messages came in another order"


async def _what_is_written_at_once_is_whole_and_in_order(connect_to: ConnectTo) -> None:
    found: list[bytes] = []
    complete = anyio.Event()

    async def slow(stream: MessageStream, request: Request) -> None:
        while True:
            await anyio.sleep(0.002)
            for message in _bytes(await stream.receive()):
                found.append(message)
                if message == b"end":
                    complete.set()

    async with connect_to(slow, _LIMIT) as stream:
        sent = [bytes([index]) * (1 if index % 3 else 50_000) for index in range(200)]
        for message in sent:
            if stream.ready:
                stream.send_nowait(message)
            else:
                await stream.send(message)
        await stream.send("end")
        await complete.wait()
        assert found[:-1] == sent, "what was written while the stream was ready came torn, twice, or in another order"
    assert not stream.ready, "a stream that is closed says that it is ready"


async def _messages_are_read_ahead(connect_to: ConnectTo) -> None:
    written = anyio.Event()

    async def flood(stream: MessageStream, request: Request) -> None:
        for _ in range(40):
            await stream.send(b"x" * 20_000)
        written.set()
        await _closed(stream)

    async with connect_to(flood, _LIMIT) as stream:
        await written.wait()  # Nobody receives: it completes only if the transport reads on its own.
        assert len(await _receive(stream, 40)) == 40, "messages that were read ahead are missing"


_CHECKS: tuple[Callable[[ConnectTo], Awaitable[None]], ...] = (
    _text_and_binary_come_back,
    _order_is_kept,
    _a_burst_is_one_receive,
    _the_size_limit_is_exact,
    _the_peers_close_is_told,
    _our_close_is_told,
    _leaving_closes_and_exceptions_come_out_bare,
    _leaving_by_cancellation_closes,
    _a_cancelled_receive_loses_nothing,
    _a_cancelled_send_is_whole_or_nothing,
    _what_is_written_at_once_is_whole_and_in_order,
    _messages_are_read_ahead,
)
