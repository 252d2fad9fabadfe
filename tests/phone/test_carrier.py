"""The fake carrier does what the carriers' documentation says: otherwise the other tests of this folder mean little."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from phone.lines import CARRIERS, ramp

from kernl_rt.config import G711_ULAW
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError
from kernl_rt.testing import FakeCarrier
from kernl_rt.testing._carrier_words import Carrier

pytestmark = pytest.mark.anyio

STREAM = "stream-of-CA00000000000000000000000000000001"


class App:
    """The other end, by hand: what came, and how to answer."""

    def __init__(self, carrier: FakeCarrier) -> None:
        self.carrier = carrier
        self.came: list[tuple[float, Any]] = []
        self.closed: ConnectionClosed | None = None

    async def listen(self) -> None:
        try:
            while True:
                for message in await self.carrier.stream.receive():
                    self.came.append((anyio.current_time(), json.loads(message)))
        except ConnectionClosed as closed:
            self.closed = closed

    async def say(self, event: str, body: dict[str, str] | None = None, **more: Any) -> None:
        frame: dict[str, Any] = {"event": event, "streamSid": STREAM, **more}
        if body is not None:
            frame[event] = body
        await self.carrier.stream.send(json.dumps(frame))

    async def play(self, ms: int) -> None:
        await self.say("media", {"payload": base64.b64encode(ramp(G711_ULAW, ms)).decode()})

    def of(self, event: str) -> list[tuple[float, Any]]:
        return [(at, frame) for at, frame in self.came if frame["event"] == event]

    @property
    def echoes(self) -> list[tuple[str, float]]:
        return [(frame["mark"]["name"], round(at, 3)) for at, frame in self.of("mark")]


@asynccontextmanager
async def called(**options: Any) -> AsyncIterator[App]:
    app = App(FakeCarrier("twilio", **options))
    with anyio.fail_after(1_000):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(app.carrier.run)
            tasks.start_soon(app.listen)
            yield app
            tasks.cancel_scope.cancel()


async def test_a_call_begins_and_goes_on_every_20_ms() -> None:
    async with called() as app:
        begin = anyio.current_time()
        await anyio.sleep(0.1)
        assert [frame["event"] for _, frame in app.came][:2] == ["connected", "start"]
        media = app.of("media")
        assert [round(at - begin, 3) for at, _ in media] == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1][: len(media)]
        assert [frame["media"]["timestamp"] for _, frame in media] == [str(20 * index) for index in range(len(media))]
        assert [frame["media"]["chunk"] for _, frame in media] == [str(index + 1) for index in range(len(media))]


async def test_marks_come_back_when_the_sound_before_them_was_played() -> None:
    async with called() as app:
        begin = round(anyio.current_time(), 3)
        await app.say("mark", {"name": "nothing to wait for"})
        await app.play(100)
        await app.say("mark", {"name": "a"})
        await app.play(60)
        await app.say("mark", {"name": "b"})
        await anyio.sleep(0.5)
        assert [name for name, _ in app.echoes] == ["nothing to wait for", "a", "b"]
        moments = [round(at - begin, 3) for _, at in app.echoes]
        assert moments[0] == 0
        assert 0.08 <= moments[1] <= 0.12
        assert 0.14 <= moments[2] <= 0.18
        assert app.carrier.heard_ms == 160


async def test_a_clear_drops_the_sound_and_brings_the_marks_back_at_once() -> None:
    async with called() as app:
        await app.play(1_000)
        await app.say("mark", {"name": "a"})
        await anyio.sleep(0.2)
        await app.say("clear")
        await anyio.sleep(0.001)
        assert [name for name, _ in app.echoes] == ["a"]
        heard = app.carrier.heard_ms
        assert 200 <= heard <= 240
        await anyio.sleep(1)
        assert app.carrier.heard_ms == heard
        assert len(app.carrier.clears) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "[]",
        b"\0\0",
        '{"event":"clear"}',
        json.dumps({"event": "clear", "streamSid": "another"}),
        json.dumps({"event": "interrupt", "streamSid": STREAM}),
        json.dumps({"event": "mark", "streamSid": STREAM, "mark": {}}),
        json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "!"}}),
        json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "", "track": "outbound"}}),
        json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": ""}, "sequenceNumber": "1"}),
    ],
)
async def test_what_is_not_documented_ends_the_stream(wrong: str | bytes) -> None:
    async with called() as app:
        await app.carrier.stream.send(wrong)
        await anyio.sleep(0.1)
        assert len(app.carrier.wrong) == 1
        assert app.closed is not None


async def test_a_network_delays_and_loses_but_keeps_the_order() -> None:
    async with called(latency=0.05, jitter=0.03, loss=0.25, seed=5) as app:
        begin = anyio.current_time()
        await anyio.sleep(2.0)
        media = app.of("media")
        chunks = [int(frame["media"]["chunk"]) for _, frame in media]
        assert chunks == sorted(chunks)
        assert app.carrier.lost > 10
        assert abs(len(chunks) + app.carrier.lost - 100) <= 5
        late = [at - begin - int(frame["media"]["timestamp"]) / 1000 for at, frame in media]
        assert min(late) >= 0.05 - 1e-6
        assert max(late) <= 0.08 + 1e-6


async def test_some_change_places() -> None:
    async with called(reorder=0.3, seed=2) as app:
        await anyio.sleep(2.0)
        chunks = [int(frame["media"]["chunk"]) for _, frame in app.of("media")]
        assert chunks != sorted(chunks)
        assert all(abs(chunk - index - 1) <= 1 for index, chunk in enumerate(chunks))


async def test_both_sides_can_end_it() -> None:
    async with called() as app:
        app.carrier.hang_up()
        app.carrier.hang_up()
        await anyio.sleep(0.01)
        assert app.came[-1][1]["event"] == "stop"
        assert app.closed is not None
        assert app.carrier.closed == (1000, "")
        with pytest.raises(ConnectionClosed):
            await app.carrier.stream.send("x")
    carrier = FakeCarrier("vonage")
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.run)
            await anyio.sleep(0.1)
            await carrier.stream.aclose(1008, "no")
    assert carrier.closed == (1008, "no")


@pytest.mark.parametrize("name", CARRIERS)
async def test_nobody_reads_what_is_said(name: Carrier) -> None:
    carrier = FakeCarrier(name)
    with pytest.raises(RuntimeError, match="nobody reads"):
        for _ in range(100_001):
            carrier.press("1")


def test_other_carriers_are_unknown() -> None:
    with pytest.raises(MisconfiguredError, match="twilio, telnyx, vonage"):
        FakeCarrier("plivo")  # type: ignore[arg-type]
