"""The phone over a real server: anycorn, HTTP and WebSockets on loopback, the simulator behind it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import anyio
import httpx
import pytest
from phone.lines import tone
from serve.browsers import serving
from twilio.request_validator import RequestValidator

from kernl_rt import RealtimeAgent, serve
from kernl_rt._transport import WebSocketTransport
from kernl_rt.config import G711_ULAW
from kernl_rt.exceptions import ConnectError, ConnectionClosed
from kernl_rt.simulator import Simulator
from kernl_rt.testing import FakeCarrier

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

TOKEN = "12345678901234567890123456789012"
HERE = "https://voice.example.com"
VALIDATOR = RequestValidator(TOKEN)
CALL = "CA00000000000000000000000000000001"


@asynccontextmanager
async def served(simulator: Simulator) -> AsyncIterator[str]:
    """The application at a real port: ``host:port``."""
    agent = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=simulator.realtime())
    calls = serve.Calls(agent)
    routes = serve.twilio_routes(calls, auth_token=TOKEN, public_url=HERE)
    application = serve.app(calls, origins=[HERE], routes=routes)
    async with serving(lambda _: application) as url:
        yield url.removeprefix("http://")


async def ring(address: str) -> httpx.Response:
    fields = {"CallSid": CALL, "From": "+15005550006", "To": "+15005550001"}
    signature = VALIDATOR.compute_signature(f"{HERE}/twilio/voice", fields)
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"http://{address}/twilio/voice",
            content=urlencode(fields),
            headers={"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"},
        )


def upgrade() -> dict[str, str]:
    return {"x-twilio-signature": VALIDATOR.compute_signature("wss://voice.example.com/twilio/stream", {})}


async def test_a_call_over_real_sockets() -> None:
    simulator = Simulator()
    with anyio.fail_after(30):
        async with served(simulator) as address:
            answer = await ring(address)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
            (token,) = re.findall(r'value="([^"]+)"', answer.text)
            url = f"ws://{address}/twilio/stream"
            for wrong in ({}, {"x-twilio-signature": "AAAA"}):
                with pytest.raises(ConnectError) as refused:
                    async with WebSocketTransport().connect(url, headers=wrong):
                        pass
                assert refused.value.status == 403
            assert simulator.sessions == 0
            async with WebSocketTransport().connect(url, headers=upgrade()) as link, anyio.create_task_group() as tasks:
                carrier = FakeCarrier("twilio", call_id=CALL, parameters={"token": token})

                async def outwards() -> None:
                    while True:
                        for message in await carrier.stream.receive():
                            await link.send(message)

                async def inwards() -> None:
                    while True:
                        for message in await link.receive():
                            await carrier.stream.send(message.decode() if isinstance(message, bytes) else message)

                tasks.start_soon(carrier.run)
                tasks.start_soon(outwards)
                tasks.start_soon(inwards)
                carrier.speak(tone(G711_ULAW, 700))
                while carrier.heard_ms < 300:
                    await anyio.sleep(0.02)
                assert simulator.sessions == 1
                assert not carrier.wrong
                tasks.cancel_scope.cancel()
            while simulator.sessions:
                await anyio.sleep(0.02)
            assert (await ring(address)).status_code == 403  # a replay


async def test_a_token_of_nobody_costs_no_dial() -> None:
    simulator = Simulator()
    with anyio.fail_after(30):
        async with served(simulator) as address:
            assert (await ring(address)).status_code == 200
            async with WebSocketTransport().connect(f"ws://{address}/twilio/stream", headers=upgrade()) as link:
                carrier = FakeCarrier("twilio", call_id=CALL, parameters={"token": "x" * 43})
                for message in carrier.words.greeting():
                    await link.send(message)
                with pytest.raises(ConnectionClosed) as closed:
                    await link.receive()
                assert closed.value.code == 1008
            assert simulator.sessions == 0
