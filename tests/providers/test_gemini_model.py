"""The factory: names, URLs, keys, what is refused before connecting, and minting tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

import kernl_rt._transport.http as http
import kernl_rt._transport.websocket as websocket
from kernl_rt.abc import MessageStream, RealtimeTransport
from kernl_rt.config import (
    G711_ULAW,
    PCM16_24K,
    ConnectOptions,
    Credential,
    InputTranscription,
    McpServer,
    NoiseReduction,
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
from kernl_rt.exceptions import ConnectionClosed, MisconfiguredError, ProtocolError
from kernl_rt.providers import gemini

pytestmark = pytest.mark.anyio

KEY = "very-secret-key"
VARIABLES = (
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
)
DEVELOPER = "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage."
VERTEX = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Silent(MessageStream):
    async def receive(self) -> Sequence[str | bytes]:
        raise ConnectionClosed(1006, "")

    async def send(self, message: str | bytes) -> None:
        pass

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        pass


class Dialled(RealtimeTransport):
    """Remembers where to, and as whom."""

    url = ""
    headers: Mapping[str, str | Secret] = {}

    @asynccontextmanager
    async def connect(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] = {},
        subprotocols: Sequence[str] = (),
        max_message_size: int = 4 * 2**20,
    ) -> AsyncIterator[MessageStream]:
        self.url, self.headers = url, headers
        yield Silent()


async def dial(model: gemini.GeminiModel, credential: Credential | None = None, **options: Any) -> Dialled:
    transport = Dialled()
    async with model.connect(SessionConfig(), ConnectOptions(**options), credential=credential, transport=transport):
        pass
    return transport


def shown(headers: Mapping[str, str | Secret]) -> dict[str, str]:
    return {name: value.reveal() if isinstance(value, Secret) else value for name, value in headers.items()}


# -- where, as whom


async def test_the_developer_api() -> None:
    dialled = await dial(gemini.live("gemini-3.8-live", api_key=KEY))
    assert dialled.url == f"{DEVELOPER}v1.GenerativeService.BidiGenerateContent"
    assert shown(dialled.headers) == {"x-goog-api-key": KEY}
    assert KEY not in repr(dialled.headers)


async def test_the_environment_as_google_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gemini.live("gemini-3.8-live")
    with pytest.raises(MisconfiguredError, match="GEMINI_API_KEY"):
        await dial(model)
    monkeypatch.setenv("GEMINI_API_KEY", "gemini")
    assert shown((await dial(model)).headers) == {"x-goog-api-key": "gemini"}
    monkeypatch.setenv("GOOGLE_API_KEY", "google")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "https://proxy.example/base/")
    dialled = await dial(model)
    assert shown(dialled.headers) == {"x-goog-api-key": "google"}
    assert dialled.url.startswith("wss://proxy.example/base/ws/google.ai.generativelanguage.v1.")


async def test_a_short_lived_token() -> None:
    credential = Credential("auth_tokens/abc", datetime.now(UTC))
    dialled = await dial(gemini.live("gemini-3.8-live"), credential)
    assert dialled.url == f"{DEVELOPER}v1alpha.GenerativeService.BidiGenerateContentConstrained"
    assert shown(dialled.headers) == {"Authorization": "Token auth_tokens/abc"}


async def test_vertex(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(["one", "two"])
    model = gemini.live(
        "gemini-3.8-live", vertex=True, project="p", location="us-central1", access_token=lambda: next(tokens)
    )
    assert model.wire_name() == "projects/p/locations/us-central1/publishers/google/models/gemini-3.8-live"
    dialled = await dial(model)
    assert dialled.url == f"wss://us-central1-aiplatform.googleapis.com{VERTEX}"
    assert shown(dialled.headers) == {"Authorization": "Bearer one"}
    assert shown((await dial(model)).headers) == {"Authorization": "Bearer two"}
    with pytest.raises(MisconfiguredError, match="mints no"):
        await model.authenticate()


async def test_vertex_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    model = gemini.live("gemini-3.8-live")
    with pytest.raises(MisconfiguredError, match="access_token"):
        await dial(model)
    credential = Credential("token", datetime.now(UTC))
    with pytest.raises(MisconfiguredError, match="GOOGLE_CLOUD_PROJECT"):
        await dial(model, credential)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    assert (await dial(model, credential)).url == f"wss://aiplatform.googleapis.com{VERTEX}"
    assert model.wire_name().startswith("projects/p/locations/global/")


async def test_headers_of_the_caller_win() -> None:
    model = gemini.live("gemini-3.8-live", api_key=KEY, headers={"X-One": "1", "x-two": "2"})
    dialled = await dial(model, headers={"X-Two": "3"})
    assert shown(dialled.headers) == {"x-goog-api-key": KEY, "X-One": "1", "X-Two": "3"}
    own = gemini.live("gemini-3.8-live", headers={"Authorization": "Bearer mine"})
    assert shown((await dial(own)).headers) == {"Authorization": "Bearer mine"}


@pytest.mark.parametrize("base_url", ["ftp://host", "https://", "https://user@host", "https://ho st", "http://[::1"])
async def test_bad_urls(base_url: str) -> None:
    with pytest.raises(MisconfiguredError, match="base URL"):
        await dial(gemini.live("gemini-3.8-live", api_key=KEY, base_url=base_url))


async def test_a_key_does_not_cross_a_network_in_the_open() -> None:
    model = gemini.live("gemini-3.8-live", api_key=KEY, base_url="http://example.org")
    with pytest.raises(MisconfiguredError, match="no TLS"):
        async with model.connect(SessionConfig(), ConnectOptions()):
            pass
    with pytest.raises(MisconfiguredError, match="copy it again"):
        await dial(gemini.live("gemini-3.8-live", api_key="two words"))
    assert KEY not in repr(model)


@pytest.mark.parametrize("name", ["", " ", "a/../b", "a?b", "a&b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(MisconfiguredError, match="invalid"):
        gemini.live(name)


async def test_pongs_that_come_late_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service answers pings 8 to 30 seconds late; what is owed is watched by the session."""
    made: list[dict[str, Any]] = []

    class Transport(Dialled):
        def __init__(self, **options: Any) -> None:
            made.append(options)

    monkeypatch.setattr(websocket, "WebSocketTransport", Transport)
    async with gemini.live("gemini-3.8-live", api_key=KEY).connect(SessionConfig(), ConnectOptions()):
        pass
    assert made == [{"ping_timeout": None}]


