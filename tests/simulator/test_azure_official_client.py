"""The simulator's Azure protocol, judged by OpenAI's own clients for it. They run under asyncio, in real time."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import httpx
import pytest

from kernl_rt.simulator import Simulator
from tests.simulator.test_frames import WEATHER

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]

openai = pytest.importorskip("openai")


@pytest.fixture
def backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_API_VERSION", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


async def _until(connection: Any, type: str) -> list[Any]:
    events = [await connection.recv()]
    while events[-1].type != type:
        assert events[-1].type != "error", events[-1]
        events.append(await connection.recv())
    return events


async def test_the_generally_available_api() -> None:
    simulator = Simulator(api_key="right", speed=50.0, protocol="azure")
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            base = url.replace("ws:", "http:") + "/openai/v1"
            client = openai.AsyncOpenAI(api_key="right", base_url=base, max_retries=0)
            async with client.realtime.connect(model="my-deployment") as connection:
                assert (await connection.recv()).session.model == "my-deployment"
                await connection.session.update(session={"type": "realtime", "tools": [WEATHER]})
                assert (await connection.recv()).type == "session.updated"
                text = {"type": "input_text", "text": "What is the weather in Paris?"}
                await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
                await connection.response.create()
                call = (await _until(connection, "response.done"))[-1].response.output[0]
                assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
                output = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny in Paris"}
                await connection.conversation.item.create(item=output)
                await connection.response.create()
                events = await _until(connection, "response.done")
                sound = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
                assert len(sound) > 24_000
                part = next(e for e in events if e.type == "response.content_part.done")
                assert part.content == {"type": "audio", "transcript": "Sunny in Paris"}  # as recorded


async def test_a_client_secret() -> None:
    simulator = Simulator(api_key="right", protocol="azure")
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            base = url.replace("ws:", "http:") + "/openai/v1"
            rest = openai.AsyncOpenAI(api_key="right", base_url=base, max_retries=0)
            session = {"type": "realtime", "model": "my-deployment", "instructions": "granted"}
            made = await rest.realtime.client_secrets.create(session=session)
            client = openai.AsyncOpenAI(api_key=made.value, base_url=base, max_retries=0)
            async with client.realtime.connect(model="my-deployment") as connection:
                assert (await connection.recv()).session.instructions == "granted"


def _azure(url: str, **access: Any) -> Any:
    return openai.AsyncAzureOpenAI(
        azure_endpoint=url.replace("ws:", "http:"),
        websocket_base_url=f"{url}/openai",
        api_version="2025-04-01-preview",
        max_retries=0,
        **access,
    )


async def _token() -> str:
    return "right"


@pytest.mark.parametrize(
    "access",
    [{"api_key": "right"}, {"azure_ad_token": "right"}, {"azure_ad_token_provider": _token}],
    ids=["key", "token", "provider"],
)
async def test_the_preview_speaks_the_beta_form(access: dict[str, Any]) -> None:
    simulator = Simulator(api_key="right", speed=50.0, protocol="azure")
    with anyio.fail_after(20):
        async with simulator.serve() as url, _azure(url, **access).realtime.connect(model="old") as connection:
            created = await connection.recv()
            assert created.session.model == "old"
            assert sorted(created.session.modalities) == ["audio", "text"]
            flat = {"modalities": ["text"], "instructions": "Be brief.", "tools": [WEATHER]}
            await connection.send({"type": "session.update", "session": flat})
            updated = await connection.recv()
            assert (updated.type, updated.session.modalities) == ("session.updated", ["text"])
            text = {"type": "input_text", "text": "hello"}
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
            assert (await connection.recv()).type == "conversation.item.created"
            await connection.response.create()
            events = await _until(connection, "response.done")
            names = [event.type for event in events]
            assert "response.text.delta" in names
            assert not [name for name in names if "output_text" in name or name.endswith("item.done")][1:]
            said = next(event for event in events if event.type == "response.text.done")
            (part,) = events[-1].response.output[0].content
            assert (part.type, part.text) == ("text", said.text)


async def test_who_is_let_in_and_where() -> None:
    simulator = Simulator(api_key="right", protocol="azure")
    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = base64.b64encode(bytes(16)).decode()
    paths = [
        ("/openai/v1/realtime?model=m", {"api-key": "wrong"}, 401),
        ("/openai/v1/realtime?model=m", {"authorization": "Bearer wrong"}, 401),
        ("/openai/v1/realtime?model=m", {}, 401),
        ("/openai/v1/realtime", {"api-key": "right"}, 400),
        ("/openai/realtime?deployment=m", {"api-key": "right"}, 400),
        ("/v1/realtime?model=m", {"api-key": "right"}, 404),
        ("/openai/v1/realtime?model=m", {"api-key": "right"}, 101),
        ("/openai/v1/realtime?model=m&api-key=right", {}, 101),
    ]
    with anyio.fail_after(20):
        async with simulator.serve() as url:
            for path, headers, status in paths:
                async with httpx.AsyncClient(trust_env=False) as http:
                    address = url.replace("ws:", "http:") + path
                    async with http.stream("GET", address, headers={**upgrade, **headers}) as answer:
                        assert answer.status_code == status, path
            async with httpx.AsyncClient(trust_env=False) as http:
                base = url.replace("ws:", "http:")
                minted = await http.post(f"{base}/v1/realtime/client_secrets", headers={"api-key": "right"})
                assert minted.status_code == 404
