"""What a human says is nobody's business: it stands in no log at INFO and in no exception."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest

from kernl_rt import RealtimeAgent, RealtimeSession, Toolkit, tool
from kernl_rt.channels.memory import MemoryChannel
from kernl_rt.events import SessionError
from kernl_rt.exceptions import RealtimeError
from kernl_rt.providers._dialect._codec import OpenAICodec
from kernl_rt.simulator import Simulator
from tests.security.watch import Canaries, watching

pytestmark = pytest.mark.anyio

PHRASE = "the purple canary sleeps at noon"
PHONE = "+49 30 901820 4711"
CANARIES = Canaries(PHRASE, PHONE)


@tool
async def look_up(phone: str) -> str:
    """Look up a customer."""
    raise RuntimeError("the database is away")


async def test_security_13_a_call_leaves_no_words_in_the_logs(backend: str) -> None:
    agent: RealtimeAgent[Any] = RealtimeAgent(
        id="a",
        name="A",
        instructions=f"Call {PHONE}.",
        model=Simulator(speed=50).realtime(),
        toolkits=[Toolkit(id="t", tools=[look_up])],
    )
    heard: list[object] = []
    with watching(CANARIES, logging.INFO) as watch:
        async with RealtimeSession(agent, channel=MemoryChannel()) as session:
            session.on("event", heard.append)
            with anyio.fail_after(60):
                await session.ask(f"{PHRASE}, my number is {PHONE}")
                await session.ask(f"look_up {PHONE}")
        for event in heard:
            if isinstance(event, SessionError):
                watch.error(event.error)
    assert PHRASE in "".join(repr(item) for item in session.history), "the phrase was never said: this proves nothing"


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "response.output_audio_transcript.done", "item_id": "i", "transcript": [PHRASE, PHONE]},
        {"type": "conversation.item.done", "item": {"type": "message", "content": [{"type": "text", "text": PHRASE}]}},
        {"type": "response.function_call_arguments.done", "call_id": 5, "name": "f", "arguments": PHONE},
        {"type": [PHRASE], "event_id": "e"},
    ],
)
def test_security_13_an_error_tells_ids_and_not_what_was_said(frame: dict[str, Any], backend: str) -> None:
    with watching(CANARIES) as watch:
        for text in (json.dumps(frame), json.dumps(frame)[:-1], json.dumps(frame).encode()):
            (event,) = OpenAICodec().decode(text)
            assert isinstance(event, SessionError)
            watch.event(event)
            watch.error(event.error)


async def test_security_13_an_error_that_ends_the_session_tells_nothing(backend: str) -> None:
    agent: RealtimeAgent[Any] = RealtimeAgent(id="a", name="A", instructions=PHRASE, model=Simulator().realtime())
    with watching(CANARIES, logging.INFO) as watch:
        with pytest.raises(RealtimeError) as caught:
            async with RealtimeSession(agent, reconnect=None) as session:
                session.send_message(f"{PHRASE} {PHONE}")
                session.send({"type": "conversation.item.delete", "item_id": "no such item"})
                await anyio.sleep(5)
        watch.add("error", f"{caught.value!s} {caught.value!r}")
