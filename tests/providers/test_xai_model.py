"""The factory: where it dials, with which key, what it sends first, and the credentials that it mints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

import kernl_rt._transport.http as http
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import ConnectOptions, Credential, Secret, SessionConfig, TurnDetection, Voice
from kernl_rt.exceptions import MisconfiguredError, ProtocolError
from kernl_rt.providers import xai
from kernl_rt.simulator import Simulator

pytestmark = pytest.mark.anyio

KEY = "xai-very-secret"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAI_API_KEY", raising=False)


class Stopped(Exception):
    pass


class Noting(RealtimeTransport):
    """Notes where it is asked to dial, and does not."""

    def __init__(self) -> None:
        self.url = ""
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
        self.url = url
        self.headers = {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}
        raise Stopped
        yield


async def dialled(model: xai.XAIModel, **options: Any) -> Noting:
    noting = Noting()
    credential = options.pop("credential", None)
    with pytest.raises(Stopped):
        async with model.connect(SessionConfig(), ConnectOptions(**options), credential=credential, transport=noting):
            pass
    return noting


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "wss://api.x.ai/v1/realtime?model=grok-voice-latest"),
        ("https://gateway.example/v1/", "wss://gateway.example/v1/realtime?model=grok-voice-latest"),
        ("ws://127.0.0.1:9/v1", "ws://127.0.0.1:9/v1/realtime?model=grok-voice-latest"),
    ],
)
def test_addresses(base: str | None, url: str) -> None:
    assert xai.realtime("grok-voice-latest", base_url=base).url() == url


async def test_a_handle_is_part_of_the_address() -> None:
    noting = await dialled(xai.realtime("m", api_key=KEY), resume="conv & co")
    assert noting.url == "wss://api.x.ai/v1/realtime?model=m&conversation_id=conv+%26+co"


async def test_the_key_comes_from_the_environment_and_is_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MisconfiguredError, match="XAI_API_KEY"):
        async with xai.realtime("m").connect(SessionConfig(), ConnectOptions(), transport=Noting()):
            pass
    monkeypatch.setenv("XAI_API_KEY", "from-outside")
    assert (await dialled(xai.realtime("m"))).headers == {"Authorization": "Bearer from-outside"}
    assert (await dialled(xai.realtime("m", api_key=KEY))).headers == {"Authorization": f"Bearer {KEY}"}
    minted = Credential("short", datetime.now(tz=UTC))
    noting = await dialled(xai.realtime("m", api_key=KEY), credential=minted)
    assert noting.headers == {"Authorization": "Bearer short"}
    noting = await dialled(xai.realtime("m", headers={"authorization": "Basic x"}), headers={"X-Trace": "1"})
    assert noting.headers == {"authorization": "Basic x", "X-Trace": "1"}


async def test_a_key_does_not_cross_a_network_in_the_open() -> None:
    model = xai.realtime("m", api_key=KEY, base_url="ws://far.example/v1")
    with pytest.raises(MisconfiguredError, match="no TLS"):
        async with model.connect(SessionConfig(), ConnectOptions()):
            pass
    with pytest.raises(MisconfiguredError, match="no TLS"):
        await model.authenticate()


def test_a_model_shows_no_secret_and_is_a_value() -> None:
    model = xai.realtime("m", api_key=KEY, headers={"x-key": KEY}, base_url="https://h/v1?token=abc")
    assert KEY not in repr(model)
    assert "abc" not in repr(model)
    assert model == xai.realtime("m", api_key=KEY, headers={"x-key": KEY}, base_url="https://h/v1?token=abc")


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_model_has_a_name(name: Any) -> None:
    with pytest.raises(MisconfiguredError, match="grok-voice-latest"):
        xai.realtime(name)


@pytest.mark.parametrize("tools", [["web_search"], [{"name": "x"}], [{"type": None}]])
def test_server_tools_say_their_type(tools: Any) -> None:
    with pytest.raises(MisconfiguredError, match="web_search"):
        xai.realtime("m", server_tools=tools)


# -- what a session begins with ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "turn_detection", "resumption"),
    [
        ({}, {"type": "server_vad"}, {"enabled": True}),
        ({"resumption": False}, {"type": "server_vad"}, None),
        ({"config": SessionConfig(turn_detection=TurnDetection.off())}, None, {"enabled": True}),
        (
            {"config": SessionConfig(extra={"resumption": {"enabled": False}})},
            {"type": "server_vad"},
            {"enabled": False},
        ),
    ],
)
def test_defaults(given: dict[str, Any], turn_detection: Any, resumption: Any) -> None:
    from kernl_rt import events as ev

    model = xai.realtime("m", **given)
    codec = xai.XAICodec(model._defaults(resume=False))
    session = codec.encode_client(ev.SessionUpdate(model._defaults(resume=False)))["session"]
    assert session["turn_detection"] == turn_detection
    assert session.get("resumption") == resumption


def test_whoever_brings_a_handle_wants_to_resume() -> None:
    assert xai.realtime("m", resumption=False)._defaults(resume=True).extra == {"resumption": {"enabled": True}}


# -- credentials ------------------------------------------------------------------------------------------------------


async def test_a_secret_is_minted_as_xai_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def post_json(url: str, *, headers: Any, json: Any, timeout: float) -> dict[str, Any]:
        asked.append((url, json, headers["Authorization"].reveal()))
        return {"value": "short", "expires_at": 1_785_214_081}

    monkeypatch.setattr(http, "post_json", post_json)
    model = xai.realtime("m", api_key=KEY, config=SessionConfig(voice=Voice("eve")))
    credential = await model.authenticate(SessionConfig(instructions="Tea only."), expires_after=300)
    assert credential.secret.reveal() == "short"
    ((url, body, authorization),) = asked
    assert url == "https://api.x.ai/v1/realtime/client_secrets"
    assert body == {
        "session": {"instructions": "Tea only.", "voice": "eve", "model": "m"},
        "expires_after": {"seconds": 300},
    }
    assert authorization == f"Bearer {KEY}"


@pytest.mark.parametrize("seconds", [0, 3601, 1.5, True])
async def test_a_secret_lives_an_hour_at_most(seconds: Any) -> None:
    with pytest.raises(MisconfiguredError, match="1 to 3600"):
        await xai.realtime("m", api_key=KEY).authenticate(expires_after=seconds)


async def test_an_answer_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    async def post_json(url: str, **_: Any) -> dict[str, Any]:
        return {"expires_at": 1}

    monkeypatch.setattr(http, "post_json", post_json)
    with pytest.raises(ProtocolError, match="no value"):
        await xai.realtime("m", api_key=KEY).authenticate()


async def test_a_minted_secret_opens_a_session(real_clock: None) -> None:
    simulator = Simulator(protocol="xai", api_key="right")
    async with simulator.serve() as url:
        model = xai.realtime("m", api_key="right", base_url=url)
        credential = await model.authenticate(SessionConfig(voice="eve", turn_detection=TurnDetection.off()))
        client = xai.realtime("m", base_url=url)
        async with client.connect(SessionConfig(), ConnectOptions(), credential=credential) as connection:
            assert (await connection.receive())[0].kind == "session.created"
