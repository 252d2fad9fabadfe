"""A phone call cancelled at each of its checkpoints: the link is closed, nothing is left."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from phone.lines import accepted

from kernl_rt.channels._phone._channel import PhoneChannel
from kernl_rt.config import G711_ULAW, PCM16_16K, Capabilities
from kernl_rt.events import AudioDelta, SpeechStarted
from kernl_rt.testing import FakeCarrier, Probe, ScriptedModel, sweep
from tests.scenarios.calls import audio_done, created, done, item_added, make_session

CAPABILITIES = Capabilities(input_formats=(G711_ULAW, PCM16_16K), output_formats=(G711_ULAW, PCM16_16K))


def call(name: Any) -> Any:
    async def scenario(probe: Probe) -> None:
        carrier = FakeCarrier(name, latency=0.01)
        model: ScriptedModel | None = None
        channel: PhoneChannel | None = None
        async with anyio.create_task_group() as world:
            world.start_soon(carrier.run)
            with probe.victim():
                channel = await accepted(carrier)
                session = make_session(channel=channel, capabilities=CAPABILITIES)
                model = session.model  # type: ignore[assignment]
                async with session:
                    assert isinstance(model, ScriptedModel)
                    sound = b"\1" * carrier.audio_format.size(160)
                    model.peer.say(created(), item_added())
                    model.peer.say(AudioDelta(sound, response_id="r1", item_id="i1", content_index=0, output_index=0))
                    await anyio.sleep(0.05)
                    model.peer.say(SpeechStarted())
                    await anyio.sleep(0.01)
                    model.peer.say(audio_done(), done(status="cancelled"))
                    session.hang_up()
                    await session.wait_closed()
            if channel is None or channel._call is None:
                # No session has opened it: whoever accepted the link still has it, and closes it, as servers do.
                await carrier.stream.aclose()
            await anyio.sleep(5)
            assert carrier.closed is not None, "the link was left open"
            assert not carrier.wrong, carrier.wrong
            assert all(peer.closed.is_set() for peer in (model.peers if model else ())), "the model was left connected"
            world.cancel_scope.cancel()

    return scenario


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_cancelled_anywhere(backend: Any) -> None:
    report = sweep(call("twilio"), backend=backend)
    report.raise_for_violations()
    assert report.runs > 50
