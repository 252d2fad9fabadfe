"""A provider that owes something and says nothing."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kernl_rt.channels import MemoryChannel
from kernl_rt.events import (
    Interrupted,
    McpCallProgress,
    RawServerEvent,
    ResponseDone,
    SessionError,
    StatusChanged,
)
from kernl_rt.exceptions import ConnectionClosed
from kernl_rt.policy import ReconnectPolicy
from tests.scenarios.calls import audio, audio_done, created, done, quiet, transcript
from tests.session.links import back, lose, model_of, redialling, speech_started, statuses, told, turn_over

pytestmark = pytest.mark.anyio


async def test_a_reply_that_stops_in_the_middle_is_asked_for_again_on_another_link() -> None:
    async with redialling(channel=MemoryChannel()) as call:
        call.session.send_message("a story, please")
        await quiet()
        await call.says(created(), audio(ms=500))
        await anyio.sleep(14.9)
        assert call.session.status == "connected"
        await anyio.sleep(0.2)
        peer = await back(call)
        assert told(peer) == ["configuration", "user: a story, please", "reply?"]
        assert [event.reason for event in call.seen(Interrupted)] == ["connection_lost"]
        reason = call.seen(StatusChanged)[2].reason
        assert reason == "dead air: the provider owes its reply r1 and has said nothing for 15 seconds"


async def test_a_turn_that_is_never_answered_is_answered_on_another_link() -> None:
    async with redialling() as call:
        await call.says(speech_started(), *turn_over())
        await anyio.sleep(15.1)
        peer = await back(call)
        assert told(peer) == ["configuration", "reply?"]
        reason = call.seen(StatusChanged)[2].reason
        assert reason is not None
        assert "a reply to the human's turn" in reason


@pytest.mark.parametrize("owed", ["reply", "turn"])
async def test_without_reconnecting_what_is_owed_is_given_up_and_the_session_goes_on(owed: str) -> None:
    async with redialling(reconnect=None) as call:
        handle: Any = None
        if owed == "reply":
            handle = call.session.request_reply()
            await quiet()
            await call.says(created(), audio())
        else:
            await call.says(speech_started(), *turn_over())
        await anyio.sleep(15.1)
        (error,) = call.seen(SessionError)
        assert (error.code, error.source) == ("dead_air", "session")
        assert call.session.status == "connected"
        if owed == "reply":
            assert [event.response.status for event in call.seen(ResponseDone)] == ["incomplete"]
            assert (await handle.settled()).status == "incomplete"
            await call.says(audio(ms=200), done())
            assert len(call.seen(ResponseDone)) == 1
        await call.says(created("r2"), done("r2"))
        assert call.seen(ResponseDone)[-1].response.id == "r2"
        await anyio.sleep(60)
        assert len(call.seen(SessionError)) == 1


async def test_anything_that_the_provider_says_is_a_sign_of_life() -> None:
    async with redialling() as call:
        await call.says(created())
        for _ in range(20):
            await anyio.sleep(14)
            await call.says(RawServerEvent("rate_limits.updated", {"type": "rate_limits.updated"}))
        assert "reconnecting" not in statuses(call)


async def test_a_quiet_provider_that_owes_nothing_may_be_quiet() -> None:
    async with redialling() as call:
        await call.says(speech_started(), *turn_over(), created(), audio(), transcript("yes"), audio_done(), done())
        await anyio.sleep(3_000)
        await call.says(speech_started("u2"))
        await anyio.sleep(3_000)
        assert "reconnecting" not in statuses(call)


async def test_it_may_be_turned_off() -> None:
    async with redialling(dead_air=None) as call:
        await call.says(created(), audio())
        await anyio.sleep(5_000)
        assert "reconnecting" not in statuses(call)
        assert call.seen(SessionError) == []


async def test_its_time_may_be_chosen() -> None:
    async with redialling(dead_air=2.0) as call:
        await call.says(created(), audio())
        await anyio.sleep(2.1)
        await back(call)
        assert len(model_of(call).peers) == 2


async def test_a_provider_that_is_dead_on_every_link_is_given_up() -> None:
    with pytest.raises(ConnectionClosed, match="dead air"):
        async with redialling(reconnect=ReconnectPolicy(attempts=3)) as call:
            await call.says(created(), audio())
            for number in range(2, 8):
                await anyio.sleep(15.5)
                if call.session.status != "connected":
                    break
                model_of(call).peer.say(created(f"r{number}"))
            await call.session.wait_closed()
    assert len(model_of(call).dials) == 4


async def test_the_clock_starts_anew_with_the_next_link() -> None:
    async with redialling() as call:
        await call.says(created(), audio())
        await anyio.sleep(10)
        await lose(call)
        await call.says(created("r2"))
        await anyio.sleep(14)
        assert len(model_of(call).peers) == 2


async def test_a_tool_server_of_the_providers_own_may_take_its_time() -> None:
    async with redialling(dead_air=2.0) as call:
        call.session.request_reply()
        await quiet()
        await call.says(created(), McpCallProgress("m1", "in_progress", response_id="r1"))
        await anyio.sleep(60)
        assert call.session.status == "connected"
        assert call.session.statistics().reconnects == 0
        await call.says(McpCallProgress("m1", "completed", response_id="r1"))
        await anyio.sleep(2.1)
        await back(call)
        assert call.session.statistics().reconnects == 1
