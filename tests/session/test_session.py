"""Opening a session, and its states: which verb is allowed when."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt import ConnectOptions, RealtimeAgent, RealtimeSession, SessionConfig, TurnDetection
from kernl_rt._transport import MemoryTransport
from kernl_rt.channels import MemoryChannel
from kernl_rt.config import G711_ULAW, PCM16_24K
from kernl_rt.events import SessionUpdate
from kernl_rt.exceptions import (
    AuthenticationError,
    ConfigurationRejected,
    ConnectError,
    ConnectTimeout,
    MisconfiguredError,
    SessionStateError,
)
from kernl_rt.testing import ScriptedModel
from tests.scenarios.calls import calling, make_session, peer_of, quiet, refusal

pytestmark = pytest.mark.anyio


# -- opening ----------------------------------------------------------------------------------------------------------


async def test_connected_means_configured() -> None:
    session = make_session(config=SessionConfig(turn_detection=TurnDetection.off()))
    assert (session.id, session.status) == (None, "idle")
    async with session:
        assert (session.id, session.status) == ("sess_scripted", "connected")
        [update] = peer_of(session).heard(SessionUpdate)
        assert update.config.instructions == "Be brief."
        assert update.config.turn_detection == TurnDetection.off()
        assert update.config.input_format == PCM16_24K
    assert session.status == "closed"


async def test_connect_into_a_task_group_of_the_caller() -> None:
    session = make_session()
    async with anyio.create_task_group() as group:
        await session.connect(group)
        assert session.id == "sess_scripted"
        assert await session.aclose()
    assert session.status == "closed"


@pytest.mark.parametrize(
    ("code", "kind"), [("unknown_parameter", ConfigurationRejected), ("invalid_api_key", AuthenticationError)]
)
async def test_the_provider_refuses_the_configuration(code: str, kind: type[ConnectError]) -> None:
    session = make_session(acknowledge=False)

    async def refuse() -> None:
        assert isinstance(session.model, ScriptedModel)
        peer = await session.model.accept()
        update = await peer.hear(SessionUpdate)
        peer.say(refusal(code, event_id=update.event_id, message="not that"))

    async with anyio.create_task_group() as group:
        group.start_soon(refuse)
        with pytest.raises(kind, match="not that"):
            await session.__aenter__()
    assert session.status == "closed"


async def test_a_silent_provider_times_out() -> None:
    model = ScriptedModel(acknowledge=False)
    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=model)
    session = RealtimeSession(agent, connect_options=ConnectOptions(timeout=3))
    start = anyio.current_time()
    with pytest.raises(ConnectTimeout, match="3 seconds"):
        await session.__aenter__()
    assert anyio.current_time() - start == pytest.approx(3)
    assert model.peer.closed.is_set()


async def test_the_link_ends_before_the_configuration_is_accepted() -> None:
    session = make_session(acknowledge=False)

    async def hang_up() -> None:
        assert isinstance(session.model, ScriptedModel)
        (await session.model.accept()).hang_up(1000)

    async with anyio.create_task_group() as group:
        group.start_soon(hang_up)
        with pytest.raises(ConnectError, match="before it accepted"):
            await session.__aenter__()


async def test_close_while_connecting() -> None:
    session = make_session(acknowledge=False)

    async def close() -> None:
        await quiet()
        session.close("changed my mind")

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        with pytest.raises(SessionStateError, match="changed my mind"):
            await session.__aenter__()
    assert peer_of(session).closed.is_set()


async def test_formats_that_do_not_fit() -> None:
    channel = MemoryChannel()
    channel.input_formats = channel.output_formats = (G711_ULAW,)  # and nothing that it could be converted to
    session = make_session(channel=channel)
    with pytest.raises(MisconfiguredError, match="no common input format"):
        await session.__aenter__()


def test_an_agent_without_a_model() -> None:
    with pytest.raises(MisconfiguredError, match="has no model"):
        RealtimeSession(RealtimeAgent(id="a", name="A", instructions="-"))


def test_a_channel_beside_a_transport_that_handles_audio() -> None:
    class WebRTC(MemoryTransport):
        handles_audio = True

    async def nobody(stream: Any, request: Any) -> None: ...

    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    with pytest.raises(MisconfiguredError, match="exclude each other"):
        RealtimeSession(agent, channel=MemoryChannel(), transport=WebRTC(nobody))


# -- states -----------------------------------------------------------------------------------------------------------

VERBS: dict[str, Any] = {
    "send_message": lambda s: s.send_message("hi"),
    "send_audio": lambda s: s.send_audio(b"\0\0"),
    "commit": lambda s: s.commit(),
    "interrupt": lambda s: s.interrupt(),
    "request_reply": lambda s: s.request_reply(),
    "mute": lambda s: s.mute(),
    "unmute": lambda s: s.unmute(),
    "emit": lambda s: s.emit("x"),
    "send": lambda s: s.send({"type": "x"}),
    "activity_started": lambda s: s.activity_started(),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_verbs_need_a_connected_session(verb: str) -> None:
    session = make_session()
    with pytest.raises(SessionStateError, match=verb):
        VERBS[verb](session)
    async with session:
        VERBS[verb](session)
    with pytest.raises(SessionStateError, match="closed"):
        VERBS[verb](session)


async def test_a_session_is_used_once() -> None:
    async with calling() as call:
        with pytest.raises(SessionStateError, match="once"):
            await call.session.__aenter__()
    with pytest.raises(SessionStateError, match="once"):
        await call.session.__aenter__()


async def test_close_before_connecting() -> None:
    with pytest.raises(SessionStateError):
        make_session().close()


@pytest.mark.parametrize("port", ["model", "channel", "transport"])
def test_a_port_of_the_wrong_type(port: str) -> None:
    agent: RealtimeAgent[None] = RealtimeAgent(id="a", name="A", instructions="-", model=ScriptedModel())
    wrong: Any = {port: "gpt-realtime"}
    with pytest.raises(MisconfiguredError, match=f"{port}= takes a Realtime.*not a str"):
        RealtimeSession(agent, **wrong)


async def test_what_is_public() -> None:
    async with calling(context={"user": 7}) as call:
        session = call.session
        assert session.context.context == {"user": 7}
        assert session.context.session is session
        assert session.agent.id == "test"
        assert session.channel is None
        assert session.usage.total_tokens is None
        assert repr(session) == "<RealtimeSession agent='test' model='scripted' connected id='sess_scripted'>"
