from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

from kernl_rt._transport import MemoryTransport, Reply, Request, memory_streams
from kernl_rt.abc import MessageStream
from kernl_rt.config import Secret
from kernl_rt.exceptions import AuthenticationError, ConnectionClosed, RateLimitedError

pytestmark = pytest.mark.anyio


async def test_a_full_pair_holds_the_sender_up_and_loses_nothing() -> None:
    near, far = memory_streams(max_messages=10)
    sent: list[int] = []

    async def send() -> None:
        for index in range(50):
            await near.send(str(index))
            sent.append(index)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(send)
        await anyio.sleep(1)
        assert len(sent) == 10
        found: list[str | bytes] = []
        while len(found) < 50:
            found += await far.receive()
    assert found == [str(index) for index in range(50)]


async def test_an_abort_is_1006_at_both_ends() -> None:
    near, far = memory_streams()
    await far.send("before")
    far.abort()
    assert list(await near.receive()) == ["before"]
    for end in (near, far):
        with pytest.raises(ConnectionClosed) as caught:
            await end.receive()
        assert caught.value.code == 1006


async def test_a_sender_that_waits_for_room_hears_of_the_close() -> None:
    near, far = memory_streams(max_messages=1)
    await near.send("one")
    async with anyio.create_task_group() as task_group:

        async def blocked() -> None:
            with pytest.raises(ConnectionClosed):
                await near.send("two")

        task_group.start_soon(blocked)
        await anyio.sleep(1)
        await far.aclose(1001)


async def test_the_handler_sees_the_request() -> None:
    seen: list[Request] = []

    async def handler(stream: MessageStream, request: Request) -> None:
        seen.append(request)
        await stream.send("hi")

    transport = MemoryTransport(handler, subprotocols=["realtime"])
    headers = {"Authorization": Secret("Bearer sk-canary-1")}
    async with transport.connect("ws://h:81/v1?model=m&model=n", headers=headers, subprotocols=["realtime"]) as stream:
        assert list(await stream.receive()) == ["hi"]
        with pytest.raises(ConnectionClosed) as caught:
            await stream.receive()
        assert caught.value.code == 1000
    (request,) = seen
    assert (request.path, request.query, request.subprotocols) == ("/v1", {"model": "n"}, ("realtime",))
    assert request.headers["authorization"] == "Bearer sk-canary-1"
    assert request.headers["host"] == "h:81"
    assert "canary" not in repr(request)


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_refusal_is_mapped_as_over_the_network(asynchronous: bool) -> None:
    async def handler(stream: MessageStream, request: Request) -> None:
        raise AssertionError("it was let in")

    def plain(request: Request) -> Reply | None:
        if request.headers.get("authorization") != "Bearer right":
            return Reply(401, body=b'{"error": {"message": "no such key"}}')
        return Reply(429, {"Retry-After": "3"})

    async def coroutine(request: Request) -> Reply | None:
        await anyio.sleep(1)
        return plain(request)

    transport = MemoryTransport(handler, process_request=coroutine if asynchronous else plain)
    with pytest.raises(AuthenticationError, match="no such key"):
        async with transport.connect("ws://x/"):
            raise AssertionError("it connected")
    with pytest.raises(RateLimitedError) as caught:
        async with transport.connect("ws://x/", headers={"Authorization": "Bearer right"}):
            raise AssertionError("it connected")
    assert caught.value.retry_after == 3


async def test_a_failing_handler_is_1011_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: MessageStream, request: Request) -> None:
        raise RuntimeError("broken handler")

    with caplog.at_level(logging.ERROR):
        async with MemoryTransport(handler).connect("ws://x/") as stream:
            with pytest.raises(ConnectionClosed) as caught:
                await stream.receive()
    assert caught.value.code == 1011
    assert "broken handler" in caplog.text


async def test_a_handler_that_does_not_leave_is_cancelled_after_the_grace() -> None:
    cancelled = anyio.Event()

    async def handler(stream: MessageStream, request: Request) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with MemoryTransport(handler, grace=0.5).connect("ws://x/"):
        start = anyio.current_time()
        await anyio.lowlevel.checkpoint()
    assert cancelled.is_set()
    assert anyio.current_time() - start == pytest.approx(0.5)