# -- what is refused before connecting

REFUSED = [
    (SessionConfig(output_modality="text"), "only speaks"),
    (SessionConfig(input_format=PCM16_24K), "16000 Hz"),
    (SessionConfig(output_format=G711_ULAW), "24000 Hz"),
    (SessionConfig(voice=Voice("Kore", speed=1.1)), "no speed"),
    (SessionConfig(voice=Voice("")), "voice.id"),
    (SessionConfig(turn_detection=TurnDetection.semantic_vad()), "server_vad"),
    (SessionConfig(turn_detection=TurnDetection.server_vad(threshold=0.5)), "threshold"),
    (SessionConfig(turn_detection=TurnDetection.server_vad(create_response=False)), "create_response"),
    (SessionConfig(turn_detection=TurnDetection.server_vad(silence_duration_ms=-1)), "silence_duration_ms"),
    (SessionConfig(transcription=InputTranscription(model="whisper-1")), "transcription.model"),
    (SessionConfig(noise_reduction=NoiseReduction("near_field")), "noise_reduction"),
    (SessionConfig(tools=[McpServer("m", url="https://x")]), "tool servers"),
    (SessionConfig(tools=[ToolDefinition("a"), ToolDefinition("a")]), "two tools"),
    (SessionConfig(tools=[ToolDefinition("1a")]), "tools\\[0\\].name"),
    (SessionConfig(tool_choice=ToolChoice("required")), "tool_choice"),
    (SessionConfig(parallel_tool_calls=False), "parallel_tool_calls"),
    (SessionConfig(max_output_tokens=0), "max_output_tokens"),
    (SessionConfig(reasoning=Reasoning("low")), "no such option"),
    (SessionConfig(truncation=Truncation("retention_ratio", 0.5)), "truncation"),
    (SessionConfig(tracing=Tracing("auto")), "tracing"),
    (SessionConfig(include=["x"]), "include"),
]


