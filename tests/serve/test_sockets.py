"""The application on real sockets: under anycorn on both backends, and under uvicorn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest
import uvicorn
from serve.browsers import Call, dial, http, serving, token_of
from serve.worlds import SOUND
from starlette.applications import Starlette
from websockets.exceptions import ConnectionClosed, InvalidStatus

from kernl_rt import RealtimeAgent, SessionConfig, Toolkit, tool
from kernl_rt.config import InputTranscription
from kernl_rt.serve import _run, app
from kernl_rt.simulator import ScriptedEars, Simulator

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("real_clock")]


@tool
async def weather(city: str) -> str:
    """Current weather in a city."""
    return f"Sunny in {city}"


def application(url: str, **options: Any) -> Starlette:
    agent = RealtimeAgent(
        id="watson",
        name="Watson",
        instructions="Be brief.",
        model=Simulator(ears=ScriptedEars(["what is the weather in paris"] * 9), speed=4).realtime(),
        toolkits=[Toolkit(id="home", tools=[weather])],
        config=SessionConfig(transcription=InputTranscription(model="whisper-1")),
    )
    return app(agent, origins=[url], **options)


def conversation(url: str) -> None:
    with dial(url) as socket:
        assert socket.subprotocol == "kernl-rt.1"
        call = Call(socket)
        assert call.hello()["agent"] == "Watson"
        for start in range(0, len(SOUND), 960):
            socket.send(SOUND[start : start + 960])
            time.sleep(0.01)
        assert call.listen("transcript", role="user", final=True)["text"] == "what is the weather in paris"
        assert call.listen("tool", state="done")["result"] == "Sunny in Paris"
        assert "unny" in call.listen("transcript", role="agent", final=True)["text"]
        assert call.received > 12_000
        call.say("bye")
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


def refusals(url: str) -> None:
    assert http("GET", f"{url}/")[0] == 200
    assert http("POST", f"{url}/session-token", Origin="http://evil.com")[0] == 403
    for origin, token in (("http://evil.com", None), (url, "forged")):
        with pytest.raises(InvalidStatus) as refused, dial(url, origin=origin, token=token):
            pass
        assert refused.value.response.status_code == 403


def too_large(url: str) -> None:
    with dial(url) as socket:
        call = Call(socket)
        call.hello()
        socket.send(bytes(64 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_conversation_under_anycorn() -> None:
    with anyio.fail_after(50):
        async with serving(application) as url:
            for work in (conversation, refusals, too_large):
                await anyio.to_thread.run_sync(work, url)


async def test_one_call_too_many_under_anycorn() -> None:
    def calls(url: str) -> None:
        spare = token_of(url)
        with dial(url) as socket:
            Call(socket).hello()
            assert http("POST", f"{url}/session-token", Origin=url)[0] == 503
            with pytest.raises(InvalidStatus) as refused, dial(url, token=spare):
                pass
            assert refused.value.response.status_code == 503

    with anyio.fail_after(50):
        async with serving(partial(application, max_sessions=1)) as url:
            await anyio.to_thread.run_sync(calls, url)


@contextmanager
def under_uvicorn() -> Iterator[str]:
    own = _run.listening_socket("127.0.0.1", 0)
    own.listen()
    url = f"http://127.0.0.1:{own.getsockname()[1]}"
    config = uvicorn.Config(application(url), log_level="error", ws="websockets-sansio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [own]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield url
    finally:
        server.should_exit = True
        thread.join(20)
        own.close()


def test_a_conversation_under_uvicorn() -> None:
    with under_uvicorn() as url:
        for work in (conversation, refusals, too_large):
            work(url)
