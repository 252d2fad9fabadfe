"""The factory: URLs, keys, headers, connecting, and minting credentials."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

import kernl_rt._transport.http as http
from kernl_rt import events as ev
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import ConnectOptions, Credential, Secret, SessionConfig, Voice
from kernl_rt.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    MisconfiguredError,
    ProtocolError,
    SessionExpired,
)
from kernl_rt.providers import openai
from kernl_rt.providers._connection import CodecConnection

KEY = "sk-very-secret"
VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class FakeStream(MessageStream):
    """A link whose other end is two memory streams. ``ending`` is how it ends when nothing more comes."""

    def __init__(
        self, inbound: MemoryObjectReceiveStream[str | bytes], outbound: MemoryObjectSendStream[str | bytes]
    ) -> None:
        self.inbound = inbound
        self.outbound = outbound
        self.ending = ConnectionClosed(1000, "")

    async def receive(self) -> Sequence[str | bytes]:
        try:
            found = [await self.inbound.receive()]
        except anyio.EndOfStream:
            raise self.ending from None
        while self.inbound.statistics().current_buffer_used:
            found.append(self.inbound.receive_nowait())
        return found

    async def send(self, message: str | bytes) -> None:
        try:
            await self.outbound.send(message)
        except anyio.BrokenResourceError:
            raise self.ending from None

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self.inbound.close()
        self.outbound.close()


class FakeTransport(RealtimeTransport):
    def __init__(self, *, refuse: Exception | None = None) -> None:
        self.refuse = refuse
        self.calls: list[dict[str, Any]] = []
        self.closed = 0
        self.to_client, inbound = anyio.create_memory_object_stream[str | bytes](100)
        outbound, self.from_client = anyio.create_memory_object_stream[str | bytes](100)
        self.stream = FakeStream(inbound, outbound)

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 0,
    ) -> AsyncIterator[MessageStream]:
        self.calls.append({"url": url, "headers": dict(headers), "size": max_message_size})
        if self.refuse:
            raise self.refuse
        try:
            yield self.stream
        finally:
            self.closed += 1
            await self.stream.aclose()

    def close(self) -> None:
        for stream in (self.to_client, self.from_client, self.stream.inbound, self.stream.outbound):
            stream.close()


@pytest.fixture
def transport() -> Any:
    made = FakeTransport()
    yield made
    made.close()


OPTIONS = ConnectOptions(max_message_size=12345)


def revealed(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "model", "url"),
    [
        (None, "gpt-realtime-2.1", "wss://api.openai.com/v1/realtime?model=gpt-realtime-2.1"),
        ("https://api.openai.com/v1/", "m", "wss://api.openai.com/v1/realtime?model=m"),
        ("http://localhost:8000/v1", "m", "ws://localhost:8000/v1/realtime?model=m"),
        ("ws://[::1]:9/v1", "m", "ws://[::1]:9/v1/realtime?model=m"),
        ("wss://gateway.example", "m", "wss://gateway.example/realtime?model=m"),
        ("WSS://gateway.example/a/b//", "m", "wss://gateway.example/a/b/realtime?model=m"),
        ("https://gw.example/v1?tenant=a%26b&x=", "m", "wss://gw.example/v1/realtime?tenant=a%26b&x=&model=m"),
        ("https://gw.example/v1?model=other&k=v", "m", "wss://gw.example/v1/realtime?k=v&model=m"),
        ("https://gw.example/v1/realtime", "m", "wss://gw.example/v1/realtime?model=m"),
        ("https://gw.example/v1#part", "m", "wss://gw.example/v1/realtime?model=m"),
        (None, "a b&model=c/ü#?", "wss://api.openai.com/v1/realtime?model=a+b%26model%3Dc%2F%C3%BC%23%3F"),
    ],
)
def test_addresses(base: str | None, model: str, url: str) -> None:
    assert openai.realtime(model, base_url=base).url() == url


@pytest.mark.parametrize(
    ("base", "why"),
    [
        ("api.openai.com/v1", "no host or the wrong scheme"),
        ("ftp://api.openai.com/v1", "wrong scheme 'ftp'"),
        ("https://", "no host"),
        ("https:///v1", "no host"),
        ("https://host:port/v1", "not a URL"),
        ("https://host:99999/v1", "not a URL"),
        ("https://[::1/v1", "not a URL"),
        ("https://host/v1\nX-Evil: 1", "white space"),
        ("https://ho st/v1", "white space"),
        ("https://user:SECRET@host/v1", "user name or password"),
    ],
)
def test_bad_addresses(base: str, why: str) -> None:
    with pytest.raises(MisconfiguredError, match=why) as caught:
        openai.realtime("m", base_url=base).url()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", None, 5])
def test_a_model_needs_a_name(name: Any) -> None:
    with pytest.raises(MisconfiguredError, match="model="):
        openai.realtime(name)


# -- keys and headers -------------------------------------------------------------------------------------------------


def test_the_key_is_never_shown() -> None:
    model = openai.realtime("m", api_key=KEY, headers={"X-Key": KEY}, config=SessionConfig(instructions=KEY))
    assert KEY not in f"{model!r} {model} {model.capabilities!r}"
    assert "m" in repr(model)
    assert model.provider == "openai"


@pytest.mark.anyio
async def test_without_a_key_it_says_where_to_put_one(transport: FakeTransport) -> None:
    model = openai.realtime("m")
    with pytest.raises(MisconfiguredError, match=r"OPENAI_API_KEY.*api_key"):
        async with model.connect(SessionConfig(), OPTIONS, transport=transport):
            pass
    with pytest.raises(MisconfiguredError, match="OPENAI_API_KEY"):
        await model.authenticate()
    assert transport.calls == []


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["sk-a\nb", "sk-ü", "sk a", "sk-\u200b"])
async def test_a_key_with_dirt_in_it_is_refused(key: str, transport: FakeTransport) -> None:
    with pytest.raises(MisconfiguredError, match="copy it again") as caught:
        async with openai.realtime("m", api_key=key).connect(SessionConfig(), OPTIONS, transport=transport):
            pass
    assert key not in str(caught.value)


@pytest.mark.anyio
async def test_the_environment_is_read_when_connecting(
    transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = openai.realtime("m")
    for name, value in zip(VARIABLES, (f" {KEY}\n", "http://host/v9", "org-1", "proj-1"), strict=True):
        monkeypatch.setenv(name, value)
    async with model.connect(SessionConfig(), OPTIONS, transport=transport):
        pass
    (call,) = transport.calls
    assert call["url"] == "ws://host/v9/realtime?model=m"
    assert call["size"] == 12345
    assert revealed(call["headers"]) == {
        "Authorization": f"Bearer {KEY}",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
    }
    assert isinstance(call["headers"]["Authorization"], Secret)


@pytest.mark.anyio
async def test_arguments_win_over_the_environment_and_an_empty_variable_is_none(
    transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES[:2]:
        monkeypatch.setenv(name, "https://wrong")
    for name in VARIABLES[2:]:
        monkeypatch.setenv(name, "  ")
    model = openai.realtime("m", api_key=Secret(KEY), base_url="https://right", project="p")
    async with model.connect(SessionConfig(), OPTIONS, transport=transport):
        pass
    (call,) = transport.calls
    assert call["url"] == "wss://right/realtime?model=m"
    assert revealed(call["headers"]) == {"Authorization": f"Bearer {KEY}", "OpenAI-Project": "p"}


@pytest.mark.anyio
async def test_headers_of_the_caller_win(transport: FakeTransport) -> None:
    model = openai.realtime("m", headers={"authorization": Secret("Basic x"), "X-A": "1", "x-b": "1"})
    options = ConnectOptions(headers={"X-B": "2", "openai-project": "mine"})
    async with model.connect(SessionConfig(), options, transport=transport):
        pass
    assert revealed(transport.calls[0]["headers"]) == {
        "authorization": "Basic x",
        "X-A": "1",
        "X-B": "2",
        "openai-project": "mine",
    }


@pytest.mark.anyio
async def test_a_credential_takes_the_place_of_the_key(transport: FakeTransport) -> None:
    credential = Credential("ek_short", datetime(2030, 1, 1, tzinfo=UTC))
    model = openai.realtime("m", api_key=KEY)
    async with model.connect(SessionConfig(), OPTIONS, credential=credential, transport=transport):
        pass
    assert revealed(transport.calls[0]["headers"])["Authorization"] == "Bearer ek_short"


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_connection_speaks_events_both_ways(transport: FakeTransport) -> None:
    model = openai.realtime("m", api_key=KEY, config=SessionConfig(voice="marin"))
    async with model.connect(SessionConfig(), OPTIONS, transport=transport) as connection:
        await connection.send(ev.SessionUpdate(SessionConfig(instructions="hi")))
        await connection.send(ev.AudioInputAppend(b"abc"))
        sent = [json.loads(transport.from_client.receive_nowait()) for _ in range(2)]
        for text in ('{"type":"input_audio_buffer.cleared"}', b'{"type":"x"}', "nonsense"):
            transport.to_client.send_nowait(text)
        burst = await connection.receive()
        assert transport.closed == 0
    assert transport.closed == 1
    assert sent == [
        {
            "type": "session.update",
            "session": {"type": "realtime", "instructions": "hi", "audio": {"output": {"voice": "marin"}}},
        },
        {"type": "input_audio_buffer.append", "audio": "YWJj"},
    ]
    assert [event.kind for event in burst] == ["audio.input.cleared", "raw", "session.error"]


@pytest.mark.anyio
async def test_the_end_is_told_again_and_again(transport: FakeTransport) -> None:
    transport.stream.ending = ConnectionClosed(1001, "Your session hit the maximum duration of 60 minutes.")
    async with openai.realtime("m", api_key=KEY).connect(SessionConfig(), OPTIONS, transport=transport) as connection:
        transport.to_client.send_nowait('{"type":"input_audio_buffer.cleared"}')
        transport.to_client.close()
        transport.from_client.close()
        assert len(await connection.receive()) == 1
        for _ in range(2):
            with pytest.raises(SessionExpired, match="60 minutes"):
                await connection.receive()
            with pytest.raises(SessionExpired):
                await connection.send(ev.AudioInputClear())


@pytest.mark.anyio
async def test_an_ordinary_end_stays_what_it_is(transport: FakeTransport) -> None:
    transport.stream.ending = ConnectionClosed(1011, "oops")
    async with openai.realtime("m", api_key=KEY).connect(SessionConfig(), OPTIONS, transport=transport) as connection:
        transport.to_client.close()
        with pytest.raises(ConnectionClosed) as caught:
            await connection.receive()
    assert type(caught.value) is ConnectionClosed
    assert caught.value.code == 1011


@pytest.mark.anyio
async def test_cancelling_a_receive_loses_nothing(transport: FakeTransport) -> None:
    async with openai.realtime("m", api_key=KEY).connect(SessionConfig(), OPTIONS, transport=transport) as connection:
        with anyio.move_on_after(1) as scope:
            await connection.receive()
        assert scope.cancelled_caught
        transport.to_client.send_nowait('{"type":"input_audio_buffer.cleared"}')
        assert len(await connection.receive()) == 1


@pytest.mark.anyio
async def test_a_refusal_passes_through_and_a_bad_configuration_never_dials() -> None:
    transport = FakeTransport(refuse=AuthenticationError("no", status=401))
    model = openai.realtime("m", api_key=KEY)
    with pytest.raises(AuthenticationError):
        async with model.connect(SessionConfig(), OPTIONS, transport=transport):
            pass
    with pytest.raises(MisconfiguredError, match="max_output_tokens"):
        async with model.connect(SessionConfig(max_output_tokens=0), OPTIONS, transport=transport):
            pass
    assert len(transport.calls) == 1
    transport.close()


class Chatty:
    """A codec that says nothing for some frames and several for others."""

    def decode(self, message: str | bytes) -> list[Any]:
        return [ev.AudioInputCleared(event_id=letter) for letter in str(message)]

    def encode(self, event: Any) -> Any:
        return {"response.cancel": (), "item.delete": ("a", b"b")}.get(event.kind, "c")

    def closed(self, error: ConnectionClosed) -> ConnectionClosed:
        return error


@pytest.mark.anyio
async def test_a_codec_may_say_nothing_or_much(transport: FakeTransport) -> None:
    connection = CodecConnection(transport.stream, Chatty())
    for event in (ev.ResponseCancel(), ev.ItemDelete("i"), ev.AudioInputClear()):
        await connection.send(event)
    assert [transport.from_client.receive_nowait() for _ in range(3)] == ["a", b"b", "c"]
    for text in ("", "xy", "z"):
        transport.to_client.send_nowait(text)
    assert [event.event_id for event in await connection.receive()] == ["x", "y", "z"]
    transport.to_client.send_nowait("")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later, transport)
        assert len(await connection.receive()) == 1


async def later(transport: FakeTransport) -> None:
    await anyio.sleep(1)
    transport.to_client.send_nowait("w")


# -- credentials ------------------------------------------------------------------------------------------------------


class Mint:
    """Stands in for the HTTP call."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, url: str, headers: Any, json: Any, timeout: float) -> Any:
        await anyio.lowlevel.checkpoint()
        self.asked.append({"url": url, "headers": revealed(headers), "json": json})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def mint(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Mint:
    made = Mint(answer)
    monkeypatch.setattr(http, "post_json", made)
    return made


@pytest.mark.anyio
async def test_authenticate(monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"type": "realtime", "id": "s", "client_secret": {"value": "ek_1"}}
    service = mint(monkeypatch, {"value": "ek_1", "expires_at": 1893456000, "session": session})
    model = openai.realtime("m", api_key=KEY, base_url="wss://host/v1?t=1", project="p", config=SessionConfig("base"))
    credential = await model.authenticate(SessionConfig(voice="marin"), expires_after=7200)
    assert credential.secret.reveal() == "ek_1"
    assert credential.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert credential.extra == {"session": {"type": "realtime", "id": "s"}}
    assert "ek_1" not in repr(credential)
    assert service.asked == [
        {
            "url": "https://host/v1/realtime/client_secrets?t=1",
            "headers": {"Authorization": f"Bearer {KEY}", "OpenAI-Project": "p"},
            "json": {
                "session": {
                    "type": "realtime",
                    "model": "m",
                    "instructions": "base",
                    "audio": {"output": {"voice": "marin"}},
                },
                "expires_after": {"anchor": "created_at", "seconds": 7200},
            },
        }
    ]


@pytest.mark.anyio
async def test_authenticate_says_no_more_than_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    service = mint(monkeypatch, {"value": "ek_1", "expires_at": 1893456000.5})
    credential = await openai.realtime("m", api_key=KEY).authenticate()
    assert service.asked[0]["json"] == {"session": {"type": "realtime", "model": "m"}}
    assert service.asked[0]["url"] == "https://api.openai.com/v1/realtime/client_secrets"
    assert credential.extra == {}


@pytest.mark.anyio
@pytest.mark.parametrize("seconds", [9, 7201, -1, True, 60.0, "600"])
async def test_authenticate_has_a_range(seconds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = mint(monkeypatch, {})
    with pytest.raises(MisconfiguredError, match=r"expires_after=.* 10 to 7200"):
        await openai.realtime("m", api_key=KEY).authenticate(expires_after=seconds)
    with pytest.raises(MisconfiguredError, match=r"voice\.speed"):
        await openai.realtime("m", api_key=KEY).authenticate(SessionConfig(voice=Voice("v", 9)))
    assert service.asked == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ({}, "no value"),
        ({"value": "", "expires_at": 1}, "no value"),
        ({"value": ["ek_SECRET"], "expires_at": 1}, "no value"),
        ({"value": "ek_SECRET"}, "when the secret expires"),
        ({"value": "ek_SECRET", "expires_at": "soon"}, "when the secret expires"),
        ({"value": "ek_SECRET", "expires_at": True}, "when the secret expires"),
        ({"value": "ek_SECRET", "expires_at": 1e300}, "no date"),
        ({"value": "ek_SECRET", "expires_at": float("nan")}, "no date"),
    ],
)
async def test_authenticate_distrusts_the_answer(answer: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mint(monkeypatch, answer)
    with pytest.raises(ProtocolError, match=what) as caught:
        await openai.realtime("m", api_key=KEY).authenticate()
    assert "SECRET" not in str(caught.value)


@pytest.mark.anyio
async def test_authenticate_passes_a_refusal_on(monkeypatch: pytest.MonkeyPatch) -> None:
    mint(monkeypatch, AuthenticationError("no", status=401))
    with pytest.raises(AuthenticationError):
        await openai.realtime("m", api_key=KEY).authenticate()


# -- what it can do ---------------------------------------------------------------------------------------------------


def test_capabilities_are_honest() -> None:
    can = openai.realtime("gpt-realtime-2.1").capabilities
    assert can.max_duration == 3600
    assert [str(format) for format in can.input_formats] == [
        "pcm16 at 24000 Hz",
        "g711_ulaw at 8000 Hz",
        "g711_alaw at 8000 Hz",
    ]
    assert (can.can_resume, can.answers_on_commit, can.continues_after_tools, can.synthesises_turns) == (False,) * 4
    assert (can.can_cancel, can.can_truncate, can.can_delete, can.can_update, can.manual_turns) == (True,) * 5
