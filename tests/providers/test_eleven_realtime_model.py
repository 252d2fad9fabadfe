"""Eleven Realtime: where it dials, what it refuses, and sessions with the simulator as their far end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import kernl_rt._transport.http as http
from kernl_rt import RealtimeAgent, RealtimeSession, SessionConfig, Toolkit, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.config import G711_ULAW, ConnectOptions, ResponseConfig, Secret, Tracing, TurnDetection
from kernl_rt.exceptions import CommandRejected, ConnectionClosed, MisconfiguredError, SessionExpired
from kernl_rt.policy import ReconnectPolicy
from kernl_rt.providers import elevenlabs
from kernl_rt.providers.elevenlabs._realtime import ElevenRealtimeCodec
from kernl_rt.simulator import Pace, Reply, ScriptedBrain, ScriptedEars, Simulator, ToolCall
from kernl_rt.testing import check_model

pytestmark = pytest.mark.anyio

KEY = "el-very-secret"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELEVENLABS_API_KEY", raising=False)


# -- conformance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eleven_realtime_v1_mini", "eleven_realtime_v1_max"])
async def test_conformance_in_memory(name: str) -> None:
    simulator = Simulator(protocol="eleven-realtime")
    with anyio.fail_after(10_000):
        await check_model(lambda: elevenlabs.realtime(name, api_key="check"), transport=simulator.transport())


async def test_conformance_over_a_socket(real_clock: None) -> None:
    pace = Pace(speed=20.0, token=0.001, first_output=0.001, transcription=0.001)
    simulator = Simulator(protocol="eleven-realtime", pace=pace)
    with anyio.fail_after(60):
        async with simulator.serve() as url:
            await check_model(lambda: elevenlabs.realtime(api_key="check", base_url=url), timeout=10.0)


# -- the factory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "wss://api.elevenlabs.io/v1/convai/realtime"),
        ("https://api.eu.residency.elevenlabs.io/", "wss://api.eu.residency.elevenlabs.io/v1/convai/realtime"),
        ("ws://127.0.0.1:9/v1/convai", "ws://127.0.0.1:9/v1/convai/realtime"),
        ("https://gateway.example/eleven/v1/convai/realtime", "wss://gateway.example/eleven/v1/convai/realtime"),
    ],
)
def test_addresses(base: str | None, url: str) -> None:
    assert elevenlabs.realtime("eleven_realtime_v1_mini", base_url=base).url() == url


class Noting(RealtimeTransport):
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 0,
    ) -> AsyncIterator[MessageStream]:
        self.headers = {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}
        raise ConnectionClosed(1006)
        yield


async def test_the_key_has_its_own_header_and_a_secret_has_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dialled(model: Any, **options: Any) -> dict[str, str]:
        noting = Noting()
        with pytest.raises(ConnectionClosed):
            async with model.connect(SessionConfig(), ConnectOptions(), transport=noting, **options):
                pass
        return noting.headers

    async def post_json(url: str, *, headers: Any, json: Any, timeout: float) -> dict[str, Any]:
        assert url == "https://api.elevenlabs.io/v1/convai/realtime/client_secrets"
        assert headers["xi-api-key"].reveal() == KEY
        assert json["session"]["model"] == "eleven_realtime_v1_max"
        assert json["expires_after"] == {"anchor": "created_at", "seconds": 60}
        return {"value": "short", "expires_at": 1_785_214_081}

    monkeypatch.setattr(http, "post_json", post_json)
    model = elevenlabs.realtime("eleven_realtime_v1_max", api_key=KEY)
    assert KEY not in repr(model)
    assert await dialled(model) == {"xi-api-key": KEY}
    credential = await model.authenticate(expires_after=60)
    assert await dialled(model, credential=credential) == {"Authorization": "Bearer short"}
    with pytest.raises(MisconfiguredError, match="ELEVENLABS_API_KEY"):
        await dialled(elevenlabs.realtime())
    monkeypatch.setenv("ELEVENLABS_API_KEY", "from-outside")
    assert await dialled(elevenlabs.realtime()) == {"xi-api-key": "from-outside"}


@pytest.mark.parametrize(
    ("why", "config"),
    [
        ("turn_detection.mode='off'.*listens by itself", SessionConfig(turn_detection=TurnDetection.off())),
        ("turn_detection.mode='server_vad'", SessionConfig(turn_detection=TurnDetection.server_vad())),
        ("input_format=.g711", SessionConfig(input_format=G711_ULAW)),
        ("tracing", SessionConfig(tracing=Tracing())),
    ],
)
def test_refused(why: str, config: SessionConfig) -> None:
    with pytest.raises(MisconfiguredError, match=why):
        elevenlabs.realtime(config=config)


def test_a_reply_in_another_format_is_refused() -> None:
    with pytest.raises(MisconfiguredError, match="output_format"):
        elevenlabs.realtime().check_response(ResponseConfig(output_format=G711_ULAW))


@pytest.mark.parametrize("name", ["", None])
def test_a_model_has_a_name(name: Any) -> None:
    with pytest.raises(MisconfiguredError, match="eleven_realtime_v1_mini"):
        elevenlabs.realtime(name)


def test_the_end_of_its_time_is_told_by_the_close() -> None:
    codec = ElevenRealtimeCodec()
    assert isinstance(codec.closed(ConnectionClosed(1000, "Max conversation duration reached.")), SessionExpired)
    assert not isinstance(codec.closed(ConnectionClosed(1000, "bye")), SessionExpired)


# -- sessions ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def talking(*lines: Any, **options: Any) -> AsyncIterator[tuple[RealtimeSession[Any], list[Any], Simulator]]:
    simulator = Simulator(
        ScriptedBrain(lines), ears=ScriptedEars([]), protocol="eleven-realtime", **options.pop("sim", {})
    )
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="A",
        instructions="Be brief.",
        model=elevenlabs.realtime("eleven_realtime_v1_mini", api_key="k"),
        toolkits=[Toolkit(id="t", tools=options.pop("tools", []))],
    )
    session = RealtimeSession(agent, transport=options.pop("transport", None) or simulator.transport(), **options)
    log: list[Any] = []
    session.on("event", log.append)
    with anyio.fail_after(5_000):
        async with session:
            yield session, log, simulator


async def test_a_conversation_with_a_tool() -> None:
    @tool
    async def weather(city: str) -> str:
        """The weather."""
        return f"sunny in {city}"

    call = Reply("One moment.", tool_calls=[ToolCall("weather", {"city": "Paris"})])
    async with talking(call, "It is sunny.", tools=[weather]) as (session, log, _):
        assert (await session.ask("weather in Paris?")).text == "It is sunny."
        assert not [event for event in log if isinstance(event, (ev.SessionError, ev.RawServerEvent))]
        assert session.usage.total_tokens is None
        item = next(item for item in session.history if item.type == "message")
        with pytest.raises(CommandRejected, match="can_delete"):
            await session.send(ev.ItemDelete(item.id or "")).settled()


async def test_an_interruption_is_told() -> None:
    story = Reply("One two three four five six seven eight.", audio=bytes(24_000 * 2 * 8))
    async with talking(story, "Yes?", channel=MemoryChannel()) as (session, log, _):
        session.send_message("a story")
        while not [event for event in log if isinstance(event, ev.AudioDelta)]:
            await anyio.sleep(0.01)
        await anyio.sleep(2)
        session.interrupt()
        await anyio.sleep(1)
        assert [event for event in log if isinstance(event, ev.ItemTruncated)]
        assert session.history[-1].text == "One two"  # type: ignore[union-attr]


async def test_silence_does_not_end_the_session() -> None:
    """Its service gives up a client of whom it has heard nothing for a minute."""
    async with talking("Still here.", sim={"duration": 10_000.0}, reconnect=None) as (session, log, _):
        await anyio.sleep(500)
        assert [event.status for event in log if isinstance(event, ev.StatusChanged)][-1] == "connected"
        assert (await session.ask("are you there?")).text == "Still here."
        assert "reconnecting" not in [event.status for event in log if isinstance(event, ev.StatusChanged)]


async def test_after_ten_minutes_it_goes_on_on_another_link() -> None:
    async with talking("Hello.", "Still here.", sim={"duration": 600.0}, reconnect=ReconnectPolicy()) as (
        session,
        log,
        _,
    ):
        await session.ask("hello")
        await anyio.sleep(700)
        assert "reconnecting" in [event.status for event in log if isinstance(event, ev.StatusChanged)]
        assert (await session.ask("are you there?")).text == "Still here."


async def test_the_model_is_named_first_and_beats_do_not_cut_into_what_is_said() -> None:
    sent: list[dict[str, Any]] = []
    writing = 0

    class Slow(MessageStream):
        def __init__(self, inner: MessageStream) -> None:
            self.inner = inner

        async def receive(self) -> Sequence[str | bytes]:
            return await self.inner.receive()

        async def send(self, message: str | bytes) -> None:
            nonlocal writing
            writing += 1
            assert writing == 1, "two write at once"
            await anyio.sleep(0.5)
            sent.append(json.loads(message))
            await self.inner.send(message)
            writing -= 1

        async def aclose(self, code: int = 1000, reason: str = "") -> None:
            await self.inner.aclose(code, reason)

    class Slowed(RealtimeTransport):
        def __init__(self, inner: RealtimeTransport) -> None:
            self.inner = inner

        @asynccontextmanager
        async def connect(self, url: str, **options: Any) -> AsyncIterator[MessageStream]:
            async with self.inner.connect(url, **options) as stream:
                yield Slow(stream)

    simulator = Simulator(ScriptedBrain([]), ears=ScriptedEars([]), protocol="eleven-realtime")
    async with talking(transport=Slowed(simulator.transport())) as (session, _, _):
        for _ in range(40):
            session.send_audio(b"\0\0" * 240)
            await anyio.sleep(25.7)
            if len(sent) > 60:
                break
    assert sent[0]["session"]["model"] == "eleven_realtime_v1_mini"
    assert sent[0]["session"]["audio"]["input"]["turn_detection"] == {"type": "semantic_vad"}
    beats = [frame for frame in sent if frame["type"] == "input_audio_buffer.append" and not frame["audio"]]
    assert len(beats) > 5


async def test_a_link_that_ends_while_it_is_silent_is_told_as_such() -> None:
    async def leave(stream: MessageStream, request: Any) -> None:
        await stream.receive()
        info = {"type": "realtime", "object": "realtime.session", "id": "s", "model": "m"}
        for kind in ("session.created", "session.updated"):
            await stream.send(json.dumps({"type": kind, "event_id": kind, "session": info}))
        await anyio.sleep(100)
        await stream.aclose(1011, "sorry")

    with pytest.raises(ConnectionClosed, match="sorry"):
        async with talking(transport=MemoryTransport(leave), reconnect=None) as (session, _, _):
            await anyio.sleep(500)
            assert session.status == "closed"


async def test_openais_client_holds_a_conversation(backend: str, real_clock: None) -> None:
    if backend == "trio":
        pytest.skip("OpenAI's client runs on asyncio only")
    openai = pytest.importorskip("openai")
    served = Simulator(
        ScriptedBrain(["Good day."]), ears=ScriptedEars([]), api_key="right", speed=50.0, protocol="eleven-realtime"
    )
    with anyio.fail_after(20):
        async with served.serve() as url:
            client = openai.AsyncOpenAI(api_key="right", websocket_base_url=url, max_retries=0)
            async with client, client.realtime.connect(model="ignored") as connection:
                assert (await connection.recv()).type == "session.created"
                turn = {"turn_detection": {"type": "semantic_vad"}}
                await connection.session.update(
                    session={"type": "realtime", "model": "eleven_realtime_v1_max", "audio": {"input": turn}}
                )
                updated = await connection.recv()
                assert (updated.type, updated.session.model) == ("session.updated", "eleven_realtime_v1_max")
                content = [{"type": "input_text", "text": "hello"}]
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
                await connection.response.create()
                events = [await connection.recv()]
                while events[-1].type != "response.done":
                    events.append(await connection.recv())
                assert events[-1].response.usage is None
                assert events[-1].response.output[0].content[0].transcript == "Good day."


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        ({"type": "conversation.item.delete", "item_id": "i"}, "type"),
        ({"type": "session.update", "session": {"type": "realtime", "model": "gpt-realtime"}}, "session.model"),
        (
            {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
            "session.audio.input.turn_detection",
        ),
    ],
)
async def test_the_simulator_refuses_what_the_service_does_not_take(frame: dict[str, Any], param: str) -> None:
    simulator = Simulator(ScriptedBrain([]), protocol="eleven-realtime")
    async with simulator.transport().connect("ws://s/v1/convai/realtime") as stream:
        await stream.send(json.dumps({"event_id": "mine", **frame}))
        said: list[Any] = []
        with anyio.fail_after(10):
            while not [each for each in said if each["type"] == "error"]:
                said += [json.loads(message) for message in await stream.receive()]
        error = said[-1]["error"]
        assert (error["param"], error["event_id"]) == (param, "mine")
