"""Azure's factories: addresses, the environment, keys and tokens, profiles, what is refused, minting."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt._transport.serve import Reply, Request
from kernl_rt.abc import RealtimeModel
from kernl_rt.config import (
    G711_ULAW,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    ConnectOptions,
    Credential,
    InputTranscription,
    McpServer,
    NoiseReduction,
    PromptReference,
    Reasoning,
    ResponseConfig,
    Secret,
    SessionConfig,
    ToolChoice,
    ToolDefinition,
    Tracing,
    Truncation,
    TurnDetection,
    Voice,
)
from kernl_rt.exceptions import AuthenticationError, ConnectError, MisconfiguredError
from kernl_rt.providers import azure
from kernl_rt.simulator import Simulator

pytestmark = pytest.mark.anyio

ENDPOINT = "https://my-resource.openai.azure.com"
KEY = "k-very-secret"
TOKEN = "eyJ.very.secret"
VARIABLES = (
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_ENDPOINT",
    "OPENAI_API_VERSION",
    "AZURE_VOICELIVE_ENDPOINT",
    "AZURE_VOICELIVE_API_KEY",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Door:
    """Sees the request of whoever comes, and lets nobody in."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def admit(self, request: Request) -> Reply | None:
        self.requests.append(request)
        return Reply(418, {}, b"")

    async def headers(self, model: RealtimeModel, **how: Any) -> dict[str, str]:
        transport = MemoryTransport(self._nobody, process_request=self.admit)
        options = how.pop("options", ConnectOptions())
        with pytest.raises(ConnectError):
            async with model.connect(SessionConfig(), options, transport=transport, **how):
                pass
        return {
            name: value for name, value in self.requests[-1].headers.items() if name in ("api-key", "authorization")
        }

    async def _nobody(self, stream: Any, request: Request) -> None:
        raise AssertionError("nobody comes in")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        ENDPOINT,
        f"{ENDPOINT}/",
        f"{ENDPOINT}/openai",
        f"{ENDPOINT}/openai/v1",
        f"{ENDPOINT}/openai/v1/",
        f"{ENDPOINT}/openai/v1/realtime",
        "wss://my-resource.openai.azure.com/openai/realtime",
    ],
)
def test_an_endpoint_may_be_copied_with_its_path(endpoint: str) -> None:
    host = "wss://my-resource.openai.azure.com"
    assert azure.realtime("my dep", endpoint=endpoint).url() == f"{host}/openai/v1/realtime?model=my+dep"
    old = azure.realtime("d", endpoint=endpoint, api_version="2025-04-01-preview")
    assert old.url() == f"{host}/openai/realtime?api-version=2025-04-01-preview&deployment=d"
    live = azure.voice_live("m", endpoint=endpoint)
    assert live.url() == f"{host}/voice-live/realtime?api-version=2026-07-15&model=m"


def test_a_gateway_keeps_its_path_and_query() -> None:
    model = azure.realtime("d", endpoint="https://gw.example/team/a?tenant=7")
    assert model.url() == "wss://gw.example/team/a/openai/v1/realtime?tenant=7&model=d"


def test_agents_are_found_by_name_and_project() -> None:
    model = azure.voice_live(
        endpoint=ENDPOINT, agent="watson", project="home", agent_version="3", conversation_id="conv/1", token=TOKEN
    )
    assert model.url() == (
        "wss://my-resource.openai.azure.com/voice-live/realtime?api-version=2026-07-15&agent-name=watson"
        "&agent-project-name=home&agent-version=3&conversation-id=conv%2F1"
    )
    assert model.name == "watson"


@pytest.mark.parametrize("factory", [azure.realtime, azure.voice_live])
@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        (None, "no endpoint"),
        ("my-resource.openai.azure.com", "wrong scheme"),
        ("https://user:SECRET@host", "user name or password"),
        ("https://ho st", "white space"),
        ("https://[::1", "not a URL"),
    ],
)
def test_bad_endpoints(factory: Callable[..., Any], endpoint: str | None, why: str) -> None:
    with pytest.raises(MisconfiguredError, match=why) as caught:
        factory("m", endpoint=endpoint).url()
    assert "SECRET" not in str(caught.value)


