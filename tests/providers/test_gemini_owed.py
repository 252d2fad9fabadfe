"""What Gemini owes, and for how long it may be silent."""

from __future__ import annotations

import json

import anyio
import pytest

from kernl_rt import Toolkit, events as ev, tool
from kernl_rt._transport.memory import MemoryTransport
from kernl_rt.abc import MessageStream
from tests.providers.gemini_sessions import talking

pytestmark = pytest.mark.anyio


def answering_slowly(seconds: float, *, playing: float = 0.0) -> MemoryTransport:
    """Thinks for so long before the first of a reply, and waits for so long until it has been heard."""

    async def serve(stream: MessageStream, request: object) -> None:
        await stream.receive()
        await stream.send('{"setupComplete":{}}')
        while True:
            for message in await stream.receive():
                if json.loads(message).get("clientContent", {}).get("turnComplete"):
                    await anyio.sleep(seconds)
                    blob = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "A" * 64}}
                    await stream.send(json.dumps({"serverContent": {"modelTurn": {"parts": [blob]}}}))
                    await stream.send(
                        '{"serverContent":{"outputTranscription":{"text":"Well."},"generationComplete":true}}'
                    )
                    await anyio.sleep(playing)
                    await stream.send('{"serverContent":{"turnComplete":true}}')

    return MemoryTransport(serve)


async def test_a_model_may_think_for_longer_than_a_request_is_answered_elsewhere() -> None:
    """The first that is heard of a reply comes when it has been thought of."""
    async with talking(answering_slowly(30.0), dead_air=45.0) as talk:
        assert (await talk.session.ask("Hard?")).text == "Well."
        assert not talk.seen(ev.SessionError)
        assert len(talk.spy.dialled) == 1


async def test_silence_while_what_was_generated_is_heard_is_no_dead_air() -> None:
    async with talking(answering_slowly(0.1, playing=40.0)) as talk:
        assert (await talk.session.ask("Long?")).text == "Well."
        assert len(talk.spy.dialled) == 1


async def test_an_owed_answer_that_does_not_come_is_noticed() -> None:
    async with talking(answering_slowly(3_600.0)) as talk:
        start = anyio.current_time()
        talk.session.send_message("Anybody?")
        await talk.until(lambda: talk.session.status == "reconnecting")
        assert 15.0 <= anyio.current_time() - start < 15.1
        await talk.until(lambda: len(talk.spy.dialled) == 2)


async def test_the_answer_to_a_result_is_owed_on_the_next_link_too() -> None:
    links = 0

    async def serve(stream: MessageStream, request: object) -> None:
        nonlocal links
        links += 1
        first = links == 1
        await stream.receive()
        await stream.send('{"setupComplete":{}}')
        while True:
            for message in await stream.receive():
                said = json.loads(message)
                if first and "toolResponse" in said:
                    await stream.aclose(1011, "Internal error encountered.")
                    return
                if said.get("clientContent", {}).get("turnComplete"):
                    if first:
                        await stream.send('{"toolCall":{"functionCalls":[{"id":"c1","name":"clock"}]}}')
                    else:
                        await stream.send(
                            '{"serverContent":{"outputTranscription":{"text":"Noon."},"turnComplete":true}}'
                        )

    @tool
    async def clock() -> str:
        """The time."""
        return "12:00"

    async with talking(MemoryTransport(serve), toolkits=[Toolkit(id="t", tools=[clock])]) as talk:
        assert (await talk.session.ask("What time is it?")).text == "Noon."
        assert links == 2
        assert any("returned: 12:00" in json.dumps(said) for said in talk.spy.said)