@pytest.mark.parametrize(("config", "match"), REFUSED, ids=[match for _, match in REFUSED])
async def test_what_it_cannot_do(config: SessionConfig, match: str) -> None:
    model = gemini.live("gemini-3.8-live", api_key=KEY)
    with pytest.raises(MisconfiguredError, match=match):
        model.check(config)
    with pytest.raises(MisconfiguredError, match=match):
        gemini.live("gemini-3.8-live", config=config)
    with pytest.raises(MisconfiguredError, match=match):
        async with model.connect(config, ConnectOptions(), transport=Dialled()):
            pass


@pytest.mark.parametrize(
    "config",
    [ResponseConfig(instructions="Be brief."), ResponseConfig(conversation="none"), ResponseConfig(metadata={})],
)
def test_a_reply_has_no_wishes_of_its_own(config: ResponseConfig) -> None:
    model = gemini.live("gemini-3.8-live")
    model.check_response(ResponseConfig())
    with pytest.raises(MisconfiguredError):
        model.check_response(config)


def test_models_differ() -> None:
    def able(name: str) -> Any:
        return gemini.live(name).capabilities

    assert able("gemini-3.8-live").can_update
    assert able("gemini-4-live").can_update
    assert not able("gemini-3.1-flash-live-preview").can_update
    assert not able("gemini-2.5-flash-native-audio-preview-12-2025").text_output
    assert not able("gemini-live-2.5-flash-native-audio").text_output
    assert able("gemini-live-2.5-flash-preview").text_output
    gemini.live("gemini-2.0-flash-live-001").check(SessionConfig(output_modality="text"))
    gemini.live("gemini-3.8-live-extended-thinking").check(SessionConfig(reasoning=Reasoning("high")))
    with pytest.raises(MisconfiguredError, match="takes 'none'"):
        gemini.live("gemini-2.5-flash-native-audio-latest").check(SessionConfig(reasoning=Reasoning("high")))


# -- tokens


class Minting:
    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, url: str, headers: Any, json: Any, timeout: float) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        self.asked.append({"url": url, "headers": shown(headers), "json": json})
        return self.answer


def seconds(stamp: str) -> float:
    return (datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()


async def test_authenticate(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Minting({"name": "auth_tokens/xyz"})
    monkeypatch.setattr(http, "post_json", service)
    model = gemini.live("gemini-3.8-live", api_key=KEY)
    credential = await model.authenticate(SessionConfig(instructions="Be brief."), expires_after=3600)
    (asked,) = service.asked
    assert asked["url"] == "https://generativelanguage.googleapis.com/v1alpha/auth_tokens"
    assert asked["headers"] == {"x-goog-api-key": KEY}
    body = asked["json"]
    assert body["bidiGenerateContentSetup"]["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    assert "fieldMask" not in body  # all of it is locked
    assert seconds(body["newSessionExpireTime"]) == pytest.approx(3600, abs=5)
    assert seconds(body["expireTime"]) == pytest.approx(3600, abs=5)
    assert credential.secret == Secret("auth_tokens/xyz")
    assert credential.expires_at - datetime.now(UTC) < timedelta(seconds=3601)
    await model.authenticate()
    assert service.asked[1]["json"]["fieldMask"] == "model"
    assert seconds(service.asked[1]["json"]["expireTime"]) == pytest.approx(1800, abs=5)


@pytest.mark.parametrize("expires_after", [0, -1, 72_001, 1.5, True])
async def test_authenticate_has_a_range(expires_after: Any) -> None:
    with pytest.raises(MisconfiguredError, match="expires_after"):
        await gemini.live("gemini-3.8-live", api_key=KEY).authenticate(expires_after=expires_after)


async def test_an_answer_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "post_json", Minting({"name": "projects/1"}))
    with pytest.raises(ProtocolError, match="no token"):
        await gemini.live("gemini-3.8-live", api_key=KEY).authenticate()