async def test_a_key_does_not_cross_a_network_in_the_open() -> None:
    model = azure.realtime("m", endpoint="http://gw.example", token=lambda: pytest.fail("asked for a token"))
    with pytest.raises(MisconfiguredError, match=r"azure\.realtime\(…, insecure=True\)"):
        async with model.connect(SessionConfig(), ConnectOptions()):
            pass


# -- the environment --------------------------------------------------------------------------------------------------


async def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    model, live = azure.realtime("d"), azure.voice_live("m")
    for name, value in zip(VARIABLES, ("ok", "", ENDPOINT, "", "https://live.example", "lk"), strict=True):
        monkeypatch.setenv(name, value)
    assert model.url().startswith("wss://my-resource.openai.azure.com/openai/v1/")
    assert live.url().startswith("wss://live.example/voice-live/")
    assert await Door().headers(model) == {"api-key": "ok"}
    assert await Door().headers(live) == {"api-key": "lk"}
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", TOKEN)
    assert await Door().headers(model) == {"authorization": f"Bearer {TOKEN}"}
    assert await Door().headers(azure.realtime("d", api_key=KEY)) == {"api-key": KEY}
    assert await Door().headers(live) == {"api-key": "lk"}


@pytest.mark.parametrize(("version", "dated"), [("2025-04-01-preview", True), ("v1", False), ("", False)])
def test_the_version_of_the_environment(monkeypatch: pytest.MonkeyPatch, version: str, dated: bool) -> None:
    monkeypatch.setenv("OPENAI_API_VERSION", version)
    assert ("deployment=d" in azure.realtime("d", endpoint=ENDPOINT).url()) is dated
    assert "/openai/v1/" in azure.realtime("d", endpoint=ENDPOINT, api_version="v1").url()


# -- keys and tokens --------------------------------------------------------------------------------------------------


async def _async_token() -> str:
    await anyio.sleep(0.5)
    return TOKEN


class _Callable:
    async def __call__(self) -> str:
        return TOKEN


def _deferred() -> Any:
    return _async_token()


@pytest.mark.parametrize(
    "token", [TOKEN, Secret(TOKEN), _async_token, _Callable()], ids=["text", "secret", "async", "callable"]
)
async def test_a_token_goes_as_a_bearer(token: Any) -> None:
    for factory in (azure.realtime, azure.voice_live):
        model = factory("m", endpoint=ENDPOINT, token=token)
        assert await Door().headers(model) == {"authorization": f"Bearer {TOKEN}"}
        assert TOKEN not in repr(model)


async def test_a_plain_provider_is_called_in_a_thread_for_each_connection(real_clock: None) -> None:
    threads: list[threading.Thread] = []

    def provider() -> str:
        threads.append(threading.current_thread())
        return f"token-{len(threads)}"

    model = azure.realtime("m", endpoint=ENDPOINT, token=provider)
    assert [(await Door().headers(model))["authorization"] for _ in range(2)] == ["Bearer token-1", "Bearer token-2"]
    assert threading.current_thread() not in threads
    assert await Door().headers(azure.realtime("m", endpoint=ENDPOINT, token=_deferred)) == {
        "authorization": f"Bearer {TOKEN}"
    }


async def _raises() -> str:
    raise OSError(f"asked with {KEY}")


async def _empty() -> str:
    return ""


async def _number() -> Any:
    return 7


async def _hangs() -> str:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize("token", [_raises, _empty, _number, _hangs])
async def test_a_provider_that_fails_is_a_failed_connection(token: Any) -> None:
    model = azure.realtime("m", endpoint=ENDPOINT, token=token)
    with anyio.fail_after(60), pytest.raises(ConnectError, match="token provider") as caught:
        async with model.connect(SessionConfig(), ConnectOptions(), transport=Simulator(protocol="azure").transport()):
            pass
    assert KEY not in str(caught.value)


