"""The simulator over a real socket, with the transports of this package, on both backends."""

from __future__ import annotations

import anyio
import pytest

from kernl_rt._transport.websocket import WebSocketTransport
from kernl_rt.exceptions import AuthenticationError
from kernl_rt.simulator import Faults, Simulator
from tests.simulator.test_server import Client

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]


async def test_a_turn_over_a_socket() -> None:
    simulator = Simulator(api_key="right", speed=50.0)
    headers = {"Authorization": "Bearer right"}
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            with pytest.raises(AuthenticationError):
                async with WebSocketTransport().connect(f"{url}/realtime?model=m"):
                    pass
            async with WebSocketTransport().connect(f"{url}/realtime?model=m", headers=headers) as stream:
                client = Client(stream)
                assert (await client.next())["session"]["model"] == "m"
                assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"
                await client.send("input_audio_buffer.append", audio="A" * 20 * 2**20)
                assert (await client.ask("hello"))[-1]["response"]["status"] == "completed"
    assert simulator.sessions == 0


async def test_a_broken_link_says_no_goodbye() -> None:
    simulator = Simulator(faults=Faults().drop(at="response.created"))
    with anyio.fail_after(20):
        async with simulator.serve() as url, WebSocketTransport().connect(f"{url}/realtime?model=m") as stream:
            client = Client(stream)
            await client.send("response.create")
            assert (await client.closed())[0] == 1006


async def test_the_server_s_end_ends_its_sessions() -> None:
    simulator = Simulator()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as task_group:
            ended = anyio.Event()

            async def client(url: str) -> None:
                async with WebSocketTransport().connect(f"{url}/realtime?model=m") as stream:
                    talk = Client(stream)
                    await talk.next()
                    connected.set()
                    assert (await talk.closed())[0] == 1001
                    ended.set()

            connected = anyio.Event()
            async with simulator.serve() as url:
                task_group.start_soon(client, url)
                await connected.wait()
            await ended.wait()
    assert simulator.sessions == 0


async def test_an_exception_in_the_body_comes_out_bare() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with Simulator().serve():
            raise ValueError("mine")