async def test_a_provider_is_cancelled_with_the_connection() -> None:
    model = azure.realtime("m", endpoint=ENDPOINT, token=_hangs)
    with anyio.fail_after(60), anyio.move_on_after(1) as scope:
        async with model.connect(SessionConfig(), ConnectOptions(), transport=Simulator(protocol="azure").transport()):
            raise AssertionError("connected without a token")
    assert scope.cancelled_caught


async def test_own_headers_and_a_credential_win() -> None:
    model = azure.realtime("m", endpoint=ENDPOINT, api_key=KEY)
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert await Door().headers(model, credential=Credential("ek_1", later)) == {"authorization": "Bearer ek_1"}
    options = ConnectOptions(headers={"Api-Key": "other"})
    assert await Door().headers(model, options=options) == {"api-key": "other"}
    mine = azure.realtime("m", endpoint=ENDPOINT, headers={"Authorization": "Bearer mine"})
    assert await Door().headers(mine) == {"authorization": "Bearer mine"}
    assert "mine" not in repr(mine)


async def test_without_a_key() -> None:
    for factory, name in ((azure.realtime, "AZURE_OPENAI_API_KEY"), (azure.voice_live, "AZURE_VOICELIVE_API_KEY")):
        model = factory("m", endpoint=ENDPOINT)
        with pytest.raises(MisconfiguredError, match=name):
            async with model.connect(SessionConfig(), ConnectOptions(), transport=Simulator().transport()):
                pass


def test_nothing_secret_is_shown() -> None:
    for factory in (azure.realtime, azure.voice_live):
        model = factory("m", endpoint=f"{ENDPOINT}?code=SECRET", api_key=KEY, headers={"x": "SECRET"})
        assert KEY not in repr(model)
        assert "SECRET" not in repr(model)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: azure.realtime(""), "name=''"),
        (lambda: azure.realtime("m", api_key=KEY, token=TOKEN), "give one of them"),
        (lambda: azure.voice_live(), "no model"),
        (lambda: azure.voice_live(agent="a"), "give both"),
        (lambda: azure.voice_live("m", project="p"), "give both"),
        (lambda: azure.voice_live("m", conversation_id="c"), "belong to an agent"),
        (lambda: azure.voice_live(agent="a", project="p", api_key=KEY), "no api_key"),
        (lambda: azure.realtime("m", config=SessionConfig(max_output_tokens=0)), "max_output_tokens"),
    ],
)
def test_what_cannot_be_made(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(MisconfiguredError, match=why) as caught:
        make()
    assert KEY not in str(caught.value)


# -- profiles and checks ----------------------------------------------------------------------------------------------


def test_profiles() -> None:
    ga, old = azure.realtime("d"), azure.realtime("d", api_version="2025-04-01-preview")
    live, blind = azure.voice_live("gpt-realtime"), azure.voice_live("phi4-mini")
    assert (ga.capabilities.max_duration, ga.capabilities.image_input) == (3600.0, True)
    assert (old.capabilities.max_duration, old.capabilities.image_input) == (1800.0, False)
    assert live.capabilities.image_input
    assert not blind.capabilities.image_input
    assert PCM16_16K in live.capabilities.input_formats
    assert PCM16_16K not in ga.capabilities.input_formats
    for model in (ga, old, live, blind):
        assert model.capabilities.can_truncate
        assert model.capabilities.manual_turns


def test_the_profile_goes_by_what_is_deployed() -> None:
    thinks = SessionConfig(reasoning=Reasoning("low"))
    azure.realtime("my-deployment").check(thinks)
    azure.realtime("gpt-realtime", model="gpt-realtime-2.1").check(thinks)
    with pytest.raises(MisconfiguredError, match="reasoning"):
        azure.realtime("my-deployment", model="gpt-realtime").check(thinks)


_TOOL = ToolDefinition("f")
OLD_LACKS: list[SessionConfig] = [
    SessionConfig(prompt=PromptReference("p")),
    SessionConfig(truncation=Truncation("disabled")),
    SessionConfig(tracing=Tracing("auto")),
    SessionConfig(reasoning=Reasoning("low")),
    SessionConfig(parallel_tool_calls=True),
    SessionConfig(include=["item.input_audio_transcription.logprobs"]),
    SessionConfig(turn_detection=TurnDetection.server_vad(idle_timeout_ms=6000)),
    SessionConfig(transcription=InputTranscription("gpt-transcribe", keywords=["a"])),
    SessionConfig(noise_reduction=NoiseReduction("near_field", 0.5)),
    SessionConfig(voice=Voice("alloy", speed=1.1)),
    SessionConfig(tools=[McpServer("s", url="https://s.example")]),
    SessionConfig(tool_choice=ToolChoice("mcp", server_label="s")),
    SessionConfig(output_format=PCM16_16K),
    SessionConfig(input_format=PCM16_8K),
]
LIVE_LACKS: list[SessionConfig] = [
    SessionConfig(prompt=PromptReference("p")),
    SessionConfig(truncation=Truncation("disabled")),
    SessionConfig(tracing=Tracing("auto")),
    SessionConfig(include=["other"]),
    SessionConfig(turn_detection=TurnDetection.server_vad(idle_timeout_ms=6000)),
    SessionConfig(turn_detection=TurnDetection.semantic_vad(eagerness="low")),
    SessionConfig(transcription=InputTranscription()),
    SessionConfig(transcription=InputTranscription("azure-speech", prompt="p")),
    SessionConfig(transcription=InputTranscription("azure-speech", delay="low")),
    SessionConfig(transcription=InputTranscription("azure-speech", languages=["en"])),
    SessionConfig(transcription=InputTranscription("azure-speech", "English!")),
    SessionConfig(transcription=InputTranscription("whisper-1", keywords=["a"])),
    SessionConfig(noise_reduction=NoiseReduction("near_field", 0.5)),
    SessionConfig(voice=Voice("alloy", speed=1.1)),
    SessionConfig(voice=Voice("en-US-AvaNeural", speed=3)),
    SessionConfig(tools=[McpServer("s", connector_id="c")]),
    SessionConfig(tools=[McpServer("s", url="https://s.example", allowed_tools={"read_only": True})]),
    SessionConfig(tool_choice=ToolChoice("mcp", server_label="s")),
    SessionConfig(parallel_tool_calls=1),  # type: ignore[arg-type]
    SessionConfig(reasoning=Reasoning("some")),  # type: ignore[arg-type]
    SessionConfig(voice=Voice("")),
    SessionConfig(max_output_tokens=0),
    SessionConfig(tools=[_TOOL, _TOOL]),
]


async def _is_refused(model: RealtimeModel, config: SessionConfig) -> None:
    """Before anything is dialled."""
    door = Door()
    with pytest.raises(MisconfiguredError, match="invalid: "):
        async with model.connect(
            config, ConnectOptions(), transport=MemoryTransport(door._nobody, process_request=door.admit)
        ):
            pass
    assert not door.requests


@pytest.mark.parametrize("config", OLD_LACKS)
async def test_what_the_preview_lacks(config: SessionConfig) -> None:
    await _is_refused(azure.realtime("d", endpoint=ENDPOINT, api_version="2025-04-01-preview", api_key=KEY), config)


@pytest.mark.parametrize("config", LIVE_LACKS)
async def test_what_voice_live_lacks(config: SessionConfig) -> None:
    await _is_refused(azure.voice_live("gpt-5", endpoint=ENDPOINT, api_key=KEY), config)


@pytest.mark.parametrize(
    "config",
    [
        SessionConfig(instructions="Be brief."),
        SessionConfig(tools=[_TOOL]),
        SessionConfig(tool_choice="required"),
    ],
    ids=["instructions", "tools", "tool_choice"],
)
async def test_what_an_agent_has_of_its_own(config: SessionConfig) -> None:
    model = azure.voice_live(endpoint=ENDPOINT, agent="watson", project="home", token=TOKEN)
    with pytest.raises(MisconfiguredError, match="'watson' has its own in Foundry"):
        model.check(config)
    model.check(SessionConfig(instructions="", tools=[]))


def test_what_voice_live_can_do() -> None:
    model = azure.voice_live("gpt-5")
    for config in (
        SessionConfig(input_format=PCM16_16K, output_format=PCM16_8K),
        SessionConfig(input_format=G711_ULAW, output_format=PCM16_24K),
        SessionConfig(voice=Voice("zh-CN-XiaoxiaoMultilingualNeural", speed=0.5)),
        SessionConfig(voice=Voice("alloy")),
        SessionConfig(transcription=InputTranscription("azure-speech", "en-US,fr-FR", keywords=["Contoso"])),
        SessionConfig(transcription="off", turn_detection=TurnDetection.off()),
        SessionConfig(turn_detection=TurnDetection.semantic_vad(interrupt_response=False)),
        SessionConfig(noise_reduction=NoiseReduction("far_field"), reasoning=Reasoning("none")),
        SessionConfig(parallel_tool_calls=True, include=["item.input_audio_transcription.phrases"]),
        SessionConfig(extra={"turn_detection": {"type": "azure_semantic_vad_multilingual", "auto_truncate": True}}),
    ):
        model.check(config)


@pytest.mark.parametrize(
    ("model", "wish"),
    [
        (azure.voice_live("m"), ResponseConfig(prompt=PromptReference("p"))),
        (azure.voice_live("m"), ResponseConfig(parallel_tool_calls=True)),
        (azure.voice_live("m"), ResponseConfig(tool_choice=ToolChoice("function", "f"))),
        (azure.voice_live("m"), ResponseConfig(voice=Voice("alloy", 1.1))),
        (azure.realtime("m", api_version="2025-04-01-preview"), ResponseConfig(reasoning=Reasoning("low"))),
        (azure.realtime("m", api_version="2025-04-01-preview"), ResponseConfig(prompt=PromptReference("p"))),
        (azure.realtime("m"), ResponseConfig(max_output_tokens=0)),
    ],
)
def test_wishes_that_cannot_be(model: RealtimeModel, wish: ResponseConfig) -> None:
    with pytest.raises(MisconfiguredError, match="invalid: "):
        model.check_response(wish)


# -- minting ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _resource() -> AsyncIterator[str]:
    with anyio.fail_after(20):
        async with Simulator(api_key=KEY, protocol="azure", speed=100).serve() as url:
            yield url


async def test_a_client_secret_opens_a_session(real_clock: None) -> None:
    async with _resource() as url:
        server = azure.realtime("my-deployment", endpoint=url, api_key=KEY)
        credential = await server.authenticate(SessionConfig(instructions="Only about tea."), expires_after=60)
        assert credential.extra["session"]["model"] == "my-deployment"
        client = azure.realtime("my-deployment", endpoint=url)
        agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions="Be brief.", model=client)
        async with RealtimeSession(agent, credential=credential) as session:
            assert (await session.ask("hello")).status == "completed"
        with pytest.raises(AuthenticationError):
            await azure.realtime("my-deployment", endpoint=url, api_key="wrong").authenticate()


async def test_where_nothing_is_minted() -> None:
    with pytest.raises(MisconfiguredError, match="preview mints no"):
        await azure.realtime("d", endpoint=ENDPOINT, api_version="2025-04-01-preview").authenticate()
    with pytest.raises(MisconfiguredError, match="mints no"):
        await azure.voice_live("m", endpoint=ENDPOINT, api_key=KEY).authenticate()
    with pytest.raises(MisconfiguredError, match="10 to 7200"):
        await azure.realtime("d", endpoint=ENDPOINT, api_key=KEY).authenticate(expires_after=5)
